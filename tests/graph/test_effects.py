"""What a model does besides computing: refused where maps would be wrong, spoken of where they may surprise."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.errors import ParameterError, UnsupportedModelError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
ROW = [tf.TensorSpec([None, 4])]
GENERATOR = tf.random.Generator.from_seed(1)


def _in_a_loop(x: Any) -> Any:
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, y + tf.random.normal(tf.shape(y))), [0, x])[1]


@pytest.mark.parametrize(
    "noisy",
    [
        lambda x: x + tf.random.normal(tf.shape(x)),
        lambda x: x * tf.random.stateless_uniform(tf.shape(x), [1, 2]),
        lambda x: tf.random.shuffle(x),
        lambda x: tf.nn.dropout(x, 0.5),
        lambda x: x * GENERATOR.uniform(tf.shape(x)),
        _in_a_loop,
    ],
    ids=["normal", "stateless", "shuffle", "dropout", "generator", "loop"],
)
def test_random_numbers_are_refused(noisy: Any) -> None:
    function = tf.function(lambda x: tf.reduce_sum(tf.tanh(noisy(x)), 1), input_signature=ROW)
    for method in ("saliency", "deeplift", "occlusion"):
        with pytest.raises(UnsupportedModelError, match=r"depends on random numbers \(.*training=False"):
            dx.Explainer(method, function)


def test_dropout_at_inference_and_branches_not_taken_are_no_chance(tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1)(layers.GaussianNoise(0.3)(layers.Dropout(0.5)(x))))
    model.export(tmp_path / "model", verbose=False)
    dx.explain("saliency", tmp_path / "model", X)

    @tf.function(input_signature=ROW)
    def learning(x: Any) -> Any:
        return tf.reduce_sum(tf.cond(tf.reduce_sum(x) < -1e9, lambda: tf.nn.dropout(x, 0.5), lambda: x), 1)

    np.testing.assert_array_equal(dx.explain("saliency", learning, X), np.ones_like(X))


class _Writing(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.v, self.calls = tf.Variable(tf.zeros(4)), tf.Variable(0)

    @tf.function(input_signature=ROW)
    def before(self, x: Any) -> Any:
        self.v.assign([1.0, 2.0, 3.0, 4.0])
        return tf.reduce_sum(x * self.v, 1)

    @tf.function(input_signature=ROW)
    def after(self, x: Any) -> Any:
        y = tf.reduce_sum(x * (self.v + 1), 1)
        self.v.assign_add(tf.ones(4))
        self.calls.assign_add(1)
        return y


@pytest.mark.parametrize("saved", [False, True])
def test_variables_written_before_they_are_read_are_refused(saved: bool, tmp_path: Path) -> None:
    module = _Writing()
    models: dict[str, Any] = {"before": module.before, "after": module.after}
    if saved:
        for name, function in models.items():
            tf.saved_model.save(module, str(tmp_path / name), signatures=function)
            models[name] = tmp_path / name
    with pytest.raises(UnsupportedModelError, match=r"writes the variable .* before it reads it"):
        dx.Explainer("saliency", models["before"])
    for _ in range(2):
        np.testing.assert_array_equal(dx.explain("gradient_x_input", models["after"], X), X)


@tf.custom_gradient
def _straight_through(x: Any) -> Any:
    return tf.round(x), lambda d: d


def test_gradients_that_somebody_wrote_are_spoken_of() -> None:
    function = tf.function(lambda x: tf.reduce_sum(_straight_through(3 * x) * x, 1), input_signature=ROW)
    result = dx.explain("saliency", function, X, return_result=True)
    np.testing.assert_allclose(result.attributions, abs(np.round(3 * X)), rtol=1e-5)
    assert all("is not used, but that of what it computes" in said[0] for said in result.warnings)
    assert not any(dx.explain("occlusion", function, X, return_result=True).warnings)
    silu = tf.function(lambda x: tf.reduce_sum(tf.nn.silu(x) + keras.activations.silu(2 * x), 1), input_signature=ROW)
    assert not any(dx.explain("saliency", silu, X, return_result=True).warnings)


@pytest.mark.parametrize("functional", [False, True])
def test_a_subclass_may_have_a_call_of_its_own(functional: bool) -> None:
    base = keras.Model if functional else keras.Sequential

    class Scaled(base):  # type: ignore[misc,valid-type]
        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(x) * 10.0 + 1.0

    x = keras.Input((4,))
    model = Scaled(x, layers.Dense(2)(x)) if functional else Scaled([x, layers.Dense(2)])
    np.testing.assert_allclose(dx.Explainer("saliency", model).predict(X).outputs, model(X), rtol=1e-5)


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
