"""Completeness: do the attributions sum to what the score owes to the input?"""

from __future__ import annotations

import math

from tb_deepexplain.evaluation.perturbation import Case, Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline


def completeness(case: Case, *, baseline: Baseline = None) -> Measured:
    """|Σ attributions − (f(x) − f(x′))| as a share of |f(x) − f(x′)|; 0 is complete.

    Sundararajan, Taly, Yan 2017 (arXiv 1703.01365), section 3. Methods that promise no sum are judged by it all the same.
    """
    score = case.score
    value, start = (tf.cast(t, tf.float64) for t in (score.values(), score.at(score.baseline(baseline))))
    flat = [tf.reshape(tf.cast(values, tf.float64), [score.n, -1]) for values in case.maps]
    total = tf.add_n([tf.reduce_sum(values, 1) for values in flat])
    owed = tf.abs(value - start)
    share = tf.where(owed > 0, tf.abs(total - (value - start)) / owed, tf.constant(math.nan, owed.dtype))
    return Measured(share, 2)
