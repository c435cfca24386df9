"""Maps do not depend on how a method is run: batches, order, threads, compilers, precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph import submodel
from tests import models
from tests.closeness import assert_map_close, assert_maps_close

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(11, 8, 8, 3)).astype(np.float32)
STRINGS = np.array(["a great film", "dull", "not the dull film", "great great", "film", "the film not great a"])
EVERY = [m.id for m in dx.methods()]
FEW = {"occlusion": {"window_shape": (4, 4, 3), "step": 4}, "shapley_sampling": {"sampling_dims": (1,), "samples": 2}}


def _functions(explainer: dx.Explainer) -> int:
    """How many functions the explainer's method was compiled to."""
    keys = explainer.submodel._compiled
    return sum(key[:2] == ("method", explainer.method.function) for key in keys if keys[key] is not None)


@pytest.fixture(scope="module")
def graph() -> dx.ModelGraph:
    return models.graph(models.image)


@pytest.mark.parametrize("method", EVERY)
def test_maps_do_not_depend_on_order_or_batches(method: str, graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer(method, graph, **FEW.get(method, {}))
    targets, order = np.arange(11) % 3, RNG.permutation(11)
    reference = explainer.run(PICTURES, target=targets)
    for size in (1, 2, 5, 64):
        actual = explainer.run(PICTURES[order], target=targets[order], batch_size=size)
        assert_maps_close(actual, reference[order])
    assert_maps_close(explainer.run(PICTURES[4:5], target=targets[4:5]), reference[4:5])


@pytest.mark.parametrize("method", EVERY)
def test_maps_of_strings_do_not_depend_on_the_other_strings(method: str) -> None:
    """The vectoriser pads a batch to its longest string; the model here does not mask the padding."""
    options = {"on_unsupported": "gradient"} if find_method(method).family == "backprop rule" else {}  # it has an LSTM
    explainer = dx.Explainer(method, models.graph(models.text, mask_zero=False, strings=True), target=1, **options)
    together, predictions = explainer.run(STRINGS, return_result=True), explainer.predict(STRINGS)
    assert together.tokens.shape == (6, 5)
    for i, text in enumerate(STRINGS):
        alone = explainer.run([text], return_result=True)
        length = len(text.split())
        assert alone.tokens.shape == (1, length)
        assert_map_close(together.tokens[i, :length], alone.tokens[0])
        assert not together.tokens[i, length:].any()
        assert abs(together.score[i] - alone.score[0]) <= 1e-5 * abs(predictions.outputs[i]).max()
    np.testing.assert_array_equal(predictions.lengths, [len(t.split()) for t in STRINGS])
    assert_map_close(predictions.outputs[1], explainer.predict(STRINGS[1:2]).outputs[0])


@pytest.mark.parametrize("method", EVERY)
def test_one_trace_serves_every_batch_and_call(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is traced while the first batch is explained, and not later, whichever explainer has the same parameters."""
    graph = dx.load_model(models.image())
    explainer = dx.Explainer(method, graph, target=0, **FEW.get(method, {}))
    traces = []
    real = explainer.submodel.compute_output
    monkeypatch.setattr(explainer.submodel, "compute_output", lambda *arguments: traces.append(1) or real(*arguments))
    explainer.run(PICTURES[:1])  # which also looks once how much the model computes
    explainer.run(PICTURES, batch_size=4)  # two full batches and a ragged one
    first = len(traces)
    assert 0 < first < 8
    for n, size in ((11, 3), (5, 64), (1, None), (11, 2)):
        explainer.run(PICTURES[:n], batch_size=size)
    assert len(traces) == first
    assert _functions(explainer) == 1
    assert all(c.function.name for c in explainer.submodel._compiled.values())  # concrete functions do not trace again
    parameters = FEW.get(method, {})
    dx.explain(method, graph, PICTURES, target=1, batch_size=3, **parameters)
    assert len(traces) == first
    row = find_method(method)
    if row.baseline_parameter:
        others = [
            dx.explain(method, graph, PICTURES, target=1, **parameters | {row.baseline_parameter: b})
            for b in (0.2, 0.7)
        ]
        assert len(traces) > first
        assert np.abs(others[0] - others[1]).max() > 1e-3


def test_compiled_functions_that_were_not_used_for_long_are_forgotten() -> None:
    submodel, compiled = dx.load_model(models.sequential()).submodel(), list[int]()
    for key in range(100):
        for used in (0, key):  # the first is used all the time
            assert submodel.compile_once(used, lambda used=used: compiled.append(used) or used) == used
    assert compiled == list(range(100))
    submodel.compile_once(99, lambda: compiled.append(99))
    submodel.compile_once(1, lambda: compiled.append(1))
    assert compiled[100:] == [1]


@pytest.mark.parametrize(
    ("method", "params"),
    [*((m, {}) for m in EVERY), ("integrated_gradients", {"baseline": 0.1}), ("integrated_gradients", {"steps": 3})],
)
def test_texts_of_any_length_share_one_function(method: str, params: dict[str, Any]) -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    y = layers.Conv1D(4, 2, activation="tanh")(layers.Embedding(10, 3, embeddings_initializer="normal")(ids))
    explainer = dx.Explainer(
        method, keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(y))), target=1, **params
    )
    for length in (3, 5, 9):
        xs = RNG.integers(0, 10, (4, length))
        result = explainer.run(xs, return_result=True)
        assert result.attributions.shape == ((4, length) if find_method(method).map_axes_parameter else (4, length, 3))
        if method in ("deeplift", "integrated_gradients") and not params.get("steps"):
            rounding = 1e-6 * (abs(result.attributions).sum((1, 2)) + abs(result.score))
            assert (abs(result.gap) <= 0.011 * abs(result.score - result.baseline_score) + rounding).all()
    assert _functions(explainer) == 1


@cache
def _pictures_of_any_size() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = y = keras.Input((None, None, 3))
    for width in (3, 4):
        y = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", bias_initializer="normal")(y)
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))


@pytest.mark.parametrize(
    ("method", "params"),
    [*((m, FEW.get(m, {})) for m in EVERY), ("occlusion", {"window_shape": 5}), ("deeplift", {"baseline": 0.3})],
)
def test_pictures_of_any_size_share_one_function(method: str, params: dict[str, Any]) -> None:
    """Their maps are those of a model of their size."""
    model = _pictures_of_any_size()
    explainer = dx.Explainer(method, model, target=1, **params)
    for shape in ((8, 12, 3), (12, 8, 3)):
        xs = RNG.random((3, *shape), np.float32)
        maps = explainer.run(xs)
    image = keras.Input(shape)
    assert_maps_close(maps, dx.explain(method, keras.Model(image, model(image)), xs, target=1, **params))
    assert _functions(explainer) == 1


def test_sounds_of_any_length_share_one_function() -> None:
    sound = keras.Input((None,))
    y = layers.Conv1D(4, 3, activation="tanh")(layers.Reshape((-1, 1))(sound))
    model = keras.Model(sound, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))
    explainer = dx.Explainer("occlusion", model, target=0, window_shape=(4,))
    for length in (6, 9):
        assert explainer.run(RNG.random((2, length), np.float32)).shape == (2, length)
    assert _functions(explainer) == 1


def test_a_window_that_is_longer_than_the_example_has_a_function_of_its_own() -> None:
    explainer = dx.Explainer("occlusion", _pictures_of_any_size(), target=0, window_shape=6)
    explainer.run(RNG.random((2, 8, 8, 3), np.float32))
    xs = RNG.random((2, 4, 8, 3), np.float32)
    expected = dx.explain("occlusion", _pictures_of_any_size(), xs, target=0, window_shape=(4, 6, 3))
    assert_maps_close(explainer.run(xs), expected)
    assert _functions(explainer) == 2


def test_measures_of_pictures_of_any_size_share_one_function() -> None:
    model, measures = _pictures_of_any_size(), ["road", "faithfulness_correlation"]
    evaluator = dx.Evaluator(dx.Explainer("saliency", model, target=0), measures)
    for size in (6, 8):
        xs = RNG.random((2, size, 5, 3), np.float32)
        measured = evaluator.run(xs)
    keys = evaluator.explainer.removal._compiled
    assert sum(key[0] == "measure" for key in keys) == len(measures)
    image = keras.Input((size, 5, 3))
    expected = dx.Evaluator(dx.Explainer("saliency", keras.Model(image, model(image)), target=0), measures).run(xs)
    for name in measures:
        np.testing.assert_allclose(measured[name].value, expected[name].value, rtol=1e-4)


def test_where_a_method_needs_the_sizes_each_has_a_function_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel chooses its coalitions while it is traced; other methods may fail for open sizes in ways that nobody foresaw."""
    monkeypatch.setattr(submodel, "_MOST_COMPILED", 3)
    kernel = dx.Explainer("shapley", _pictures_of_any_size(), target=0, estimator="kernel", samples=4, sampling_dims=1)
    gradient = dx.Explainer("saliency", _pictures_of_any_size(), target=0)
    real, shapes_tried = gradient._compile, list[Any]()

    def compile_method(shapes: Any, *rest: Any) -> Any:
        shapes_tried.append(shapes)
        if None in shapes[0][1:]:
            raise ValueError("this step needs the height")
        return real(shapes, *rest)

    monkeypatch.setattr(gradient, "_compile", compile_method)
    for explainer in (kernel, gradient):
        for size in range(4, 9):
            xs = RNG.random((2, size, 5, 3), np.float32)
            assert explainer.run(xs).shape == ((2, size) if explainer is kernel else xs.shape)
        assert 1 <= _functions(explainer) <= 3
    assert shapes_tried == [((None, None, None, 3),), *(((None, size, 5, 3),) for size in range(4, 9))]


def test_two_threads_explain_one_model(graph: dx.ModelGraph) -> None:
    """New explainers, so that analysis, tracing and compilation run at once too."""

    def work(method: str) -> np.ndarray:
        return np.asarray(dx.explain(method, graph, PICTURES, target=1, **FEW.get(method, {})))

    with ThreadPoolExecutor(len(EVERY)) as pool:
        together = list(pool.map(work, EVERY))
    for method, maps in zip(EVERY, together, strict=True):
        assert_maps_close(maps, work(method))


def test_threads_share_one_explainer(graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer("deeplift", graph)
    expected = [explainer.run(PICTURES, target=c) for c in range(3)]
    fresh = dx.Explainer("deeplift", graph)
    with ThreadPoolExecutor(6) as pool:
        maps = list(pool.map(lambda c: fresh.run(PICTURES, target=c, batch_size=3), [0, 1, 2] * 4))
    for one, reference in zip(maps, expected * 4, strict=True):
        assert_maps_close(one, reference)
    assert _functions(fresh) == 1


@pytest.mark.parametrize("method", EVERY)
def test_xla_gives_the_same_maps(method: str, graph: dx.ModelGraph) -> None:
    actual, expected = (
        dx.explain(method, graph, PICTURES, target=1, batch_size=4, jit=jit, **FEW.get(method, {}))
        for jit in (True, False)
    )
    assert_maps_close(actual, expected, share=1e-4)


def test_xla_reads_text_models_too() -> None:
    actual, expected = (
        dx.explain("intgrad", models.text(), [[3, 4, 0], [2, 5, 6]], target=1, jit=jit, steps=2)
        for jit in (True, False)
    )
    assert_maps_close(actual, expected, share=1e-4)


def _mixed(policy: str, text: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), dtype="int32" if text else "float32")
    y = layers.Embedding(10, 4, embeddings_initializer="normal", dtype=policy)(x) if text else x
    y = layers.Dense(8, "tanh", dtype=policy)(layers.Flatten(dtype=policy)(y))
    return keras.Model(x, layers.Dense(2, dtype=policy)(y))


@cache
def _in_single_precision(method: str, text: bool) -> tuple[Any, Any, Any]:
    """Examples, weights of the model, and its maps in float32."""
    rng = np.random.default_rng(1)
    xs = rng.integers(0, 10, (3, 6)) if text else rng.normal(size=(3, 6))
    model = _mixed("float32", text)
    options = {"steps": 8} if method == "integrated_gradients" else {}
    return xs, model.get_weights(), dx.explain(method, model, xs, target=1, **options)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("method", EVERY)
def test_the_models_precision_is_honoured(method: str, text: bool, policy: str) -> None:
    xs, weights, expected = _in_single_precision(method, text)
    model = _mixed(policy, text)
    model.set_weights(weights)
    options = {"steps": 8} if method == "integrated_gradients" else {}
    result = dx.explain(method, model, xs, target=1, return_result=True, **options)
    assert result.attributions.dtype == (np.float64 if policy == "float64" and text else np.float32)
    rough = {"mixed_float16": 4e-3, "mixed_bfloat16": 4e-2, "float64": 1e-5}[policy]
    np.testing.assert_allclose(result.attributions, expected, atol=rough * abs(expected).max(), rtol=10 * rough)
    if policy == "float64" and text and dx.Explainer(method, model).method.sums_to and method != "integrated_gradients":
        assert abs(result.gap).max() < 1e-12


def test_half_precision_sums_in_single() -> None:
    """Ten thousand small parts in float16 would stop growing at the first few."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float16)], autograph=False)
    def model(x: Any) -> Any:
        return x**2

    x = np.full((1, 4), 1.5, np.float16)
    actual = dx.explain("intgrad", model, x, steps=5000, quadrature="right", target=None)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, 1.5**2, rtol=2e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of maps of zeros
@pytest.mark.parametrize(("method", "params"), [*((m, {}) for m in EVERY), ("integrated_gradients", {"steps": 4})])
def test_batch_size_bounds_the_points_of_an_evaluation(method: str, params: dict[str, Any]) -> None:
    """The score of this model is the number of points that it evaluates at once."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def crowd(x: Any) -> Any:
        return 0 * tf.reduce_sum(x, 1) + tf.cast(tf.shape(x)[0], tf.float32)

    for size in (1, 4):
        result = dx.explain(method, crowd, np.ones((30, 3)), batch_size=size, return_result=True, **params)
        assert result.score.max() == size
        assert np.nanmax(np.append(result.baseline_score, 0)) <= size
    dx.explain(method, crowd, np.ones((2, 3)), batch_size=2**40, **params)


@pytest.mark.parametrize("inputs", ["conv", "embedding", None])
def test_maps_of_strings_do_not_depend_on_the_others_at_any_entry(inputs: str | None) -> None:
    keras.utils.set_random_seed(0)
    vectorise = layers.TextVectorization(vocabulary=["a", "great", "dull", "film", "not", "the"])
    strings = keras.Input((), dtype="string")
    y = layers.Embedding(9, 4, embeddings_initializer="normal")(vectorise(strings))
    y = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 2, padding="same", activation="tanh", name="conv")(y))
    model = keras.Model(strings, layers.Dense(2)(y))
    explainer = dx.Explainer("gradient_x_input", model, inputs=inputs, target=1)
    together = explainer.run(STRINGS, return_result=True)
    predicted = explainer.predict(STRINGS).outputs
    for i, text in enumerate(STRINGS):
        alone = explainer.run([text], return_result=True)
        outputs = explainer.predict([text]).outputs[0]
        assert_map_close(predicted[i], outputs)
        assert abs(together.score[i] - alone.score[0]) <= 1e-5 * abs(outputs).max()


