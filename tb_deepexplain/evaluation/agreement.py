"""Agreement: do two maps of one example say the same?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """Of N pairs of maps; NaN where one of the two is constant, or all zero."""

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
    some = [m.any(1) for m in (first, second)]
    both = (first != 0) & (second != 0)
    same = (np.sign(first) == np.sign(second)) & both
    with np.errstate(invalid="ignore", divide="ignore"):
        return Agreement(
            spearman(first, second),
            np.where(some[0] & some[1], (largest[0] & largest[1]).sum(1) / count, np.nan),
            np.where(both.any(1), same.sum(1) / both.sum(1), np.nan),
        )


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] rank correlation of the rows of two matrices; NaN where a row is constant."""
    first, second = (np.stack([_ranks(row) for row in m]) if len(m) else np.zeros(np.shape(m)) for m in (a, b))
    first, second = (m - m.mean(1, keepdims=True) for m in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
