"""How a method is run must not show in its answer: batches, order, threads, compilers, precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests import models

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(11, 8, 8, 3)).astype(np.float32)
STRINGS = np.array(["a great film", "dull", "not the dull film", "great great", "film", "the film not great a"])
EVERY = [m.id for m in dx.methods()]
FEW = {"occlusion": {"window_shape": (4, 4, 3), "step": 4}, "shapley_sampling": {"sampling_dims": (1,), "samples": 2}}


@pytest.fixture(scope="module")
def graph() -> dx.ModelGraph:
    return dx.load_model(models.image())


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", EVERY)
def test_order_and_batches_do_not_show(method: str, graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer(method, graph, **FEW.get(method, {}))
    targets, order = np.arange(11) % 3, RNG.permutation(11)
    reference = explainer.run(PICTURES, target=targets)
    for size in (1, 2, 5, 64):
        found = explainer.run(PICTURES[order], target=targets[order], batch_size=size)
        _close(found, reference[order])
    _close(explainer.run(PICTURES[4:5], target=targets[4:5]), reference[4:5])


@pytest.mark.parametrize("method", EVERY)
def test_strings_are_explained_as_if_alone(method: str) -> None:
    """The vectoriser pads a batch to its longest string; the model here does not mask the padding."""
    options = {"on_unsupported": "gradient"} if method in ("epsilon_lrp", "deeplift") else {}  # it has an LSTM
    explainer = dx.Explainer(method, models.text(mask_zero=False, strings=True), target=1, **options)
    together = explainer.run(STRINGS, return_result=True)
    assert together.tokens.shape == (6, 5)
    for i, text in enumerate(STRINGS):
        alone = explainer.run([text], return_result=True)
        length = len(text.split())
        assert alone.tokens.shape == (1, length)
        _close(together.tokens[i, :length], alone.tokens[0])
        assert not together.tokens[i, length:].any()
        _close(together.score[i], alone.score[0])
    predictions = explainer.predict(STRINGS)
    np.testing.assert_array_equal(predictions.lengths, [len(t.split()) for t in STRINGS])
    _close(predictions.outputs[1], explainer.predict(STRINGS[1:2]).outputs[0])


@pytest.mark.parametrize("method", EVERY)
def test_one_trace_serves_every_batch(method: str, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is placed into new functions while the first batch is explained, and never again."""
    explainer = dx.Explainer(method, graph, target=0, **FEW.get(method, {}))
    placed = []
    real = explainer._bound.leave
    monkeypatch.setattr(explainer._bound, "leave", lambda *given: placed.append(1) or real(*given))
    explainer.run(PICTURES[:1])  # which also looks once how much the model computes
    explainer.run(PICTURES, batch_size=4)  # two full batches and a ragged one
    first = len(placed)
    assert 0 < first < 8
    for n, size in ((11, 3), (5, 64), (1, None), (11, 2)):
        explainer.run(PICTURES[:n], batch_size=size)
    assert len(placed) == first
    assert len(explainer._compiled) == 1
    assert explainer._compiled.popitem()[1].function.name  # a concrete function: it cannot trace again


@pytest.mark.parametrize("method", [m.id for m in dx.methods() if m.family != "perturbation"])
def test_texts_of_any_length_share_one_function(method: str) -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    y = layers.Conv1D(4, 2, activation="tanh")(layers.Embedding(10, 3, embeddings_initializer="normal")(ids))
    explainer = dx.Explainer(method, keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(y))), target=1)
    for length in (3, 5, 9):
        xs = RNG.integers(0, 10, (4, length))
        result = explainer.run(xs, return_result=True)
        assert result.attributions.shape == (4, length, 3)
        if method in ("deeplift", "integrated_gradients"):
            assert (abs(result.gap) <= 0.011 * abs(result.score - result.baseline_score) + 1e-6).all()
    assert len(explainer._compiled) == 1


def test_two_threads_explain_one_model(graph: dx.ModelGraph) -> None:
    """New explainers, so that analysis, tracing and compilation run at once too."""

    def work(method: str) -> np.ndarray:
        return np.asarray(dx.explain(method, graph, PICTURES, target=1, **FEW.get(method, {})))

    with ThreadPoolExecutor(len(EVERY)) as pool:
        together = list(pool.map(work, EVERY))
    for method, found in zip(EVERY, together, strict=True):
        _close(found, work(method))


def test_threads_share_one_explainer(graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer("deeplift", graph)
    expected = [explainer.run(PICTURES, target=c) for c in range(3)]
    fresh = dx.Explainer("deeplift", graph)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda c: fresh.run(PICTURES, target=c, batch_size=3), [0, 1, 2] * 4))
    for one, reference in zip(found, expected * 4, strict=True):
        _close(one, reference)
    assert len(fresh._compiled) == 1


@pytest.mark.parametrize("method", EVERY)
def test_xla_gives_the_same_maps(method: str, graph: dx.ModelGraph) -> None:
    found, expected = (
        dx.explain(method, graph, PICTURES, target=1, batch_size=4, jit=jit, **FEW.get(method, {}))
        for jit in (True, False)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_xla_reads_text_models_too() -> None:
    found, expected = (
        dx.explain("intgrad", models.text(), [[3, 4, 0], [2, 5, 6]], target=1, jit=jit) for jit in (True, False)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def _mixed(policy: str, text: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), dtype="int32" if text else "float32")
    y = layers.Embedding(10, 4, embeddings_initializer="normal", dtype=policy)(x) if text else x
    y = layers.Dense(8, "tanh", dtype=policy)(layers.Flatten(dtype=policy)(y))
    return keras.Model(x, layers.Dense(2, dtype=policy)(y))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("method", EVERY)
def test_the_models_precision_is_honoured(method: str, text: bool, policy: str) -> None:
    xs = RNG.integers(0, 10, (3, 6)) if text else RNG.normal(size=(3, 6))
    model, reference = _mixed(policy, text), _mixed("float32", text)
    reference.set_weights(model.get_weights())
    options = {"steps": 8} if method == "integrated_gradients" else {}
    result = dx.explain(method, model, xs, target=1, return_result=True, **options)
    expected = dx.explain(method, reference, xs, target=1, **options)
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
    found = dx.explain("intgrad", model, x, steps=5000, quadrature="right")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1.5**2, rtol=2e-3)