def test_weights_of_either_precision_fit() -> None:
    explainer = dx.Explainer("saliency", models.image())
    ys = RNG.normal(size=(11, 3))
    maps = [explainer.run(PICTURES, ys=ys.astype(dtype)) for dtype in (np.float32, np.float64, np.float32)]
    assert_maps_close(maps[1], maps[0])
    assert _functions(explainer) == 1


def test_values_of_an_inner_tensor_are_read_like_inputs() -> None:
    x = keras.Input((4,))
    h = layers.Dense(5, "tanh", name="hidden")(x)
    explainer = dx.Explainer("gradient_x_input", keras.Model(x, layers.Dense(2)(h)), inputs="hidden", target=0)
    values = RNG.normal(size=(6, 5))
    maps = [explainer.run({"hidden": values.astype(dtype)})["hidden"] for dtype in (np.float64, np.float32)]
    assert_maps_close(*maps)
    with pytest.raises(InputError, match=r"hidden: float32 \[\?, 5\]: got an array of shape \(6, 7\)"):
        explainer.run({"hidden": np.ones((6, 7))})


def test_results_have_the_structure_of_the_inputs() -> None:
    text, picture = dx.Explainer("saliency", models.text(), target=0), models.image()
    ids = np.array([[3, 4, 0], [2, 5, 6]])
    assert isinstance(text.run([ids]), list)
    assert isinstance(text.run((ids,)), tuple)
    assert isinstance(text.run(ids), np.ndarray)
    assert isinstance(text.run(ids.tolist()), np.ndarray)
    for images in (PICTURES, PICTURES[:1]):
        maps = dx.explain("shapley_sampling", picture, [images], target=0, sampling_dims=[1, 2], samples=1)
        assert isinstance(maps, list)
        assert maps[0].shape == images.shape[:3]


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize("method", ["gradient_x_input", "occlusion", "shapley_sampling"])
def test_tokens_have_the_shape_of_their_ids(shape: tuple[int, ...], method: str) -> None:
    ids = keras.Input(shape, dtype="int32")
    y = layers.Embedding(9, 4, embeddings_initializer="normal")(ids)
    y = layers.Dense(1)(layers.Flatten()(y))
    result = dx.explain(method, keras.Model(ids, y), RNG.integers(0, 9, (5, *shape)), return_result=True)
    assert result.tokens.shape == (5, *shape)
    summed = result.attributions
    if not find_method(method).map_axes_parameter:  # else the method explains whole tokens
        summed = summed.sum(-1)
    assert_maps_close(result.tokens, summed)
