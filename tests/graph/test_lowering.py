"""Grouped and channels-first convolutions: the same maps as those of literal splits and transpositions, on every processor.

In double precision TensorFlow has none of the CPU kernels that it has for some of these ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
X, VOLUME = RNG.normal(size=(3, 7, 7, 4)), RNG.normal(size=(3, 5, 5, 5, 4))
KERNEL, BY_CHANNEL = RNG.normal(size=(3, 3, 2, 6)), RNG.normal(size=(3, 3, 1, 8))
FULL, VOLUME_KERNEL = RNG.normal(size=(3, 3, 4, 6)), RNG.normal(size=(2, 2, 2, 4, 6))
OUT = RNG.normal(size=(3, 3, 5, 4))
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def _split(x: Any, kernel: Any, convolution: Callable[[Any, Any], Any]) -> Any:
    groups = x.shape[-1] // kernel.shape[-2]
    pairs = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([convolution(a, b) for a, b in pairs], -1)


def _first(op: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`op` takes and returns channels first."""
    return lambda x: tf.transpose(op(tf.transpose(x, TO_FIRST)), TO_LAST)


def _first_3d(op: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tf.transpose(op(tf.transpose(x, [0, 4, 1, 2, 3])), [0, 2, 3, 4, 1])


def _pool(name: str, value: str, data_format: str) -> Callable[[Any], Any]:
    window = [1, 1, 2, 3] if data_format == "NCHW" else [1, 2, 3, 1]
    options: dict[str, Any] = {"ksize": window, "strides": window, "padding": "SAME", "data_format": data_format}
    return lambda x: getattr(tf.raw_ops, name)(**{value: x}, **options)


def _loop(op: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, tf.tanh(op(y))), (0, x))[1]


EXPLICIT_FIRST, EXPLICIT = [[0, 0], [0, 0], [1, 2], [0, 1]], [[0, 0], [1, 2], [0, 1], [0, 0]]

# name → (the model's function, the same by other ops)
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "groups": (
        lambda x: tf.nn.conv2d(x, KERNEL, [2, 1], "SAME"),
        lambda x: _split(x, KERNEL, lambda a, b: tf.nn.conv2d(a, b, [2, 1], "SAME")),
    ),
    "a group for each channel": (
        lambda x: tf.nn.conv2d(x, BY_CHANNEL, 1, "VALID"),
        lambda x: _split(x, BY_CHANNEL, lambda a, b: tf.nn.conv2d(a, b, 1, "VALID")),
    ),
    "groups, channels first": (
        _first(lambda x: tf.nn.conv2d(x, KERNEL, [1, 2], "SAME", "NCHW")),
        lambda x: _split(x, KERNEL, lambda a, b: tf.nn.conv2d(a, b, [1, 2], "SAME")),
    ),
    "groups in a loop": (
        _loop(lambda x: tf.nn.conv2d(x, KERNEL[..., :4], 1, "SAME")),
        _loop(lambda x: _split(x, KERNEL[..., :4], lambda a, b: tf.nn.conv2d(a, b, 1, "SAME"))),
    ),
    "channels first in a loop": (
        _loop(_first(lambda x: tf.nn.conv2d(x, FULL[..., :4], 1, "SAME", "NCHW"))),
        _loop(lambda x: tf.nn.conv2d(x, FULL[..., :4], 1, "SAME")),
    ),
    "explicit padding": (
        _first(lambda x: tf.nn.conv2d(x, FULL, 1, EXPLICIT_FIRST, "NCHW")),
        lambda x: tf.nn.conv2d(x, FULL, 1, EXPLICIT),
    ),
    "by depth": (
        _first(lambda x: tf.nn.depthwise_conv2d(x, FULL[:, :, :, :2], [1] * 4, "SAME", "NCHW")),
        lambda x: tf.nn.depthwise_conv2d(x, FULL[:, :, :, :2], [1] * 4, "SAME"),
    ),
    "transposed": (
        _first(lambda x: tf.nn.conv2d_transpose(x, OUT, [tf.shape(x)[0], 5, 14, 7], [2, 1], "SAME", "NCHW")),
        lambda x: tf.nn.conv2d_transpose(x, OUT, [tf.shape(x)[0], 14, 7, 5], [2, 1], "SAME"),
    ),
    "max pooling": (_first(_pool("MaxPool", "input", "NCHW")), _pool("MaxPool", "input", "NHWC")),
    "average pooling": (_first(_pool("AvgPool", "value", "NCHW")), _pool("AvgPool", "value", "NHWC")),
    "space to depth": (
        _first(lambda x: tf.nn.depth_to_space(x[:, :, :6, :6], 2, "NCHW")),
        lambda x: tf.nn.depth_to_space(x[:, :6, :6], 2),
    ),
}
CASES_3D: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "groups": (
        tf.function(lambda x: tf.nn.conv3d(x, VOLUME_KERNEL[..., :2, :], [1] * 5, "SAME"), jit_compile=True),
        lambda x: _split(x, VOLUME_KERNEL[..., :2, :], lambda a, b: tf.nn.conv3d(a, b, [1] * 5, "SAME")),
    ),
    "channels first": (
        _first_3d(lambda x: tf.nn.conv3d(x, VOLUME_KERNEL, [1, 1, 2, 1, 1], "VALID", "NCDHW")),
        lambda x: tf.nn.conv3d(x, VOLUME_KERNEL, [1, 2, 1, 1, 1], "VALID"),
    ),
}


