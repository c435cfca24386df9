"""Parquet files: rows, streamed by row group. Nested columns become arrays, fields of structs `column.field`.

The folders `name=value` directly above a file are columns of its rows, as Hive, Spark and pandas partition tables. Their values are
texts, which numeric inputs and labels read as numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.reading.feature_values import PartitionValue
from beam_pipelines.reading.files import fingerprint, open_file
from beam_pipelines.reading.format_interface import BrokenFile, Damaged, RecordRange, Source
from beam_pipelines.reading.work_unit import Columns, WorkUnit

_ROWS_AT_ONCE = 64
_MOST_ROWS_PER_BYTE = 64
_BUFFER_BYTES = 1 << 20  # read at once from a column
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_MOST_PARTS = 16  # of a row group that is larger than a unit: each part decodes the group from its start


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Whole row groups, together up to `unit_size` rows; a larger group in at most 16 parts."""
    digest.update(fingerprint(source.path))
    if partitions := partition_columns(source.path):
        digest.update(repr(partitions).encode())
    with open_file(source.path) as file:
        groups = [rows for rows in _group_sizes(_open(file)) if rows]
        size = file.seek(0, os.SEEK_END)
    if sum(groups) > size * _MOST_ROWS_PER_BYTE:
        raise BrokenFile(f"it claims {sum(groups):,} rows in {size:,} bytes")
    first = count = 0
    for rows in groups:
        if count and count + rows > unit_size:
            yield RecordRange(first, count)
            first, count = first + count, 0
        count += rows
        if count > unit_size:
            step = max(unit_size, -(-count // _MOST_PARTS))
            for begin in range(0, count, step):
                yield RecordRange(first + begin, min(step, count - begin))
            first, count = first + count, 0
    if count:
        yield RecordRange(first, count)


def read(unit: WorkUnit, columns: Columns | None = None) -> Iterator[dict[str, Any] | Damaged]:
    """The rows: values by column."""
    partitions = partition_columns(unit.path)
    with open_file(unit.path) as file:
        parquet = _open(file)
        selected = _select_columns(parquet, columns, partitions) if columns else None
        start = 0
        for group, rows in enumerate(_group_sizes(parquet)):
            begin, end = max(unit.first - start, 0), min(unit.first + unit.count - start, rows)
            if begin < end:
                for row in _rows(parquet, group, begin, end, selected):
                    yield {**partitions, **row} if isinstance(row, dict) else row
            start += rows


def partition_columns(path: str) -> dict[str, str | None]:
    """The columns that the folders of a file add: `sales/year=2024/city=Bern/part-0.parquet` → year and city."""
    partitions: dict[str, str | None] = {}
    for folder in reversed(path.split("/")[:-1]):
        name, separator, value = folder.partition("=")
        if not (name and separator):
            break
        partitions = {unquote(name): None if value == _NO_VALUE else PartitionValue(unquote(value)), **partitions}
    return partitions


def _open(file: BinaryIO) -> Any:
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        _raise_unless_damage(error)
        raise BrokenFile(f"it is not a whole Parquet file ({_reason(error)})") from error


def _group_sizes(parquet: Any) -> list[int]:
    """The number of rows of each row group."""
    return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]


def _select_columns(parquet: Any, columns: Columns, partitions: Mapping[str, Any]) -> list[str] | None:
    """The columns of the file to read; None, which reads all, if a required one is missing: another may stand for it."""
    paths = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
    present = [
        name for name in columns.required + columns.optional if any(f"{path}.".startswith(f"{name}.") for path in paths)
    ]
    return present if present and set(columns.required) <= {*present, *partitions} else None


def _rows(
    parquet: Any, group: int, begin: int, end: int, columns: list[str] | None
) -> Iterator[dict[str, Any] | Damaged]:
    """Rows `begin` to `end` of a row group; Damaged for the rest of them if the group cannot be decoded."""
    at = 0
    try:
        for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=columns):
            for i in range(max(begin - at, 0), min(end - at, batch.num_rows)):
                yield _checked_row(batch, i)
                begin += 1
            at += batch.num_rows
            if at >= end:
                return
        reason = "the row group has fewer rows than its metadata say"
    except (pa.ArrowException, OSError) as error:
        _raise_unless_damage(error)
        reason = f"row group {group} cannot be decoded ({_reason(error)})"
    for _ in range(begin, end):
        yield Damaged(reason)


def _checked_row(batch: Any, i: int) -> dict[str, Any] | Damaged:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            _add_value(row, name, column[i])
        except Exception as error:  # text that is not UTF-8, a time that Python cannot hold, an unknown time zone: each type has others
            return Damaged(f"its column {name!r} of type {column.type} cannot be read ({_reason(error)})")
    return row


def _add_value(row: dict[str, Any], name: str, value: Any) -> None:
    if pa.types.is_struct(value.type):
        for field in value.type:
            member = value[field.name] if value.is_valid else pa.scalar(None, field.type)
            _add_value(row, f"{name}.{field.name}", member)
    else:
        row[name] = _to_python(value)


def _to_python(value: Any) -> Any:
    """A number, str, bytes or None. A list becomes an array, with as many axes as it is deep if it is rectangular; a struct in a list a
    dict, and a map pairs."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.FixedShapeTensorScalar):
        return value.to_numpy()
    if pa.types.is_struct(value.type):
        return {field.name: _to_python(value[field.name]) for field in value.type}
    if not isinstance(value, pa.ListScalar) or pa.types.is_map(value.type):
        return value.as_py()
    inner = value.values
    if pa.types.is_primitive(inner.type) and not inner.null_count:
        return inner.to_numpy(zero_copy_only=False)
    items = [_to_python(item) for item in inner]
    rectangular = all(isinstance(item, np.ndarray) for item in items) and len({item.shape for item in items}) == 1
    return np.array(items) if items and rectangular else items


def _raise_unless_damage(error: Exception) -> None:
    """Arrow raises plain OSErrors for damage, too; an error of the filesystem has a number or a class of its own."""
    if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
        raise error


def _reason(error: BaseException) -> str:
    """The first line of a message; the type of the error for one that says nothing else, such as the name of an unknown time zone."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: {error.reason}"
    line = next(iter(str(error).splitlines()), "").rstrip(".")[:200]
    return line if " " in line else f"{type(error).__name__}: {line}"
