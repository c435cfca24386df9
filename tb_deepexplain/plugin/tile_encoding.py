"""Maps as the page gets them: one number for each pixel, at most `size` pixels a side, eight bits with square-root companding.

    code = sign(v) · round(127 · sqrt(|v| / scale)),   v ≈ sign(code) · (code / 127)² · scale

Small values, which most of a map consists of, keep finer steps than large ones. Zero is exactly 0; −128 marks a value
that is not finite.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tb_deepexplain.plugin.answers import BlobRange
from tb_deepexplain.store.map_encoding import QUANTILES

MAGIC = b"DXT1"
NOT_FINITE = -128


def merge_channels(attributions: np.ndarray, signed: bool) -> np.ndarray:
    """A picture's map [H, W] or [H, W, C] as [H, W]: the sum over channels, or for an unsigned method the largest |a|."""
    if attributions.ndim == 2:
        return attributions
    if attributions.ndim != 3:
        raise ValueError(f"a map of shape {list(attributions.shape)} is not a picture [H, W] or [H, W, C]")
    return attributions.sum(axis=2, dtype=np.float32) if signed else np.abs(attributions).max(axis=2)


def area_means(values: np.ndarray, size: int) -> np.ndarray:
    """[H, W] reduced so that neither side exceeds `size`: each pixel is the mean over the area that it covers.

    The means are signed; a value that is not finite marks every pixel that it touches.
    """
    height, width = values.shape
    factor = max(height, width) / size
    if factor <= 1:
        return values
    rows = _area_weights(height, max(1, round(height / factor)))
    columns = _area_weights(width, max(1, round(width / factor))).T
    bad = ~np.isfinite(values)
    means = rows @ np.where(bad, 0, values).astype(np.float64) @ columns
    if bad.any():
        means[rows @ bad @ columns > 0] = np.nan
    return means.astype(np.float32)


def compand(values: np.ndarray) -> tuple[np.ndarray, float]:
    """(int8 codes, scale) of float32 values."""
    finite = np.isfinite(values)
    magnitude = np.abs(np.where(finite, values, 0)).astype(np.float64)
    scale = float(magnitude.max(initial=0))
    codes = np.rint(127 * np.sqrt(magnitude / scale)) * np.sign(np.where(finite, values, 0)) if scale else magnitude
    return np.where(finite, codes, NOT_FINITE).astype(np.int8), scale


def expand(codes: np.ndarray, scale: float) -> np.ndarray:
    """The float32 values that int8 codes stand for."""
    unit = codes.astype(np.float32) / 127
    return np.where(codes == NOT_FINITE, np.nan, np.sign(unit) * unit**2 * np.float32(scale)).astype(np.float32)


def magnitude_quantiles(values: np.ndarray) -> list[float]:
    """Quantiles of |v| over the finite values, at which the page clips its colour scales; zeros if there are none."""
    finite = np.abs(values[np.isfinite(values)])
    return np.quantile(finite, list(QUANTILES.values())).tolist() if finite.size else [0.0] * len(QUANTILES)


class BinaryAnswer:
    """Builds one binary answer: `DXT1`, u32 header length, JSON header, zeros to a multiple of 8, then the blobs."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []
        self._length = 0

    def add(self, blob: bytes) -> BlobRange:
        """Append a blob, aligned to 8; returns its range, counted from the end of the padded header."""
        blob_range: BlobRange = {"offset": self._length, "length": len(blob)}
        padded = blob + bytes(-len(blob) % 8)
        self._blobs.append(padded)
        self._length += len(padded)
        return blob_range

    def finish(self, header: Mapping[str, Any]) -> bytes:
        """The whole answer."""
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
        head = MAGIC + struct.pack("<I", len(text)) + text
        return b"".join([head, bytes(-len(head) % 8), *self._blobs])


def _area_weights(length: int, parts: int) -> np.ndarray:
    """[parts, length]: the share of each old pixel in each new one, which is length/parts wide; rows sum to 1."""
    edges = np.arange(parts + 1) * (length / parts)
    left, right = np.maximum(edges[:-1, None], np.arange(length)), np.minimum(edges[1:, None], np.arange(length) + 1)
    return np.clip(right - left, 0, None) * (parts / length)
