"""What a store's measures say of each method: means over its examples, with confidence intervals, as the manifest holds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def half_width(deviation: Any, n: Any) -> Any:
    """Half of the 95 % interval of a mean, from the deviation of the n values (with n − 1 below the line); NaN of one value."""
    n = np.asarray(n, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, _student(n - 1) * deviation / np.sqrt(n), np.nan)


def _student(freedom: Any) -> Any:
    """The 97.5 % point of Student's t, by the expansion of Cornish and Fisher; exact for one and two degrees of freedom. (Within
    0.5 % of the true one from three on; SciPy is not needed for that.)"""
    z = 1.959963984540054
    f = np.maximum(freedom, 1)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    found = z + terms[0] / f + terms[1] / f**2 + terms[2] / f**3 + fourth / f**4
    return np.where(f < 1.5, 12.706204736, np.where(f < 2.5, 4.302652730, found))


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
        """n, mean and the ends of the interval, of curves lists of them; None where there are too few. The n of a curve is that of
        its best known point."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.total / np.maximum(self.count, 1)
            spread = np.maximum(self.squares / self.count - mean**2, 0) * self.count / (self.count - 1)
            mean = np.where(self.count > 0, mean, np.nan)
            error = half_width(np.sqrt(spread), self.count)
        ends = {"mean": mean, "low": mean - error, "high": mean + error}
        one = np.ndim(mean) == 0
        return {
            "n": int(np.max(self.count)),
            **{
                k: _number(v) if one else (list(map(_number, v)) if np.any(self.count) else None)
                for k, v in ends.items()
            },
        }


class Faithfulness:
    """Sums over the rows of a store. The maps of one example, of several targets, say much the same: together they count once."""

    def __init__(self, measures: Sequence[str]) -> None:
        self._measures = measures
        self._found: dict[tuple[str, str, str], Mean] = {}  # method, measure, what of it

    def add(self, rows: pa.Table) -> None:
        """Rows of an index, with the curves; all those of an example."""
        for method in rows.column("method").unique().to_pylist() if self._measures else ():
            own = rows.filter(pa.compute.equal(rows.column("method"), method))
            for measure in self._measures:
                for what in ("", "_random", "_curve", "_random_curve", "_at"):
                    known = own.filter(pa.compute.is_valid(own.column(measure + what)))
                    if known.num_rows:
                        values = np.array(known.column(measure + what).to_pylist(), np.float64)
                        each = _means(values, known.column("example_id").to_pylist())
                        self._found.setdefault((method, measure, what), Mean()).add(each)

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


def _means(values: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """The mean of the rows of each id, over those that are known."""
    _, place = np.unique(np.array(ids, object), return_inverse=True)
    if place.max() + 1 == len(ids):
        return values
    known = np.isfinite(values)
    total, count = np.zeros([place.max() + 1, *values.shape[1:]]), np.zeros([place.max() + 1, *values.shape[1:]])
    np.add.at(total, place, np.where(known, values, 0))
    np.add.at(count, place, known)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
