"""How many examples must be explained at once, so that methods and measures have full batches of evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tb_deepexplain.attribution.explainer import Explainer

FULL = 0.8  # share of the evaluations in all batches that examples must fill
BATCHES = (1, 2, 4, 8, 16, 32)  # that the examples may fill, of one kind of work
LAST_ROUNDS = 4  # batches, or what is empty of them, that the last rounds add to a call that refines


class Work(NamedTuple):
    """What one method, or one measure of its maps, took for the examples of a batch."""

    evaluations: int
    size: int  # of a batch of evaluations
    refines: bool = False

    @classmethod
    def of(cls, explainer: Explainer, evaluations: int, explains: bool = True) -> Work:
        """`explains`: whether the method was run; not for measures that only need the score."""
        return cls(evaluations, explainer.batch_log.size, explains and explainer.batch_sizes.refines)


def examples_to_fill(work: Sequence[Work], examples: int) -> int:
    """How many examples to explain at once, if these `examples` took this work: as few as leave batches FULL, all work together.

    Methods and measures have their batches each: those of one evaluation an example need as many examples as a batch has
    evaluations, and count little beside others with many.
    """
    filled = [w for w in work if w.evaluations]
    # Those that fill a few batches of one kind of work, such as 4 of 1,000 evaluations each for a batch of 4,096.
    counts = sorted({max(1, w.size * k * examples // w.evaluations) for w in filled for k in BATCHES}) or [1]
    return next((n for n in counts if _fill(filled, n / examples) >= FULL), counts[-1])


def _fill(work: Sequence[Work], times: float) -> float:
    """The share of all evaluations in the batches that would be computed, for so many times the examples."""
    evaluations = sum(w.evaluations for w in work) * times
    batches = [(math.ceil(w.evaluations * times / w.size) + (LAST_ROUNDS if w.refines else 0)) * w.size for w in work]
    return evaluations / max(1, sum(batches))
