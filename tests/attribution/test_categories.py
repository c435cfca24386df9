"""Inputs of integers, booleans and strings: casts, categories, crosses, bags of words, pictures as bytes; nothing is left out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

GRADIENT = ("saliency", "gradient_x_input", "integrated_gradients", "epsilon_lrp", "deeplift")
ROWS = {
    "age": np.array([[0.3], [1.2], [-0.8]], "float32"),
    "city": np.array([["Bern"], ["Graz"], ["?"]]),
    "pclass": np.array([[1], [3], [2]]),
    "has_cabin": np.array([[True], [False], [True]]),
}
MISSING = {"age": np.float32(0), "city": "", "pclass": 0, "has_cabin": False}


def _table() -> keras.Model:
    """Numbers beside a string, an integer category and a boolean."""
    keras.utils.set_random_seed(3)
    age, pclass = keras.Input((1,), name="age"), keras.Input((1,), name="pclass", dtype="int32")
    city = keras.Input((1,), name="city", dtype="string")
    has_cabin = keras.Input((1,), name="has_cabin", dtype="bool")
    encoded = [
        age,
        layers.StringLookup(vocabulary=["Bern", "Graz", "Rome"], output_mode="one_hot")(city),
        layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot")(pclass),
        keras.ops.cast(has_cabin, "float32"),
    ]
    hidden = layers.Dense(6, activation="tanh", kernel_initializer="normal")(layers.Concatenate()(encoded))
    return keras.Model([age, city, pclass, has_cabin], layers.Dense(2)(hidden))


@pytest.fixture(scope="module")
def table() -> keras.Model:
    return _table()


@pytest.fixture(scope="module")
def graph(table: keras.Model) -> Any:
    return dx.load_model(table)


def _scores(model: keras.Model, rows: dict[str, np.ndarray], target: int = 1) -> np.ndarray:
    return np.asarray(model([tf.constant(rows[spec.name]) for spec in model.inputs]))[:, target].astype(np.float64)


def _without(rows: dict[str, np.ndarray], names: Any, missing: dict[str, Any] = MISSING) -> dict[str, np.ndarray]:
    return {n: np.full_like(v, missing[n]) if n in names else v for n, v in rows.items()}


def test_occlusion_replaces_raw_values(table: keras.Model, graph: Any) -> None:
    maps = dx.explain("occlusion", graph, ROWS, target=1)
    assert list(maps) == list(ROWS)
    for name, values in maps.items():
        expected = _scores(table, ROWS) - _scores(table, _without(ROWS, [name]))
        assert values.shape == ROWS[name].shape and values.dtype == np.float32
        assert_maps_close(values[:, 0], expected)


def _shapley(table: keras.Model, missing: dict[str, Any]) -> dict[str, np.ndarray]:
    names, exact = list(ROWS), {}
    for name in names:
        others, total = [n for n in names if n != name], np.zeros(3)
        for size in range(len(names)):
            for absent in itertools.combinations(others, size):
                weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
                change = _scores(table, _without(ROWS, absent, missing))
                total += weight * (change - _scores(table, _without(ROWS, (*absent, name), missing)))
        exact[name] = total
    return exact


def test_shapley_values_of_raw_values_are_exact(table: keras.Model, graph: Any) -> None:
    maps = dx.explain("shapley_sampling", graph, ROWS, target=1, estimator="kernel", samples=40)
    for name, expected in _shapley(table, MISSING).items():
        assert_maps_close(maps[name][:, 0], expected)


@pytest.mark.parametrize("method", GRADIENT)
def test_gradients_of_encodings_are_summed_to_one_value_a_feature(table: keras.Model, graph: Any, method: str) -> None:
    one_hot = {
        "city": np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], "float32"),
        "pclass": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], "float32"),
    }
    encoded = [ROWS["age"], one_hot["city"], one_hot["pclass"], ROWS["has_cabin"].astype("float32")]
    x = keras.Input((10,))
    dense, last = (layer for layer in table.layers if isinstance(layer, layers.Dense))
    unknown = np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0], "float32")  # "" and 0 are in no vocabulary
    baseline = {"baseline": unknown} if method in ("integrated_gradients", "deeplift") else {}
    expected = dx.explain(method, keras.Model(x, last(dense(x))), np.concatenate(encoded, 1), target=1, **baseline)
    maps = dx.explain(method, graph, ROWS, target=1)
    for name, columns in zip(ROWS, np.split(expected, [1, 5, 9], axis=1), strict=True):
        assert maps[name].shape == ROWS[name].shape
        assert_maps_close(maps[name][:, 0], columns.sum(1))


def test_gaps_and_warnings_of_mixed_tables(graph: Any) -> None:
    for method in ("integrated_gradients", "deeplift", "shapley_sampling"):
        result = dx.explain(method, graph, ROWS, target=0, return_result=True)
        assert np.abs(result.gap).max() < 0.01 * np.abs(result.score - result.baseline_score).max() + 1e-6
        assert result.warnings == [[], [], []] and result.tokens is None


def test_saved_models_and_files_keep_categories(table: keras.Model, graph: Any, tmp_path: Any) -> None:
    table.export(tmp_path / "saved", verbose=False)
    table.save(tmp_path / "table.keras")
    for path in ("saved", "table.keras"):
        for method in ("gradient_x_input", "occlusion"):
            maps = dx.explain(method, tmp_path / path, ROWS, target=0)
            for name, expected in dx.explain(method, graph, ROWS, target=0).items():
                assert_maps_close(maps[name], expected)


def test_baselines_of_categories(table: keras.Model, graph: Any) -> None:
    background = {
        "age": np.array([[5.0], [1.0], [5.0], [9.0]], "float32"),
        "city": np.array([["Rome"], ["Bern"], ["Rome"], ["Graz"]]),
        "pclass": np.array([[3], [2], [2], [1]]),
        "has_cabin": np.array([[True], [True], [True], [False]]),
    }
    for statistic, age in ((None, 5.0), ("median", 5.0), ("mean", 5.0)):
        missing = {"age": age, "city": "Rome", "pclass": 2, "has_cabin": True}
        maps = dx.explain("occlusion", graph, ROWS, target=1, background=background, baseline=statistic)
        for name, values in maps.items():
            expected = _scores(table, ROWS) - _scores(table, _without(ROWS, [name], missing))
            assert_maps_close(values[:, 0], expected)
        for method in ("integrated_gradients", "deeplift", "shapley_sampling"):
            result = dx.explain(
                method, graph, ROWS, target=1, background=background, baseline=statistic, return_result=True
            )
            expected = _scores(table, _without(ROWS, list(ROWS), missing))
            assert_maps_close(result.baseline_score, expected)
    named = {"age": 2.0, "city": "Graz", "pclass": 1, "has_cabin": True}
    for method in ("deeplift", "shapley_sampling"):
        result = dx.explain(method, graph, ROWS, target=1, baseline=named, return_result=True)
        assert_maps_close(result.baseline_score, _scores(table, _without(ROWS, list(ROWS), named)))
    zeros = {"age": 0.0, "city": "", "pclass": 0, "has_cabin": False}
    for method in ("deeplift", "shapley_sampling"):
        result = dx.explain(method, graph, ROWS, target=1, baseline=0, return_result=True)
        assert_maps_close(result.baseline_score, _scores(table, _without(ROWS, list(ROWS), zeros)))
    with pytest.raises(dx.ParameterError, match="with background="):
        dx.explain("occlusion", graph, ROWS, baseline="median")
    with pytest.raises(dx.ParameterError, match="whole numbers"):
        dx.explain("occlusion", graph, ROWS, baseline=named | {"pclass": 1.5})
    with pytest.raises(dx.ParameterError, match="expected the explained inputs age, city, pclass, has_cabin"):
        dx.explain("occlusion", graph, ROWS, baseline={"age": 1.0})


def test_measures_remove_raw_values(table: keras.Model, graph: Any) -> None:
    for method in ("gradient_x_input", "occlusion"):
        maps = dx.explain(method, graph, ROWS, target=1)
        measured = dx.evaluate(method, graph, ROWS, {"deletion": {"steps": 4}}, target=1)["deletion"]
        full, start = _scores(table, ROWS), _scores(table, _without(ROWS, list(ROWS)))
        for n in range(3):
            row = {name: values[n : n + 1] for name, values in ROWS.items()}
            sign = np.sign(full[n] - start[n])
            order = sorted(ROWS, key=lambda name: -sign * maps[name][n, 0])
            levels = [_scores(table, _without(row, order[:k]))[0] - start[n] for k in range(5)]
            assert_maps_close(measured.curve[n], sign * np.array(levels))
    measures = dx.evaluate("integrated_gradients", graph, ROWS, ["completeness", "stability"], target=1)
    assert measures["completeness"].value.max() < 0.02 and np.isfinite(measures["stability"].value).all()


def test_named_tensors_of_whole_numbers() -> None:
    tags = keras.Input((3,), dtype="string", name="tags")
    multi_hot = layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="multi_hot", name="multi_hot")(tags)
    model = keras.Model(tags, layers.Dense(1, name="score")(multi_hot))
    model.get_layer("score").set_weights([np.array([[0.2], [0.4], [-0.7], [0.9]]), np.zeros(1)])
    x = np.array([["a", "b", "?"], ["c", "c", "c"]])
    for method in ("gradient_x_input", "integrated_gradients", "deeplift", "occlusion", "shapley_sampling"):
        maps = dx.explain(method, model, x, inputs="multi_hot")
        assert_maps_close(maps, np.array([[0.2, 0.4, -0.7, 0], [0, 0, 0, 0.9]]))
    summed = np.array([-0.1, 0.9])
    assert_maps_close(dx.explain("gradient_x_input", model, x), summed)
    missing = 0.2  # three unknown words
    assert_maps_close(dx.explain("shapley_sampling", model, x), summed - missing)


@pytest.mark.parametrize("dims", [(1,), (1, 2)])
def test_cast_pictures_have_the_axes_of_sampling_dims(dims: tuple[int, ...]) -> None:
    head = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)]
    x = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3)).astype(np.uint8)
    of_integers, of_floats = (
        dx.explain(
            "shapley_sampling",
            keras.Sequential([keras.Input((4, 4, 3), dtype=x.dtype), *head]),
            x,
            target=1,
            sampling_dims=dims,
        )
        for x in (x, x.astype(np.float32))
    )
    assert of_integers.shape == (2, *[4] * len(dims))
    assert_maps_close(of_integers, of_floats, 1e-4)


def test_casts_of_one_input_to_several_dtypes_and_shapes() -> None:
    weights = np.random.default_rng(0).normal(size=3).astype(np.float32)

    def in_two_dtypes(x: Any) -> Any:
        squares = tf.reduce_sum(tf.cast(x, tf.float64) ** 2, 1)
        return tf.reduce_sum(tf.cast(x, tf.float32) * weights, 1) + tf.cast(squares, tf.float32)

    def in_two_shapes(x: Any) -> Any:
        squares = tf.reduce_sum(tf.cast(tf.reshape(x, [-1, 1, 3]), tf.float32) ** 2, [1, 2])
        return tf.reduce_sum(tf.cast(x, tf.float32) * weights, 1) + squares

    x = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    for model in (in_two_dtypes, in_two_shapes):
        for method, expected in (("gradient_x_input", x * (weights + 2 * x)), ("occlusion", x * weights + x**2)):
            assert_maps_close(dx.explain(method, (model, tf.TensorSpec([None, 3], tf.int32)), x), expected)


def test_pictures_and_tables_of_whole_numbers() -> None:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((6, 6, 3), dtype="uint8")
    y = layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3, activation="tanh")(layers.Rescaling(1 / 255)(pixels))))
    model, x = keras.Model(pixels, y), np.random.default_rng(0).integers(0, 255, (2, 6, 6, 3)).astype(np.uint8)
    real = keras.Input((6, 6, 3))
    twin = real
    for layer in model.layers[1:]:
        twin = layer(twin)
    twin = keras.Model(real, twin)
    for method in (*GRADIENT, "occlusion"):
        maps, expected = (dx.explain(method, m, a, target=0) for m, a in ((model, x), (twin, x.astype("float32"))))
        assert maps.shape == x.shape and maps.dtype == np.float32
        assert_maps_close(maps, expected)
    counts = keras.Input((), dtype="int64")  # [N], which the model makes [N, 1] behind the cast
    dense = layers.Dense(1)
    model = keras.Model(counts, dense(keras.ops.expand_dims(keras.ops.cast(counts, "float32"), 1)))
    weight = float(dense.kernel[0, 0])
    for method in ("gradient_x_input", "occlusion"):
        assert_maps_close(dx.explain(method, model, np.array([3, -2])), np.array([3, -2]) * weight)


def test_pictures_decoded_in_the_graph() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def model(encoded: Any) -> Any:
        pixels = tf.map_fn(
            lambda b: tf.ensure_shape(tf.io.decode_png(b, 3), [4, 4, 3]), encoded, fn_output_signature=tf.uint8
        )
        return tf.reduce_sum(tf.cast(pixels, tf.float32) / 255, [1, 2])

    pixels = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3)).astype(np.uint8)
    encoded = np.array([tf.io.encode_png(p).numpy() for p in pixels], object)
    expected = pixels / 255 * np.array([0, 1, 0])
    for method in ("gradient_x_input", "occlusion"):
        assert_maps_close(dx.explain(method, model, encoded, target=1), expected)


def test_bags_of_words_and_one_value_for_each_token() -> None:
    text = keras.Input((), dtype="string")
    bag = layers.TextVectorization(vocabulary=["good", "bad", "film"], output_mode="count")(text)
    dense = layers.Dense(1)
    model = keras.Model(text, dense(bag))
    weights = dense.kernel.numpy()[:, 0]
    expected = np.array([[0, 1, 0, 1], [1, 0, 2, 0]]) * weights
    for method in ("gradient_x_input", "occlusion"):
        assert_maps_close(dx.explain(method, model, np.array(["good film", "bad bad dog"])), expected)

    ids = layers.TextVectorization(vocabulary=["good", "bad", "film"], output_sequence_length=2)(text)
    model = keras.Model(
        text, layers.Dense(1)(layers.Flatten()(layers.GlobalAveragePooling1D()(layers.Embedding(5, 4)(ids))))
    )
    words = np.array(["good film", "bad bad"])
    for method in ("integrated_gradients", "occlusion", "shapley_sampling"):
        result = dx.explain(method, model, words, return_result=True)
        assert result.attributions.shape == (2, 2)
        np.testing.assert_array_equal(result.attributions, result.tokens)
        embedding = dx.explain(method, model, words, inputs="embedding")
        if method != "shapley_sampling":
            assert_maps_close(embedding.sum(-1), result.attributions)


def test_feature_space_with_a_cross() -> None:
    space = keras.utils.FeatureSpace
    features = space(
        {
            "age": space.float_normalized(),
            "rooms": space.integer_categorical(num_oov_indices=0),
            "city": space.string_categorical(),
            "size": space.float_discretized(num_bins=3),
        },
        crosses=[space.cross(("rooms", "city"), crossing_dim=4)],
        output_mode="concat",
    )
    rng = np.random.default_rng(0)
    data = {
        "age": rng.random(32, np.float32),
        "rooms": rng.integers(0, 3, 32),
        "city": rng.choice(["Bern", "Graz"], 32),
        "size": rng.random(32, np.float32),
    }
    features.adapt(tf.data.Dataset.from_tensor_slices(data))
    dense = layers.Dense(1)
    encoded = features.get_encoded_features()
    model = keras.Model(features.get_inputs(), dense(encoded))
    x = {name: values[:3] for name, values in data.items()}
    columns = {name: values[:, None] for name, values in x.items()}
    vectors = np.asarray(keras.Model(features.get_inputs(), encoded)(columns)) * dense.kernel.numpy()[:, 0]
    maps = dx.explain("gradient_x_input", model, x)
    assert sorted(maps) == ["age", "city", "rooms", "size"]
    without_age = vectors[:, 1:].sum(
        1
    )  # the encodings are concatenated by name; age is normalised, which shifts its zero
    assert_maps_close(sum(values for name, values in maps.items() if name != "age")[:, 0], without_age)
    occluded = dx.explain("occlusion", model, x)
    for name, missing in {"rooms": 0, "city": "", "size": 0.0}.items():
        without = columns | {name: np.full_like(columns[name], missing)}
        expected = np.asarray(model(columns))[:, 0] - np.asarray(model(without))[:, 0]
        assert_maps_close(occluded[name][:, 0], expected)


def test_what_no_gradient_reaches_is_named() -> None:
    """A category that chooses between computed values has no encoding; methods that replace values explain it all the same."""
    x, flag = keras.Input((2,), name="x"), keras.Input((1,), dtype="bool", name="flag")
    model = keras.Model([x, flag], keras.ops.where(flag, layers.Dense(1)(x), layers.Dense(1)(x)))
    rows = {"x": np.ones((2, 2), np.float32), "flag": np.array([[True], [False]])}
    result = dx.explain("gradient_x_input", model, rows, return_result=True)
    assert list(result.attributions) == ["x"]
    assert all("not explained: flag (no gradient passes" in text for texts in result.warnings for text in texts)
    assert all(result.warnings)
    maps = dx.explain("occlusion", model, rows)
    y = np.asarray(model([rows["x"], rows["flag"]])) - np.asarray(model([rows["x"], np.zeros_like(rows["flag"])]))
    assert_maps_close(maps["flag"], y)


@pytest.mark.parametrize("as_number", ["", "beside", "looked up"])
def test_buckets_of_whole_numbers_are_encodings(as_number: str) -> None:
    """A year in whole numbers: Keras casts it to floats before it chooses a bucket, which passes no gradient."""
    keras.utils.set_random_seed(5)
    year = keras.Input((1,), name="year", dtype="int64")
    encoded = [layers.Discretization([1995.0, 2005.0], output_mode="one_hot")(year)]
    if as_number == "beside":
        encoded.append(layers.Rescaling(0.01)(year))
    if as_number == "looked up":
        encoded.append(layers.IntegerLookup(vocabulary=[1990, 2000], output_mode="one_hot")(year))
    joined = layers.Concatenate()(encoded) if as_number else encoded[0]
    model = keras.Model(year, layers.Dense(2, kernel_initializer="normal")(joined))
    rows, missing = np.array([[1990], [2000]]), np.array([[2010]])
    outputs, at_missing = np.asarray(model(rows))[:, 1], np.asarray(model(missing))[0, 1]
    for method in ("integrated_gradients", "deeplift"):
        result = dx.explain(method, model, rows, target=1, baseline=missing[0], return_result=True)
        assert_maps_close(np.ravel(result.attributions), outputs - at_missing)
        assert not any(result.warnings)


def test_the_baseline_of_a_cross_is_that_of_all_its_inputs() -> None:
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((1,), dtype="string", name=name) for name in "ab"}
    crossed = layers.HashedCrossing(8, output_mode="one_hot")(tuple(inputs.values()))
    model = keras.Model(inputs, layers.Dense(1)(crossed))
    rows, baseline = ({"a": np.array([[a]]), "b": np.array([[b]])} for a, b in ("uv", "pq"))
    expected = np.asarray(model({name: tf.constant(values) for name, values in baseline.items()}))[:, 0]
    for method in ("integrated_gradients", "deeplift", "shapley_sampling"):
        result = dx.explain(method, model, rows, baseline={"a": "p", "b": "q"}, return_result=True)
        assert_maps_close(result.baseline_score, expected)


def test_comparisons_of_a_column_are_encodings_beside_others() -> None:
    """Whether there is a value, and whether it is large: both change with the baseline. A mask of another column is named."""
    weights = tf.constant(np.random.default_rng(0).normal(size=(6, 2)), tf.float32)
    strings, integers = tf.TensorSpec([None], tf.string, name="city"), tf.TensorSpec([None], tf.int64, name="visits")

    def table(city: Any, visits: Any) -> Any:
        one_hot = tf.one_hot(tf.strings.to_hash_bucket_fast(city, 3), 3)
        masks = tf.cast(tf.stack([city == "", visits > 2], 1), tf.float32)
        return tf.tanh(tf.concat([one_hot, masks, tf.cast(visits, tf.float32)[:, None] / 10], 1) @ weights)

    xs = {"city": np.array(["Bern", "x"], object), "visits": np.array([5, 1])}
    result = dx.Explainer("deeplift", tf.function(table, input_signature=[strings, integers])).run(
        xs, target=1, return_result=True
    )
    blank = table(tf.constant(["", ""]), tf.constant([0, 0], tf.int64))[:, 1]
    assert_maps_close(result.baseline_score, blank)
    assert_maps_close(sum(result.attributions.values()), table(xs["city"], tf.constant(xs["visits"]))[:, 1] - blank)
    assert result.warnings == [[], []]

    @tf.function(input_signature=[strings, integers])
    def masked(city: Any, visits: Any) -> Any:
        return table(city, visits) + tf.where(city == "", 0.0, tf.cast(visits, tf.float32))[:, None]

    warnings = dx.Explainer("deeplift", masked).run(xs, target=1, return_result=True).warnings
    assert all("not explained: what city does besides its encodings (" in " ".join(texts) for texts in warnings)
