"""Backward rules: every activation is one region, however it was exported; unsupported steps are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import activations, layers, ops

import tb_deepexplain as dx
from tests import models

RNG = np.random.default_rng(0)

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(activations, name)
        for name in (
            "relu leaky_relu relu6 elu selu gelu silu hard_silu softplus softsign mish tanh sigmoid hard_sigmoid celu "
            "log_sigmoid tanh_shrink hard_tanh squareplus"
        ).split()
    },
    "gelu, tanh form": lambda x: activations.gelu(x, approximate=True),
    "relu as a maximum": lambda x: ops.maximum(x, 0.0),
    "relu6 as clipping": lambda x: tf.minimum(tf.maximum(x, 0.0), 6.0),
    "leaky relu as a maximum": lambda x: ops.maximum(x, 0.2 * x),
    "leaky relu as a difference": lambda x: ops.relu(x) - 0.2 * ops.relu(-x),
    "elu as a choice": lambda x: tf.where(x > 0, x, tf.exp(tf.minimum(x, 0.0)) - 1.0),
    "softplus as a logarithm": lambda x: ops.log(1.0 + ops.exp(x)),
    "stable softplus": lambda x: ops.maximum(x, 0.0) + ops.log1p(ops.exp(-ops.abs(x))),
    "sigmoid as a quotient": lambda x: 1.0 / (1.0 + ops.exp(-x)),
    "swish by hand": lambda x: x * ops.sigmoid(x),
    "mish by hand": lambda x: x * ops.tanh(ops.log(1.0 + ops.exp(x))),
    "hard swish by hand": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "softsign by hand": lambda x: x / (1.0 + ops.abs(x)),
}


def _weights(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [(rng.normal(size=s) / np.sqrt(s[0])).astype(dtype) for s in shapes]


def _net(activation: Callable[[Any], Any], weights: list[np.ndarray]) -> Any:
    """Three affine layers with the activation between them."""
    w1, b1, w2, b2, w3, b3 = map(tf.constant, weights)

    @tf.function(input_signature=[tf.TensorSpec([None, *w1.shape[:1]], w1.dtype, name="x")], autograph=False)
    def net(x: Any) -> Any:
        x = activation(x @ w1 + b1)
        return tf.nn.bias_add(tf.matmul(activation(x @ w2 + b2), w3), b3)

    return net


SHAPES = ((6, 9), (9,), (9, 8), (8,), (8, 3), (3,))


def _layer_by_layer(
    activation: Callable[[Any], Any],
    weights: list[np.ndarray],
    x: np.ndarray,
    unit: int,
    multiplier: Callable[..., Any],
) -> np.ndarray:
    """The gradient of one unit by explicit formulas, with every f′ replaced by `multiplier(f, z, layer)`."""
    w1, b1, w2, b2, w3, _ = weights
    f = lambda z: np.asarray(activation(tf.constant(z)))  # noqa: E731
    z1 = x @ w1 + b1
    z2 = f(z1) @ w2 + b2
    gradient = np.broadcast_to(w3[:, unit], z2.shape) * multiplier(activation, z2, 1)
    return ((gradient @ w2.T) * multiplier(activation, z1, 0)) @ w1.T


def _derivative(activation: Callable[[Any], Any], z: np.ndarray) -> np.ndarray:
    with tf.GradientTape() as tape:
        values = tf.constant(z)
        tape.watch(values)
        y = activation(values)
    return np.asarray(tape.gradient(y, values))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_every_activation_is_one_region(name: str, dtype: str, tolerance: float) -> None:
    activation, weights = ACTIVATIONS[name], _weights(dtype, *SHAPES)
    graph = dx.load_model(_net(activation, weights))
    analysis = graph.submodel().region_analysis
    assert len(analysis.regions) == 2, analysis.regions
    assert not analysis.unsupported
    x, base = (np.random.default_rng(seed).normal(size=(7, 6)).astype(dtype) for seed in (2, 3))

    result = dx.explain("deeplift", graph, x, target=1, baseline=base[0], return_result=True)
    change = abs(result.score - result.baseline_score)
    rounding = np.finfo(dtype).eps * (abs(result.attributions).sum(1) + abs(result.score))  # where they nearly cancel
    assert (abs(result.gap) <= tolerance * change + 4 * rounding).all()
    f = lambda z: np.asarray(activation(tf.constant(z)))  # noqa: E731
    z1 = base[:1] @ weights[0] + weights[1]
    references = [z1, f(z1) @ weights[2] + weights[3]]

    def rescaled(_: Any, z: np.ndarray, layer: int) -> np.ndarray:
        d = z - references[layer]
        near = abs(d) <= (1e-5 if dtype == "float32" else 1e-10)
        quotient = (f(z) - f(references[layer])) / np.where(near, 1, d)
        return np.where(near, _derivative(activation, (z + references[layer]) / 2), quotient)

    rtol = 1e-3 if dtype == "float32" else 1e-7
    expected = (x - base[0]) * _layer_by_layer(activation, weights, x, 1, rescaled)
    np.testing.assert_allclose(result.attributions, expected, rtol=rtol, atol=rtol * abs(expected).max())

    def stabilised(_: Any, z: np.ndarray, layer: int) -> np.ndarray:
        return f(z) / (z + np.where(z >= 0, 0.01, -0.01).astype(dtype))

    expected = x * _layer_by_layer(activation, weights, x, 1, stabilised)
    attributions = dx.explain("epsilon_lrp", graph, x, target=1, epsilon=0.01)
    assert attributions.dtype == dtype
    if name != "hard_sigmoid":  # relu6(x + 3) / 6: the 3 counts as a bias, which z includes
        np.testing.assert_allclose(attributions, expected, rtol=rtol, atol=rtol * abs(expected).max())


def _regions(function: Callable[[Any], Any], shape: tuple[int | None, ...] = (None, 4)) -> list[str]:
    """The regions of a function, written `op of z → op of y`."""
    graph = dx.load_model(tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")]))
    nodes = graph.view.nodes
    assert not graph.submodel().region_analysis.unsupported
    return [
        f"{nodes[r.z.split(':')[0]].op} → {nodes[r.y.split(':')[0]].op}"
        for r in graph.submodel().region_analysis.regions
    ]


EYE = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tf.nn.relu(x @ EYE + 1), ["AddV2 → Relu"]),  # the bias is part of z
        (lambda x: 2 * tf.nn.relu(3 * (x @ EYE) + 1) - 1, ["AddV2 → Relu"]),  # scales stay outside
        (lambda x: tf.tanh(2 * tf.nn.relu(x) + 1), ["Placeholder → Relu", "AddV2 → Tanh"]),  # two activations are two
        (lambda x: tf.nn.relu(x) @ EYE + x, ["Placeholder → Relu"]),  # a skip connection is linear
        (lambda x: x + tf.nn.relu(x @ EYE), ["MatMul → Relu"]),
        # One source, two outputs: overlapping regions.
        (
            lambda x: (lambda e: tf.concat([e, tf.math.log(1 + e)], 1))(tf.exp(x)),
            ["Placeholder → Exp", "Placeholder → Log"],
        ),
        (lambda x: tf.reduce_max(tf.nn.relu(x @ EYE), 1), ["MatMul → Relu"]),  # maxima keep their gradient
        (lambda x: tf.maximum(x @ EYE, 2 * (x @ EYE[::-1])), []),
        (lambda x: x * [1.0, 2, 3, 4] / 3 - x, []),
    ],
)
def test_where_regions_start_and_end(function: Callable[[Any], Any], expected: list[str]) -> None:
    assert _regions(function) == expected


def test_batch_norm_at_inference_is_affine() -> None:
    model = models.image()
    result = dx.explain("deeplift", model, RNG.normal(size=(3, 8, 8, 3)), target=0, return_result=True)
    assert np.isfinite(result.gap).all()
    without_maxima = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Conv2D(3, 2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    result = dx.explain("deeplift", without_maxima, RNG.normal(size=(3, 8, 8, 3)), target=0, return_result=True)
    np.testing.assert_allclose(result.gap, 0, atol=1e-4 * abs(result.score - result.baseline_score).min())


def _attention() -> keras.Model:
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


def _recurrent(layer: Any, **options: Any) -> keras.Model:
    x = keras.Input((5, 4))
    return keras.Model(x, layers.Dense(2)(layer(3, **options)(x)))


def _squeeze_and_excite() -> keras.Model:
    x = keras.Input((5, 4))
    weight = layers.Dense(4, "sigmoid")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Multiply()([x, layers.Reshape((1, 4))(weight)]))))


def _softmax_inside() -> keras.Model:
    x = keras.Input((5, 4))
    return keras.Model(x, layers.Dense(2)(layers.Dense(6, "softmax")(layers.Flatten()(x))))


def _layer_norm() -> keras.Model:
    x = keras.Input((5, 4))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.LayerNormalization()(x))))


@pytest.mark.parametrize("method", ["epsilon_lrp", "deeplift"])
@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: _recurrent(layers.LSTM), r"loop or condition \(LSTM, GRU, ...\)"),
        (lambda: _recurrent(layers.GRU), "loop or condition"),
        (lambda: _recurrent(layers.LSTM, unroll=True), "product of two tensors that both depend on the input"),
        (_attention, "product of two tensors.*softmax inside the network"),
        (_squeeze_and_excite, "product of two tensors"),
        (_softmax_inside, "softmax inside the network"),
        (_layer_norm, "product of two tensors"),
    ],
    ids=["lstm", "gru", "unrolled lstm", "attention", "squeeze and excite", "softmax inside", "layer norm"],
)
def test_unsupported_steps_are_refused_by_name(method: str, build: Callable[[], keras.Model], reason: str) -> None:
    model, x = build(), RNG.normal(size=(3, 5, 4)).astype(np.float32)
    with pytest.raises(
        dx.UnsupportedModelError, match=f"{method} has no rule for .*{reason}.* Use integrated_gradients"
    ):
        dx.explain(method, model, x, target=0)
    result = dx.explain(method, model, x, target=0, on_unsupported="gradient", return_result=True)
    assert np.isfinite(result.attributions).all()
    assert all(any("plain gradient through" in warning for warning in warnings) for warnings in result.warnings)


def test_batch_statistics_are_refused() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2], tf.float32)])
    def training(x: Any) -> Any:
        return tf.compat.v1.nn.fused_batch_norm(x, [1.0, 1.0], [0.0, 0.0], is_training=True)[0]

    with pytest.raises(dx.UnsupportedModelError, match="normalisation by the batch's statistics"):
        dx.explain("deeplift", training, RNG.normal(size=(3, 4, 4, 2)))


@pytest.mark.parametrize("swap", [False, True])
def test_the_reference_fits_any_position_of_the_batch_axis(swap: bool) -> None:
    """Time-major and merged batches: one reference must not be broadcast along the wrong axis."""
    w = _weights("float32", (4, 4))[0]

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4], tf.float32)], autograph=False)
    def model(x: Any) -> Any:
        y = tf.transpose(x, [1, 0, 2]) if swap else x
        y = tf.reshape(tf.tanh(tf.reshape(y, [-1, 4]) @ w + 0.3), tf.shape(y))
        return tf.reduce_sum(tf.transpose(y, [1, 0, 2]) if swap else y, 2)

    base = RNG.normal(size=(3, 4)).astype(np.float32)
    result = dx.explain("deeplift", model, RNG.normal(size=(5, 3, 4)), target=1, baseline=base, return_result=True)
    np.testing.assert_allclose(result.gap, 0, atol=1e-5)


def test_the_reference_has_the_context_of_each_example() -> None:
    numbers, mask = keras.Input((6,), name="numbers"), keras.Input((6,), name="mask")
    hidden = layers.Dense(5, "tanh")(layers.Multiply()([numbers, mask]))
    model = keras.Model({"numbers": numbers, "mask": mask}, layers.Dense(2)(hidden))
    xs = {"numbers": RNG.normal(size=(4, 6)), "mask": RNG.integers(0, 2, (4, 6)).astype(float)}
    result = dx.explain("deeplift", model, xs, inputs="numbers", target=0, return_result=True)
    np.testing.assert_allclose(result.gap, 0, atol=1e-5)
    assert not result.attributions["numbers"][xs["mask"] == 0].any()


def test_a_rule_does_not_change_later_gradients() -> None:
    model, x = models.sequential(), RNG.normal(size=(4, 10)).astype(np.float32)
    before = dx.explain("saliency", model, x, target=0)
    dx.explain("deeplift", model, x, target=0)
    with pytest.raises(dx.ParameterError):
        dx.explain("epsilon_lrp", model, x, target=0, epsilon=0)
    np.testing.assert_array_equal(dx.explain("saliency", model, x, target=0), before)


def test_an_explained_softmax_is_a_warning() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3, activation="log_softmax")(x))
    with pytest.warns(UserWarning, match="softmax"):
        explainer = dx.Explainer("deeplift", model, output="output", target=0)
    result = explainer.run(RNG.normal(size=(6, 4)), return_result=True)
    assert "the softmax that is itself explained" in result.warnings[0][0]
