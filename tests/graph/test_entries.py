"""Which tensors are explained: positions and masks of tokens are not, and inputs are found by the names that people use."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

IDS = np.array([[3, 4, 5, 1, 1, 1], [2, 6, 1, 1, 1, 1]])


def _with_positions() -> Any:
    """Token ids whose positions are counted from the mask of the padding 1, as in RoBERTa."""
    rng = np.random.default_rng(0)
    words, places = (tf.constant(rng.normal(size=(8, 3)), tf.float32) for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.int32, name="ids")])
    def model(ids: Any) -> Any:
        mask = tf.cast(tf.not_equal(ids, 1), tf.int32)
        embedded = tf.gather(words, ids) + tf.gather(places, tf.cumsum(mask, 1) * mask + 1)
        return tf.reduce_sum(tf.tanh(embedded), [1, 2])[:, None]

    return model


def test_positions_are_no_second_embedding() -> None:
    model = _with_positions()
    for inputs in (None, "embedding", "ids"):
        result = dx.explain("occlusion", model, IDS, inputs=inputs, return_result=True)
        assert result.attributions.shape == (2, 6, 3)
        assert result.evaluations.tolist() == [7, 7]


def test_masks_beside_tokens_stay_fixed_and_are_named() -> None:
    keras.utils.set_random_seed(0)
    ids, mask = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6,), dtype="int32", name="mask")
    weights = keras.ops.cast(mask, "float32")[..., None]
    model = keras.Model([ids, mask], layers.Dense(1)(keras.ops.sum(layers.Embedding(8, 3)(ids) * weights, 1)))
    xs = {"ids": IDS, "mask": (IDS != 1).astype(int)}
    result = dx.explain("gradient_x_input", model, xs, return_result=True)
    assert list(result.attributions) == ["ids"]
    assert result.warnings[0] == ["not explained: mask (it goes with the tokens: a mask, say)"]
    assert not result.tokens[IDS == 1].any()
    of_ids, of_mask = dx.explain("gradient_x_input", model, list(xs.values()), return_result=True).attributions
    np.testing.assert_array_equal(of_ids, result.attributions["ids"])
    assert of_mask is None
    for by_order in (list(xs.values()), tuple(xs.values())):
        with pytest.warns(UserWarning, match="not explained: mask"):
            measured = dx.evaluate("gradient_x_input", model, by_order, {"deletion": {"steps": 2}})["deletion"]
        with pytest.warns(UserWarning, match="not explained: mask"):
            by_name = dx.evaluate("gradient_x_input", model, xs, {"deletion": {"steps": 2}})["deletion"]
        np.testing.assert_array_equal(measured.curve, by_name.curve)
    named = dx.explain("gradient_x_input", model, xs, inputs=["ids", "mask"])
    assert named["mask"].shape == (2, 6)
    assert named["mask"].any()


def test_single_ops_and_repeated_layers_are_found_by_name() -> None:
    halves = tf.function(
        lambda x: tf.reduce_sum(x / 2, 1, keepdims=True), input_signature=[tf.TensorSpec([None, 3], name="x")]
    )
    x = np.ones((2, 3), np.float32)
    assert_maps_close(dx.explain("gradient_x_input", halves, x, inputs="truediv"), x / 2)
    keras.utils.set_random_seed(0)
    i, twice = keras.Input((3,)), layers.Dense(3, activation="tanh", name="twice")
    model = keras.Model(i, layers.Dense(1)(twice(twice(i))))
    first = np.asarray(twice(x))
    for method in ("gradient_x_input", "occlusion"):
        maps = dx.explain(method, model, x, inputs="twice")
        tail = keras.Sequential([keras.Input((3,)), twice, model.layers[-1]])
        assert_maps_close(maps, dx.explain(method, tail, first))


def test_two_embeddings_of_one_input_are_named_by_their_layers() -> None:
    ids = keras.Input((4,), dtype="int32", name="ids")
    both = layers.Concatenate()([layers.Embedding(8, 2, name="wide")(ids), layers.Embedding(8, 3, name="deep")(ids)])
    model = keras.Model(ids, layers.Dense(1)(layers.Flatten()(both)))
    x = np.array([[1, 2, 3, 4]])
    explainer = dx.Explainer("occlusion", model)
    maps = dict(zip(explainer.submodel.cut.names, explainer.run(x), strict=True))
    assert {name: values.shape for name, values in maps.items()} == {"wide": (1, 4, 2), "deep": (1, 4, 3)}
    for name, values in maps.items():
        assert_maps_close(dx.explain("occlusion", model, x, inputs=name), values)
    with pytest.raises(dx.ParameterError, match=r"got ids; expected the explained inputs (wide, deep|deep, wide)"):
        dx.explain("occlusion", model, x, baseline={"ids": 0.0})


def test_what_token_ids_choose_is_named() -> None:
    """As in CLIP: the answer is read at the position of the largest id."""
    table = tf.Variable(np.random.default_rng(0).normal(size=(20, 4)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.int32, name="ids")])
    def model(ids: Any) -> Any:
        hidden = tf.cumsum(tf.gather(table, ids), 1)
        return tf.gather(hidden, tf.argmax(ids, 1), axis=1, batch_dims=1)

    for method in ("gradient_x_input", "occlusion"):
        result = dx.explain(method, model, IDS, target=0, return_result=True)
        assert "not explained: what ids does besides its embedding (" in result.warnings[0][0]


def test_an_encoding_that_is_as_long_as_the_input_by_chance() -> None:
    weights = tf.Variable(np.random.default_rng(0).normal(size=(4, 2)).astype("float32"))

    def multi_hot(ids: Any) -> Any:
        return tf.cast(tf.reduce_max(tf.one_hot(ids, 4, dtype=tf.int32), 1), tf.float32) @ weights

    def shifted(ids: Any) -> Any:
        return tf.cast(ids + tf.range(4), tf.float32) @ weights

    ids = np.array([[3, 3, 3, 1]], np.int32)
    for function, expected in (
        (multi_hot, [weights.numpy()[[1, 3], 0].sum()]),
        (shifted, [(ids[0] + np.arange(4)) * weights.numpy()[:, 0]]),
    ):
        model = tf.function(function, input_signature=[tf.TensorSpec([None, 4], tf.int32)])
        assert_maps_close(dx.explain("gradient_x_input", model, ids, target=0), np.array(expected, np.float32))


@pytest.mark.parametrize("is_cast_first", [False, True])
def test_columns_of_floats_that_choose_categories_are_said_not_to_be_explained(is_cast_first: bool) -> None:
    """The embedding has as many numbers as the table has columns, but none of them belongs to another column."""
    table = tf.constant([[1, 2, 3], [4, 0, 1], [2, 2, 5]], tf.float32)

    def model(x: Any) -> Any:
        category = tf.cast(x, tf.int32)[:, 0] if is_cast_first else tf.cast(x[:, 0], tf.int32)
        return tf.reduce_sum(tf.gather(table, category), 1) + 3 * x[:, 1] + x[:, 2] ** 2

    x = np.array([[1, 0.5, -1], [2, 0.2, 0.7]], np.float32)
    function = (model, tf.TensorSpec([None, 3]))
    for method, expected in (
        ("saliency", [[0, 3, 2], [0, 3, 1.4]]),
        ("gradient_x_input", [[0, 1.5, 2], [0, 0.6, 0.98]]),
    ):
        result = dx.explain(method, function, x, return_result=True)
        np.testing.assert_allclose(result.attributions, expected, rtol=1e-5)
        assert all("not explained: columns of x that choose categories" in texts[0] for texts in result.warnings)
    result = dx.explain("occlusion", function, x, return_result=True)
    np.testing.assert_allclose(result.attributions, [[-1, 1.5, 1], [3, 0.6, 0.49]], rtol=1e-5)
    assert result.warnings == [[], []]


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x[:, ::-1],
        lambda x: tf.reverse(x, [1]),
        lambda x: tf.roll(x, 1, 1),
        lambda x: tf.sort(x, 1),
        lambda x: tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1),
        lambda x: tf.cumsum(x, 1),
        lambda x: x - x[:, 1:2],
    ],
)
def test_whole_numbers_that_move_before_they_are_cast_have_no_map_of_other_positions(move: Any) -> None:
    """As where a picture's channels are reversed before its cast: the cast holds another value at each position."""
    weights = tf.constant([[0.5], [-1.0], [2.0], [3.0]])

    def model(x: Any) -> Any:
        return tf.tanh(tf.cast(move(x), tf.float32) @ weights / 20)

    x = np.array([[1, 2, 3, 4], [4, 1, 5, 2]], np.int32)
    function = (model, tf.TensorSpec([None, 4], tf.int32))
    with pytest.raises(
        dx.UnsupportedModelError, match=r"moved or mixed .* before they are encoded: name the encodings"
    ) as error:
        dx.explain("gradient_x_input", function, x)
    names = re.search(r"inputs=\['(.*)'\]", str(error.value))
    assert names is not None
    cast = tf.cast(move(tf.constant(x)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(cast)
        score = tf.tanh(cast @ weights / 20)
    assert_maps_close(dx.explain("gradient_x_input", function, x, inputs=[names[1]]), cast * tape.gradient(score, cast))
    without = [model(tf.constant(np.where(np.arange(4) == i, 0, x))) for i in range(4)]
    assert_maps_close(dx.explain("occlusion", function, x), (model(tf.constant(x)) - tf.concat(without, 1)).numpy())


def test_whole_numbers_in_a_fixed_order_share_one_value() -> None:
    """Their encodings do not follow the length of the input, so that they belong to the whole column."""
    weights = tf.constant([[0.5], [-1.0], [2.0], [3.0]])
    x = np.array([[1, 2, 3, 4], [4, 1, 5, 2]], np.int32)

    def model(x: Any) -> Any:
        return tf.cast(tf.gather(x, [2, 0, 3, 1], axis=1), tf.float32) @ weights

    for method in ("gradient_x_input", "occlusion"):
        maps = dx.explain(method, (model, tf.TensorSpec([None, 4], tf.int32)), x)
        assert_maps_close(maps, model(x)[:, 0].numpy())


def test_tokens_that_move_before_their_embedding_are_said_to() -> None:
    table = tf.Variable(np.random.default_rng(0).normal(size=(20, 4)).astype("float32"))
    for move, is_moved in ((lambda ids: ids[:, ::-1], True), (lambda ids: ids[:, :5], False)):

        def model(ids: Any, move: Any = move) -> Any:
            return tf.reduce_sum(tf.tanh(tf.gather(table, move(ids))), 1)

        result = dx.explain(
            "gradient_x_input", (model, tf.TensorSpec([None, 6], tf.int32, "ids")), IDS, target=0, return_result=True
        )
        text = "the model moves its values"
        assert any(text in warning for warning in result.warnings[0]) == is_moved
