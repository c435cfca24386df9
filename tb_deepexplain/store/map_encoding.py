"""How a map becomes the bytes of a row, and back; with the statistics of its magnitudes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "q100": 1.0}
_COLUMNS = ("attribution", "dtype", "scale", "shape", "concentration", *QUANTILES)
_DTYPES = ("float16", "float32")
FLOAT16_REACH = 2.0**-14  # of the largest value: above it, float16 keeps 11 bits
_VALUES_TOGETHER = 65536  # that are encoded at once: they stay in the processor's caches


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedMap:
    """A map that was encoded as float16 where it was computed. As an array, it is the map that a reader gets."""

    attribution: bytes
    scale: float
    shape: list[int]
    statistics: Sequence[float | None]  # concentration and QUANTILES

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def columns(self) -> list[Any]:
        """Its _COLUMNS."""
        return [self.attribution, "float16", self.scale, self.shape, *self.statistics]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return decode_map(self.attribution, "float16", self.scale, self.shape).astype(dtype or np.float32, copy=False)


def encode_maps(maps: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns `attribution` (row-major, little-endian), `dtype`, `scale`, `shape`, `concentration` and QUANTILES, a value for each
    of `maps`, which are arrays or EncodedMap.

    Maps are float16 of `values / scale` with scale = max |a|, which keeps 11 bits of every value above
    2^-14 of the largest. A map whose median magnitude lies below that is kept as float32. Small maps of one shape are encoded
    together, which takes a fifth of the time.
    """
    by_shape: dict[tuple[int, ...] | None, list[int]] = {}  # None: encoded already
    for i, values in enumerate(maps):
        by_shape.setdefault(None if isinstance(values, EncodedMap) else np.shape(values), []).append(i)
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for shape, positions in by_shape.items():
        if shape is None:
            for name, values in zip(_COLUMNS, zip(*(maps[i].columns for i in positions), strict=True), strict=True):
                columns[name] += values
            continue
        together = max(1, _VALUES_TOGETHER // max(1, math.prod(shape)))
        for start in range(0, len(positions), together):
            some = positions[start : start + together]
            stacked = maps[some[0]][None] if len(some) == 1 else np.stack([maps[i] for i in some])
            for name, column in zip(_COLUMNS, _encode(stacked), strict=True):
                columns[name] += column
    if len(by_shape) > 1:
        order = np.argsort(np.concatenate(list(by_shape.values()))).tolist()
        columns = {name: [column[i] for i in order] for name, column in columns.items()}
    return columns


def _encode(maps: np.ndarray) -> list[list[Any]]:
    """The _COLUMNS of maps `[N, ...]`."""
    n, shape = len(maps), list(maps.shape[1:])
    values = maps.reshape(n, math.prod(shape))
    sizes = np.abs(values, dtype=np.promote_types(values.dtype, np.float32))
    finite = np.isfinite(values)
    if finite.all():
        sizes.sort(axis=1)
        statistics = _summarize(sizes)
    else:  # each map may have another number of magnitudes
        statistics = np.concatenate([_summarize(np.sort(s[f])[None]) for s, f in zip(sizes, finite, strict=True)])
    largest, median, *shown = statistics.T
    halves = ~(median < largest * FLOAT16_REACH)
    # The scale is stored as float32: divide by the number that the reader multiplies by.
    scale = largest.astype(np.float32)
    scale[~(halves & (scale > 0))] = 1
    scaled = values / scale[:, None].astype(np.float64)
    data = [b""] * n
    for name, numbers in zip(_DTYPES, (np.flatnonzero(halves), np.flatnonzero(~halves)), strict=True):
        some = scaled if len(numbers) == n else scaled[numbers]
        for i, row in zip(numbers.tolist(), some.astype(np.dtype(name).newbyteorder("<")), strict=True):
            data[i] = row.tobytes()
    dtypes = np.where(halves, "float16", "float32").tolist()
    return [data, dtypes, scale.tolist(), [shape] * n, *map(floats_or_none, shown)]


def floats_or_none(values: np.ndarray) -> list[float | None]:
    """The numbers; None in place of NaN and infinity."""
    numbers: list[float | None] = values.tolist()
    for i in np.flatnonzero(~np.isfinite(values)).tolist():
        numbers[i] = None
    return numbers


def _summarize(sizes: np.ndarray) -> np.ndarray:
    """For sorted magnitudes `[N, V]`: the largest, the median of those above zero, the share of the sum that the largest hundredth
    (at least one) has, and QUANTILES. NaN where there is none."""
    n, count = sizes.shape
    if not count:
        return np.full((n, 3 + len(QUANTILES)), np.nan)
    above_zero = sizes > 0
    zeros = np.where(above_zero[:, -1], above_zero.argmax(1), count)
    middle = np.stack([zeros + (count - zeros - 1) // 2, np.minimum(zeros + (count - zeros) // 2, count - 1)], 1)
    median = np.take_along_axis(sizes, middle, 1).mean(1, dtype=np.float64)
    largest_hundredth = sizes[:, -max(1, round(count / 100)) :]
    total, of_largest = sizes.sum(1, dtype=np.float64), largest_hundredth.sum(1, dtype=np.float64)
    concentration = np.divide(of_largest, total, out=np.full(n, np.nan), where=total > 0)
    # By the interpolation of np.quantile, which would sort again.
    position = np.array(list(QUANTILES.values())) * (count - 1)
    low = position.astype(np.int64)
    below, above = (sizes[:, at].astype(np.float64) for at in (low, np.minimum(low + 1, count - 1)))
    quantiles = below + (above - below) * (position - low)
    return np.concatenate([np.stack([sizes[:, -1], median, concentration], 1), quantiles], 1)


def decode_map(attribution: bytes, dtype: str, scale: float, shape: Sequence[int]) -> np.ndarray:
    """The float32 map that `encode_maps` stored. ValueError if the columns do not fit together."""
    sizes = [-1 if size is None else size for size in shape]
    if dtype not in _DTYPES or any(size < 0 for size in sizes):
        raise ValueError(f"a map of dtype {dtype!r} and shape {sizes}; expected {' or '.join(_DTYPES)} and sizes")
    data = np.frombuffer(attribution, np.dtype(dtype).newbyteorder("<"))
    if data.size != math.prod(sizes):
        raise ValueError(f"a map has {data.size} values for the shape {sizes}")
    return data.reshape(sizes).astype(np.float32) * np.float32(scale)
