"""Agreement of attribution maps: rank correlation, shared top features, shared signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_CELLS = 16  # along each axis of the grid on which maps of pictures are compared


class Agreement(NamedTuple):
    """Agreement of N pairs of maps; NaN where one of the two is constant, empty or holds NaN."""

    spearman: np.ndarray  # [N] rank correlation
    top: np.ndarray  # [N] share of the features of largest magnitude that both maps have in common
    signs: np.ndarray  # [N] share of equal signs, among the features where neither map is zero


def agree(a: np.ndarray, b: np.ndarray, share: float = 0.1) -> Agreement:
    """Agreement of maps `[N, ...]`; the `share` of largest magnitude are the top features. ValueError if the shapes differ."""
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"maps of shapes {np.shape(a)} and {np.shape(b)} cannot be compared; sum both over the same axes"
        )
    first, second = (np.reshape(m, [len(m), -1]).astype(np.float64) for m in (a, b))
    count = max(1, round(share * first.shape[1]))
    top = [np.zeros(m.shape, bool) for m in (first, second)]
    for is_top, m in zip(top, (first, second), strict=True):
        np.put_along_axis(is_top, np.argsort(-abs(m), 1, kind="stable")[:, :count], True, 1)
    both = (first != 0) & (second != 0)
    same_sign = (np.sign(first) == np.sign(second)) & both
    comparable = _varies(first) & _varies(second)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Agreement(
            spearman(first, second),
            np.where(comparable, (top[0] & top[1]).sum(1) / count, np.nan),
            np.where(comparable & both.any(1), same_sign.sum(1) / both.sum(1), np.nan),
        )


def _varies(maps: np.ndarray) -> np.ndarray:
    """Which rows of `[N, P]` are finite and not constant."""
    return np.isfinite(maps).all(1) & (maps.max(1, initial=-np.inf) > maps.min(1, initial=np.inf))


def spearman(a: np.ndarray, b: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Rank correlation `[N]` of the rows of two matrices `[N, P]`, over the columns that `among` `[N, P]` marks, by default all.

    NaN where a row is constant or holds NaN.
    """
    correlations = np.full(len(a), np.nan)
    for i, rows in enumerate(zip(a, b, strict=True)):
        first, second = rows if among is None else (row[among[i]] for row in rows)
        if len(first) and np.isfinite(first).all() and np.isfinite(second).all():
            first, second = (r - r.mean() for r in (ranks(first), ranks(second)))
            scale = np.sqrt((first @ first) * (second @ second))
            correlations[i] = first @ second / scale if scale > 0 else np.nan
    return correlations


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of the values `[P]` from 1, the smallest; equal values share the mean of their ranks."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[position]
    return mean_ranks


def disagreement(maps: Sequence[np.ndarray | list[np.ndarray]]) -> float | None:
    """One minus the mean rank correlation of the magnitudes, over all pairs of the maps of one example.

    0: the maps call the same features important. Maps of pictures are first averaged on a grid of at most 16 × 16 cells, other
    maps in 256. A map of several inputs is a list of their arrays. None if fewer than two maps vary.
    """
    pooled = [np.concatenate([_pool(part) for part in (m if isinstance(m, list) else [m])]) for m in maps]
    centred = [r - r.mean() for m in pooled if _varies(m[None])[0] for r in [ranks(m)]]
    if len(centred) < 2 or len({r.size for r in centred}) > 1:
        return None
    unit = np.stack([r / np.linalg.norm(r) for r in centred])
    pairs = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return float(1 - pairs.mean())


def _pool(values: np.ndarray) -> np.ndarray:
    """Magnitudes: sums over channels, then means over the cells of a grid."""
    magnitudes = np.abs(np.asarray(values, np.float64))
    if magnitudes.ndim == 3:
        magnitudes = magnitudes.sum(2)
    cells = _CELLS if magnitudes.ndim == 2 else _CELLS**2
    for axis, size in enumerate(magnitudes.shape):
        if size > cells:
            starts = np.arange(cells) * size // cells
            lengths = np.diff([*starts, size]).reshape([-1 if a == axis else 1 for a in range(magnitudes.ndim)])
            magnitudes = np.add.reduceat(magnitudes, starts, axis) / lengths
    return magnitudes.ravel()
