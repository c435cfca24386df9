"""Areas, means and correlations of tensors that may hold NaN."""

from __future__ import annotations

import math
from typing import Any

from tb_deepexplain.lazy_tensorflow import tf


def area(curve: Any) -> Any:
    """Areas `[N]` under curves `[N, K]` over [0, 1], by the trapezoidal rule."""
    return tf.reduce_mean((curve[:, 1:] + curve[:, :-1]) / 2, 1)


def correlation(a: Any, b: Any) -> Any:
    """Pearson's correlation over the last axis; NaN where one of the two varies only by rounding."""
    (a, a_varies), (b, b_varies) = (_centre(t) for t in (a, b))
    pearson = tf.reduce_sum(a * b, -1) / tf.sqrt(tf.reduce_sum(a * a, -1) * tf.reduce_sum(b * b, -1))
    return tf.where(a_varies & b_varies, pearson, tf.constant(math.nan, a.dtype))


def mean_of_finite(values: Any) -> Any:
    """The mean over the last axis of the values that are finite; NaN if there are none."""
    finite = tf.math.is_finite(values)
    count = tf.reduce_sum(tf.cast(finite, values.dtype), -1)
    total = tf.reduce_sum(tf.where(finite, values, 0), -1)
    return tf.where(count > 0, total / tf.maximum(count, 1), tf.constant(math.nan, values.dtype))


def _centre(values: Any) -> tuple[Any, Any]:
    """The values minus their mean, and whether they vary by more than rounding."""
    centred = values - tf.reduce_mean(values, -1, keepdims=True)
    rounding = 1e-6 * tf.reduce_max(tf.abs(values), -1)
    return centred, tf.reduce_max(tf.abs(centred), -1) > rounding
