"""Custom gradients are ignored, with a warning where they may differ from the derivative of the forward computation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tb_deepexplain as dx

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
SIGNATURE = [tf.TensorSpec([None, 4])]


@tf.custom_gradient
def _straight_through(x: Any) -> Any:
    return tf.round(x), lambda d: d


def test_a_custom_gradient_is_ignored_with_a_warning() -> None:
    function = tf.function(lambda x: tf.reduce_sum(_straight_through(3 * x) * x, 1), input_signature=SIGNATURE)
    result = dx.explain("saliency", function, X, return_result=True)
    np.testing.assert_allclose(result.attributions, abs(np.round(3 * X)), rtol=1e-5)
    assert all("the derivative of the forward computation is used" in warnings[0] for warnings in result.warnings)
    assert not any(dx.explain("occlusion", function, X, return_result=True).warnings)


def test_silu_needs_no_warning() -> None:
    silu = tf.function(
        lambda x: tf.reduce_sum(tf.nn.silu(x) + keras.activations.silu(2 * x), 1), input_signature=SIGNATURE
    )
    assert not any(dx.explain("saliency", silu, X, return_result=True).warnings)
