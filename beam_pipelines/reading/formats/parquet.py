"""Parquet files: rows, streamed by row group; nested columns as arrays, the fields of structs as `column.field`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.reading.formats.files import fingerprint, opened
from beam_pipelines.reading.formats.unit import Broken, Columns, Damaged, Part, Place, Unit

_ROWS, _BUFFER = 64, 1 << 20  # decoded at once; read at once from a column
_CUTS = 16  # of a row group that is larger than a unit: each part decodes the group from its start


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Whole row groups together up to `size` rows; a larger group in at most 16 parts."""
    digest.update(fingerprint(place.path))
    with opened(place.path) as file:
        groups = [rows for rows in _sizes(_open(file)) if rows]
    first = count = 0
    for rows in groups:
        if count and count + rows > size:
            yield Part(first, count)
            first, count = first + count, 0
        count += rows
        if count > size:
            step = max(size, -(-count // _CUTS))
            for begin in range(0, count, step):
                yield Part(first + begin, min(step, count - begin))
            first, count = first + count, 0
    if count:
        yield Part(first, count)


def read(unit: Unit, columns: Columns | None = None) -> Iterator[dict[str, Any] | Damaged]:
    """The rows, values by column."""
    with opened(unit.path) as file:
        parquet = _open(file)
        wanted = _wanted(parquet, columns) if columns else None
        start = 0
        for group, rows in enumerate(_sizes(parquet)):
            begin, end = max(unit.first - start, 0), min(unit.first + unit.count - start, rows)
            if begin < end:
                yield from _rows(parquet, group, begin, end, wanted)
            start += rows


def _open(file: BinaryIO) -> Any:
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        _raise_unless_damage(error)
        raise Broken(f"it is not a whole Parquet file ({_reason(error)})") from error


def _sizes(parquet: Any) -> list[int]:
    return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]


def _wanted(parquet: Any, columns: Columns) -> list[str] | None:
    """Those that the file has; None, which is all of them, if it lacks one that is needed: another may stand for it."""
    paths = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
    has = [name for name in columns.needed + columns.others if any(f"{path}.".startswith(f"{name}.") for path in paths)]
    return has if set(columns.needed) <= set(has) else None


def _rows(
    parquet: Any, group: int, begin: int, end: int, columns: list[str] | None
) -> Iterator[dict[str, Any] | Damaged]:
    """Rows `begin` to `end` of a row group; where it cannot be decoded, Damaged for the rest of them."""
    at = 0
    try:
        for batch in parquet.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
            for i in range(max(begin - at, 0), min(end - at, batch.num_rows)):
                yield _checked_row(batch, i)
                begin += 1
            at += batch.num_rows
            if at >= end:
                return
        reason = "the row group has fewer rows than it says"
    except (pa.ArrowException, OSError) as error:
        _raise_unless_damage(error)
        reason = f"row group {group} cannot be decoded ({_reason(error)})"
    for _ in range(begin, end):
        yield Damaged(reason)


def _checked_row(batch: Any, i: int) -> dict[str, Any] | Damaged:
    try:
        return _row(batch, i)
    except (ValueError, ArithmeticError) as error:  # text that is not UTF-8, a time that Python cannot hold
        return Damaged(f"a value cannot be read ({_reason(error)})")


def _row(batch: Any, i: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        _add(row, name, column[i])
    return row


def _add(row: dict[str, Any], name: str, value: Any) -> None:
    if pa.types.is_struct(value.type):
        for field in value.type:
            _add(row, f"{name}.{field.name}", value[field.name] if value.is_valid else pa.scalar(None, field.type))
    else:
        row[name] = _value(value)


def _value(value: Any) -> Any:
    """A number, str, bytes or None; a list as an array, of as many axes as it is deep if it is rectangular."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.FixedShapeTensorScalar):
        return value.to_numpy()
    if not hasattr(value, "values") or pa.types.is_dictionary(value.type):
        return value.as_py()
    inner = value.values
    if pa.types.is_primitive(inner.type) and not inner.null_count:
        return inner.to_numpy(zero_copy_only=False)
    items = [_value(item) for item in inner]
    return (
        np.array(items)
        if items and all(isinstance(item, np.ndarray) for item in items) and len({item.shape for item in items}) == 1
        else items
    )


def _raise_unless_damage(error: Exception) -> None:
    """Arrow tells damage by plain OSErrors too; a file that cannot be read has a number, or a class of its own."""
    if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
        raise error


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")[:200]
