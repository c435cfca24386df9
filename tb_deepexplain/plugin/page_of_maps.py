"""A page of examples with inputs and maps, in the binary format that docs/http_api.md describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from tb_deepexplain.plugin import answers, thumbnails, tile_encoding
from tb_deepexplain.plugin.index_rows import IndexRow, page_rows
from tb_deepexplain.plugin.json_numbers import json_number
from tb_deepexplain.plugin.parameters import ExampleQuery
from tb_deepexplain.plugin.pivot_columns import ColumnChoice, PivotColumn, pivot_columns
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS, read_locations
from tb_deepexplain.plugin.views import describe_method
from tb_deepexplain.store.index import Location
from tb_deepexplain.store.records import Part, input_shares, split_map

T = TypeVar("T")
_FORMAT_VERSION = 1  # of the answer
Attributions = np.ndarray | str  # a map, or why it cannot be read
MapsOfColumns = Mapping[int, Mapping[Location, Attributions]]  # by the id() of the store, then by location


def page_of_maps(store: ServedStore, query: ExampleQuery, choice: ColumnChoice, size: int) -> bytes:
    """The examples of a query, as one binary answer. Pictures and their maps have no side longer than `size`."""
    examples, total = page_rows(store, query)
    columns = list(pivot_columns(store, examples, query.selection, choice))
    has_change_column = choice.change and bool(columns)
    maps = _read_maps(columns)
    inputs = read_locations((rows[0].input_location for rows in examples.values()), store.reader.inputs_at)
    writer = _Writer(store.modality, size)
    grid_rows: list[Any] = []
    for example_id, rows in examples.items():
        stored_input = inputs[rows[0].input_location]
        cells = [_map_at(maps, column, example_id) for column in columns]
        alike = [_is_alike(store, rows[0], column) for column in columns]
        shown = {
            **_describe_example(store, rows),
            "input": _attempt(stored_input, writer.write_input),
            "maps": [
                _describe_map(writer, column, example_id, cell, stored_input, is_alike)
                for column, cell, is_alike in zip(columns, cells, alike, strict=True)
            ],
        }
        if has_change_column:
            has_change = alike[0] and alike[-1]
            parts = rows[0].parts
            shown["maps"].append(_describe_change(writer, cells, stored_input, parts) if has_change else None)
        grid_rows.append(shown)
    header: answers.PageHeader = {
        "format_version": _FORMAT_VERSION,
        "version": store.version,
        "total": total,
        "offset": query.offset,
        "modality": cast(answers.Modality, store.modality),
        "pivot": cast(answers.Pivot, choice.pivot),
        "columns": [_describe_column(column) for column in columns]
        + ([_describe_change_column(columns)] if has_change_column else []),
        "methods": [describe_method(method, store.modality) for method in store.methods],
        "fields": list(store.fields.numbers),
        "are_judged": store.are_judged,
        "steps": store.steps,
        "targets": cast(Any, store.targets),
        "rows": grid_rows,
    }
    return writer.answer.finish(header)


def _read_maps(columns: Sequence[PivotColumn]) -> MapsOfColumns:
    maps = {}
    for store in {id(column.store): column.store for column in columns}.values():
        rows = [row for column in columns if column.store is store for row in column.rows.values()]
        maps[id(store)] = read_locations((row.map_location for row in rows), store.reader.maps_at)
    return maps


def _map_at(maps: MapsOfColumns, column: PivotColumn, example_id: str) -> Attributions | None:
    """The map of an example in a column; None if it has none there."""
    row = column.rows.get(example_id)
    return None if row is None else maps[id(column.store)][row.map_location]


def _describe_column(column: PivotColumn) -> answers.Column:
    return {"key": column.key, "title": column.title, "method": describe_method(column.method, column.store.modality)}


def _describe_change_column(columns: Sequence[PivotColumn]) -> answers.Column:
    first, last = columns[0], columns[-1]
    method = {**first.method, "signed": True, "sums_to": None}
    column = first._replace(key="change", title=f"{last.title} − {first.title}", method=method)
    return {**_describe_column(column), "change": True}


def _describe_example(store: ServedStore, rows: Sequence[IndexRow]) -> dict[str, Any]:
    """The facts of an example as a whole."""
    label = next((row.label for row in rows if row.label is not None), None)
    predicted = next((row.predicted for row in rows if row.predicted is not None), None)
    label_names = [row.label_name for row in rows if row.label_name]
    return {
        "id": rows[0].example_id,
        "label": label,
        "label_name": min(label_names) if label_names else store.unit_name(label),
        "predicted": predicted,
        "predicted_name": store.unit_name(predicted),
        "misclassified": any(row.misclassified for row in rows),
        "slices": {name: json_number(value) for name, value in (rows[0].slices or {}).items() if value is not None},
    }


def _is_alike(store: ServedStore, row: IndexRow, column: PivotColumn) -> bool:
    """Whether the map of a column, perhaps of another store, explains the same inputs as `row`, as far as is known of a single one."""
    other = column.rows.get(row.example_id, row)
    if row.parts or other.parts:
        return row.parts == other.parts
    requested, by_other = ((one.manifest.get("model") or {}).get("inputs") for one in (store, column.store))
    return requested is None or by_other is None or requested == by_other


def _describe_map(
    writer: _Writer,
    column: PivotColumn,
    example_id: str,
    attributions: Attributions | None,
    stored_input: Any,
    is_alike: bool,
) -> dict[str, Any] | None:
    """`is_alike`: whether the map explains the inputs that stand beside it; those of a mixed example have names."""
    if attributions is None:
        return None
    row = column.rows[example_id]
    if column.store.modality != "mixed" and not is_alike:
        attributions = "this run explains other inputs of the model"
    write = writer.map_writer(stored_input, column.method["signed"], row.parts)
    return {**_map_facts(column.store, row), **_attempt(attributions, write)}


def _map_facts(store: ServedStore, row: IndexRow) -> answers.MapFacts:
    """The numbers of a map."""
    return {
        "target": row.target if row.target is not None and row.target >= 0 else None,
        "target_index": row.target_index,
        "score_function": row.score_function,
        "target_name": row.target_label or store.unit_name(row.target),
        "score": json_number(row.score),
        "probability": json_number(row.probability),
        "baseline_score": json_number(row.baseline_score),
        "gap": json_number(row.gap),
        "relative_gap": json_number(row.relative_gap),
        "evaluations": row.evaluations,
        "warnings": row.warnings or [],
        "step": row.step,
    }


def _describe_change(
    writer: _Writer, cells: Sequence[Attributions | None], stored_input: Any, parts: Sequence[Part] | None
) -> dict[str, Any] | None:
    """The map of the last column less that of the first; None if one is missing or their shapes differ."""
    first, last = cells[0], cells[-1]
    if not (isinstance(first, np.ndarray) and isinstance(last, np.ndarray) and first.shape == last.shape):
        return None
    no_facts: dict[str, Any] = {**dict.fromkeys(answers.MapFacts.__annotations__), "warnings": []}
    return {**no_facts, **_attempt(last - first, writer.map_writer(stored_input, signed=True, parts=parts))}


class _Writer:
    """Adds inputs and maps to the answer; returns what the header says of them."""

    def __init__(self, modality: str, size: int) -> None:
        self._modality, self._size = modality, size
        self._thumbnails = thumbnails.Thumbnails(size)
        self.answer = tile_encoding.BinaryAnswer()

    def write_input(self, stored_input: dict[str, Any]) -> dict[str, Any]:
        """Add an input of the store's inputs table."""
        if stored_input["modality"] == "mixed":
            parts = [
                {"name": part["input"], "input": self._write_shown(part, _input_of(stored_input, part))}
                for part in stored_input["parts"] or []
            ]
            return {"modality": "mixed", "parts": parts}
        return self._write_shown(stored_input, stored_input["inputs"])

    def _write_shown(self, stored_input: dict[str, Any], inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Add an input, or a part of one, of a single modality."""
        match stored_input["modality"]:
            case "image":
                data, media_type, shape = self._thumbnails.make(stored_input["image"])
                blob = self.answer.add(data)
                return {"modality": "image", "media_type": media_type, "full": list(shape), "data": blob}
            case "text":
                return {"modality": "text", "tokens": stored_input["tokens"], "word_ids": stored_input["word_ids"]}
            case "tabular":
                return {
                    "modality": "tabular",
                    "inputs": [
                        {"name": model_input["name"], "shape": model_input["shape"], "axes": model_input["axes"]}
                        for model_input in inputs
                    ],
                    "features": stored_input["features"],
                    "values": [json_number(value) for value in stored_input["values"]],
                    "texts": stored_input["texts"],
                }
        raise ValueError(f"an input of modality {stored_input['modality']!r}; expected image, text, tabular or mixed")

    def map_writer(
        self, stored_input: dict[str, Any] | str, signed: bool, parts: Sequence[Part] | None
    ) -> Callable[[np.ndarray], dict[str, Any]]:
        """A function that adds a map of this input."""
        if self._modality == "mixed":
            return lambda attributions: self._write_parts(attributions, stored_input, signed, parts or ())
        if self._modality == "image":
            return lambda attributions: self._write_picture(tile_encoding.merge_channels(attributions, signed))
        padding = None if isinstance(stored_input, str) else _padding(stored_input)
        return lambda attributions: self._write_values(attributions.reshape(-1), padding)

    def _write_parts(
        self, attributions: np.ndarray, stored_input: dict[str, Any] | str, signed: bool, parts: Sequence[Part]
    ) -> dict[str, Any]:
        shown = {} if isinstance(stored_input, str) else {part["input"]: part for part in stored_input["parts"] or []}
        by_input = split_map(attributions, parts)
        shares = input_shares(by_input)
        written, drawn_values = [], [np.zeros(0, np.float32)]
        for name, values in by_input.items():
            part = shown.get(name)
            if part is None:
                raise ValueError(f"the map has a part {name!r}, which its input lacks")
            if part["modality"] == "image":
                drawn_values.append(tile_encoding.merge_channels(values, signed).reshape(-1))
                drawn = self._write_picture(drawn_values[-1].reshape(values.shape[:2]))
            else:
                padding = _padding(part)
                drawn = self._write_values(values.reshape(-1), padding)
                drawn_values.append(values.reshape(-1)[~padding])
            sum_ = json_number(float(values.sum(dtype=np.float64)))
            written.append({"name": name, "sum": sum_, "share": shares[name], "map": drawn})
        scale = max((part["map"]["scale"] for part in written), default=0.0)
        return {**_map_scale(np.concatenate(drawn_values)), "scale": scale, "parts": written}

    def _write_picture(self, attributions: np.ndarray) -> dict[str, Any]:
        small = tile_encoding.area_means(attributions, self._size)
        codes, scale = tile_encoding.compand(small)
        shapes = {"shape": list(small.shape), "full": list(attributions.shape)}
        # The clip marks are those of the map at full size: they do not change with the size of the tiles.
        return {**shapes, **_map_scale(attributions), "scale": scale, "codes": self.answer.add(codes.tobytes())}

    def _write_values(self, attributions: np.ndarray, padding: np.ndarray | None) -> dict[str, Any]:
        if padding is not None and len(padding) != len(attributions):
            raise ValueError(f"the map has {len(attributions)} values for {len(padding)} tokens or features")
        real = attributions if padding is None else attributions[~padding]
        scale = float(np.abs(real[np.isfinite(real)]).max(initial=0))
        blob = self.answer.add(attributions.astype("<f4").tobytes())
        return {"length": len(attributions), **_map_scale(real), "scale": scale, "values": blob}


def _map_scale(attributions: np.ndarray) -> dict[str, Any]:
    """What the page needs before it draws: whether all is zero, how much is not finite, where to clip."""
    not_finite = int(attributions.size - np.isfinite(attributions).sum())
    return {
        "zero": not not_finite and not attributions.any(),
        "not_finite": not_finite,
        "quantiles": tile_encoding.magnitude_quantiles(attributions),
    }


def _input_of(stored_input: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    """The model's input that a part shows."""
    return [model_input for model_input in stored_input["inputs"] if model_input["name"] == part["input"]]


def _padding(stored_input: dict[str, Any]) -> np.ndarray:
    """Which tokens are padding (stored as empty strings); of features none is."""
    if stored_input["modality"] == "text":
        return np.array([token == "" for token in stored_input["tokens"] or []], bool)
    return np.zeros(len(stored_input["values"] or []), bool)


def _attempt(value: T | str, write: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """What `write` returns, or the sentence that says why the value could not be read or written."""
    if isinstance(value, str):
        return {"error": value}
    try:
        return write(value)
    except READ_ERRORS as error:
        return {"error": str(error)}
