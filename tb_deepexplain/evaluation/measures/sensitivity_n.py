"""Sensitivity-n: do the attributions of n features sum to the score's fall without them?"""

from __future__ import annotations

import math
from typing import Annotated

from tb_deepexplain.evaluation.maps_with_score import Blocks, MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.tensor_statistics import correlation, mean_of_finite
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc


def sensitivity_n(
    maps: MapsWithScore,
    *,
    sizes: Annotated[
        int, AtLeast(1), Doc("Numbers n, evenly spaced on a logarithmic scale from 1 to 0.8 of the features.")
    ] = 8,
    samples: Annotated[int, AtLeast(3), Doc("Random sets of each size.")] = 50,
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Correlation, over random sets S of n features, of Σ_S attributions and f(x) − f(x without S); its mean over n.

    The curve has a value for each n. Undefined for fewer than three features. Ancona, Ceolini, Öztireli, Gross 2018 (arXiv
    1711.06104), section 4, where sets are replaced by zeros and n goes to 0.8 of the features.
    """
    groups = maps.feature_groups(blocks, baseline)
    limit = tf.cast(tf.maximum(groups.counts - 1, 1), tf.float64)
    largest = tf.clip_by_value(0.8 * tf.cast(groups.counts, tf.float64), 1.0, limit)
    exponent = tf.linspace(tf.constant(0.0, tf.float64), 1.0, sizes)
    n = tf.cast(tf.round(largest[:, None] ** exponent[None]), tf.int32)  # [N, K]

    flat = tf.reshape(n, [-1])
    changes, total = groups.random_sets(
        sizes * samples, lambda rows, number: tf.gather(flat, rows * sizes + number // samples), maps.changes
    )
    curve = correlation(*(tf.reshape(t, [-1, sizes, samples]) for t in (total, changes)))
    shares = tf.cast(n, tf.float64) / tf.cast(tf.maximum(groups.counts, 1), tf.float64)[:, None]
    nan = tf.constant(math.nan, curve.dtype)
    curve = tf.where(groups.counts[:, None] > 2, curve, nan)  # with two features it is ±1
    is_new = tf.concat([tf.fill([groups.n, 1], True), n[:, 1:] != n[:, :-1]], 1)  # with few features n repeats
    return Measured(mean_of_finite(tf.where(is_new, curve, nan)), groups.evaluations, curve, shares, changes)