def _model(op: Callable[[Any], Any], x: np.ndarray) -> Any:
    """A score for each example, with an activation, so that backward rules have something to do."""
    spec = tf.TensorSpec([None, *x.shape[1:]], tf.float64, name="x")

    @tf.function(input_signature=[spec], autograph=False)
    def model(x: Any) -> Any:
        y = tf.nn.softplus(op(tf.ensure_shape(x, [None, *x.shape[1:]])))
        return tf.reduce_sum(tf.reshape(y, [tf.shape(y)[0], -1]) ** 2, 1)

    return model


@pytest.mark.parametrize(
    ("op", "literal", "x"),
    [*((*c, X) for c in CASES.values()), *((*c, VOLUME) for c in CASES_3D.values())],
    ids=[*CASES, *(f"3D, {name}" for name in CASES_3D)],
)
def test_maps_are_those_of_literal_splits_and_transpositions(op: Any, literal: Any, x: np.ndarray) -> None:
    lowered, expected = _model(op, x), _model(literal, x)
    actual, literally = (dx.explain("saliency", model, x, return_result=True) for model in (lowered, expected))
    assert_maps_close(actual.attributions, literally.attributions, 1e-9)
    np.testing.assert_allclose(actual.score, literally.score, rtol=1e-9)


@pytest.mark.parametrize("activation", ["relu", None])  # without one, and without oneDNN, TensorFlow fuses the bias
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradients_and_rules_explain_keras_grouped_convolutions(data_format: str, activation: str | None) -> None:
    x = keras.Input((6, 6, 4) if data_format == "channels_last" else (4, 6, 6))
    y = layers.Conv2D(8, 3, groups=4, activation=activation, data_format=data_format)(x)
    y = layers.MaxPooling2D(2, data_format=data_format)(y)
    y = layers.DepthwiseConv2D(2, data_format=data_format)(y)
    y = layers.BatchNormalization(axis=-1 if data_format == "channels_last" else 1)(y)
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))
    xs = RNG.normal(size=(2, *x.shape[1:])).astype(np.float32)
    with tf.GradientTape() as tape:
        values = tf.constant(xs)
        tape.watch(values)
        score = tf.reduce_sum(model(values)[:, 1])
    assert_maps_close(dx.explain("saliency", model, xs, target=1), abs(tape.gradient(score, values)))
    for method in ("epsilon_lrp", "integrated_gradients"):
        assert np.isfinite(dx.explain(method, model, xs, target=1)).all()


def test_tensors_keep_their_names() -> None:
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 7, 7], name="x")
        y = tf.nn.relu(tf.nn.conv2d(x, FULL.astype(np.float32), 1, "SAME", "NCHW", name="conv"))
        tf.raw_ops.AvgPool(
            value=y, ksize=[1, 1, 7, 7], strides=[1] * 4, padding="VALID", data_format="NCHW", name="pool"
        )
    function = tf.compat.v1.wrap_function(
        lambda x: tf.graph_util.import_graph_def(graph.as_graph_def(), {"x": x}, ["pool:0"], name="net")[0],
        [tf.TensorSpec([None, 4, 7, 7], tf.float32)],
    )
    xs = np.moveaxis(X, 3, 1).astype(np.float32)
    (maps,) = dx.explain(
        "saliency", function, [xs], inputs="net/conv:0", check_model=False
    )  # cannot be called as it is
    assert maps.shape == (3, 6, 7, 7)
