"""Attribution drift: how far the reasons of a model have moved, with an interval by the bootstrap.

The reasons of a model, on some examples, are the shares p_f = Σ|a_f| / Σ_f Σ|a_f| of its features f in what it says. Shares, not
means: a model that was trained anew may give larger logits for the same reasons. The drift of p against q is

    D = ½ Σ_f |p_f − q_f|

the share of the reasons that has moved from some features to others: 0 where none has, 1 where the two have no feature in
common. It is never negative, so that of few examples it is above zero by chance; the basic bootstrap, whose interval is
[2D − q97.5, 2D − q2.5], sets that off.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

RESAMPLINGS = 200


@dataclasses.dataclass
class Sums:
    """Σ|a| by feature: of all examples, and of each resampling of them."""

    resamplings: int = RESAMPLINGS
    examples: float = 0.0
    of: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # [1 + resamplings], of all examples first

    def add(self, values: Mapping[str, Any], weights: np.ndarray) -> None:
        """One example: a number or a vector of classes by feature; `weights` as `draw` gives them."""
        self.examples += float(weights[0])
        for name, value in values.items():
            magnitude = float(np.abs(np.asarray(value, np.float64)).mean())
            self.of[name] = self.of.get(name, 0.0) + magnitude * weights

    def merge(self, other: Sums) -> Sums:
        """Of the examples of both."""
        found = dict(self.of)
        for name, sums in other.of.items():
            found[name] = found[name] + sums if name in found else sums
        return Sums(self.resamplings, self.examples + other.examples, found)

    def shares(self, names: Iterable[str]) -> np.ndarray:
        """[1 + resamplings, features]; NaN where all is zero."""
        none = np.zeros(self.resamplings + 1)
        found = np.stack([self.of.get(name, none) for name in names] or [none], 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return found / found.sum(1, keepdims=True)


def draw(content: Any, resamplings: int, seed: int, weight: float = 1.0) -> np.ndarray:
    """[1 + resamplings]: how often an example counts in all, and in each resampling (Poisson, by its content: the same on
    every worker, and for both models of a pair)."""
    digest = hashlib.blake2b(
        repr(content).encode() if not isinstance(content, bytes) else content, digest_size=8
    ).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest, "little")])
    return weight * np.concatenate([[1.0], rng.poisson(1.0, resamplings)])


class Moved(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Drift(NamedTuple):
    """Of the whole, and of each feature: by how much its share has grown."""

    whole: Moved
    features: dict[str, Moved]


def drift(now: Sums, before: Sums) -> Drift:
    """NaN where one of the two has no attributions, or only zeros."""
    names = sorted({*now.of, *before.of})
    moved = now.shares(names) - before.shares(names)
    whole = np.abs(moved).sum(1) / 2
    interval = _interval(whole)
    clipped = Moved(interval.value, max(0.0, interval.low), min(1.0, interval.high))
    return Drift(clipped, {name: _interval(moved[:, i]) for i, name in enumerate(names)})


def _interval(values: np.ndarray) -> Moved:
    """The basic bootstrap of a statistic: of all examples first, then of the resamplings."""
    known = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not known.size:
        return Moved(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Moved(float(values[0]), float(2 * values[0] - high), float(2 * values[0] - low))
