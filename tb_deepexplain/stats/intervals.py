"""Means of values that may hold NaN, and their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean with the ends of its 95 % interval: numbers, or arrays `[K]` for a curve; NaN where there are too few values."""

    count: Any  # finite values
    mean: Any
    low: Any
    high: Any


class RunningMean:
    """The mean of values that arrive in parts; values that are not finite are left out. Curves are averaged point by point."""

    def __init__(self) -> None:
        self._count: Any = 0
        self._sum: Any = 0.0
        self._sum_of_squares: Any = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add numbers `[N]` or curves `[N, K]`."""
        finite = np.isfinite(values)
        clean = np.where(finite, values, 0).astype(np.float64)
        self._count = self._count + finite.sum(0)
        self._sum = self._sum + clean.sum(0)
        self._sum_of_squares = self._sum_of_squares + (clean**2).sum(0)

    def interval(self) -> Interval:
        """Student's interval of the values so far. A mean needs one value, an interval two."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self._sum / np.maximum(self._count, 1)
            variance = np.maximum(self._sum_of_squares / self._count - mean**2, 0) * self._count / (self._count - 1)
            mean = np.where(self._count > 0, mean, np.nan)
            error = half_width(np.sqrt(variance), self._count)
        return Interval(self._count, mean, mean - error, mean + error)


def mean_interval(values: np.ndarray) -> Interval:
    """The mean of `[N]` or `[N, K]` values, with its 95 % interval."""
    running = RunningMean()
    running.add(np.asarray(values, np.float64))
    return running.interval()


def half_width(deviation: Any, count: Any) -> Any:
    """Half of the 95 % interval of a mean of `count` values with this sample deviation (n − 1); NaN for a single value."""
    count = np.asarray(count, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count > 1, _student(count - 1) * deviation / np.sqrt(count), np.nan)


def group_means(values: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """Mean of the finite rows of each group, `[groups, ...]` in the sorted order of the groups; NaN where none is finite.

    The maps of one example for several targets are alike: they form a group, so that an example counts once.
    """
    names, number = np.unique(np.array(groups, object), return_inverse=True)
    if len(names) == len(groups):
        return values[np.argsort(number)]
    finite = np.isfinite(values)
    total, count = (np.zeros([len(names), *values.shape[1:]]) for _ in range(2))
    np.add.at(total, number, np.where(finite, values, 0))
    np.add.at(count, number, finite)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def finite_or_none(value: Any) -> float | None:
    """A number for JSON: None in place of NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def _student(freedom: Any) -> Any:
    """97.5 % point of Student's t by the Cornish-Fisher expansion, so that SciPy is not needed.

    Exact for one and two degrees of freedom, within 0.5 % from three on.
    """
    z = 1.959963984540054
    f = np.maximum(freedom, 1)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    expansion = z + terms[0] / f + terms[1] / f**2 + terms[2] / f**3 + fourth / f**4
    return np.where(f < 1.5, 12.706204736, np.where(f < 2.5, 4.302652730, expansion))
