"""What a store's measures say of each method: means over its maps, with confidence intervals, as the manifest holds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

QUANTILE = 1.959964  # of the normal distribution, for intervals of 95 %


@dataclasses.dataclass
class Mean:
    """Of numbers as they come, some of them perhaps NaN; of curves point by point."""

    count: Any = 0
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, values: np.ndarray) -> None:
        """[N] or [N, K]."""
        known = np.isfinite(values)
        clean = np.where(known, values, 0).astype(np.float64)
        self.count = self.count + known.sum(0)
        self.total = self.total + clean.sum(0)
        self.squares = self.squares + (clean**2).sum(0)

    def described(self) -> dict[str, Any]:
        """n, mean and the ends of the interval; None where there are too few."""
        if not np.all(self.count):
            return {"n": int(np.min(self.count)), "mean": None, "low": None, "high": None}
        mean = self.total / self.count
        spread = np.maximum(self.squares / self.count - mean**2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = QUANTILE * np.sqrt(spread / (self.count - 1))
        one = np.ndim(mean) == 0
        ends = {"mean": mean, "low": mean - error, "high": mean + error}
        return {
            "n": int(np.min(self.count)),
            **{k: _number(v) if one else list(map(_number, v)) for k, v in ends.items()},
        }


class Faithfulness:
    """Sums over the rows of a store."""

    def __init__(self, measures: Sequence[str]) -> None:
        self._measures = measures
        self._found: dict[tuple[str, str, str], Mean] = {}  # method, measure, what of it

    def add(self, rows: pa.Table) -> None:
        """Rows of an index, with the curves."""
        for method in rows.column("method").unique().to_pylist() if self._measures else ():
            own = rows.filter(pa.compute.equal(rows.column("method"), method))
            for measure in self._measures:
                for what in ("", "_random", "_curve", "_random_curve", "_at"):
                    column = own.column(measure + what).drop_null()
                    if len(column):
                        values = np.array(column.to_pylist(), np.float64)
                        self._found.setdefault((method, measure, what), Mean()).add(values)

    def described(self) -> dict[str, Any]:
        """By method and measure: n, mean, low, high; the same of random maps; and curves with their axis."""
        found: dict[str, Any] = {}
        for (method, measure, what), mean in self._found.items():
            own = found.setdefault(method, {}).setdefault(measure, {})
            described = mean.described()
            if what == "_at":
                own["at"] = described["mean"]
            elif what:
                own[what[1:]] = described
            else:
                own |= described
        return found


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
