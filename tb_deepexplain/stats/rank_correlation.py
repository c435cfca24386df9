"""Agreement: do two maps of one example say the same?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """Of N pairs of maps; NaN where one of the two is constant or holds NaN."""

    spearman: np.ndarray  # [N] correlation of the ranks
    top: np.ndarray  # [N] share of the largest magnitudes that both have
    signs: np.ndarray  # [N] share of the features, of those that both credit with something, with one sign


def agree(a: np.ndarray, b: np.ndarray, share: float = 0.1) -> Agreement:
    """Of maps `[N, ...]`; `share` of the features count as the largest. ValueError where the shapes differ."""
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"maps of shapes {np.shape(a)} and {np.shape(b)} cannot be compared; sum both over the same axes"
        )
    first, second = (np.reshape(m, [len(m), -1]).astype(np.float64) for m in (a, b))
    count = max(1, round(share * first.shape[1]))
    largest = [np.zeros(m.shape, bool) for m in (first, second)]
    for chosen, m in zip(largest, (first, second), strict=True):
        np.put_along_axis(chosen, np.argsort(-abs(m), 1, kind="stable")[:, :count], True, 1)
    both = (first != 0) & (second != 0)
    same = (np.sign(first) == np.sign(second)) & both
    told = np.isfinite(first).all(1) & np.isfinite(second).all(1) & (np.ptp(first, 1) > 0) & (np.ptp(second, 1) > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Agreement(
            spearman(first, second),
            np.where(told, (largest[0] & largest[1]).sum(1) / count, np.nan),
            np.where(told & both.any(1), same.sum(1) / both.sum(1), np.nan),
        )


def spearman(a: np.ndarray, b: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """[N] rank correlation of the rows of two matrices, over the columns `among` `[N, P]` if not all; NaN where a row is constant or
    holds NaN."""
    found = np.full(len(a), np.nan)
    for i, rows in enumerate(zip(a, b, strict=True)):
        first, second = rows if among is None else (row[among[i]] for row in rows)
        if len(first) and np.isfinite(first).all() and np.isfinite(second).all():
            first, second = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
            scale = np.sqrt((first @ first) * (second @ second))
            found[i] = first @ second / scale if scale > 0 else np.nan
    return found


_PLACES = 16  # along each axis of a picture's maps that are compared


def disagreement(maps: Sequence[np.ndarray]) -> float | None:
    """1 − the mean rank correlation of the magnitudes of each pair of maps of one example: 0 where all call the same features
    important. Pictures are compared in at most 16 × 16 places, other maps in 256. None where fewer than two maps vary."""
    pooled = [_pooled(np.abs(np.asarray(m, np.float64))) for m in maps]
    ranks = [r - r.mean() for m in pooled if np.isfinite(m).all() and np.ptp(m) > 0 for r in [_ranks(m)]]
    if len(ranks) < 2 or len({r.size for r in ranks}) > 1:
        return None
    unit = np.stack([r / np.linalg.norm(r) for r in ranks])
    pairs = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return float(1 - pairs.mean())


def _pooled(magnitudes: np.ndarray) -> np.ndarray:
    """Sums over channels, means over places that lie together."""
    if magnitudes.ndim == 3:
        magnitudes = magnitudes.sum(2)
    most = _PLACES if magnitudes.ndim == 2 else _PLACES**2
    for axis, size in enumerate(magnitudes.shape):
        if size > most:
            starts = np.arange(most) * size // most
            parts = np.diff([*starts, size]).reshape([-1 if a == axis else 1 for a in range(magnitudes.ndim)])
            magnitudes = np.add.reduceat(magnitudes, starts, axis) / parts
    return magnitudes.ravel()


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
