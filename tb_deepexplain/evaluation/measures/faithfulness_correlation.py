"""Faithfulness correlation: do the attributions of random sets of one size sum to the score's fall without them?"""

from __future__ import annotations

import math
from typing import Annotated

from tb_deepexplain.evaluation.maps_with_score import Blocks, MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.tensor_statistics import correlation
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Above, AtLeast, Baseline, Below, Doc


def faithfulness_correlation(
    maps: MapsWithScore,
    *,
    share: Annotated[float, Above(0), Below(1), Doc("Share of the features that are removed.")] = 0.2,
    samples: Annotated[int, AtLeast(3), Doc("Random sets of that size.")] = 100,
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Correlation, over random sets S of one size, of Σ_S attributions and f(x) − f(x without S).

    Undefined for fewer than three features. Bhatt, Weller, Moura 2020 (arXiv 2005.00631), equation 3, where sets are replaced by
    a baseline.
    """
    groups = maps.feature_groups(blocks, baseline)
    size = tf.cast(tf.round(share * tf.cast(groups.counts, tf.float64)), tf.int32)
    size = tf.clip_by_value(size, 1, tf.maximum(groups.counts - 1, 1))

    changes, total = groups.random_sets(samples, lambda rows, _: tf.gather(size, rows), maps.changes)
    pearson = correlation(total, changes)
    value = tf.where(groups.counts > 2, pearson, tf.constant(math.nan, pearson.dtype))  # with two features it is ±1
    return Measured(value, groups.evaluations, changes=changes)
