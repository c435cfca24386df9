"""Models that TensorFlow cannot differentiate are refused by the name of the step, with methods that work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx

X = np.random.default_rng(0).uniform(size=(2, 4, 4, 3)).astype(np.float32)


def _model(function: Callable[[Any], Any]) -> Any:
    spec = tf.TensorSpec([None, 4, 4, 3])
    return tf.function(lambda x: tf.reduce_sum(function(x), [1, 2, 3]), input_signature=[spec], autograph=False)


def _contrast(x: Any) -> Any:
    return tf.image.adjust_contrast(x, 2.0)


def _boxes(x: Any) -> Any:
    boxes, scores = tf.reshape(x, [-1, 12, 1, 4]), tf.reshape(x, [-1, 12, 4])[:, :, :1]
    return tf.image.combined_non_max_suppression(boxes, scores, 3, 3)[0][..., None]


@tf.custom_gradient
def _of_a_user(x: Any) -> Any:
    def backward(_: Any) -> Any:
        raise ValueError("a bug of the user")

    return 2 * x, backward


@tf.custom_gradient
def _none(x: Any) -> Any:
    return 2 * x, lambda _: None


WITHOUT_GRADIENT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "contrast": (_contrast, r"adjust_contrast \(AdjustContrastv2\)"),
    "hue": (lambda x: tf.image.adjust_hue(x, 0.2), r"\(AdjustHue\)"),
    "boxes": (_boxes, r"\(CombinedNonMaxSuppression\)"),
    "in a loop": (
        lambda x: tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, _contrast(y)), (0, x))[1],
        r"while/adjust_contrast \(AdjustContrastv2\)",
    ),
    "in a condition": (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: _contrast(x), lambda: x), "AdjustContrastv2"),
    "prevented": (lambda x: tf.raw_ops.PreventGradient(input=x, message="no"), "Gradient explicitly disabled"),
    "user": (_of_a_user, "IdentityN"),
    "none": (_none, r"it ends at IdentityN \(IdentityN\)"),
}


@pytest.mark.parametrize("name", WITHOUT_GRADIENT)
def test_what_has_no_gradient_is_named(name: str) -> None:
    function, message = WITHOUT_GRADIENT[name]
    if name == "user":
        result = dx.explain("saliency", _model(function), X, return_result=True)
        assert all(message in texts[0] for texts in result.warnings)
        return
    with pytest.raises(dx.UnsupportedModelError, match=message + ".*occlusion"):
        dx.explain("saliency", _model(function), X)
    assert dx.explain("occlusion", _model(function), X, window_shape=(4, 4, 3)).any()


@pytest.mark.parametrize("method", ["epsilon_lrp", "deeplift"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.cast(tf.argmax(x, 3), tf.float32)[..., None],
        lambda x: tf.ensure_shape(tf.numpy_function(lambda a: 2 * a, [x], tf.float32), [None, 4, 4, 3]),
        _contrast,
    ],
    ids=["argmax", "numpy", "contrast"],
)
def test_refusals_advise_methods_that_work(method: str, function: Callable[[Any], Any]) -> None:
    with pytest.raises(dx.UnsupportedModelError, match="Use occlusion or shapley_sampling") as caught:
        dx.explain(method, _model(function), X)
    assert "integrated_gradients" not in str(caught.value)
