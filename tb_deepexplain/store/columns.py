"""Records as columns: lists of values from which Arrow makes the columns of a table without a Python object for each row."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

import pyarrow as pa

_T = TypeVar("_T")


class Columns(Sequence[_T]):
    """Records of one dataclass: for each field a list with the value of each record.

    A sequence of the records, each of which is made when it is read.
    """

    def __init__(self, record_type: type[_T], values: Mapping[str, list[Any]]) -> None:
        self.record_type, self.values = record_type, values
        self._length = len(next(iter(values.values())))

    @classmethod
    def of(cls, record_type: type[_T], records: Sequence[_T]) -> Columns[_T]:
        """These records; if they are columns, themselves."""
        if isinstance(records, Columns):
            return records
        names = [field.name for field in dataclasses.fields(record_type)]  # type: ignore[arg-type]
        return cls(record_type, {name: [getattr(record, name) for record in records] for name in names})

    @classmethod
    def join(cls, parts: Sequence[Columns[_T]]) -> Columns[_T]:
        """The records of all parts, of which there is at least one, with lists for the same fields."""
        if len(parts) == 1:
            return parts[0]
        names, record_type = parts[0].values, parts[0].record_type
        return cls(record_type, {name: [value for part in parts for value in part.values[name]] for name in names})

    def replace(self, **values: list[Any]) -> Columns[_T]:
        """The records with other values of these fields."""
        return Columns(self.record_type, {**self.values, **values})

    def take(self, positions: Sequence[int]) -> Columns[_T]:
        """The records at these positions."""
        return Columns(self.record_type, {name: [values[i] for i in positions] for name, values in self.values.items()})

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, i: int) -> _T: ...
    @overload
    def __getitem__(self, i: slice) -> Columns[_T]: ...
    def __getitem__(self, i: int | slice) -> _T | Columns[_T]:
        of_record = {name: values[i] for name, values in self.values.items()}
        return Columns(self.record_type, of_record) if isinstance(i, slice) else self.record_type(**of_record)


def make_table(columns: Mapping[str, list[Any]], schema: pa.Schema) -> pa.Table:
    """A table of these columns; the others are null."""
    n = len(next(iter(columns.values())))
    arrays = [
        _to_array(columns[field.name], field.type) if field.name in columns else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _to_array(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """Lists, structs and maps are converted once for all rows that share them."""
    if all(map(operator.is_, values, itertools.repeat(None))):
        return pa.nulls(len(values), dtype)
    if not pa.types.is_nested(dtype):
        return pa.array(values, dtype)
    different = {id(value): value for value in values}
    array = pa.array(list(different.values()), dtype)
    if len(different) == len(values):
        return array
    positions = dict(zip(different, range(len(different)), strict=True))
    return array.take(pa.array([positions[id(value)] for value in values]))
