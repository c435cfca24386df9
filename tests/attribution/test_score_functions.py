"""A function of the model's outputs as the score: contrasts, boxes of a detector, pairs of embeddings."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4)).astype(np.float32)


def gradient(function: Any, xs: np.ndarray) -> np.ndarray:
    """d function / dx by a tape over the model as its owner calls it."""
    x = tf.constant(xs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_sum(function(x))
    return np.asarray(tape.gradient(score, x))


@pytest.fixture(scope="module")
def two_heads() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    hidden = layers.Dense(6, "tanh")(x)
    heads = {"kind": layers.Dense(3, "softmax", name="kind")(hidden), "size": layers.Dense(1, name="size")(hidden)}
    return keras.Model(x, heads)


def test_a_function_of_one_output() -> None:
    model = models.sequential()
    xs = RNG.normal(size=(4, 10)).astype(np.float32)

    def odds(probabilities: Any) -> Any:
        return tf.math.log(probabilities[:, 1]) - tf.math.log(probabilities[:, 0])

    result = dx.explain("gradient_x_input", model, xs, score=odds, return_result=True)
    assert_maps_close(result.score, odds(model(xs)))
    assert_maps_close(result.attributions, xs * gradient(lambda x: odds(model(x)), xs))
    assert result.target is None
    of_logits = dx.explain("gradient_x_input", model, xs, score=lambda z: z[:, 1] - z[:, 0], logits=True)
    assert_maps_close(of_logits, result.attributions, 1e-4)


def test_a_rule_before_a_softmax_is_told_of_the_logits() -> None:
    model, xs = models.graph(models.sequential), np.ones((2, 10), np.float32)
    with pytest.raises(
        dx.UnsupportedModelError, match=r"deeplift has no rule for softmax .*; or logits=True, which gives"
    ):
        dx.explain("deeplift", model, xs, score=lambda y: y[:, 1])
    assert dx.explain("deeplift", model, xs, score=lambda z: z[:, 1], logits=True).shape == (2, 10)


def test_a_softmax_inside_the_network_is_no_reason_for_logits() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, "softmax")(layers.Softmax()(layers.Dense(3)(x))))
    with pytest.raises(
        dx.UnsupportedModelError, match="deeplift has no rule for softmax inside the network"
    ) as refusal:
        dx.explain("deeplift", model, np.ones((2, 4)), score=lambda y: y[:, 1])
    assert "logits=True" not in str(refusal.value)


def test_a_function_of_several_outputs_by_name(two_heads: keras.Model) -> None:
    def likely_size(outputs: Any) -> Any:
        return outputs["kind"][:, 2] * outputs["size"][:, 0]

    result = dx.explain("saliency", two_heads, ROWS, score=likely_size, return_result=True)
    assert_maps_close(result.score, likely_size(two_heads(ROWS)))
    assert_maps_close(result.attributions, abs(gradient(lambda x: likely_size(two_heads(x)), ROWS)))
    for method in ("integrated_gradients", "shapley_sampling"):
        summed = dx.explain(method, two_heads, ROWS, score=likely_size, return_result=True)
        change = likely_size(two_heads(ROWS)) - likely_size(two_heads(0 * ROWS))
        np.testing.assert_allclose(summed.attributions.sum(1), change, atol=0.011 * abs(change).numpy().max())
    measured = dx.evaluate("saliency", two_heads, ROWS, ["sensitivity_n"], score=likely_size)
    assert np.isfinite(measured["sensitivity_n"].value).all()


def test_a_score_without_a_hash() -> None:
    @dataclasses.dataclass
    class Unit:
        number: int

        def __call__(self, output: Any) -> Any:
            return output[:, self.number]

    inputs = keras.Input((3,))
    model, xs = keras.Model(inputs, keras.layers.Dense(2)(inputs)), np.ones((2, 3), np.float32)
    for number in range(2):
        maps = dx.explain("saliency", model, xs, score=Unit(number))
        np.testing.assert_array_equal(maps, dx.explain("saliency", model, xs, target=number))


def test_a_score_may_use_tensors_of_its_own() -> None:
    """The cosine of two embeddings, and of one embedding with a stored one."""
    keras.utils.set_random_seed(1)
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    encode = keras.Sequential([layers.Dense(6, "tanh"), layers.Dense(3)])
    pair = keras.Model([left, right], {"a": encode(left), "b": encode(right)})

    def cosine(outputs: Any) -> Any:
        return tf.reduce_sum(tf.math.l2_normalize(outputs["a"], -1) * tf.math.l2_normalize(outputs["b"], -1), -1)

    others = RNG.normal(size=(5, 4)).astype(np.float32)
    result = dx.explain("gradient_x_input", pair, [ROWS, others], score=cosine, return_result=True)
    assert_maps_close(result.score, cosine(pair([ROWS, others])))
    assert_maps_close(result.attributions[0], ROWS * gradient(lambda x: cosine(pair([x, tf.constant(others)])), ROWS))
    stored = tf.Variable(encode(others[:1]))
    alone = keras.Model(left, encode(left))

    def to_stored(embedding: Any) -> Any:
        return tf.reduce_sum(tf.math.l2_normalize(embedding, -1) * tf.math.l2_normalize(stored, -1), -1)

    explainer = dx.Explainer("gradient_x_input", alone, score=to_stored)
    assert_maps_close(explainer.run(ROWS), ROWS * gradient(lambda x: to_stored(alone(x)), ROWS))
    randomised = explainer.for_model(explainer.graph.with_weights({}))
    assert_maps_close(randomised.run(ROWS), explainer.run(ROWS))


def test_the_score_of_one_box_of_a_detector() -> None:
    keras.utils.set_random_seed(2)
    picture = keras.Input((8, 8, 3), name="picture")
    features = layers.Conv2D(5, 3, 2, activation="relu")(picture)
    flat = layers.Reshape((9, 5))(features)
    detector = keras.Model(
        picture,
        {"boxes": layers.Dense(4, name="boxes")(flat), "classes": layers.Dense(3, "sigmoid", name="classes")(flat)},
    )
    pictures = RNG.normal(size=(3, 8, 8, 3)).astype(np.float32)

    def best_box_of_class_1(outputs: Any) -> Any:
        return tf.reduce_max(outputs["classes"][..., 1], -1)

    result = dx.explain("gradient_x_input", detector, pictures, score=best_box_of_class_1, return_result=True)
    assert_maps_close(result.score, detector(pictures)["classes"].numpy()[..., 1].max(1))
    assert_maps_close(result.attributions, pictures * gradient(lambda x: best_box_of_class_1(detector(x)), pictures))
    occluded = dx.explain("occlusion", detector, pictures, score=best_box_of_class_1, window_shape=(8, 8, 3))
    change = result.score - best_box_of_class_1(detector(0 * pictures)).numpy()
    assert_maps_close(occluded, np.broadcast_to(change[:, None, None, None] / 192, pictures.shape), 1e-4)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda y: y[:, :1], r"returns a tensor of shape \[None, 1\].*expected one number for each example"),
        (tf.reduce_mean, r"reduce_mean returns a tensor of shape \[\]"),
        (lambda y: y[0], r"returns a tensor of shape \[2\]"),
        (lambda y: tf.argmax(y, -1), "returns int64 values, which have no gradient"),
        (lambda y: [y[:, 0]], "returns a list; expected one tensor"),
        (lambda y: y["kind"], r"fails on the model's outputs \(output_0: float32 \[None, 2\]\): TypeError"),
        ("module:function", "got str; expected a function"),
    ],
)
def test_what_is_no_score_is_refused(score: Any, message: str) -> None:
    with pytest.raises(dx.ParameterError, match=message):
        dx.Explainer("saliency", models.graph(models.sequential), score=score)


def test_a_score_without_gradient_is_refused_by_gradients_only() -> None:
    xs = RNG.normal(size=(2, 10)).astype(np.float32)

    def rounded(probabilities: Any) -> Any:
        return tf.round(10 * probabilities[:, 0])

    with pytest.raises(dx.UnsupportedModelError, match=r"no gradient reaches the explained input: it ends at.*Round"):
        dx.explain("saliency", models.graph(models.sequential), xs, score=rounded)
    assert dx.explain("occlusion", models.graph(models.sequential), xs, score=rounded).shape == (2, 10)


def test_a_score_stands_alone() -> None:
    for options in ({"target": 1}, {"output": "output"}):
        with pytest.raises(dx.ParameterError, match="got score and output or target"):
            dx.Explainer("saliency", models.graph(models.sequential), score=lambda y: y[:, 0], **options)
    with pytest.raises(dx.InputError, match="got target, but score="):
        dx.explain("saliency", models.graph(models.sequential), np.ones((2, 10)), score=lambda y: y[:, 0], target=1)
