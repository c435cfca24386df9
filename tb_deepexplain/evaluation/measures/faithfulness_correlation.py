"""Faithfulness correlation: sensitivity-n at one size, as Bhatt and others measure it."""

from __future__ import annotations

import math
from typing import Annotated

from tb_deepexplain.evaluation.perturbation import Blocks, Case, Measured, correlation
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Above, AtLeast, Baseline, Below, Doc


def faithfulness_correlation(
    case: Case,
    *,
    share: Annotated[float, Above(0), Below(1), Doc("How many of the features leave, as a share of all.")] = 0.2,
    samples: Annotated[int, AtLeast(3), Doc("Random sets of that size.")] = 100,
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Correlation, over random sets S of one size, of Σ_S attributions and f(x) − f(x without S).

    Undefined for fewer than three features. Bhatt, Weller, Moura 2020 (arXiv 2005.00631), equation 3, there with sets that are
    set to a baseline.
    """
    game = case.game(blocks, baseline)
    size = tf.cast(tf.round(share * tf.cast(game.sizes, tf.float64)), tf.int32)
    size = tf.clip_by_value(size, 1, tf.maximum(game.sizes - 1, 1))

    changes, total = game.sets(samples, lambda rows, _: tf.gather(size, rows), case.changes)
    found = correlation(total, changes)
    value = tf.where(game.sizes > 2, found, tf.constant(math.nan, found.dtype))  # of two, one or the other: ±1
    return Measured(value, game.spent, changes=changes)
