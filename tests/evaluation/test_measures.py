"""The measures: equal to their literal implementations, right where the answer is known, and worse for worse maps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.evaluation.evaluator import Evaluator, evaluate
from tb_deepexplain.evaluation.measures import TABLE, Family
from tb_deepexplain.evaluation.measures.road import impute
from tb_deepexplain.evaluation.tensor_statistics import correlation
from tests.evaluation import literal_measures
from tests.evaluation.settings import (
    PICTURES_ONLY,
    SETTINGS,
    Setting,
    linear,
    linear_weights,
    numbers,
    pixels,
    with_maps,
)

RNG = np.random.default_rng(0)
NAMES = [m.id for m in TABLE]
SCORED = [m.id for m in TABLE if m.needs == "score" and m.id not in PICTURES_ONLY]
SETS = ["sensitivity_n", "faithfulness_correlation", "infidelity"]
OF_LINEAR_MODELS = {"completeness": 0, "sensitivity_n": 1, "faithfulness_correlation": 1, "infidelity": 0}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return SETTINGS[request.param]()


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-4)


# Equal to the literal implementations


def test_measures_of_random_sets_equal_the_literal_ones(setting: Setting) -> None:
    result = setting.result()
    few = {"samples": 20}
    measures = {"sensitivity_n": {"sizes": 5} | few, "faithfulness_correlation": few, "infidelity": few}
    measured = Evaluator(setting.explainer, measures).run(setting.xs, result)
    for i, literal in enumerate(setting.literal(np.asarray(result.attributions))):
        curve, mean = literal.sensitivity_n(5, 20)
        assert_close(measured["sensitivity_n"].curve[i], curve)
        assert_close(measured["sensitivity_n"].value[i], mean)
        assert_close(measured["faithfulness_correlation"].value[i], literal.faithfulness_correlation(samples=20))
        assert_close(measured["infidelity"].value[i], literal.infidelity(20))
    unscaled = Evaluator(setting.explainer, {"infidelity": few | {"scaling": "none"}}).run(setting.xs, result)
    expected = [m.infidelity(20, fitted=False) for m in setting.literal(np.asarray(result.attributions))]
    assert_close(unscaled["infidelity"].value, expected)


def test_curves_equal_the_literal_ones(setting: Setting) -> None:
    result = setting.result()
    measured = Evaluator(setting.explainer, ["deletion", "insertion"]).run(setting.xs, result)
    for i, literal in enumerate(setting.literal(np.asarray(result.attributions))):
        assert_close(measured["deletion"].curve[i], literal.curve())
        assert_close(measured["deletion"].value[i], literal.area())
        assert_close(measured["insertion"].curve[i], literal.curve(insert=True))
        assert_close(measured["insertion"].value[i], literal.area(insert=True))
        assert_close(measured["insertion"].at[i], np.linspace(0, 1, 21))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_removed_pixels_are_filled_in_as_by_a_dense_system(share: float) -> None:
    pictures = RNG.random((2, 7, 9, 2)).astype(np.float32)
    removed = RNG.random((2, 7, 9, 1)) < share
    filled = impute(tf.constant(pictures), tf.constant(removed)).numpy()
    for n in range(2):
        for channel in range(2):
            expected = literal_measures.impute(pictures[n, ..., channel], removed[n, ..., 0])
            np.testing.assert_allclose(filled[n, ..., channel], expected, atol=2e-3)


def test_road_replaces_the_pixels_of_largest_attribution() -> None:
    setting = pixels()
    result, steps = setting.result(), 3
    exact = {"steps": steps, "noise": 0.0}
    most = Evaluator(setting.explainer, {"road": exact}).run(setting.xs, result)["road"]
    least = Evaluator(setting.explainer, {"road": exact | {"order": "lerf"}}).run(setting.xs, result)["road"]
    for i, literal in enumerate(setting.literal(np.asarray(result.attributions))):
        order = np.array(literal.order())
        for k in range(steps):
            count = round((k + 1) / (steps + 1) * 64)
            for measured, in_order in ((most, order[:count]), (least, order[64 - count :])):
                removed = np.isin(np.arange(64), in_order).reshape(8, 8)
                channels = [literal_measures.impute(literal.x[..., c], removed) for c in range(3)]
                filled = np.stack(channels, -1).astype(np.float32)
                np.testing.assert_allclose(measured.curve[i, k], literal.level(filled), rtol=5e-3)
    noisy = Evaluator(setting.explainer, {"road": {"noise": 0.3}}).run(setting.xs, result)["road"]
    assert abs(noisy.value - most.value).max() > 1e-3


# Right where the answer is known


@pytest.mark.parametrize("method", [m.id for m in dx.methods() if m.signed])
def test_every_signed_method_is_faithful_to_a_linear_model(method: str) -> None:
    model, xs = linear()
    measured = evaluate(method, model, xs[:5], list(OF_LINEAR_MODELS), target=1)
    for name, expected in OF_LINEAR_MODELS.items():
        if name == "completeness" and method == "epsilon_lrp":
            continue  # its ε takes a share
        np.testing.assert_allclose(measured[name].value, expected, atol=2e-3, err_msg=name)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_occlusion_has_sensitivity_1_and_no_method_sensitivity_n_on_a_curved_model() -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((12,))
    hidden = layers.Dense(16, "tanh", kernel_initializer=keras.initializers.RandomNormal(0, 1))(x)
    model, xs = keras.Model(x, layers.Dense(3)(hidden)), RNG.normal(size=(4, 12)).astype(np.float32)
    known = None
    for method in dx.methods():
        evaluator = Evaluator(dx.Explainer(method.id, model, target=1), {"sensitivity_n": {"sizes": 6}})
        known = known or evaluator.chance(xs)
        curve = evaluator.run(xs, known=known)["sensitivity_n"].curve
        if method.id == "occlusion":
            np.testing.assert_allclose(curve[:, 0], 1, atol=1e-5)
        assert (curve.min(1) < 0.99).all(), method.id


def test_deletion_on_a_linear_model_leaves_the_sum_of_the_smallest_terms() -> None:
    model, xs = linear()
    measured = evaluate("gradient_x_input", model, xs, ["deletion"], target=1)["deletion"]
    terms = xs * linear_weights()[:, 1]
    terms *= np.sign(terms.sum(1, keepdims=True))
    terms = np.sort(terms, 1)[:, ::-1]
    removed = np.round(np.linspace(0, 1, 21) * 12).astype(int)
    expected = np.array([[row[count:].sum() for count in removed] for row in terms])
    np.testing.assert_allclose(measured.curve, expected, rtol=1e-3, atol=1e-3)


def test_random_maps_do_not_correlate_with_the_score() -> None:
    model, xs = linear(40)
    evaluator = Evaluator(dx.Explainer("gradient_x_input", model, target=1), SCORED)
    chance = evaluator.chance(xs)
    assert set(chance) == set(SCORED)
    for name in ("sensitivity_n", "faithfulness_correlation"):
        error = chance[name].value.std(ddof=1) / np.sqrt(len(xs))
        assert abs(chance[name].value.mean()) < 4 * error < 0.2
    assert np.median(chance["infidelity"].value) > 0.7


def test_the_curve_of_a_map_that_knows_the_only_feature_falls_at_once() -> None:
    """The bright corner alone decides the class: the map says so, and without it the prediction changes."""
    keras.utils.set_random_seed(0)
    xs = RNG.random((200, 6, 6, 1)).astype(np.float32) * 0.2
    ys = RNG.integers(0, 2, 200)
    xs[:, 0, 0, 0] = ys
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Dense(8, "relu")(layers.Flatten()(inputs))))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(xs, ys, epochs=60, verbose=0)
    bright = xs[ys == 1][:10]
    explainer = dx.Explainer("integrated_gradients", model, target=1)
    evaluator = Evaluator(explainer, {"deletion": {"steps": 36}})
    result = explainer.run(bright, return_result=True)
    assert (np.argmax(result.attributions.reshape(10, -1), 1) == 0).all()
    curve, chance = evaluator.run(bright, result)["deletion"].curve, evaluator.chance(bright)["deletion"].curve
    assert curve[:, 1].max() < 0.5 < chance[:, 1].mean()


def test_saliency_of_a_linear_model_is_stable() -> None:
    model, xs = linear()
    measured = evaluate("saliency", model, xs[:4], ["max_sensitivity", "stability"], target=1)
    np.testing.assert_allclose(measured["max_sensitivity"].value, 0, atol=1e-6)  # |w| for any x
    np.testing.assert_allclose(measured["stability"].value, 1, atol=1e-6)
    assert measured["max_sensitivity"].evaluations.tolist() == [10] * 4
    moved = evaluate("gradient_x_input", model, xs[:4], {"max_sensitivity": {"radius": 0.1}}, target=1)
    span = xs[:4].max(1) - xs[:4].min(1)
    weights = linear_weights()[:, 1]
    limit = 0.1 * span * np.linalg.norm(weights) / np.linalg.norm(xs[:4] * weights, axis=1)
    assert (moved["max_sensitivity"].value < limit).all()
    assert (moved["max_sensitivity"].value > limit / 4).all()


def test_each_n_counts_once() -> None:
    setting = numbers()  # seven features: the first of eight sizes are 1, 1, 2, ...
    measured = Evaluator(setting.explainer, ["sensitivity_n"]).run(setting.xs)["sensitivity_n"]
    for curve, at, value in zip(measured.curve, measured.at, measured.value, strict=True):
        sizes, first = np.unique(np.round(at * 7), return_index=True)
        assert len(sizes) < 8
        assert value == pytest.approx(curve[first].mean(), rel=1e-5)


# Worse for worse maps


def test_worse_maps_measure_worse(setting: Setting) -> None:
    result, evaluator = setting.result(), Evaluator(setting.explainer, SCORED)
    of_map = evaluator.run(setting.xs, result)
    of_negative = evaluator.run(setting.xs, with_maps(result, -np.asarray(result.attributions)))
    good, bad = ({name: m.value.mean() for name, m in measured.items()} for measured in (of_map, of_negative))
    assert bad["sensitivity_n"] == pytest.approx(-good["sensitivity_n"], abs=1e-5)
    assert bad["faithfulness_correlation"] == pytest.approx(-good["faithfulness_correlation"], abs=1e-5)
    # One of a map and its negative has the wrong sign, and is best scaled by zero.
    both = np.stack([of_map["infidelity"].value, of_negative["infidelity"].value])
    np.testing.assert_allclose(both.max(0), 1, atol=1e-5)
    assert (both.min(0) < 1).all()
    for name in ("deletion", "completeness"):
        assert bad[name] > good[name]
    assert bad["insertion"] < good["insertion"]


def test_road_is_low_for_good_maps_in_both_orders() -> None:
    setting = pixels()
    result = setting.result()
    negative = with_maps(result, -np.asarray(result.attributions))
    for order in ("morf", "lerf"):
        evaluator = Evaluator(setting.explainer, {"road": {"order": order}})
        good, bad = (evaluator.run(setting.xs, r)["road"].value.mean() for r in (result, negative))
        assert good < bad, order


def test_the_order_of_features_in_the_input_is_no_merit_of_the_map() -> None:
    """The model reads the top row only. A map with equal attributions is not measured as if it pointed there."""
    weights = np.zeros((8, 8), np.float32)
    weights[0] = 1
    inputs = keras.Input((8, 8))
    head = layers.Dense(2, "softmax", use_bias=False)
    model = keras.Model(inputs, head(layers.Flatten()(inputs)))
    head.set_weights([np.stack([weights.ravel(), -weights.ravel()], 1)])
    xs = RNG.uniform(0.5, 1, (30, 8, 8)).astype(np.float32)
    explainer = dx.Explainer("gradient_x_input", model, target=0)
    evaluator = Evaluator(explainer, ["deletion", "insertion"])
    result, chance = explainer.run(xs, return_result=True), evaluator.chance(xs)
    for constant in (0, 1):
        measured = evaluator.run(xs, with_maps(result, np.full(xs.shape, constant, np.float32)))
        assert np.isnan(measured["deletion"].value).all() and np.isnan(measured["insertion"].curve).all()
    one_pixel = np.zeros(xs.shape, np.float32)
    one_pixel[:, 0, 0] = 1  # one of the eight that matter; all others are equal
    measured, right = evaluator.run(xs, with_maps(result, one_pixel)), evaluator.run(xs, result)
    assert abs(measured["deletion"].value.mean() - chance["deletion"].value.mean()) < 0.08
    assert measured["deletion"].value.mean() > right["deletion"].value.mean() + 0.2


# Undefined


def test_measures_are_nan_where_they_are_undefined() -> None:
    setting = pixels()
    result = setting.result()
    maps = np.array(result.attributions)
    maps[0], maps[1, 0, 0, 0] = 0, np.nan
    measured = Evaluator(setting.explainer, [*SETS, "deletion", "stability"]).run(setting.xs, with_maps(result, maps))
    for name in ("sensitivity_n", "deletion", "stability"):
        assert np.isnan(measured[name].value).tolist() == [True, True, False], name
    assert measured["infidelity"].value[0] == 1


def test_completeness_is_nan_for_a_constant_score() -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    constant = keras.Model(x, layers.Dense(2, kernel_initializer="zeros")(x))
    measured = evaluate("gradient_x_input", constant, np.ones((2, 4), np.float32), ["completeness"], target=0)
    assert np.isnan(measured["completeness"].value).all()


def test_two_features_have_no_correlation() -> None:
    names = ["sensitivity_n", "faithfulness_correlation"]
    for inputs, defined in ((2, False), (3, True)):
        model, xs = linear(inputs)
        measured = evaluate("gradient_x_input", model, xs[:4], names, target=1)
        assert all((np.isfinite(m.value) == defined).all() for m in measured.values())


def test_values_that_vary_only_by_rounding_have_no_correlation() -> None:
    noise, varying = RNG.normal(size=(2, 3, 50))
    a, b = np.stack([noise, 5 + 1e-8 * noise])[:, 0], np.stack([varying, varying])[:, 0]
    pearson = correlation(tf.constant(a), tf.constant(b)).numpy()
    assert np.isfinite(pearson).tolist() == [True, False]
    np.testing.assert_allclose(pearson[0], np.corrcoef(noise[0], varying[0])[0, 1])


def test_a_method_that_fails_near_the_example_is_not_stable() -> None:
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(1, kernel_initializer="ones")(keras.ops.sqrt(x)))
    xs = np.full((2, 5), 1.0, np.float32)
    xs[:, 0] = 1e-3  # slightly less is negative
    measured = evaluate("saliency", model, xs, ["max_sensitivity", "stability"])
    assert all(np.isnan(m.value).all() for m in measured.values())


# The table


def test_rows_are_complete() -> None:
    methods = [m.id for m in dx.methods()]
    assert len({*NAMES, *methods}) == len(NAMES) + len(methods)  # --ID.PARAMETER belongs to one table
    for measure in dx.measures():
        assert re.search(r"\b(19|20)\d\d\b", measure.paper), "name the authors and the year"
        assert measure.limits.endswith(".")
        assert measure.details
        assert measure.family in get_args(Family)
        assert all(p.doc and p.check(p.default) == p.default for p in measure.parameters)


def test_the_documentation_is_current() -> None:
    from beam_pipelines.cli import reference_pages

    text = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
    assert text == reference_pages.write_measures(), "run make docs"
    assert all(f"`{name}`" in text for name in NAMES)


def test_costs_are_those_of_the_table() -> None:
    setting = pixels()
    evaluator = Evaluator(setting.explainer, NAMES)
    measured = evaluator.run(setting.xs)
    for row in TABLE:
        spent, cost = measured[row.id].evaluations.max(), row.cost_of(evaluator.parameters[row.id])
        assert spent <= cost <= spent + 2, row.id  # f(x) and f(x′) are needed only without a probability
    assert evaluator.run(setting.xs[:0])["deletion"].curve.shape == (0, 21)
