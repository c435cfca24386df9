"""How far maps of another precision differ from those in float32: figures of one run, measured on a sample of its examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.stats.rank_correlation import spearman

SAMPLE = 8  # examples
# TensorFlow keeps its plan for a shape, batch included, in TF32 and in float32: the sample is computed in float32 first, in batches of a
# size that is rare.
REFERENCE_BATCH = 13
_ROUNDING = 2.0**-20  # of a score in float32, as a share of it: a few units of its last digit


@dataclasses.dataclass(frozen=True, repr=False)
class PrecisionError:
    """The difference between the maps of a sample and the same maps in float32."""

    differences: Sequence[float] = ()  # [n] the largest of each map, as a share of the map's largest value
    rank_correlations: Sequence[float] = ()  # [n] NaN where one of the two maps is constant

    @staticmethod
    def of(
        maps: Sequence[np.ndarray], expected: Sequence[np.ndarray], scores: np.ndarray | None = None
    ) -> PrecisionError:
        """`maps` `[n, ...]`, one for each input, and those in float32. Examples whose maps are not finite are left out.

        `scores` `[k, n]`, of maps that sum to a difference of scores: examples whose map in float32 is nowhere larger than the rounding
        of these scores are left out, too: all of such a map may be rounding.
        """
        a, b = (
            np.concatenate([np.reshape(m, [len(m), -1]) for m in of], 1, dtype=np.float64) for of in (maps, expected)
        )
        known = np.isfinite(a).all(1) & np.isfinite(b).all(1)
        if scores is not None:
            known &= abs(b).max(1, initial=0) > _ROUNDING * abs(scores).max(0)
        a, b = a[known], b[known]
        size = abs(b).max(1, initial=0)
        differences = abs(a - b).max(1, initial=0) / np.where(size > 0, size, 1)
        return PrecisionError(differences.tolist(), spearman(a, b).tolist())

    def __add__(self, other: PrecisionError) -> PrecisionError:
        return PrecisionError(
            [*self.differences, *other.differences], [*self.rank_correlations, *other.rank_correlations]
        )

    @property
    def examples(self) -> int:
        return len(self.differences)

    @property
    def median(self) -> float:
        return float(np.median(self.differences)) if self.differences else float("nan")

    @property
    def worst(self) -> float:
        return float(max(self.differences, default=float("nan")))

    @property
    def rank_correlation(self) -> float:
        """The median; NaN if it is known of no example."""
        known = [each for each in self.rank_correlations if np.isfinite(each)]
        return float(np.median(known)) if known else float("nan")

    def __repr__(self) -> str:
        return f"PrecisionError({describe_error(self.as_json())})"

    def as_json(self) -> dict[str, Any]:
        """The figures as the manifest holds them."""
        correlation = self.rank_correlation
        return {
            "examples": self.examples,
            "median": _short(self.median) if self.examples else None,
            "worst": _short(self.worst) if self.examples else None,
            "rank_correlation": round(correlation, 4) if np.isfinite(correlation) else None,
        }


@dataclasses.dataclass
class PrecisionSample:
    """What the first examples of a model say of a precision."""

    examples: int = 0  # with the present weights
    error: PrecisionError = PrecisionError()
    rounding: float = 0.0  # the largest difference of a score to that in float32


def describe_error(figures: Mapping[str, Any]) -> str:
    """The figures of a PrecisionError in words: `4.7 % (median), 16 % at worst, rank correlation 0.980, of 8 examples`."""
    if not figures["examples"]:
        return "unknown: no map of the sample is finite and larger than rounding"
    correlation = figures["rank_correlation"]
    parts = [f"{_percent(figures['median'])} (median)", f"{_percent(figures['worst'])} at worst"]
    parts += [] if correlation is None else [f"rank correlation {correlation:.3f}"]
    return ", ".join([*parts, f"of {figures['examples']} example{'s' * (figures['examples'] != 1)}"])


def _percent(share: float) -> str:
    if 0 < share < 1e-5:
        return "less than 0.001 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:,.0f} %"


def _short(number: float) -> float:
    return float(f"{number:.3g}")
