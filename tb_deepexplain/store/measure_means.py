"""What a store's measures say of each method: means over its examples, with confidence intervals, as the manifest holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tb_deepexplain.stats.intervals import Interval, RunningMean, finite_or_none, group_means


class Faithfulness:
    """Sums over the rows of a store. The maps of one example, of several targets, say much the same: together they count once."""

    def __init__(self, measures: Sequence[str]) -> None:
        self._measures = measures
        self._found: dict[tuple[str, str, str], RunningMean] = {}  # method, measure, what of it

    def add(self, rows: pa.Table) -> None:
        """Rows of an index, with the curves; all those of an example."""
        for method in rows.column("method").unique().to_pylist() if self._measures else ():
            own = rows.filter(pa.compute.equal(rows.column("method"), method))
            for measure in self._measures:
                for what in ("", "_random", "_curve", "_random_curve", "_at"):
                    known = own.filter(pa.compute.is_valid(own.column(measure + what)))
                    if known.num_rows:
                        values = np.array(known.column(measure + what).to_pylist(), np.float64)
                        each = group_means(values, known.column("example_id").to_pylist())
                        self._found.setdefault((method, measure, what), RunningMean()).add(each)

    def described(self) -> dict[str, Any]:
        """By method and measure: n, mean, low, high; the same of random maps; and curves with their axis."""
        found: dict[str, Any] = {}
        for (method, measure, what), mean in self._found.items():
            own = found.setdefault(method, {}).setdefault(measure, {})
            described = _describe(mean.interval())
            if what == "_at":
                own["at"] = described["mean"]
            elif what:
                own[what[1:]] = described
            else:
                own |= described
        return found


def _describe(interval: Interval) -> dict[str, Any]:
    """n, mean, low and high for JSON; lists of them for a curve. The n of a curve is that of its best known point."""
    count = interval.count
    numbers = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    if np.ndim(interval.mean) == 0:
        return {"n": int(count), **{name: finite_or_none(value) for name, value in numbers.items()}}
    lists = {name: list(map(finite_or_none, values)) if np.any(count) else None for name, values in numbers.items()}
    return {"n": int(np.max(count)), **lists}
