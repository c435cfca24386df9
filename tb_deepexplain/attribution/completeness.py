"""The completeness gap of a map inside a method: Σ attributions − (score − baseline score), compared with a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tb_deepexplain.lazy_tensorflow import tf


def allowed_gap(start: Any, value: Any, tolerance: float, rounding: Any = 0.0) -> Any:
    """[N] the gap allowed, in double precision. If the score hardly changes, its size counts: rounding errors are no gap.

    `rounding`: [N] or one number below which the gap says nothing.
    """
    start, value = tf.cast(start, tf.float64), tf.cast(value, tf.float64)
    allowed = tolerance * tf.maximum(tf.abs(value - start), 1e-3 * tf.maximum(tf.abs(value), tf.abs(start)))
    return tf.maximum(allowed, tf.cast(rounding, tf.float64))


def is_above_tolerance(
    attributions: Sequence[Any], start: Any, value: Any, tolerance: float, rounding: Any = 0.0
) -> Any:
    """[N] whether the gap is larger than this share of the change of the score from `start` to `value`, and than `rounding`."""
    total = tf.add_n([tf.reduce_sum(tf.cast(a, tf.float64), list(range(1, len(a.shape)))) for a in attributions])
    gap = total - (tf.cast(value, tf.float64) - tf.cast(start, tf.float64))
    return tf.abs(gap) > allowed_gap(start, value, tolerance, rounding)
