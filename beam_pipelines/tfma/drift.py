"""Attribution drift: how much the attributions of a model differ from those of another, with a bootstrap interval.

The share of feature f in the attributions of a model is p_f = Σ|a_f| / Σ_f Σ|a_f|, summed over examples. Shares are
compared rather than means because a retrained model may have larger logits for the same reasons. The drift of the
shares p from the shares q is

    D = ½ Σ_f |p_f − q_f|,

the share that moved from some features to others: 0 if none has, 1 if the two models use no common feature. D is never
negative, so that with few examples it is biased upwards. The basic bootstrap interval, [2D − q97.5, 2D − q2.5],
corrects for that.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

RESAMPLINGS = 200


@dataclasses.dataclass
class AttributionSums:
    """Σ|a| for each feature: over all examples, and over each bootstrap resampling of them."""

    resamplings: int = RESAMPLINGS
    examples: float = 0.0  # their total weight
    by_feature: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # [1 + resamplings], all examples first

    def add(self, attributions: Mapping[str, Any], weights: np.ndarray) -> None:
        """Add one example: a number, or a vector over classes, for each feature. `weights`: from `draw_weights`."""
        self.examples += float(weights[0])
        for feature, value in attributions.items():
            magnitude = float(np.abs(np.asarray(value, np.float64)).mean())
            self.by_feature[feature] = self.by_feature.get(feature, 0.0) + magnitude * weights

    def merge(self, other: AttributionSums) -> AttributionSums:
        """The sums over the examples of both."""
        merged = dict(self.by_feature)
        for feature, sums in other.by_feature.items():
            merged[feature] = merged[feature] + sums if feature in merged else sums
        return AttributionSums(self.resamplings, self.examples + other.examples, merged)

    def shares(self, features: Iterable[str]) -> np.ndarray:
        """[1 + resamplings, features]; NaN if all attributions are zero."""
        zeros = np.zeros(self.resamplings + 1)
        sums = np.stack([self.by_feature.get(feature, zeros) for feature in features] or [zeros], 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = sums / sums.sum(1, keepdims=True)
        return shares


def draw_weights(content: Any, resamplings: int, seed: int, weight: float = 1.0) -> np.ndarray:
    """[1 + resamplings]: the weight of an example among all examples, and in each resampling.

    Resampling counts are Poisson numbers drawn by the example's content: the same on every worker, and for both models
    of a comparison.
    """
    encoded = content if isinstance(content, bytes) else repr(content).encode()
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest, "little")])
    return weight * np.concatenate([[1.0], rng.poisson(1.0, resamplings)])


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Drift(NamedTuple):
    """The drift D, and the change of each feature's share."""

    total: Estimate
    by_feature: dict[str, Estimate]


def compute_drift(candidate: AttributionSums, reference: AttributionSums) -> Drift:
    """The drift of the candidate from the reference; NaN if one of them has no attributions, or only zeros."""
    features = sorted({*candidate.by_feature, *reference.by_feature})
    changes = candidate.shares(features) - reference.shares(features)
    total = _estimate(np.abs(changes).sum(1) / 2)
    clipped = Estimate(total.value, max(0.0, total.low), min(1.0, total.high))
    return Drift(clipped, {feature: _estimate(changes[:, i]) for i, feature in enumerate(features)})


def _estimate(values: np.ndarray) -> Estimate:
    """A statistic [1 + resamplings], of all examples first, with its basic bootstrap interval."""
    resampled = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not resampled.size:
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(values[0]), float(2 * values[0] - high), float(2 * values[0] - low))
