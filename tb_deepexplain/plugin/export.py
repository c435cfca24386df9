"""The numbers of many examples as a CSV or JSON Lines file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import filter_sql, views
from tb_deepexplain.plugin.api import EXAMPLE_COLUMNS
from tb_deepexplain.plugin.errors import BadRequest
from tb_deepexplain.plugin.index_rows import IndexRow, page_rows
from tb_deepexplain.plugin.json_numbers import json_number
from tb_deepexplain.plugin.parameters import ExampleQuery
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS, read_locations
from tb_deepexplain.store.index import Location
from tb_deepexplain.store.records import split_map, value_names
from tb_deepexplain.store.slice_features import column_name

T = TypeVar("T")


def export(store: ServedStore, query: ExampleQuery, file_format: str, values: bool) -> str:
    """One line for each example of the query: its columns on the page, its slice features, and the gap and measures of each method.

    `file_format` is "csv" or "jsonl". `values` adds the tokens or features and their attributions, as lists.
    """
    columns = views.columns(store, query, list(_column_names(store)))
    if values:
        columns |= _value_columns(store, query)
    names = [name for name, values in columns.items() if isinstance(values, list)]
    rows = zip(*(columns[name] for name in names), strict=True)
    if file_format == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([_csv_value(value) for value in row] for row in rows)
    return file.getvalue()


def _column_names(store: ServedStore) -> Iterator[str]:
    yield from (name for name in EXAMPLE_COLUMNS if name not in ("gap", "relative_gap"))
    numbers = store.fields.numbers
    yield from (name for name in numbers if name in filter_sql.EXAMPLE_FIELDS and name not in EXAMPLE_COLUMNS)
    yield from (column_name(feature.name) for feature in store.fields.slices)
    of_maps = [n for n in numbers if n not in filter_sql.EXAMPLE_FIELDS and n not in ("gap", "evaluations")]
    for method in store.methods:
        fields = ["gap", *of_maps] if method.get("sums_to") else of_maps
        yield from (f"{method['id']}.{name}" for name in fields)


def _value_columns(store: ServedStore, query: ExampleQuery) -> dict[str, list[Any]]:
    """The columns of tokens, or of features with their values, and for each method those of its attributions.

    Those of a mixed example begin with the name of the input; pictures have none.
    """
    if store.modality == "image":
        raise BadRequest("parameter 'values': a picture's map is no list of numbers; /api/tile sends single maps")
    examples, _ = page_rows(store, query)
    inputs = _read((rows[0].input_location for rows in examples.values()), store.reader.inputs_at)
    maps = _read((row.map_location for rows in examples.values() for row in rows), store.reader.maps_at)
    lines: list[dict[str, Any]] = []
    for rows in examples.values():
        stored_input, cells = inputs[rows[0].input_location], dict[str, Any]()
        is_mixed = stored_input["modality"] == "mixed"
        for part in stored_input["parts"] or [] if is_mixed else [stored_input]:
            if part["modality"] == "image":
                continue
            name = part["input"] if is_mixed else None
            prefix = f"{name}." if is_mixed else ""
            if part["modality"] == "text":
                cells[f"{prefix}tokens"] = part["tokens"]
            else:
                of_part = [one for one in stored_input["inputs"] if name in (None, one["name"])]
                cells[f"{prefix}features"] = value_names(of_part, part["features"])
                cells[f"{prefix}values"] = _shown_values(part)
            for row in rows:
                values = maps[row.map_location]
                if name is not None:
                    values = _part_of(values, row, name)
                cells[f"{row.method}.{prefix}attributions"] = list(map(json_number, values.ravel().tolist()))
        lines.append(cells)
    names = dict.fromkeys(name for cells in lines for name in cells)
    return {name: [cells.get(name) for cells in lines] for name in names}


def _part_of(attributions: np.ndarray, row: IndexRow, name: str) -> np.ndarray:
    """The part of a map that belongs to an input; StoreError if it has none."""
    try:
        return split_map(attributions, row.parts or [])[name]
    except READ_ERRORS as error:
        raise StoreError(
            f"the map of example {row.example_id!r} by {row.method} does not fit its input ({error}); run the pipeline again"
        ) from error


def _read(locations: Iterable[Location], read: Callable[[Sequence[Location]], list[T]]) -> dict[Location, T]:
    """What `read` returns for each location; StoreError if one cannot be read."""
    by_location: dict[Location, T] = {}
    for location, value in read_locations(locations, read).items():
        if isinstance(value, str):
            raise StoreError(value)
        by_location[location] = value
    return by_location


def _shown_values(stored_input: Mapping[str, Any]) -> list[Any]:
    """The values of features; text or category where they have one."""
    values = [json_number(value) for value in stored_input["values"]]
    texts = stored_input["texts"] or [None] * len(values)
    return [value if text is None else text for value, text in zip(values, texts, strict=True)]


def _csv_value(value: Any) -> Any:
    """The value; lists as JSON; text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
