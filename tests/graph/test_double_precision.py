"""A model's graph in float64: as accurate as the same model that was built in float64."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.load_model import load_model

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 3, 4)).astype("float32")
ROWS = RNG.normal(size=(20, 6)).astype("float32")
OF_CHANNELS = RNG.uniform(0.5, 2, 4).astype("float32")
SPEC, PICTURES = tf.TensorSpec([None, 6]), tf.TensorSpec([None, 8, 8, 3])


def _cnn() -> tuple[Any, np.ndarray]:
    model = keras.Sequential(
        [
            layers.Input((10, 10, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3),
            layers.LeakyReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    model.layers[1].set_weights([RNG.uniform(0.5, 2, w.shape) for w in model.layers[1].get_weights()])
    return model, RNG.normal(size=(3, 10, 10, 3))


def _text() -> tuple[Any, np.ndarray]:
    ids = layers.Input((7,), dtype="int32")
    x = layers.LSTM(5)(layers.Embedding(30, 8, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(3)(x)), RNG.integers(1, 30, (3, 7))


def _encoder_block() -> tuple[Any, np.ndarray]:
    ids = layers.Input((6,), dtype="int32")
    x = layers.Embedding(30, 8)(ids)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y)
    x = x + layers.Dense(8)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
    return keras.Model(ids, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))), RNG.integers(0, 30, (3, 6))


MODELS = {"cnn": _cnn, "text": _text, "encoder block": _encoder_block}


SLOW = {
    "text",
    "encoder block",
    "batch norm by the batch",
    "resizing to the corners",
    "pooling of volumes",
    "custom gradient in a loop",
    "map",
}


def _with_slow_ones(names: Iterable[str], slow: Collection[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


def _twin(model: Any) -> Any:
    """The model built by Keras in float64, with the same weights and the numbers in its configuration as the model has them."""

    def in_float64(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: in_float64(v, name) for name, v in value.items()}
        if isinstance(value, list):
            return [in_float64(v, key) for v in value]
        if key in ("epsilon", "negative_slope"):
            return float(np.float32(value))
        return "float64" if value == "float32" else value

    twin = type(model).from_config(in_float64(json.loads(json.dumps(model.get_config()))))
    twin.set_weights([w.astype(np.float64) for w in model.get_weights()])
    return twin


def _largest_difference(maps: Any, expected: Any) -> float:
    return float(np.abs(maps - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", _with_slow_ones(MODELS, SLOW))
def test_the_maps_are_those_of_the_model_built_in_float64(name: str) -> None:
    keras.utils.set_random_seed(1)
    model, x = MODELS[name]()
    graph, twin = load_model(model), load_model(_twin(model))
    maps = dx.Explainer("gradient_x_input", graph.in_float64(), target=1).run(x, return_result=True)
    expected = dx.Explainer("gradient_x_input", twin, target=1).run(x, return_result=True)
    assert maps.attributions.dtype == np.float64
    assert _largest_difference(maps.attributions, expected.attributions) < 1e-10
    assert _largest_difference(maps.score, expected.score) < 1e-10
    rounded = dx.Explainer("gradient_x_input", graph, target=1).run(x)
    assert 1e-9 < _largest_difference(rounded, expected.attributions) < 1e-5


def test_a_saved_model_and_a_frozen_one_compute_in_float64(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model, x = _cnn()
    model.export(tmp_path / "saved", verbose=False)
    expected = dx.Explainer("gradient_x_input", _twin(model), target=1).run(x)
    saved = load_model(str(tmp_path / "saved")).in_float64()
    assert _largest_difference(dx.Explainer("gradient_x_input", saved, target=1).run(x), expected) < 1e-10
    weights = [tf.constant(w) for w in model.get_weights()]

    def frozen(x: Any) -> Any:
        return model.stateless_call(weights[: len(model.trainable_variables)], model.non_trainable_variables, x)[0]

    ordered = [tf.constant(v.numpy()) for v in model.trainable_variables]
    weights[: len(ordered)] = ordered
    of_constants = load_model((frozen, tf.TensorSpec([None, 10, 10, 3]))).in_float64()
    assert _largest_difference(dx.Explainer("gradient_x_input", of_constants, target=1).run(x), expected) < 1e-10


def _normalised(x: Any, is_training: bool = False) -> Any:
    statistics = ([], []) if is_training else (OF_CHANNELS / 7, OF_CHANNELS)
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=OF_CHANNELS,
        offset=-OF_CHANNELS,
        mean=statistics[0],
        variance=statistics[1],
        is_training=is_training,
    ).y


def _loop(x: Any) -> Any:
    """A loop whose steps hold ops without a float64 kernel, and which writes a TensorArray."""
    steps = tf.TensorArray(tf.float32, 2, element_shape=[None, 8, 8, 4])

    def step(i: Any, y: Any, steps: Any) -> Any:
        y = _normalised(y) + tf.image.resize(y, [8, 8])
        return i + 1, y, steps.write(i, y)

    *_, steps = tf.while_loop(lambda i, *_: i < 2, step, [0, tf.nn.conv2d(x, KERNEL, 1, "SAME"), steps])
    return tf.reduce_mean(tf.nn.relu(tf.reduce_sum(steps.stack(), 0)), [1, 2])


@tf.custom_gradient
def _steeper(x: Any) -> Any:
    return tf.clip_by_value(x, -1.0, 1.0), lambda upstream: upstream * tf.cast(tf.abs(x) < 1.0, x.dtype) * 2.0


def _of_picture(op: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tf.reduce_mean(tf.nn.relu(op(tf.nn.conv2d(x, KERNEL, 1, "SAME"))), [1, 2])


TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), 0)
VARIABLE = tf.Variable(ROWS)

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "batch norm": (_of_picture(_normalised), PICTURES),
    "batch norm by the batch": (_of_picture(lambda x: _normalised(x, is_training=True)), PICTURES),
    "local response normalisation": (_of_picture(lambda x: tf.nn.lrn(x, 1, 1.0, 0.5, 0.7)), PICTURES),
    "resizing": (_of_picture(lambda x: tf.image.resize(x, [5, 11])), PICTURES),
    "resizing to the corners": (
        _of_picture(lambda x: tf.compat.v1.image.resize_bilinear(x, [5, 11], align_corners=True)),
        PICTURES,
    ),
    "pooling of volumes": (
        lambda x: tf.reduce_mean(
            tf.nn.avg_pool3d(tf.nn.max_pool3d(x, [2, 3, 2], [2, 1, 2], "SAME"), 2, 1, "SAME"), [1, 2, 3]
        ),
        tf.TensorSpec([None, 4, 5, 6, 2]),
    ),
    "loop": (_loop, PICTURES),
    "condition": (lambda x: tf.cond(tf.reduce_sum(x) > -1e9, lambda: tf.tanh(x), lambda: x * ROWS[0]), SPEC),
    "custom gradient": (lambda x: _steeper(x) * tf.constant(ROWS[1]), SPEC),
    "custom gradient in a loop": (
        lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, _steeper(y) * 1.5 + x), [0, x])[1],
        SPEC,
    ),
    "map": (lambda x: tf.map_fn(lambda row: tf.reduce_sum(row * ROWS, -1), x), SPEC),
    "words": (
        lambda x: tf.tanh(tf.reduce_sum(tf.nn.embedding_lookup(VARIABLE, TABLE.lookup(x)), 1)),
        tf.TensorSpec([None, 3], tf.string),
    ),
    "rows of a variable": (
        lambda x: tf.tanh(tf.reduce_sum(tf.gather(tf.identity(VARIABLE), x), 1)),
        tf.TensorSpec([None, 3], tf.int32),
    ),
    "spectrum": (lambda x: tf.abs(tf.signal.rfft(x)), SPEC),
    "fixed noise": (lambda x: x * tf.random.stateless_uniform([6], [1, 2]), SPEC),
}


def _examples(spec: Any) -> np.ndarray:
    shape = (3, *spec.shape[1:])
    if spec.dtype == tf.string:
        return RNG.choice(["a", "b", "c"], shape)
    return RNG.integers(0, 19, shape) if spec.dtype.is_integer else RNG.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", _with_slow_ones(FUNCTIONS, SLOW))
def test_a_graph_in_float64_computes_the_same_without_float32(name: str) -> None:
    function, spec = FUNCTIONS[name]
    graph, x = load_model((function, spec)), _examples(spec)
    double = graph.in_float64()
    assert not double.warnings
    has_rule = name in ("batch norm", "batch norm by the batch", "local response normalisation")
    options = {"on_unsupported": "gradient"} if has_rule else {}
    method = "epsilon_lrp" if has_rule else "gradient_x_input"
    maps = dx.Explainer(method, double, target=1, **options).run(x, return_result=True)
    expected = dx.Explainer(method, graph, target=1, **options).run(x, return_result=True)
    assert maps.attributions.dtype == np.float64
    assert _largest_difference(maps.attributions, expected.attributions) < 1e-5
    assert np.abs(maps.score - maps.score.astype(np.float32)).max() > 0  # digits that float32 has not
    assert maps.warnings[0] == expected.warnings[0]


def test_an_op_without_a_float64_kernel_is_named() -> None:
    function = _of_picture(lambda x: tf.image.resize(x, [5, 11], "bicubic"))
    graph = load_model((function, PICTURES)).in_float64()
    (warning,) = graph.warnings
    assert warning == (
        "computed in float32, for lack of a float64 kernel of TensorFlow: resize/ResizeBicubic (ResizeBicubic)"
    )
    result = dx.Explainer("gradient_x_input", graph, target=1).run(_examples(PICTURES), return_result=True)
    assert warning in result.warnings[0] and result.attributions.dtype == np.float64


def test_a_graph_that_cannot_be_rewritten_is_refused_by_the_name_of_its_op() -> None:
    graph = load_model((tf.tanh, SPEC))
    node = next(node for node in graph.view.nodes.values() if node.op == "Tanh")
    node.op = "NoSuchOp"
    with pytest.raises(UnsupportedModelError, match="does not know the op NoSuchOp"):
        graph.in_float64()


def test_the_check_of_the_graph_holds_where_the_model_overflows_in_float32() -> None:
    graph = load_model((lambda x: tf.exp(0.01 * x) - tf.exp(0.009 * x), SPEC)).in_float64()
    assert dx.Explainer("gradient_x_input", graph, target=1).run(_examples(SPEC)).dtype == np.float64


def test_a_graph_that_differs_from_the_model_is_still_refused() -> None:
    graph = load_model(keras.Sequential([layers.Input((4,)), layers.Dense(3)])).in_float64()
    constants = graph.with_weights({name: 1.1 * graph.weight_value(name) for name in graph.captured_names[:1]})
    other = constants.with_origin(graph.origin)
    with pytest.raises(UnsupportedModelError, match="differs from the model as it is called"):
        dx.Explainer("gradient_x_input", other, target=1).run(RNG.normal(size=(3, 4)))


@pytest.mark.slow
def test_values_of_sparse_columns_keep_their_digits(tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(examples: Any) -> Any:
        column = tf.io.parse_example(examples, {"column": tf.io.VarLenFeature(tf.float32)})["column"]
        return {"sum": tf.reduce_sum(tf.sparse.to_dense(column), 1, keepdims=True)}

    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    explainer = dx.Explainer("occlusion", load_model(str(tmp_path)).in_float64())
    numbers = np.array([[1 / 3, np.pi], [np.e, np.nan]])
    np.testing.assert_allclose(explainer.run({"column": numbers})["column"], np.nansum(numbers, 1), rtol=1e-15)


def test_maps_of_texts_have_the_digits_of_the_score() -> None:
    def score_of_words(x: Any) -> Any:
        return tf.tanh(tf.reshape(tf.one_hot(TABLE.lookup(x), 2), [-1, 6]) @ ROWS[:6])

    graph = load_model((score_of_words, tf.TensorSpec([None, 3], tf.string))).in_float64()
    for method in ("occlusion", "shapley_sampling"):
        maps = dx.Explainer(method, graph, target=1, baseline="c").run(np.array([["a", "b", "a"], ["b", "a", "c"]]))
        assert maps.dtype == np.float64 and np.abs(maps - maps.astype(np.float32)).max() > 0


def test_the_draws_of_a_method_are_those_in_float32() -> None:
    graph, x = load_model((lambda x: tf.tanh(tf.matmul(x, ROWS[:6])), SPEC)), RNG.normal(size=(3, 6))
    maps, exact = (dx.Explainer("shapley_sampling", g, target=1).run(x) for g in (graph, graph.in_float64()))
    assert _largest_difference(maps, exact) < 1e-5


def test_sums_are_complete_to_the_last_digits() -> None:
    keras.utils.set_random_seed(1)
    model, x = _cnn()
    for method in ("deeplift", "shapley_sampling"):
        result = dx.Explainer(method, load_model(model).in_float64(), target=1).run(x, return_result=True)
        assert np.abs(result.gap).max() < 1e-12


def test_the_weights_are_those_of_the_model_now() -> None:
    model, x = _cnn()
    as_built = load_model(model)
    graph = as_built.in_float64()
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    before = explainer.run(x)
    model.layers[-1].set_weights([2 * w for w in model.layers[-1].get_weights()])
    assert _largest_difference(explainer.run(x), 2 * before) < 1e-12
    layers_and_weights = explainer.submodel.weights_by_layer()
    assert layers_and_weights == as_built.submodel().weights_by_layer()
    _, weights = layers_and_weights[0]
    zeros = graph.with_weights({name: np.zeros_like(graph.weight_value(name)) for name in weights})
    with pytest.warns(UserWarning, match="zero everywhere"):
        assert not dx.Explainer("gradient_x_input", zeros, target=1).run(x).any()


def test_a_score_function_of_float32_is_part_of_the_graph() -> None:
    def score(y: Any) -> Any:
        return tf.reduce_sum(y * tf.constant(ROWS[0]), -1)

    graph, x = load_model((tf.tanh, SPEC)), _examples(SPEC)
    exact = dx.Explainer("gradient_x_input", graph.in_float64(), score=score).run(x)
    expected = (1 - np.tanh(x.astype(np.float64)) ** 2) * ROWS[0] * x
    assert _largest_difference(exact, expected) < 1e-14
    assert graph.with_score(score).in_float64().is_in_float64
