"""Custom gradients are those that TensorFlow itself would use; where a file lacks them, that is said or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
SIGNATURE = [tf.TensorSpec([None, 4])]


@tf.custom_gradient
def _rounded(x: Any) -> Any:
    return tf.round(x), lambda d: d


@tf.custom_gradient
def _silu_with_another_gradient(x: Any) -> Any:
    return x * tf.sigmoid(x), lambda d: 3 * d


@tf.custom_gradient
def _halved(x: Any) -> Any:
    """A gradient that needs values of the forward pass; the derivative is another one."""
    y = tf.tanh(x)
    return y, lambda d: d * (x + y * y) / 2


def _in_a_loop(x: Any) -> Any:
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, _halved(_rounded(2 * y) + x)), (0, x))[1]


def _with_a_variable() -> Callable[[Any], Any]:
    w = tf.Variable(X[:4])

    @tf.custom_gradient
    def product(x: Any) -> Any:
        return tf.round(x @ w), lambda d, variables: (d @ tf.transpose(w), [None])

    return product


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "straight through": lambda x: _rounded(3 * x) * x,
    "like a silu": _silu_with_another_gradient,
    "values of the forward pass": lambda x: _halved(3 * x) * x,
    "in a function": tf.function(lambda x: _halved(3 * x) * x),
    "in a compiled function": tf.function(lambda x: _halved(tf.abs(x)), jit_compile=True),
    "in a loop": _in_a_loop,
    "in a condition": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: _rounded(3 * x), lambda: _rounded(x)),
    "of a variable": _with_a_variable(),
}


def _model(function: Callable[[Any], Any]) -> Any:
    return tf.function(lambda x: tf.reduce_sum(function(x) ** 2, 1), input_signature=SIGNATURE, autograph=False)


def _gradient(model: Any, xs: np.ndarray) -> Any:
    with tf.GradientTape() as tape:
        x = tf.constant(xs)
        tape.watch(x)
        score = model(x)
    return tape.gradient(score, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_tensorflow(name: str) -> None:
    model = _model(FUNCTIONS[name])
    expected = _gradient(model, X)
    assert np.asarray(expected).any()
    for method, factor in (("saliency", 1), ("gradient_x_input", X)):
        result = dx.explain(
            method, model, X, return_result=True, check_batch=False
        )  # a condition on the batch mixes it
        maps = expected * factor if method != "saliency" else abs(expected)
        assert_maps_close(result.attributions, maps)
        assert not any(result.warnings)


def test_backward_rules_follow_the_computation() -> None:
    model = _model(FUNCTIONS["straight through"])
    result = dx.explain("deeplift", model, X, return_result=True, on_unsupported="gradient")
    assert any("the derivative of the forward computation is used" in text for text in result.warnings[0])
    assert not any(dx.explain("occlusion", model, X, return_result=True).warnings)


@pytest.mark.parametrize("keeps", [True, False])
def test_savedmodels_without_their_custom_gradients(keeps: bool, tmp_path: Path) -> None:
    for name in ("straight through", "values of the forward pass"):
        model = _model(FUNCTIONS[name])
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=keeps)
        tf.saved_model.save(tf.Module(), tmp_path / name, signatures=model, options=options)
        if keeps:
            result = dx.explain("saliency", tmp_path / name, X, return_result=True)
            assert_maps_close(result.attributions, abs(_gradient(model, X)))
            assert not any(result.warnings)
        elif name == "straight through":
            with pytest.raises(
                dx.UnsupportedModelError, match=r"custom gradient of .*IdentityN is not in the graph.*occlus"
            ):
                dx.Explainer("saliency", tmp_path / name)
            assert dx.explain("occlusion", tmp_path / name, X).any()
        else:
            result = dx.explain("saliency", tmp_path / name, X, return_result=True)
            assert all("custom gradients are ignored" in texts[0] for texts in result.warnings)


def test_quantised_keras_models_have_the_gradient_that_keras_wrote(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)])
    model.quantize("int8")
    expected = _gradient(lambda x: model(x)[:, 1], X)
    result = dx.explain("saliency", model, X, target=1, return_result=True)
    assert_maps_close(result.attributions, abs(expected))
    assert not any(result.warnings)
    model.export(tmp_path / "model", verbose=False)
    assert_maps_close(dx.explain("saliency", tmp_path / "model", X, target=1), abs(expected))


def test_silu_needs_no_warning() -> None:
    silu = _model(lambda x: tf.nn.silu(x) + keras.activations.silu(2 * x))
    for method in ("saliency", "deeplift"):
        assert not any(dx.explain(method, silu, X, return_result=True).warnings)
