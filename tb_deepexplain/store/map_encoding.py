"""How a map becomes the bytes of a row, and back; with the statistics of its magnitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "q100": 1.0}
_VALUES_TOGETHER = 65536  # that are encoded at once: they stay in the processor's caches


def encode_maps(maps: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """For each map the columns `attribution` (row-major, little-endian), `dtype`, `scale`, `shape`, `concentration` and QUANTILES.

    Maps are float16 of `values / scale` with scale = max |a|, which keeps 11 bits of every value above
    2^-14 of the largest. A map whose median magnitude lies below that is kept as float32. Small maps of one shape are encoded
    together, which takes a fifth of the time.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, values in enumerate(maps):
        by_shape.setdefault(np.shape(values), []).append(i)
    encoded: dict[int, dict[str, Any]] = {}
    for shape, positions in by_shape.items():
        together = max(1, _VALUES_TOGETHER // max(1, math.prod(shape)))
        for start in range(0, len(positions), together):
            some = positions[start : start + together]
            stacked = maps[some[0]][None] if len(some) == 1 else np.stack([maps[i] for i in some])
            encoded |= zip(some, _encode(stacked), strict=True)
    return [encoded[i] for i in range(len(maps))]


def _encode(maps: np.ndarray) -> list[dict[str, Any]]:
    """The columns of maps `[N, ...]`."""
    n, shape = len(maps), list(maps.shape[1:])
    values = maps.reshape(n, math.prod(shape)).astype(np.float64)
    sizes, finite = np.abs(values), np.isfinite(values)
    if finite.all():
        sizes.sort(axis=1)
        statistics = _summarize(sizes)
    else:  # each map may have another number of magnitudes
        statistics = np.concatenate([_summarize(np.sort(s[f])[None]) for s, f in zip(sizes, finite, strict=True)])
    largest, median, concentration, *quantiles = statistics.T
    halves = ~(median < largest * 2.0**-14)
    # The scale is stored as float32: divide by the number that the reader multiplies by.
    scale = largest.astype(np.float32)
    scale[~(halves & (scale > 0))] = 1
    values /= scale[:, None].astype(np.float64)
    data = [b""] * n
    for name, numbers in (("float16", np.flatnonzero(halves)), ("float32", np.flatnonzero(~halves))):
        some = values if len(numbers) == n else values[numbers]
        for i, row in zip(numbers.tolist(), some.astype(np.dtype(name).newbyteorder("<")), strict=True):
            data[i] = row.tobytes()
    names = ("attribution", "dtype", "scale", "shape", "concentration", *QUANTILES)
    dtypes = np.where(halves, "float16", "float32").tolist()
    columns = [data, dtypes, scale.tolist(), [shape] * n, *(column.tolist() for column in (concentration, *quantiles))]
    return [
        {name: None if value != value else value for name, value in zip(names, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]


def _summarize(sizes: np.ndarray) -> np.ndarray:
    """For sorted magnitudes `[N, V]`: the largest, the median of those above zero, the share of the sum that the largest hundredth
    (at least one) has, and QUANTILES. NaN where there is none."""
    n, count = sizes.shape
    if not count:
        return np.full((n, 3 + len(QUANTILES)), np.nan)
    zeros = np.array([np.searchsorted(row, 0, "right") for row in sizes])
    middle = np.stack([zeros + (count - zeros - 1) // 2, np.minimum(zeros + (count - zeros) // 2, count - 1)], 1)
    median = np.take_along_axis(sizes, middle, 1).mean(1)
    total, of_largest = sizes.sum(1), sizes[:, -max(1, round(count / 100)) :].sum(1)
    concentration = np.divide(of_largest, total, out=np.full(n, np.nan), where=total > 0)
    # By the interpolation of np.quantile, which would sort again.
    position = np.array(list(QUANTILES.values())) * (count - 1)
    low = position.astype(np.int64)
    high = np.minimum(low + 1, count - 1)
    quantiles = sizes[:, low] + (sizes[:, high] - sizes[:, low]) * (position - low)
    return np.concatenate([np.stack([sizes[:, -1], median, concentration], 1), quantiles], 1)


def decode_map(attribution: bytes, dtype: str, scale: float, shape: Sequence[int]) -> np.ndarray:
    """The float32 map that `encode_maps` stored."""
    data = np.frombuffer(attribution, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return data.astype(np.float32) * np.float32(scale)
