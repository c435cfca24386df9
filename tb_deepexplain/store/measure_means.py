"""The means of measures over a store's examples by method, with confidence intervals: `faithfulness` in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tb_deepexplain.stats.intervals import Interval, RunningMean, finite_or_none, group_means

_SUFFIXES = ("", "_random", "_curve", "_random_curve", "_at")  # of a measure's columns


class MeasureMeans:
    """Running means over the rows of a store. Several maps of one example, of several targets, count as one: their mean."""

    def __init__(self, measures: Sequence[str]) -> None:
        self._measures = measures
        self._means: dict[tuple[str, str, str], RunningMean] = {}  # by method, measure and suffix of the column

    def add(self, rows: pa.Table) -> None:
        """Add rows of an index with their curves. All rows of an example must come together."""
        for method in rows.column("method").unique().to_pylist() if self._measures else ():
            of_method = rows.filter(pa.compute.equal(rows.column("method"), method))
            for measure in self._measures:
                for suffix in _SUFFIXES:
                    measured = of_method.filter(pa.compute.is_valid(of_method.column(measure + suffix)))
                    if measured.num_rows:
                        values = np.array(measured.column(measure + suffix).to_pylist(), np.float64)
                        by_example = group_means(values, measured.column("example_id").to_pylist())
                        self._means.setdefault((method, measure, suffix), RunningMean()).add(by_example)

    def describe(self) -> dict[str, Any]:
        """By method and measure: n, mean, low and high; the same of random maps; and curves with their axis."""
        described: dict[str, Any] = {}
        for (method, measure, suffix), mean in self._means.items():
            of_measure = described.setdefault(method, {}).setdefault(measure, {})
            interval = _describe(mean.interval())
            if suffix == "":
                of_measure |= interval
            else:
                of_measure[suffix[1:]] = interval["mean"] if suffix == "_at" else interval
        return described


def _describe(interval: Interval) -> dict[str, Any]:
    """n, mean, low and high for JSON; lists of them for a curve. The n of a curve is the largest of its points."""
    count = interval.count
    numbers = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    if np.ndim(interval.mean) == 0:
        return {"n": int(count), **{name: finite_or_none(value) for name, value in numbers.items()}}
    lists = {name: list(map(finite_or_none, values)) if np.any(count) else None for name, values in numbers.items()}
    return {"n": int(np.max(count)), **lists}
