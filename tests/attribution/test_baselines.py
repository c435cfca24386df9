"""Baselines: token ids, "pad", "mask", words, rows of the embedding, arrays with axes of one, statistics, pictures."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

import tb_deepexplain as dx
from tb_deepexplain.attribution.baselines import background_baseline
from tests.closeness import assert_maps_close

METHODS = ("integrated_gradients", "deeplift", "occlusion", "shapley_sampling")
IDS = np.array([[3, 1, 7, 0], [2, 2, 5, 4]])


def _pooled(tokens: Any) -> Any:
    embedded = layers.Embedding(9, 3, embeddings_initializer="normal", mask_zero=True)(tokens)
    return layers.Dense(2, kernel_initializer="normal")(layers.Flatten()(layers.Dense(3, activation="tanh")(embedded)))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((4,), dtype="int32", name="ids")
    return keras.Model(ids, _pooled(ids))


@pytest.fixture(scope="module")
def graph(model: keras.Model) -> Any:
    return dx.load_model(model)


@pytest.mark.parametrize("method", METHODS)
def test_an_integer_at_token_ids_is_an_id(model: keras.Model, graph: Any, method: str) -> None:
    table = model.layers[1].embeddings.numpy()
    forms = {
        "id": 7,
        "ids": np.array([7, 7, 7, 7]),
        "one example in a batch": np.array([[7, 7, 7, 7]], "int32"),
        "row": table[7],
        "array": np.tile(table[7], (4, 1)),
        "array in a batch": np.tile(table[7], (1, 4, 1)),
    }
    maps = {form: dx.explain(method, graph, IDS, target=1, baseline=baseline) for form, baseline in forms.items()}
    for values in maps.values():
        assert_maps_close(values, maps["array"])
    vectors = dx.explain(method, graph, IDS, target=1, baseline=7.0)
    assert np.abs(vectors - maps["array"]).max() > 0.01  # a float is a vector of that number


def test_the_score_at_ids_is_that_of_the_model(model: keras.Model, graph: Any) -> None:
    for baseline, ids in ((5, [5, 5, 5, 5]), (np.array([1, 2, 3, 4]), [1, 2, 3, 4])):
        result = dx.explain("deeplift", graph, IDS, target=0, baseline=baseline, return_result=True)
        assert_maps_close(result.baseline_score, np.full(2, np.asarray(model(np.array([ids])))[0, 0]))
        assert np.abs(result.gap).max() < 1e-5


def test_words_by_name() -> None:
    keras.utils.set_random_seed(0)
    text = keras.Input((), dtype="string", name="text")
    words = ["good", "bad", "[MASK]", "film"]  # ids 2 to 5
    vectors = layers.TextVectorization(vocabulary=words, standardize=None, output_sequence_length=4)(text)
    model = dx.load_model(keras.Model(text, _pooled(vectors)))
    x = np.array(["good film", "bad bad film"])
    for name, number in (("mask", 4), ("[MASK]", 4), ("bad", 3), ("pad", 0)):
        by_name, by_id = (dx.explain("occlusion", model, x, target=0, baseline=b) for b in (name, number))
        np.testing.assert_array_equal(by_name, by_id)
    with pytest.raises(dx.ParameterError, match="the vocabulary has no 'ugly'"):
        dx.explain("occlusion", model, x, baseline="ugly")


def test_vocabulary_of_the_caller(graph: Any) -> None:
    vocabulary = ["[PAD]", "the", "film", "is", "good", "bad", "not", "<mask>", "very"]
    for name, number in (("mask", 7), ("pad", 0), ("good", 4)):
        by_name = dx.explain("occlusion", graph, IDS, baseline=name, vocabulary=vocabulary)
        np.testing.assert_array_equal(by_name, dx.explain("occlusion", graph, IDS, baseline=number))
    np.testing.assert_array_equal(
        dx.explain("occlusion", graph, IDS, baseline="pad"), dx.explain("occlusion", graph, IDS, baseline=0)
    )  # the id that the model masks
    with pytest.raises(dx.ParameterError, match="the model holds no vocabulary; give a token id"):
        dx.explain("occlusion", graph, IDS, baseline="mask")
    with pytest.raises(dx.InputError, match="token ids from 9 to 9; the embedding has 9 rows"):
        dx.explain("occlusion", graph, IDS, baseline=9)


def test_measures_take_ids_too(graph: Any) -> None:
    by_id, by_row = (
        dx.evaluate("occlusion", graph, IDS, {"deletion": {"baseline": baseline}}, target=0)["deletion"].value
        for baseline in (7, graph.submodel().embed(graph.submodel().cut.all_lookups[0], 7))
    )
    np.testing.assert_array_equal(by_id, by_row)


def test_text_of_any_length_with_an_id() -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    y = layers.Dense(1)(layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids)))
    explainer = dx.Explainer("occlusion", keras.Model(ids, y), baseline=2)
    for length in (2, 5):
        result = explainer.run(np.ones((1, length), int), return_result=True)
        np.testing.assert_allclose(result.tokens, np.full((1, length), result.tokens[0, 0]), atol=1e-6)


def test_background_of_pictures_and_tables() -> None:
    x = keras.Input((3,))
    dense = layers.Dense(1, use_bias=False)
    model = dx.load_model(keras.Model(x, dense(x)))
    background = np.array([[1, 5, 2], [1, 7, 4], [3, 7, 9]], "float32")
    rows = np.array([[10, 20, 30]], "float32")
    weights = dense.kernel.numpy()[:, 0]
    for statistic, missing in (
        (None, [1, 7, 2]),
        ("most_frequent", [1, 7, 2]),
        ("median", [1, 7, 4]),
        ("mean", background.mean(0)),
    ):
        for method in ("integrated_gradients", "occlusion"):
            maps = dx.explain(method, model, rows, background=background, baseline=statistic)
            assert_maps_close(maps, (rows - missing) * weights)


@pytest.mark.parametrize(("statistic", "expected"), [("most_frequent", [2, 5]), ("mean", [3, 5]), ("median", [2, 5])])
def test_missing_values_of_the_background_do_not_count(statistic: str, expected: list[float]) -> None:
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(1, kernel_initializer="ones")(x))
    background = np.array([[np.nan, np.nan], [2, 5], [2, np.nan], [5, 5]])
    explainer = dx.Explainer("deeplift", model, background=background, baseline=statistic)
    result = explainer.run(np.zeros((1, 2)), return_result=True)
    assert_maps_close(result.attributions, -np.array([expected], "float32"))
    with pytest.raises(dx.ParameterError, match="background: 1 features have no value in any example"):
        dx.explain("deeplift", model, np.zeros((1, 2)), background=[[1, np.nan]])


@pytest.mark.parametrize("statistic", ["most_frequent", "mean", "median"])
def test_the_background_of_token_ids_is_the_most_frequent_id(model: keras.Model, graph: Any, statistic: str) -> None:
    background = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [8, 8, 8, 8]])
    for method in METHODS[1:]:
        result = dx.explain(method, graph, IDS, target=0, background=background, baseline=statistic, return_result=True)
        expected = float(model(background[:1])[0, 0])
        if method != "occlusion":
            assert_maps_close(result.baseline_score, np.full(2, expected))


def test_a_picture_of_pillow_is_a_baseline() -> None:
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((4, 5, 3), name=name) for name in ("left", "right")}
    flat = [layers.Flatten()(x) for x in inputs.values()]
    picture, grey = Image.new("RGB", (5, 4), (10, 20, 30)), Image.new("L", (5, 4), 40)
    of_picture, of_grey = np.tile([10.0, 20, 30], (4, 5, 1)), np.full((4, 5, 3), 40.0)
    left = dx.load_model(keras.Model(inputs["left"], layers.Dense(1)(flat[0])))
    both = dx.load_model(keras.Model(inputs, layers.Dense(1)(layers.concatenate(flat))))
    xs = {name: np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)) for name in inputs}
    for method in METHODS:
        maps = dx.explain(method, left, xs["left"], baseline=picture, seed=1)
        np.testing.assert_array_equal(maps, dx.explain(method, left, xs["left"], baseline=of_picture, seed=1))
        maps = dx.explain(method, both, xs, baseline={"left": picture, "right": grey}, seed=1)
        expected = dx.explain(method, both, xs, baseline={"left": of_picture, "right": of_grey}, seed=1)
        np.testing.assert_array_equal(maps["right"], expected["right"])
    measured = dx.evaluate("occlusion", left, xs["left"], {"deletion": {"steps": 2}}, baseline=picture)
    of_array = dx.evaluate("occlusion", left, xs["left"], {"deletion": {"steps": 2}}, baseline=of_picture)
    np.testing.assert_array_equal(measured["deletion"].value, of_array["deletion"].value)
    with pytest.raises(dx.InputError, match=r"baseline: got a picture of 4 × 5 .* picture.resize\(\(5, 4\)\)"):
        dx.explain("occlusion", left, xs["left"], baseline=Image.new("RGB", (4, 5)))


def test_a_baseline_that_the_model_cannot_read_is_refused() -> None:
    """Numbers as strings: the empty string is none."""
    function = tf.function(
        lambda texts: tf.strings.to_number(texts) ** 2, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    for method in ("integrated_gradients", "occlusion"):
        with pytest.raises(dx.ParameterError, match=r"baseline.*StringToNumberOp.*give baseline="):
            dx.explain(method, function, ["2", "3"])
        np.testing.assert_allclose(dx.explain(method, function, ["2", "3"], baseline="1"), [3, 8], rtol=1e-4)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_frames_in_two_orders_are_refused(method: str) -> None:
    """Their columns are those of one matrix, without names."""
    model = dx.load_model(keras.Sequential([keras.Input((3,)), layers.Dense(1)]))
    frame = pd.DataFrame(np.arange(9).reshape(3, 3) ** 2, columns=["a", "b", "c"])
    turned = frame[["c", "a", "b"]]
    for options in ({"background": turned}, {"baseline": turned.iloc[[0]]}, {"baseline": turned.iloc[0]}):
        with pytest.raises(dx.InputError, match=r"xs has the columns a, b, c, and (background|baseline) c, a, b"):
            dx.explain(method, model, frame[1:], **options)
        dx.explain(method, model, turned[1:], **options)
        dx.explain(method, model, frame[1:].to_numpy(), **options)


def test_frames_in_two_orders_are_refused_for_each_of_several_methods() -> None:
    model = dx.load_model(keras.Sequential([keras.Input((3,)), layers.Dense(1)]))
    frame = pd.DataFrame(np.arange(9).reshape(3, 3) ** 2, columns=["a", "b", "c"])
    turned = frame[["c", "a", "b"]]
    methods = {"saliency": {}, "occlusion": {"baseline": turned.iloc[[0]]}}
    for call in (
        lambda xs: dx.explain(methods, model, xs),
        lambda xs: dx.rank(model, xs, methods=methods, measures=["deletion"]),
        lambda xs: dx.rank(model, xs, methods=["saliency", "occlusion"], measures=["deletion"], background=turned),
        lambda xs: dx.explain("occlusion", model, xs, background=(turned, np.zeros(3))),
    ):
        with pytest.raises(dx.InputError, match=r"xs has the columns a, b, c, and (background|baseline) c, a, b"):
            call(frame[1:])
        call(turned[1:])
    of_occlusion = dx.Explainer("occlusion", model, baseline=turned.iloc[[0]])
    of_occlusion.for_method("saliency", {}).run(frame[1:])  # whose baseline is not that of the frame


def test_examples_hold_no_values_of_a_layer() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, name="hidden"), layers.Dense(2)])
    graph = dx.load_model(model)
    with pytest.raises(dx.ParameterError, match="hold no values of hidden, which the model computes"):
        background_baseline(graph, {graph.inputs[0].name: np.zeros((1, 2), np.float32)}, "median", ["hidden"])


def test_the_background_of_an_input_in_bfloat16() -> None:
    """NumPy has no such numbers: they are float32 until the model gets them."""
    weights = tf.constant([[1.0], [-2.0], [3.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.bfloat16)])
    def function(x: Any) -> Any:
        return tf.cast(x, tf.float32) @ weights

    xs = np.float32([[1, 2, 3], [3, 2, 1], [5, 5, 5]])
    maps = dx.explain("occlusion", function, xs, target=0, background=xs, baseline="mean")
    np.testing.assert_allclose(maps, (xs - xs.mean(0)) * [1, -2, 3], atol=1e-5)
