"""Checks of what a shard holds, when it is opened and when its rows are read: its unit, its columns, its rows, its examples.

A file of another store or of another run may lie where the index expects one of this store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.index import UNIT_OF, Location, index_schema

MOST_ITEMS = 1 << 21  # tokens, features or values of the rows that are taken from a row group at once
_FOREIGN = "it belongs to another store or run: put the right file there, or run the pipeline again"
_LATER_COLUMNS = ("parts", "extras")  # which the first stores of version 2 lack
MOST_ROWS_PER_BYTE = 16  # of an index; every row has its place in a shard, which takes more than a bit
_INDEX_COLUMNS = frozenset(
    (
        "example_id",
        "step",
        "method",
        "target",
        "target_label",
        "label",
        "label_name",
        "predicted",
        "score",
        "probability",
        "baseline_score",
        "gap",
        "evaluations",
        "warnings",
        "shard",
        "row_group",
        "row",
        "input_row_group",
        "input_row",
    )
)  # that stores of every version have
# What a row of a modality must have.
_CONTENT = {"image": "image", "text": "tokens", "tabular": "values", "mixed": "parts"}


def check_shard(file: pq.ParquetFile, path: Path, unit: str, schema: pa.Schema) -> list[str]:
    """The columns of the schema that the file has, and the id of its examples. StoreError if a column is missing or of another type, or
    if the file was written for another unit."""
    written_for = (file.metadata.metadata or {}).get(UNIT_OF.encode(), unit.encode()).decode("utf-8", "replace")
    if written_for != unit:
        raise StoreError(f"{path} holds the unit {written_for!r}; {_FOREIGN}")
    stored, columns = file.schema_arrow, ["example_id"]
    for field in schema:
        position = stored.get_field_index(field.name)
        if position >= 0 and stored.field(position).type == field.type:
            columns.append(field.name)
        elif position >= 0 or field.name not in _LATER_COLUMNS:
            held = f"of type {stored.field(position).type}" if position >= 0 else "missing"
            raise StoreError(f"{path}: its column {field.name!r} is {held}; {_FOREIGN}")
    if stored.get_field_index("example_id") < 0 or stored.field("example_id").type != pa.string():
        raise StoreError(f"{path}: it has no column 'example_id' of texts; {_FOREIGN}")
    return list(dict.fromkeys(columns))


def check_index(file: pq.ParquetFile, path: Path) -> None:
    """StoreError unless the local file has the columns of an index, and no more rows than its bytes can hold."""
    stored = file.schema_arrow
    for field in index_schema(()):
        position = stored.get_field_index(field.name)
        if position >= 0 and stored.field(position).type != field.type:
            raise StoreError(f"{path}: its column {field.name!r} is of type {stored.field(position).type}; {_FOREIGN}")
        if position < 0 and field.name in _INDEX_COLUMNS:
            raise StoreError(f"{path}: its column {field.name!r} is missing; {_FOREIGN}")
    rows, size = file.metadata.num_rows, path.stat().st_size
    if rows > MOST_ROWS_PER_BYTE * size:
        raise StoreError(f"{path} claims {rows:,} rows in {size:,} bytes; {_FOREIGN}")


def take_rows(content: pa.Table, path: Path, locations: Sequence[Location]) -> list[dict[str, Any]]:
    """The rows at these locations of a row group. StoreError if there are too few rows, or if they are of other examples."""
    rows = [location.row for location in locations]
    if outside := [row for row in rows if not 0 <= row < content.num_rows]:
        raise StoreError(
            f"{path} has {content.num_rows} rows in a row group where the index names row {outside[0]}; {_FOREIGN}"
        )
    selected = content.take(pa.array(rows, pa.int64()))
    for location, example_id in zip(locations, selected["example_id"].to_pylist(), strict=True):
        if location.example_id not in (None, example_id):
            raise StoreError(
                f"{path} holds example {example_id!r} where the index names {location.example_id!r}; {_FOREIGN}"
            )
    if (items := sum(map(_count_items, selected.columns))) > MOST_ITEMS:
        raise StoreError(f"{path}: its rows hold {items:,} tokens or values; at most {MOST_ITEMS:,} are read at once")
    taken = selected.to_pylist()
    for row in taken:
        if row.get("extras") is not None:
            row["extras"] = dict(row["extras"])  # pyarrow 18 has no maps_as_pydicts
    return taken


def check_input(row: dict[str, Any], modality: str | None) -> dict[str, Any]:
    """The row of an inputs table. StoreError if it lacks what its modality needs, or is of another one than its store."""
    if modality is not None and row["modality"] != modality:
        raise StoreError(f"an input of modality {row['modality']!r} in a store of modality {modality!r}; {_FOREIGN}")
    _check_content(row)
    for part in row["parts"] or ():
        if part is None or part["modality"] == "mixed" or not isinstance(part["input"], str):
            raise StoreError(f"a part of an input is damaged; {_FOREIGN}")
        _check_content(part)
    tables = [part["input"] for part in row["parts"] or () if part["modality"] == "tabular"]
    for one in row["inputs"] or ():
        if (
            one is None
            or None in (one["name"], one["shape"], one["axes"])
            or not all(size is not None and size >= 0 for size in one["shape"])
        ):
            raise StoreError(f"the inputs of the model are damaged; {_FOREIGN}")
        is_table = row["modality"] == "tabular" or one["name"] in tables
        if is_table and math.prod(one["shape"]) > MOST_ITEMS:  # each value has a name
            raise StoreError(
                f"the input {one['name']!r} claims the shape {one['shape']}; at most {MOST_ITEMS:,} values are read"
            )
    return {**row, "inputs": row["inputs"] or []}


def _check_content(shown: Mapping[str, Any]) -> None:
    """StoreError unless an input or a part has what its modality needs."""
    name = _CONTENT.get(shown["modality"])
    if name is None or shown.get(name) is None:
        needed = f"no {name}" if name else "an unknown modality"
        raise StoreError(f"an input of modality {shown['modality']!r} has {needed}; {_FOREIGN}")
    if None in (shown.get("tokens") or ()):
        raise StoreError(f"an input has a token that is null; {_FOREIGN}")
    values, texts = shown.get("values"), shown.get("texts")
    if values is not None and texts is not None and len(texts) != len(values):
        raise StoreError(f"an input has {len(texts)} texts for {len(values)} values; {_FOREIGN}")


def _count_items(column: pa.ChunkedArray | pa.Array) -> int:
    """The values in lists of a column, at any depth, each of which becomes an object."""
    if pa.types.is_struct(column.type):
        arrays = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        return sum(_count_items(array.field(i)) for array in arrays for i in range(column.type.num_fields))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return 0
    inner = pc.list_flatten(column)
    return len(inner) + _count_items(inner)
