"""Logits behind softmaxes of any shape, gradients that somebody wrote, and what is asked for twice."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.errors import ParameterError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
ROW = [tf.TensorSpec([None, 4])]


@tf.custom_gradient
def _straight_through(x: Any) -> Any:
    return tf.round(x), lambda d: d


def test_gradients_that_somebody_wrote_are_spoken_of() -> None:
    function = tf.function(lambda x: tf.reduce_sum(_straight_through(3 * x) * x, 1), input_signature=ROW)
    result = dx.explain("saliency", function, X, return_result=True)
    np.testing.assert_allclose(result.attributions, abs(np.round(3 * X)), rtol=1e-5)
    assert all("the derivative of the forward computation is used" in said[0] for said in result.warnings)
    assert not any(dx.explain("occlusion", function, X, return_result=True).warnings)
    silu = tf.function(lambda x: tf.reduce_sum(tf.nn.silu(x) + keras.activations.silu(2 * x), 1), input_signature=ROW)
    assert not any(dx.explain("saliency", silu, X, return_result=True).warnings)


HEADS = {
    "log": lambda z: layers.Activation("log_softmax")(z),
    "reshaped": lambda z: layers.Reshape((6,))(layers.Softmax()(layers.Reshape((2, 3))(z))),
    "axis": lambda z: layers.Softmax(axis=1)(layers.Reshape((2, 3))(z)),
    "permuted": lambda z: layers.Permute((2, 1))(layers.Softmax()(layers.Reshape((2, 3))(z))),
    "sigmoid": lambda z: layers.Reshape((3, 2))(layers.Activation("sigmoid")(z)),
}


@pytest.mark.parametrize("head", ["log", "reshaped", "axis", "permuted", "sigmoid"])
def test_logits_are_found_behind_any_shape_of_a_softmax(head: str) -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, HEADS[head](layers.Dense(6)(x)))
    explainer = dx.Explainer("gradient_x_input", model)
    found, truth = explainer.predict(X), model(X)
    assert found.outputs.shape == truth.shape
    squash = {"sigmoid": tf.sigmoid, "axis": lambda z: tf.nn.softmax(z, 1), "permuted": lambda z: tf.nn.softmax(z, 1)}
    if head == "reshaped":
        actual = tf.reshape(tf.nn.softmax(found.outputs.reshape(6, 2, 3)), (6, 6))
    else:
        actual = squash.get(head, tf.nn.softmax)(found.outputs)
    np.testing.assert_allclose(actual, tf.exp(truth) if head == "log" else truth, rtol=1e-4)
    np.testing.assert_allclose(found.probabilities, actual, rtol=1e-4)
    ys = np.random.default_rng(1).normal(size=truth.shape)  # in the shape of the model's own output
    kernel = model.layers[1].kernel.numpy()
    rows = {"permuted": lambda w: w.transpose(0, 2, 1)}.get(head, lambda w: w)(ys).reshape(6, 6)
    np.testing.assert_allclose(explainer.run(X, ys=ys), X * (rows @ kernel.T), rtol=1e-4, atol=1e-5)


def test_a_squeezed_sigmoid_takes_weights_of_its_own_shape() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Reshape(())(layers.Dense(1, activation="sigmoid")(x)))
    explainer = dx.Explainer("saliency", model)
    predicted = explainer.predict(X)
    assert predicted.outputs.shape == (6,)
    np.testing.assert_array_equal(predicted.classes, (model(X).numpy() > 0.5).astype(int))
    assert explainer.run(X, ys=np.ones(6)).shape == X.shape


def test_a_softmax_that_is_explained_is_a_warning_of_its_rules() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3, activation="log_softmax")(x))
    with pytest.warns(UserWarning, match="softmax"):
        explainer = dx.Explainer("deeplift", model, output="output", target=0)
    assert "the softmax that is itself explained" in explainer.run(X, return_result=True).warnings[0][0]


def test_what_is_explained_is_named_once() -> None:
    function = tf.function(lambda x: tf.reduce_sum(x, 1), input_signature=[tf.TensorSpec([None, 4], name="i")])
    with pytest.raises(ParameterError, match="is named twice"):
        dx.Explainer("saliency", function, inputs=["i", "i"])


def test_many_models_in_a_process_are_no_retracing(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    for width in range(3, 12):
        spec = [tf.TensorSpec([None, width])]
        explainer = dx.Explainer("saliency", tf.function(lambda x: tf.reduce_sum(x**2, 1), input_signature=spec))
        explainer.predict(np.ones((2, width)))
        explainer.run(np.ones((3, width)))
    logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
