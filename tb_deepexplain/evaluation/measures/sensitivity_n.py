"""Sensitivity-n: do the attributions of n features sum to what the score loses without them?"""

from __future__ import annotations

import math
from typing import Annotated

from tb_deepexplain.evaluation.perturbation import Blocks, Case, Measured, correlation, mean_of_known
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc


def sensitivity_n(
    case: Case,
    *,
    sizes: Annotated[int, AtLeast(1), Doc("Numbers n, evenly spaced in the logarithm from 1 to 0.8 of all.")] = 8,
    samples: Annotated[int, AtLeast(3), Doc("Random sets of each size.")] = 50,
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Correlation, over random sets S of n features, of Σ_S attributions and f(x) − f(x without S); its mean over n.

    The curve has a value for each n. Undefined for fewer than three features. Ancona, Ceolini, Öztireli, Gross 2018 (arXiv
    1711.06104), section 4, where sets are replaced by zeros and n goes to 0.8 of the features.
    """
    game = case.game(blocks, baseline)
    most = tf.cast(tf.maximum(game.sizes - 1, 1), tf.float64)
    largest = tf.clip_by_value(0.8 * tf.cast(game.sizes, tf.float64), 1.0, most)
    share = tf.linspace(tf.constant(0.0, tf.float64), 1.0, sizes)
    n = tf.cast(tf.round(largest[:, None] ** share[None]), tf.int32)  # [N, K]

    flat = tf.reshape(n, [-1])
    changes, total = game.sets(
        sizes * samples, lambda rows, number: tf.gather(flat, rows * sizes + number // samples), case.changes
    )
    curve = correlation(*(tf.reshape(t, [-1, sizes, samples]) for t in (total, changes)))
    at = tf.cast(n, tf.float64) / tf.cast(tf.maximum(game.sizes, 1), tf.float64)[:, None]
    curve = tf.where(game.sizes[:, None] > 2, curve, tf.constant(math.nan, curve.dtype))  # of two, one or the other: ±1
    new = tf.concat([tf.fill([game.n, 1], True), n[:, 1:] != n[:, :-1]], 1)  # of few features, n repeats
    once = tf.where(new, curve, tf.constant(math.nan, curve.dtype))
    return Measured(mean_of_known(once), game.spent, curve, at, changes)
