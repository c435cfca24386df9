"""Models whose output depends on random numbers or on variables that they write are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx

v1 = tf.compat.v1
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
GENERATOR = tf.random.Generator.from_seed(1)
SPEC = tf.TensorSpec([None, 3], tf.float32, name="x")


def _net(body: Callable[[Any], Any]) -> Any:
    return tf.function(body, input_signature=[SPEC], autograph=False)


def _dropout(rate: float, training: bool) -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(rate), keras.layers.Dense(2)])
    return _net(lambda x: model(x, training=training))


def _in_a_loop(x: Any) -> Any:
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, y + tf.random.normal(tf.shape(y))), (0, x))[1]


@pytest.mark.parametrize(
    ("body", "op"),
    [
        (lambda x: x + tf.random.normal(tf.shape(x)), "RandomStandardNormal"),
        (lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]), "StatelessRandomNormalV2"),
        (lambda x: tf.nn.dropout(x, 0.5), "RandomUniform"),
        (_dropout(0.5, training=True), "Stateless"),
        (_in_a_loop, "while.*RandomStandardNormal"),
        (lambda x: tf.random.shuffle(x), "RandomShuffle"),
        (lambda x: x * GENERATOR.uniform(tf.shape(x)), "RngReadAndSkip|StatelessRandom"),
    ],
    ids=["noise", "noise with a seed", "dropout", "Keras' dropout", "in a loop", "shuffle", "generator"],
)
def test_random_models_are_refused(body: Callable[[Any], Any], op: str) -> None:
    with pytest.raises(dx.UnsupportedModelError, match=f"random numbers: .*{op}.*training=True"):
        dx.Explainer("saliency", _net(body))


def _save_idle_dropout(parameter: str, path: Path) -> Any:
    """A SavedModel with dropout as TensorFlow 1 exports it: off by the default value of its training phase or of its rate."""
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 3])
            keep = v1.placeholder_with_default(1.0, [])
            phase = v1.placeholder_with_default(False, [])
            y = (
                v1.cond(phase, lambda: v1.nn.dropout(x, 0.5), lambda: x)
                if parameter == "phase"
                else v1.nn.dropout(x, keep)
            )
            v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": 2.0 * y})
    finally:
        v1.enable_control_flow_v2()
    return path


def _constant_condition(x: Any) -> Any:
    return tf.cond(tf.constant(value=False), lambda: tf.nn.dropout(x, 0.5), lambda: x) * 2.0


@pytest.mark.parametrize("case", ["phase", "rate", "constant condition", "projection", "not explained"])
def test_random_numbers_without_effect_are_accepted(case: str, tmp_path: Path) -> None:
    forms: dict[str, Any] = {
        "constant condition": _net(_constant_condition),
        "projection": _net(lambda x: 2.0 * x + 0.0 * x @ tf.random.stateless_normal([3, 3], [1, 2])),
        "not explained": _net(lambda x: {"a": 2.0 * x, "b": x + tf.random.normal(tf.shape(x))}),
    }
    form = forms.get(case) or _save_idle_dropout(case, tmp_path / "saved")
    explainer = dx.Explainer("saliency", form, output="a" if case == "not explained" else None)
    np.testing.assert_allclose(explainer.predict(X).outputs, 2 * X, rtol=1e-6)
    np.testing.assert_allclose(explainer.run(X, target=None), 2.0, rtol=1e-6)


def test_dropout_at_inference_is_accepted() -> None:
    dx.Explainer("saliency", _dropout(0.5, training=False))


@pytest.mark.parametrize("position", ["plain", "in a call", "in a branch"])
def test_variables_written_before_they_are_read_are_refused(position: str) -> None:
    scale = tf.Variable(2.0, name="scale")
    write = lambda: scale.assign(3.0 * scale)  # noqa: E731
    writes = {"plain": write, "in a call": tf.function(write), "in a branch": lambda: tf.cond(scale > 0, write, write)}

    def model(x: Any) -> Any:
        writes[position]()
        return scale * x

    with pytest.raises(dx.UnsupportedModelError, match=r"writes before it reads it: .*ReadVariableOp.* \(after "):
        dx.Explainer("saliency", _net(model))


def test_variables_written_after_they_are_read_keep_their_values() -> None:
    scale, calls = tf.Variable(2.0), tf.Variable(0.0)

    def model(x: Any) -> Any:
        calls.assign_add(1.0)
        y = scale * x
        scale.assign(5.0)
        return y

    np.testing.assert_allclose(dx.explain("saliency", _net(model), X, target=None), 2.0)
    assert (scale.numpy(), calls.numpy()) == (2.0, 0.0)
