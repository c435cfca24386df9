"""Evaluator: independent of batches and padding, feature groups, several inputs, known scores, and refusals."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from benchmarks.fill import counted
from tb_deepexplain.attribution import compiled_method
from tb_deepexplain.errors import InputError, ParameterError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.evaluation.evaluator import Evaluator, evaluate
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.measures import TABLE
from tests import models
from tests.closeness import assert_maps_close
from tests.evaluation.settings import PICTURES_ONLY, SETTINGS, Setting, linear, numbers, pixels, with_maps

RNG = np.random.default_rng(0)
SETS = ["sensitivity_n", "faithfulness_correlation", "infidelity"]
ROBUSTNESS = ["max_sensitivity", "stability"]


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return SETTINGS[request.param]()


def assert_same(a: dict[str, Measured], b: dict[str, Measured], order: Any = slice(None)) -> None:
    for name in a:
        np.testing.assert_allclose(a[name].value[order], b[name].value, rtol=1e-3, atol=1e-4, err_msg=name)
        assert a[name].evaluations[order].tolist() == b[name].evaluations.tolist()


def test_measures_do_not_depend_on_batches_order_or_other_examples(setting: Setting) -> None:
    evaluator = Evaluator(setting.explainer, [m.id for m in TABLE if m.id not in PICTURES_ONLY])
    measured = evaluator.run(setting.xs)
    assert_same(measured, evaluator.run(setting.xs, batch_size=5))
    assert_same(measured, evaluator.run(setting.xs[::-1]), slice(None, None, -1))
    assert_same(measured, evaluator.run(setting.xs[1:2]), slice(1, 2))
    other_seed = evaluator.run(setting.xs, seed=1)
    assert not np.allclose(measured["sensitivity_n"].value, other_seed["sensitivity_n"].value, atol=1e-6)


def test_noisy_examples_of_all_draws_fill_batches_together() -> None:
    xs = np.random.default_rng(0).random((7, 10), np.float32)
    with counted() as sizes:
        evaluator = Evaluator(dx.Explainer("gradient_x_input", models.sequential(), target=0), ROBUSTNESS)
        result = evaluator.explainer.run(xs, return_result=True)
        sizes.clear()
        together = evaluator.run(xs, result, batch_size=32)
        assert sizes == [32, 32, 6, 32, 3]  # 10 draws of 7 examples, and 5 of them
        one_by_one = evaluator.run(xs, result, batch_size=1)
    for name in ROBUSTNESS:
        np.testing.assert_allclose(together[name].value, one_by_one[name].value, rtol=1e-5)
        np.testing.assert_array_equal(together[name].evaluations, 10 if name == "max_sensitivity" else 5)


# Known scores


def test_known_scores_are_not_computed_again(setting: Setting) -> None:
    evaluator = Evaluator(setting.explainer, SETS)
    alone = evaluator.run(setting.xs)
    with_known = evaluator.run(setting.xs, known=evaluator.chance(setting.xs))
    for name in SETS:
        assert_maps_close(with_known[name].value, alone[name].value)
        assert (with_known[name].evaluations == 0).all()
        assert (alone[name].evaluations > 100).all()


def test_known_scores_of_another_question_are_refused() -> None:
    model, xs = linear()
    explainer = dx.Explainer("gradient_x_input", model, target=1)
    evaluator = Evaluator(explainer, SETS)
    known = evaluator.chance(xs[:5])
    evaluator.run(xs[:5], known=known)
    Evaluator(dx.Explainer("saliency", model, target=1), SETS).run(xs[:5], known=known)  # the method does not matter
    for other in ({"seed": 1}, {"target": 0}):
        with pytest.raises(InputError, match="known: its values of sensitivity_n are of another model"):
            evaluator.run(xs[:5], known=known, **other)
    with pytest.raises(InputError, match="leave it out"):
        evaluator.run(xs[4::-1], known=known)
    with pytest.raises(InputError, match="leave it out"):
        Evaluator(explainer, {"sensitivity_n": {"baseline": 1.0}}).run(xs[:5], known=known)
    with pytest.raises(ParameterError, match="make an Evaluator of its own"):
        evaluator.of(dx.Explainer("gradient_x_input", linear(13)[0], target=1))


def test_equal_measures_of_one_graph_share_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, xs = dx.load_model(models.binary()), RNG.random((40, 4)).astype(np.float32)
    traces, trace = [], compiled_method.trace
    monkeypatch.setattr(compiled_method, "trace", lambda *arguments: traces.append(1) or trace(*arguments))

    def curve(background: np.ndarray, steps: int = 3) -> np.ndarray:
        measures = {"deletion": {"steps": steps, "baseline": "mean"}}
        return evaluate("gradient_x_input", graph, xs[:3], measures, target=1, background=background)["deletion"].curve

    first = curve(xs)
    assert len(traces) == 2  # the method, and the measure
    np.testing.assert_array_equal(curve(xs), first)
    assert len(traces) == 2
    assert np.abs(curve(xs + 1) - first).max() > 1e-3
    assert curve(xs, steps=2).shape == (3, 3)
    assert len(traces) == 4


def test_texts_of_other_lengths_and_other_backgrounds_are_measured_by_their_own_functions() -> None:
    class Tagger(tf.Module):
        """One sigmoid a token: of a text of one token, its probability is explained, of a longer one the sum."""

        def __init__(self) -> None:
            super().__init__()
            self.table, self.weights = (tf.Variable(RNG.normal(size=s).astype(np.float32)) for s in ((20, 4), (4, 1)))

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def __call__(self, ids: Any) -> Any:
            return tf.sigmoid(tf.tanh(tf.cumsum(tf.gather(self.table, ids), 1)) @ self.weights)

    model, texts = Tagger(), RNG.integers(1, 20, (3, 4)).astype(np.int32)
    graph = dx.load_model(model)
    evaluate("gradient_x_input", graph, texts[:, :1], ["deletion"], target=1)
    shared, alone = (evaluate("gradient_x_input", m, texts, ["deletion"], target=1)["deletion"] for m in (graph, model))
    np.testing.assert_array_equal(shared.value, alone.value)
    graph, xs = linear()
    explainers = [dx.Explainer("gradient_x_input", graph, target=1, background=xs[:4] + shift) for shift in (0, 3)]
    evaluator = Evaluator(explainers[0], SETS[:1])
    known = evaluator.chance(xs[:4])
    other = evaluator.of(explainers[1])
    expected = Evaluator(explainers[1], SETS[:1]).run(xs[:4])
    np.testing.assert_array_equal(other.run(xs[:4])["sensitivity_n"].changes, expected["sensitivity_n"].changes)
    with pytest.raises(InputError, match="leave it out"):
        other.run(xs[:4], known=known)
    with pytest.raises(InputError, match=r"ys: got weights of shape \(1,\) for each example"):
        evaluator.chance(xs[:4], ys=np.ones((4, 1)))


# Feature groups


def test_blocks_and_segments_are_removed_together() -> None:
    setting, steps = pixels(), {"steps": 4}
    result = setting.result()
    by_block = Evaluator(setting.explainer, {"deletion": steps | {"blocks": 4}}).run(setting.xs, result)["deletion"]
    quarters = np.arange(8)[:, None] // 4 * 2 + np.arange(8) // 4
    maps = np.asarray(result.attributions)
    for i, literal in enumerate(setting.literal(maps)):
        literal.groups = [np.repeat((quarters == q)[..., None], 3, -1) for q in range(4)]
        literal.attributions = [maps[i][group].sum() for group in literal.groups]
        np.testing.assert_allclose(by_block.curve[i], literal.curve(4), rtol=2e-3, atol=2e-4)
    segments = np.stack([quarters] * 3)
    evaluator = Evaluator(setting.explainer, {"deletion": steps})
    by_segment = evaluator.run(setting.xs, result, segments=segments)["deletion"]
    np.testing.assert_allclose(by_segment.curve, by_block.curve, rtol=2e-3, atol=2e-4)
    segments[0] = np.minimum(segments[0], 1)  # two segments: of four steps every second removes one
    of_two = evaluator.run(setting.xs, result, segments=segments)["deletion"]
    assert len(np.unique(np.round(of_two.curve[0], 5))) == 3
    np.testing.assert_allclose(of_two.curve[1:], by_block.curve[1:], rtol=2e-3, atol=2e-4)


def test_maps_over_the_first_axes_are_spread_over_the_others() -> None:
    setting = pixels()
    sampled = dx.Explainer("shapley_sampling", setting.explainer.graph, target=1, sampling_dims=(1, 2), samples=20)
    result = sampled.run(setting.xs, return_result=True)
    assert np.asarray(result.attributions).shape == (3, 8, 8)
    measured = Evaluator(sampled, ["sensitivity_n", "completeness"]).run(setting.xs, result)
    assert measured["sensitivity_n"].value.min() > 0.5
    assert measured["completeness"].value.max() < 1e-3
    spread = with_maps(result, np.repeat(np.asarray(result.attributions)[..., None] / 3, 3, -1))
    evaluator = Evaluator(sampled, {"infidelity": {"scaling": "none", "samples": 20}})
    a, b = (evaluator.run(setting.xs, r)["infidelity"].value for r in (result, spread))
    np.testing.assert_allclose(a, b, rtol=1e-4)
    channels = dx.Explainer("shapley_sampling", setting.explainer.graph, target=1, sampling_dims=3)
    with pytest.raises(ParameterError, match="do not fit examples of shape"):
        Evaluator(channels, ["deletion"]).run(setting.xs)


# Several inputs


def test_features_of_several_inputs_are_removed_together() -> None:
    model = models.two_inputs()
    xs = {"numbers": RNG.normal(size=(3, 4)).astype(np.float32), "ids": RNG.integers(1, 10, (3, 6)).astype(np.int32)}
    measured = evaluate("integrated_gradients", model, xs, ["completeness", "sensitivity_n", "deletion"], target=0)
    assert measured["completeness"].value.max() < 0.02
    assert measured["sensitivity_n"].value.min() > 0.5
    np.testing.assert_allclose(measured["deletion"].curve[:, -1], 0, atol=1e-5)


def test_inputs_of_one_number_get_as_much_noise_as_one_array() -> None:
    keras.utils.set_random_seed(0)
    scalars = [keras.Input((1,), name=name) for name in "abcd"]
    array = keras.Input((4,))
    rest = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(2)])
    of_scalars = keras.Model(scalars, rest(layers.Concatenate()(scalars)))
    of_array = keras.Model(array, rest(array))
    xs = RNG.normal(size=(6, 4)).astype(np.float32)
    one = evaluate("gradient_x_input", of_array, xs, ROBUSTNESS, target=1)
    four = evaluate("gradient_x_input", of_scalars, [xs[:, i : i + 1] for i in range(4)], ROBUSTNESS, target=1)
    for name in ROBUSTNESS:
        np.testing.assert_allclose(four[name].value.mean(), one[name].value.mean(), rtol=0.5)
    assert (four["max_sensitivity"].value > 0.005).all()
    zeros = evaluate("gradient_x_input", of_array, np.zeros((2, 4), np.float32), ROBUSTNESS, target=1)
    assert all(np.isnan(m.value).all() for m in zeros.values())  # there is no range to scale the noise


# Padding


def two_texts() -> tuple[keras.Model, list[np.ndarray]]:
    """Two embeddings, the second input's looked up first, and texts of different lengths.

    The probability is one half without any word.
    """
    keras.utils.set_random_seed(0)
    p, q = keras.Input((6,), dtype="int32", name="p"), keras.Input((6,), dtype="int32", name="q")
    tables = [layers.Embedding(10, 4, embeddings_initializer="normal") for _ in range(2)]
    second, first = tables[1](q), tables[0](p)
    both = layers.Concatenate()([layers.Flatten()(first), layers.Flatten()(second)])
    model = keras.Model([p, q], layers.Dense(2, "softmax", use_bias=False, kernel_initializer="normal")(both))
    for table in tables:
        table.set_weights([table.get_weights()[0] * 20 * (np.arange(10) > 0)[:, None]])  # padding is embedded as zero
    short, long = np.array([[3, 0, 0, 0, 0, 0]], np.int32), np.array([[3, 4, 5, 6, 7, 8]], np.int32)
    return model, [np.concatenate([short, long]), np.concatenate([long, short])]


def test_each_text_has_its_own_padding() -> None:
    model, xs = two_texts()
    measures = {"deletion": {"steps": 7}, "sensitivity_n": {}, "stability": {}}
    measured = evaluate("gradient_x_input", model, xs, measures, target=1)
    np.testing.assert_allclose(measured["deletion"].curve[:, -1], 0.5, atol=1e-6)  # no word is left in either text
    # Seven words: every step removes one, and none removes padding.
    assert (np.abs(np.diff(measured["deletion"].curve, axis=1)) > 1e-6).all()
    np.testing.assert_allclose(measured["sensitivity_n"].value, 1, atol=1e-3)  # the logits are linear in the embeddings


def test_padding_does_not_count_in_stability() -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(30, 4, mask_zero=True, embeddings_initializer=keras.initializers.RandomNormal(0, 1))(ids)
    hidden = layers.GlobalAveragePooling1D()(layers.Dense(8, "tanh")(x))
    model = keras.Model(ids, layers.Dense(2)(hidden))
    xs = RNG.integers(1, 30, (4, 6)).astype(np.int32)
    padded = np.pad(xs, [(0, 0), (0, 20)])
    for method in ("saliency", "gradient_x_input"):
        plain, with_padding = (evaluate(method, model, x, ROBUSTNESS, target=1) for x in (xs, padded))
        # The noise is another draw, so the values are similar but not equal.
        for name in ROBUSTNESS:
            assert abs(np.nanmean(plain[name].value) - np.nanmean(with_padding[name].value)) < 0.25, (method, name)


# Targets and baselines


def test_the_score_that_was_explained_is_measured() -> None:
    model, xs = linear()
    explainer = dx.Explainer("gradient_x_input", model)
    evaluator = Evaluator(explainer, ["sensitivity_n", "deletion"])
    weights = np.tile(np.array([1, -2, 0.5], np.float32), (5, 1))
    for options in ({"ys": weights}, {"target": np.array([0, 1, 2, 0, 1])}):
        result = explainer.run(xs[:5], return_result=True, **options)
        measured, chance = evaluator.run(xs[:5], result), evaluator.chance(xs[:5], result)
        np.testing.assert_allclose(measured["sensitivity_n"].value, 1, atol=1e-3)
        np.testing.assert_allclose(chance["deletion"].curve[:, 0], measured["deletion"].curve[:, 0], rtol=1e-5)


def test_the_baseline_of_a_measure_is_that_of_the_method() -> None:
    model, xs = linear()
    names = ["completeness", "sensitivity_n"]
    same = evaluate("integrated_gradients", model, xs[:5], names, target=1, baseline=1.0)
    np.testing.assert_allclose(same["completeness"].value, 0, atol=1e-3)
    np.testing.assert_allclose(same["sensitivity_n"].value, 1, atol=1e-3)
    zero = evaluate("integrated_gradients", model, xs[:5], {"completeness": {"baseline": 0.0}}, target=1, baseline=1.0)
    assert zero["completeness"].value.max() > 0.05
    two = models.two_inputs()
    xs_of_two = {
        "numbers": RNG.normal(size=(3, 4)).astype(np.float32),
        "ids": RNG.integers(1, 10, (3, 6)).astype(np.int32),
    }
    by_name = dict.fromkeys(dx.Explainer("saliency", two).submodel.cut.names, 0.0)
    evaluate("gradient_x_input", two, xs_of_two, {"deletion": {"baseline": by_name}}, target=0)


# Refusals


def test_maps_must_fit_the_examples() -> None:
    model, xs = linear(4)
    result = dx.Explainer("gradient_x_input", model, target=1).run(xs[:3], return_result=True)
    evaluator = Evaluator(dx.Explainer("gradient_x_input", model, target=1), ["sensitivity_n"])
    with pytest.raises(ParameterError, match=r"maps of shape \(9,\) do not fit examples of shape \(4,\)"):
        evaluator.run(xs[:3], with_maps(result, np.ones((3, 9), np.float32)))
    with pytest.raises(InputError, match="expected the maps of 2 examples"):
        evaluator.run(xs[:2], result, target=1)


def test_segments_must_fit_the_examples() -> None:
    setting = pixels()
    evaluator = Evaluator(setting.explainer, ["deletion"])
    expected = r"segments: got int64 .* expected whole numbers from 0, of shape \(3, 8, 8\)"
    for wrong in (np.zeros((3, 8, 7), int), np.zeros((3, 8, 8, 3), int), np.full((3, 8, 8), -1)):
        with pytest.raises(InputError, match=expected):
            evaluator.run(setting.xs, segments=wrong)
    with pytest.raises(InputError, match="segments: got float64"):
        evaluator.run(setting.xs, segments=np.zeros((3, 8, 8)))


def test_wrong_measures_and_parameters_are_refused() -> None:
    setting = numbers()
    with pytest.raises(UnknownMethodError, match="unknown measure 'deletions'; did you mean deletion"):
        Evaluator(setting.explainer, ["deletions"])
    with pytest.raises(ParameterError, match="deletion: steps=0 is not accepted; expected whole number, at least 1"):
        Evaluator(setting.explainer, {"deletion": {"steps": 0}})
    with pytest.raises(ParameterError, match="share=1 is not accepted; expected number, above 0, below 1"):
        Evaluator(setting.explainer, {"faithfulness_correlation": {"share": 1}})
    with pytest.raises(ParameterError, match=r"blocks=\(2, 2\) has 2 entries; an example of input 0 has 1 axes"):
        Evaluator(setting.explainer, {"deletion": {"blocks": (2, 2)}}).run(setting.xs)
    with pytest.raises(UnsupportedModelError, match="road fills in pixels and needs one picture"):
        Evaluator(setting.explainer, ["road"]).run(setting.xs)
