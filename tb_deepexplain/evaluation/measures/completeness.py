"""Completeness: do the attributions sum to f(x) − f(x′)?"""

from __future__ import annotations

import math

from tb_deepexplain.evaluation.maps_with_score import MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline


def completeness(maps: MapsWithScore, *, baseline: Baseline = None) -> Measured:
    """|Σ attributions − (f(x) − f(x′))| as a share of |f(x) − f(x′)|; 0 is complete.

    Sundararajan, Taly, Yan 2017 (arXiv 1703.01365), section 3. It is computed for all methods, also for those that promise no sum.
    """
    score = maps.score
    value, start = (tf.cast(t, tf.float64) for t in (score.values(), score.at(score.baseline(baseline))))
    flat = [tf.reshape(tf.cast(values, tf.float64), [score.n, -1]) for values in maps.values]
    total = tf.add_n([tf.reduce_sum(values, 1) for values in flat])
    change = tf.abs(value - start)
    share = tf.where(change > 0, tf.abs(total - (value - start)) / change, tf.constant(math.nan, change.dtype))
    return Measured(share, 2)
