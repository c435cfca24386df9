"""How a map becomes the bytes of a row, and back; with the statistics of its magnitudes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "q100": 1.0}


def encode_map(values: np.ndarray, dtype: str | None = None) -> dict[str, Any]:
    """The columns of a map: bytes, dtype, scale, shape, quantiles of |a|, and concentration.

    Maps are float16 of `values / scale` with scale = max |a|, which keeps 11 bits of every value above
    2^-14 of the largest. A map whose median magnitude lies below that is kept as float32.
    """
    values = np.asarray(values)
    sizes = np.abs(values.ravel().astype(np.float64))
    sizes = np.sort(sizes if np.isfinite(values).all() else sizes[np.isfinite(sizes)])
    largest = float(sizes[-1]) if sizes.size else 0.0
    if dtype is None:
        nonzero = sizes[np.searchsorted(sizes, 0, "right") :]
        median = (nonzero[(nonzero.size - 1) // 2] + nonzero[nonzero.size // 2]) / 2 if nonzero.size else largest
        dtype = "float32" if median < largest * 2.0**-14 else "float16"
    # The scale is stored as float32: divide by the number that the reader multiplies by.
    scale = np.float32(largest) if dtype == "float16" and np.float32(largest) > 0 else np.float32(1)
    data = (values.astype(np.float64) / float(scale)).astype(np.dtype(dtype).newbyteorder("<"))
    return {
        "attribution": data.tobytes(),
        "dtype": dtype,
        "scale": float(scale),
        "shape": list(values.shape),
        "concentration": _concentration(sizes),
        **dict(zip(QUANTILES, _quantiles(sizes), strict=True)),
    }


def _concentration(sorted_sizes: np.ndarray) -> float | None:
    """The share of the sum that the largest hundredth, at least one value, has; None if all are zero."""
    total = float(sorted_sizes.sum())
    return float(sorted_sizes[-max(1, round(sorted_sizes.size / 100)) :].sum()) / total if total > 0 else None


def _quantiles(sorted_sizes: np.ndarray) -> list[float | None]:
    """QUANTILES of sorted values, by the interpolation of np.quantile, which would sort them again; None of no values."""
    if not sorted_sizes.size:
        return [None] * len(QUANTILES)
    position = np.array(list(QUANTILES.values())) * (sorted_sizes.size - 1)
    low = position.astype(np.int64)
    high = np.minimum(low + 1, sorted_sizes.size - 1)
    quantiles: list[float | None] = (
        sorted_sizes[low] + (sorted_sizes[high] - sorted_sizes[low]) * (position - low)
    ).tolist()
    return quantiles


def decode_map(attribution: bytes, dtype: str, scale: float, shape: Sequence[int]) -> np.ndarray:
    """The float32 map that `encode_map` stored."""
    data = np.frombuffer(attribution, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return data.astype(np.float32) * np.float32(scale)
