"""A page of examples with inputs and maps, in the binary form that docs/http_api.md describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from tb_deepexplain.marker import FORMAT_VERSION
from tb_deepexplain.plugin import pictures, tiles
from tb_deepexplain.plugin.grid import Grid
from tb_deepexplain.plugin.params import Window
from tb_deepexplain.plugin.plain import finite, number, units
from tb_deepexplain.plugin.reading import READ_ERRORS, read_rows
from tb_deepexplain.plugin.views import describe_method, method_numbers, query

T = TypeVar("T")
_ROW = ("label", "label_name", "predicted", "predicted_name", "misclassified")


def page(grid: Grid, window: Window, methods: Sequence[str] | None, size: int) -> bytes:
    """The examples of a window; pictures and their maps have no side longer than `size`."""
    at = method_numbers(grid, methods)
    found = query(grid, window, _ROW)
    examples, _ = grid.window(window)
    cells = grid.cells(window.selection)
    rows = cells.rows[examples][:, at]
    shown = rows[rows >= 0]
    maps = read_rows(grid, shown, "row_group", grid.store.maps)
    inputs = read_rows(grid, cells.first[examples], "input_row_group", grid.store.inputs)
    facts = _facts(grid, shown)
    writer = _Writer(grid.manifest["kind"], size)
    header_rows = []
    for place, example in enumerate(examples):
        row = {name: values[place] for name, values in found.items() if isinstance(values, list)}
        record = inputs[int(cells.first[example])]
        row["input"] = _attempt(record, writer.input)
        row["maps"] = []
        for m, cell in zip(at, rows[place].tolist(), strict=True):
            draw = writer.map_of(record, grid.methods[m]["signed"])
            row["maps"].append(None if cell < 0 else {**facts[cell], **_attempt(maps[cell], draw)})
        header_rows.append(row)
    header = {
        "format_version": FORMAT_VERSION,
        **{name: value for name, value in found.items() if not isinstance(value, list)},
        "kind": grid.manifest["kind"],
        "methods": [describe_method(grid.methods[m], grid.manifest["kind"]) for m in at],
        "steps": grid.steps,
        "targets": grid.targets,
        "rows": header_rows,
    }
    return writer.answer.finish(header)


class _Writer:
    """Puts inputs and maps into the answer and says in the header where they lie."""

    def __init__(self, kind: str, size: int) -> None:
        self._kind, self._size = kind, size
        self.answer = tiles.Answer()

    def input(self, record: dict[str, Any]) -> dict[str, Any]:
        match record["kind"]:
            case "image":
                data, media_type, shape = pictures.thumbnail(record["image"] or b"", self._size)
                return {"type": media_type, "full": list(shape), "data": self.answer.add(data)}
            case "text":
                return {"type": "text", "tokens": record["tokens"], "word_ids": record["word_ids"]}
            case "tabular":
                values = [number(value) for value in record["values"]]
                return {"type": "tabular", "features": record["features"], "values": values}
        raise ValueError(f"an input of kind {record['kind']!r}; expected image, text or tabular")

    def map_of(self, record: dict[str, Any] | str, signed: bool) -> Callable[[np.ndarray], dict[str, Any]]:
        """What writes a map of this input."""
        if self._kind == "image":
            return lambda values: self._picture(tiles.flatten(values, signed))
        return lambda values: self._line(values.reshape(-1), _padding(record))

    def _picture(self, flat: np.ndarray) -> dict[str, Any]:
        # Scale marks come from the map at full size: they do not change with the size of the tiles.
        small = tiles.shrink(flat, self._size)
        codes, scale = tiles.compand(small)
        sides = {"shape": list(small.shape), "full": list(flat.shape)}
        return {**sides, **_look(flat), "scale": scale, "codes": self.answer.add(codes.tobytes())}

    def _line(self, values: np.ndarray, padding: np.ndarray | None) -> dict[str, Any]:
        if padding is not None and len(padding) != len(values):
            raise ValueError(f"the map has {len(values)} values for {len(padding)} tokens or features")
        seen = values if padding is None else values[~padding]
        scale = float(np.abs(seen[np.isfinite(seen)]).max(initial=0))
        data = values.astype("<f4").tobytes()
        return {"length": len(values), **_look(seen), "scale": scale, "values": self.answer.add(data)}


def _look(values: np.ndarray) -> dict[str, Any]:
    """What the page must know before it draws: all zero, not finite, where to clip."""
    bad = int(values.size - np.isfinite(values).sum())
    return {"zero": not bad and not values.any(), "not_finite": bad, "quantiles": tiles.marks(values)}


def _padding(record: dict[str, Any] | str) -> np.ndarray | None:
    """Which tokens are padding (stored as empty strings); of features none is."""
    if isinstance(record, str):
        return None
    names = record["tokens"] if record["kind"] == "text" else record["features"]
    return np.array([record["kind"] == "text" and name == "" for name in names or []], bool)


def _attempt(found: T | str, write: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    try:
        return write(found)
    except READ_ERRORS as error:
        return {"error": str(error)}


def _facts(grid: Grid, rows: np.ndarray) -> dict[int, dict[str, Any]]:
    """The numbers beside each map, by index row."""
    stored = grid.index.select(["evaluations", "warnings"]).take(pa.array(rows, pa.int64()))
    columns = {
        "target": units(grid.target[rows]),
        "target_name": grid.target_names(rows),
        "score": finite(grid.score[rows]),
        "probability": finite(grid.probability[rows]),
        "baseline_score": finite(grid.baseline_score[rows]),
        "gap": finite(grid.gap[rows]),
        "evaluations": stored["evaluations"].to_pylist(),
        "warnings": [found or [] for found in stored["warnings"].to_pylist()],
    }
    return {int(row): {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)}
