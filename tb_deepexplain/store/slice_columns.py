"""The columns of slice features in the index: of numbers if every value is one, else of text.

So the type of a column depends neither on the work units nor on whether the examples come from files that have types.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import map_files, open_parquet, read_columns
from tb_deepexplain.store.layout import shard_file
from tb_deepexplain.store.slice_features import NUMBER, WHOLE, column_name

MOST_VALUES, LONGEST_VALUE = 20, 80  # that the manifest lists; characters


@dataclasses.dataclass(frozen=True)
class SliceFeature:
    """A slice feature of a store, as a commit describes it."""

    name: str
    dtype: pa.DataType
    values: tuple[str, ...] | None  # all values of a text that has few

    @property
    def is_number(self) -> bool:
        return not pa.types.is_string(self.dtype)

    def describe(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        values = {} if self.values is None or self.is_number else {"values": list(self.values)}
        return {"name": self.name, "type": "number" if self.is_number else "text", **values}


def describe_columns(directory: Path, units: Sequence[str], names: Sequence[str]) -> list[SliceFeature]:
    """The slice features of these finished units. StoreError if there are examples, but none of them has one of the features."""
    if not names:
        return []
    summaries = map_files(functools.partial(_summarize, directory, names), list(units), directory)
    has_examples = any(count for count, _ in summaries)
    features = []
    for name in names:
        summary = functools.reduce(_Values.merge, (of_unit[name] for _, of_unit in summaries), _Values())
        if has_examples and not summary.count:
            raise StoreError(
                f"{directory}: no example has the feature {name!r}, which slice_features (--keep) names; leave it out, or correct "
                "the name"
            )
        features.append(SliceFeature(name, summary.dtype, None if summary.few is None else tuple(sorted(summary.few))))
    return features


def read_column(extras: pa.ChunkedArray, feature: SliceFeature) -> pa.Array:
    """The column of a slice feature, from `extras` of the inputs."""
    return pc.cast(_texts(extras, feature.name), feature.dtype)


@dataclasses.dataclass(frozen=True)
class _Values:
    """Common properties of some values of a slice feature."""

    count: int = 0
    all_whole: bool = True
    all_numbers: bool = True
    few: frozenset[str] | None = frozenset()  # the different values; None: many, or long ones

    @property
    def dtype(self) -> pa.DataType:
        if not self.count or not self.all_numbers:
            return pa.string()
        return pa.int64() if self.all_whole else pa.float64()

    def merge(self, other: _Values) -> _Values:
        few = None if self.few is None or other.few is None else _few(self.few | other.few)
        return _Values(
            self.count + other.count,
            self.all_whole and other.all_whole,
            self.all_numbers and other.all_numbers,
            few,
        )


def _few(values: Iterable[str]) -> frozenset[str] | None:
    different = frozenset(values)
    are_few = len(different) <= MOST_VALUES and all(len(value) <= LONGEST_VALUE for value in different)
    return different if are_few else None


def _summarize(directory: Path, names: Sequence[str], unit: str) -> tuple[int, dict[str, _Values]]:
    """(number of examples of a unit, what the values of each slice feature have in common)."""
    with open_parquet(shard_file(directory, "inputs", unit)) as file:
        extras = read_columns(file, ["extras"]).column(0)
    return len(extras), {name: _common(_texts(extras, name)) for name in names}


def _common(texts: pa.Array) -> _Values:
    values = pc.unique(pc.drop_null(texts))

    def all_match(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py())

    return _Values(len(texts) - texts.null_count, all_match(WHOLE), all_match(NUMBER), _few(values.to_pylist()))


def _texts(extras: pa.ChunkedArray, name: str) -> pa.Array:
    """The values of a slice feature as text; null where an example has none."""
    chunks = [pc.map_lookup(chunk, pa.scalar(column_name(name)), "first") for chunk in extras.chunks]
    return pa.concat_arrays([pa.array([], pa.string()), *chunks])
