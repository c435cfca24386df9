"""Completeness: methods that promise a sum keep it on models that normalise, or say that they do not, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)


def _weights(*shape: int) -> Any:
    return tf.constant((RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32))


def _model(function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    return tf.function(function, input_signature=[tf.TensorSpec([None, *shape])], autograph=False)


def _rms_norm(x: Any) -> Any:
    return x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 1e-6)


def _two_blocks() -> Any:
    """Two residual blocks of width 8 with RMS norm."""
    blocks, head = [(_weights(8, 16), _weights(16, 8)) for _ in range(2)], _weights(8, 1)

    def function(x: Any) -> Any:
        for first, second in blocks:
            x += tf.nn.relu(_rms_norm(x) @ first) @ second
        return (_rms_norm(x) @ head)[:, 0]

    return _model(function, (8,))


def _decoder() -> Any:
    """Three blocks of attention and gated layers as in Gemma, on embeddings of width 16."""
    names = {"q": 16, "k": 16, "v": 16, "o": 16, "gate": 32, "up": 32}
    blocks = [{n: _weights(16, w) for n, w in names.items()} | {"down": _weights(32, 16)} for _ in range(3)]
    head = _weights(16, 1)

    def function(x: Any) -> Any:
        for w in blocks:
            q, k, v = (tf.einsum("btd,de->bte", _rms_norm(x), w[n]) for n in "qkv")
            x += tf.einsum("bts,bse,ef->btf", tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 4), v, w["o"])
            y = _rms_norm(x)
            gated = tf.nn.gelu(tf.einsum("btd,dh->bth", y, w["gate"])) * tf.einsum("btd,dh->bth", y, w["up"])
            x += tf.einsum("bth,hd->btd", gated, w["down"])
        return tf.einsum("bd,dc->bc", _rms_norm(x)[:, -1], head)[:, 0]

    return _model(function, (5, 16))


@pytest.mark.parametrize(("build", "shape"), [(_two_blocks, (4, 8)), (_decoder, (2, 5, 16))])
def test_integrated_gradients_sum_where_the_baseline_is_next_to_a_singularity(
    build: Any, shape: tuple[int, ...]
) -> None:
    model, xs = build(), np.random.default_rng(1).normal(size=shape).astype(np.float32)
    result = dx.explain("integrated_gradients", model, xs, return_result=True)
    change = result.score - result.baseline_score
    assert (abs(result.gap) <= 0.011 * abs(change) + 1e-4).all()
    assert not any(result.warnings)
    few = dx.explain("integrated_gradients", model, xs, return_result=True, max_evaluations=9)
    assert any("choose a baseline inside the data" in text for texts in few.warnings for text in texts)
    assert (abs(few.gap) < 100 * (1 + abs(change))).all()  # the slope at the baseline is 1e3 to 1e11
    fixed = dx.explain("integrated_gradients", model, xs, return_result=True, steps=10)
    above = abs(fixed.gap) > 0.01 * abs(change)
    assert above.any()
    assert [any("above tolerance=0.01 with steps=10" in t for t in texts) for texts in fixed.warnings] == above.tolist()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: tf.reduce_sum(tf.sort(x, 1) * [1.0, 2, 4, 8], 1), "all goes to the winner of "),
        (lambda x: tf.reduce_max(x, 1), "all goes to the winner of Max"),
        (lambda x: tf.reduce_sum((x - tf.reduce_mean(x, 0)) ** 3, 1), "half precision or batch statistics"),
    ],
    ids=["sort", "maximum", "batch statistics"],
)
def test_deeplift_says_where_it_does_not_sum(function: Any, message: str) -> None:
    xs = RNG.normal(size=(5, 4)).astype(np.float32)
    result = dx.explain("deeplift", _model(function, (4,)), xs, return_result=True, baseline=np.array([3.0, -2, 1, 0]))
    above = abs(result.gap) > 0.01 * abs(result.score - result.baseline_score)
    assert above.any()
    is_warned = [any("does not sum" in text for text in texts) for texts in result.warnings]
    assert is_warned == above.tolist()
    texts = [text for of_example in result.warnings for text in of_example if "does not sum" in text]
    assert message in texts[0]


def test_deeplift_says_that_plain_gradients_do_not_sum() -> None:
    first, second, xs = _weights(4, 4), _weights(4, 4), 2 + RNG.normal(size=(3, 4)).astype(np.float32)
    model = _model(lambda x: tf.reduce_sum(tf.tanh(x @ first) * (x @ second), 1), (4,))
    result = dx.explain("deeplift", model, xs, return_result=True, on_unsupported="gradient")
    for texts in result.warnings:
        assert any("is above 1% (some steps keep their plain gradient)" in text for text in texts)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision_says_where_it_misses_the_sum(dtype: str) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32,), dtype="float16" if dtype == "float16" else "float32")
    hidden = keras.layers.Dense(64, "relu", dtype=dtype)(inputs)
    # Scores near 100 are rounded to a sixteenth and more.
    model = keras.Model(
        inputs, keras.layers.Dense(3, bias_initializer=keras.initializers.Constant(100), dtype=dtype)(hidden)
    )
    xs = RNG.normal(size=(16, 32)).astype(np.float32)
    for method in ("deeplift", "integrated_gradients"):
        result = dx.explain(method, model, xs, target=1, return_result=True)
        missed = abs(result.gap) > 0.01 * np.maximum(
            abs(result.score - result.baseline_score), 1e-3 * abs(result.score)
        )
        assert missed.any()
        is_warned = [any("the completeness gap is above" in text for text in texts) for texts in result.warnings]
        assert is_warned == missed.tolist()


def test_deeplift_refuses_stopped_gradients() -> None:
    model = _model(lambda x: tf.reduce_sum(tf.stop_gradient(tf.tanh(x)) + x, 1), (4,))
    with pytest.raises(dx.UnsupportedModelError, match="a stopped gradient"):
        dx.explain("deeplift", model, np.ones((2, 4)))


LINEAR: dict[str, Callable[[Any], Any]] = {
    "ScaleAndTranslate": lambda x: tf.image.resize(x, [3, 5], antialias=True),
    "ExtractImagePatches": lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1] * 4, "VALID"),
    "CropAndResize": lambda x: tf.image.crop_and_resize(x[:1], [[0.1, 0.2, 0.9, 0.8]], [0], [3, 3]),
    "FFT": lambda x: tf.math.imag(tf.signal.fft(tf.cast(x[..., 0], tf.complex64))),
    "RFFT": lambda x: tf.math.real(tf.signal.rfft(x[..., 0])),
    "RFFT2D": lambda x: tf.signal.irfft2d(tf.signal.rfft2d(x[..., 0]) * [2.0, 0.5, 1.0])[..., None],
    "MatrixSetDiag": lambda x: tf.linalg.set_diag(x, 2 * x[:, :, 0, :]),
    "MatrixSolve": lambda x: tf.linalg.solve(tf.eye(4, batch_shape=[1, 4]) * 3.0, x),
    "DynamicPartition": lambda x: tf.ensure_shape(tf.dynamic_partition(3 * x, [0], 1)[0], [1, 4, 4, 1]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_steps_keep_their_gradient(name: str) -> None:
    weights = RNG.normal(size=500).astype(np.float32)

    def function(x: Any) -> Any:
        y = tf.reshape(LINEAR[name](tf.ensure_shape(x, [1, 4, 4, 2 if name == "MatrixSetDiag" else 1])), [1, -1])
        return tf.reduce_sum(y * weights[: y.shape[1]], 1)

    model = _model(function, (4, 4, 2 if name == "MatrixSetDiag" else 1))
    shape = (1, 4, 4, 2 if name == "MatrixSetDiag" else 1)
    basis = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    zero = model(tf.zeros(shape))
    derivative = np.reshape([model(e) - zero for e in basis], shape)
    x = RNG.normal(size=shape).astype(np.float32)
    for method in ("deeplift", "epsilon_lrp"):
        assert_maps_close(dx.explain(method, model, x), x * derivative, 1e-4)


def test_windows_without_a_score_are_left_out() -> None:
    """The logarithm of the loudest frame; without that frame the rest is silent."""
    model = _model(lambda x: tf.math.log(tf.reduce_max(x, 1) / tf.reduce_sum(x, 1)), (4,))
    xs = np.array([[0, 3, 0, 0], [1, 2, 1, 4]], np.float32)
    result = dx.explain("occlusion", model, xs, return_result=True)
    np.testing.assert_allclose(result.attributions[0], [0, np.nan, 0, 0], atol=1e-6)
    score = lambda x: np.log(x.max() / x.sum())  # noqa: E731
    expected = [score(xs[1]) - score(np.where(np.arange(4) == i, 0, xs[1])) for i in range(4)]
    np.testing.assert_allclose(result.attributions[1], expected, rtol=1e-4, atol=1e-6)
    assert "1 of 4 values, the first at (1,)" in result.warnings[0][0]
    assert "without some windows the score is NaN" in result.warnings[0][1]
    assert not result.warnings[1]
    overlapping = dx.explain("occlusion", model, xs[:1], return_result=True, window_shape=2)
    assert np.isnan(overlapping.attributions[0, 1])  # both of its windows silence the example
    np.testing.assert_allclose(overlapping.attributions[0, 3], 0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*the input holds NaN or infinity")
def test_missing_values_are_occluded() -> None:
    """A model that fills them in: without the missing value, the baseline is there."""
    model = _model(lambda x: tf.reduce_sum(tf.where(tf.math.is_finite(x), x**2, 5 * tf.ones_like(x)), 1), (3,))
    xs = np.array([[np.nan, 2, 1], [1, -np.inf, 2]], np.float32)
    np.testing.assert_allclose(dx.explain("occlusion", model, xs), [[5, 4, 1], [1, 5, 4]])
    np.testing.assert_allclose(dx.explain("shapley_sampling", model, xs), [[5, 4, 1], [1, 5, 4]])
