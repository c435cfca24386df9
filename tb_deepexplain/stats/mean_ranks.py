"""Mean ranks of methods over examples, with bootstrap intervals."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from tb_deepexplain.stats.rank_correlation import ranks

RESAMPLINGS = 1000
_DIGITS = 4  # significant digits of a value; a smaller difference does not order two methods


class MeanRank(NamedTuple):
    """A method's mean rank over examples."""

    mean: float
    low: float  # ends of the 95 % bootstrap interval
    high: float
    first: float  # share of resamplings in which the method ranks first


def rank_each(values: np.ndarray, better: Literal["higher", "lower"]) -> np.ndarray:
    """Ranks of M methods on each of N maps, from 1, the best: `[M, N]` for values `[M, N]`.

    Values that are equal to four significant digits share the mean of their ranks; values that are not finite come last.
    """
    cost = values * (1 if better == "lower" else -1)
    magnitude = np.where(np.isfinite(cost), np.abs(cost), 0).max(0)  # of each map: rounding is relative to it
    scale = np.where(magnitude > 0, 10.0 ** (_DIGITS - np.ceil(np.log10(np.where(magnitude > 0, magnitude, 1)))), 1)
    cost = np.where(np.isfinite(cost), np.round(cost * scale), np.inf)
    return np.stack([ranks(column) for column in cost.T], 1) if cost.size else cost


def mean_ranks(ranks_of_examples: np.ndarray, seed: int) -> list[MeanRank]:
    """The mean rank of each method from its ranks `[M, N]` on N examples; the examples are resampled with replacement."""
    rng, count = np.random.default_rng(seed), ranks_of_examples.shape[1]
    means = np.stack([ranks_of_examples[:, rng.integers(0, count, count)].mean(1) for _ in range(RESAMPLINGS)])
    is_first = means <= means.min(1, keepdims=True) + 1e-9
    first = (is_first / is_first.sum(1, keepdims=True)).mean(0)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return [MeanRank(*map(float, row)) for row in zip(ranks_of_examples.mean(1), low, high, first, strict=True)]
