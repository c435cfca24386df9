"""Measures: equal to their literal twins, right where the answer is known, and worse for worse maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.inputs import seeds
from tb_deepexplain.errors import InputError, ParameterError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.evaluation.evaluator import Evaluator, Measured, evaluate
from tb_deepexplain.evaluation.measures import TABLE
from tb_deepexplain.evaluation.measures.road import impute
from tb_deepexplain.evaluation.perturbation import correlation
from tests import models
from tests.evaluation.twins import Twin, imputed

RNG = np.random.default_rng(0)
EVERY = [m.id for m in TABLE]
SCORED = [m.id for m in TABLE if m.asks == "score"]
SETS = ["sensitivity_n", "faithfulness_correlation", "infidelity"]
FAITHFUL = {"completeness": 0, "sensitivity_n": 1, "faithfulness_correlation": 1, "infidelity": 0}


@dataclasses.dataclass
class Setting:
    """A model with examples, and the twins of its examples."""

    explainer: dx.Explainer
    xs: np.ndarray
    twins: Any  # (map [N, ...]) → list of Twins

    def result(self) -> dx.Result:
        found: dx.Result = self.explainer.run(self.xs, return_result=True)
        return found


def pixels() -> Setting:
    model = models.image()
    xs = RNG.random((3, 8, 8, 3)).astype(np.float32)
    logits = keras.Model(model.input, model.get_layer("head").output)
    explainer = dx.Explainer("gradient_x_input", model, target=1)

    def twins(maps: np.ndarray) -> Iterator[Twin]:
        places = [np.zeros((8, 8, 3), bool) for _ in range(64)]
        for i, place in enumerate(places):
            place[i // 8, i % 8] = True
        for x, values, seed in zip(xs, maps, seeds([xs], 0), strict=True):
            yield Twin(
                lambda z: float(explainer.predict(z[None]).outputs[0, 1]),
                lambda z: float(logits(z[None]).numpy()[0, 1]),
                x,
                values,
                places,
                int(seed),
            )

    return Setting(explainer, xs, twins)


def numbers() -> Setting:
    """No softmax: levels are shares of the change."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(9, "tanh")(inputs)))
    xs = RNG.normal(size=(3, 7)).astype(np.float32)

    def twins(maps: np.ndarray) -> Iterator[Twin]:
        for x, values, seed in zip(xs, maps, seeds([xs], 0), strict=True):
            yield Twin(lambda z: float(model(z[None])[0, 1]), None, x, values, list(np.eye(7, dtype=bool)), int(seed))

    return Setting(dx.Explainer("gradient_x_input", model, target=1), xs, twins)


def words() -> Setting:
    """Texts of several lengths, padded with zeros: what is padding is no feature."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9,), dtype="int32")
    embedding = layers.Embedding(20, 4, embeddings_initializer="normal")
    entry = embedding(inputs)
    rest = layers.Dense(2, name="head")
    y = layers.GlobalMaxPooling1D()(layers.Conv1D(6, 2, activation="tanh", name="conv")(entry))
    model = keras.Model(inputs, rest(y))
    behind = keras.Model(entry, model.output)
    xs = RNG.integers(1, 20, (3, 9)).astype(np.int32)
    xs[0, 5:], xs[1, 8:] = 0, 0

    def twins(maps: np.ndarray) -> Iterator[Twin]:
        for ids, values, seed in zip(xs, maps, seeds([xs], 0), strict=True):
            places = [np.zeros((9, 4), bool) for _ in range(np.count_nonzero(ids))]
            for i, place in enumerate(places):
                place[i] = True
            x = embedding(ids[None]).numpy()[0]
            yield Twin(lambda z: float(behind(z[None])[0, 1]), None, x, values, places, int(seed), most=9)

    return Setting(dx.Explainer("gradient_x_input", model, target=1), xs, twins)


SETTINGS = {"pixels": pixels, "numbers": numbers, "words": words}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return SETTINGS[request.param]()


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_sets_are_measured_as_by_the_literal_twins(setting: Setting) -> None:
    result = setting.result()
    few = {"samples": 20}
    asked = {"sensitivity_n": {"sizes": 5} | few, "faithfulness_correlation": few, "infidelity": few}
    found = Evaluator(setting.explainer, asked).run(setting.xs, result)
    for i, twin in enumerate(setting.twins(np.asarray(result.attributions))):
        curve, mean = twin.sensitivity_n(5, 20)
        close(found["sensitivity_n"].curve[i], curve)
        close(found["sensitivity_n"].value[i], mean)
        close(found["faithfulness_correlation"].value[i], twin.faithfulness_correlation(samples=20))
        close(found["infidelity"].value[i], twin.infidelity(20))
    unscaled = Evaluator(setting.explainer, {"infidelity": few | {"scaling": "none"}}).run(setting.xs, result)
    twins = setting.twins(np.asarray(result.attributions))
    close(unscaled["infidelity"].value, [twin.infidelity(20, fitted=False) for twin in twins])


def test_curves_are_those_of_the_literal_twins(setting: Setting) -> None:
    result = setting.result()
    found = Evaluator(setting.explainer, ["deletion", "insertion"]).run(setting.xs, result)
    for i, twin in enumerate(setting.twins(np.asarray(result.attributions))):
        close(found["deletion"].curve[i], twin.curve())
        close(found["deletion"].value[i], twin.area())
        close(found["insertion"].curve[i], twin.curve(insert=True))
        close(found["insertion"].value[i], twin.area(insert=True))
        close(found["insertion"].at[i], np.linspace(0, 1, 21))


@pytest.mark.parametrize("left", [0.1, 0.5, 0.95])
def test_pixels_are_filled_in_as_by_a_dense_system(left: float) -> None:
    pictures = RNG.random((2, 7, 9, 2)).astype(np.float32)
    gone = RNG.random((2, 7, 9, 1)) < left
    found = impute(tf.constant(pictures), tf.constant(gone)).numpy()
    for n in range(2):
        for channel in range(2):
            np.testing.assert_allclose(
                found[n, ..., channel], imputed(pictures[n, ..., channel], gone[n, ..., 0]), atol=2e-3
            )


def test_road_replaces_the_pixels_of_largest_credit() -> None:
    setting = pixels()
    result, steps = setting.result(), 3
    exact = {"steps": steps, "noise": 0.0}
    found = Evaluator(setting.explainer, {"road": exact}).run(setting.xs, result)["road"]
    other = Evaluator(setting.explainer, {"road": exact | {"order": "lerf"}}).run(setting.xs, result)["road"]
    for i, twin in enumerate(setting.twins(np.asarray(result.attributions))):
        order = np.array(twin.order())
        for k in range(steps):
            turns = round((k + 1) / (steps + 1) * 64)
            for of, gone in ((found, order[:turns]), (other, order[64 - turns :])):
                left = np.isin(np.arange(64), gone).reshape(8, 8)
                filled = np.stack([imputed(twin.x[..., c], left) for c in range(3)], -1).astype(np.float32)
                np.testing.assert_allclose(of.curve[i, k], twin.level(filled), rtol=5e-3)
    noisy = Evaluator(setting.explainer, {"road": {"noise": 0.3}}).run(setting.xs, result)["road"]
    assert abs(noisy.value - found.value).max() > 1e-3


# What is known beforehand


def linear(inputs: int = 12) -> tuple[keras.Model, np.ndarray]:
    keras.utils.set_random_seed(0)
    x = keras.Input((inputs,))
    return keras.Model(x, layers.Dense(3, bias_initializer="normal")(x)), RNG.normal(size=(40, inputs)).astype(
        np.float32
    )


@pytest.mark.parametrize("method", [m.id for m in dx.methods() if m.signed])
def test_of_a_linear_model_every_signed_method_is_faithful(method: str) -> None:
    model, xs = linear()
    found = evaluate(method, model, xs[:5], list(FAITHFUL), target=1)
    for name, expected in FAITHFUL.items():
        if name == "completeness" and method == "epsilon_lrp":
            continue  # its ε takes a share
        np.testing.assert_allclose(found[name].value, expected, atol=2e-3, err_msg=name)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_occlusion_has_sensitivity_1_and_of_a_curved_model_no_method_sensitivity_n() -> None:
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


def test_deletion_of_a_linear_model_is_the_sum_of_its_largest_terms() -> None:
    model, xs = linear()
    found = evaluate("gradient_x_input", model, xs, ["deletion"], target=1)["deletion"]
    terms = xs * model.layers[-1].kernel.numpy()[:, 1]
    terms *= np.sign(terms.sum(1, keepdims=True))
    terms = np.sort(terms, 1)[:, ::-1]
    turns = np.round(np.linspace(0, 1, 21) * 12).astype(int)
    left = np.array([[row[t:].sum() for t in turns] for row in terms])
    np.testing.assert_allclose(found.curve, left, rtol=1e-3, atol=1e-3)


def test_random_maps_are_worth_nothing() -> None:
    model, xs = linear(40)
    evaluator = Evaluator(dx.Explainer("gradient_x_input", model, target=1), SCORED[:-1])
    found = evaluator.chance(xs)
    for name in ("sensitivity_n", "faithfulness_correlation"):
        error = found[name].value.std(ddof=1) / np.sqrt(len(xs))
        assert abs(found[name].value.mean()) < 4 * error < 0.2
    assert np.median(found["infidelity"].value) > 0.7
    assert set(evaluator.chance(xs)) == set(SCORED[:-1])


def test_worse_maps_measure_worse(setting: Setting) -> None:
    result, evaluator = setting.result(), Evaluator(setting.explainer, SCORED[:-1])
    of_good = evaluator.run(setting.xs, result)
    values = np.asarray(result.attributions)
    of_wrong = evaluator.run(setting.xs, replaced(result, -values))
    good, wrong = ({name: m.value.mean() for name, m in of.items()} for of in (of_good, of_wrong))
    assert wrong["sensitivity_n"] == pytest.approx(-good["sensitivity_n"], abs=1e-5)
    assert wrong["faithfulness_correlation"] == pytest.approx(-good["faithfulness_correlation"], abs=1e-5)
    # Of a map and its negative one has the wrong sign: nothing is the best that it can be scaled to.
    both = np.stack([of_good["infidelity"].value, of_wrong["infidelity"].value])
    np.testing.assert_allclose(both.max(0), 1, atol=1e-5)
    assert (both.min(0) < 1).all()
    for name in ("deletion", "completeness"):
        assert wrong[name] > good[name]
    assert wrong["insertion"] < good["insertion"]


def replaced(result: dx.Result, attributions: Any) -> dx.Result:
    return dataclasses.replace(result, attributions=attributions)


def test_a_planted_spurious_feature_is_found() -> None:
    """The class is told by the bright corner alone: the map says so, and taking it away changes all."""
    keras.utils.set_random_seed(0)
    xs = RNG.random((200, 6, 6, 1)).astype(np.float32) * 0.2
    ys = RNG.integers(0, 2, 200)
    xs[:, 0, 0, 0] = ys
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Dense(8, "relu")(layers.Flatten()(inputs))))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(xs, ys, epochs=60, verbose=0)
    shown = xs[ys == 1][:10]
    explainer = dx.Explainer("integrated_gradients", model, target=1)
    evaluator = Evaluator(explainer, {"deletion": {"steps": 36}})
    result = explainer.run(shown, return_result=True)
    assert (np.argmax(result.attributions.reshape(10, -1), 1) == 0).all()
    curve, chance = evaluator.run(shown, result)["deletion"].curve, evaluator.chance(shown)["deletion"].curve
    assert curve[:, 1].max() < 0.5 < chance[:, 1].mean()


def test_measures_of_the_method_ask_it_again() -> None:
    model, xs = linear()
    found = evaluate("saliency", model, xs[:4], ["max_sensitivity", "stability"], target=1)
    np.testing.assert_allclose(found["max_sensitivity"].value, 0, atol=1e-6)  # |w|, whatever x is
    np.testing.assert_allclose(found["stability"].value, 1, atol=1e-6)
    assert found["max_sensitivity"].evaluations.tolist() == [10] * 4
    moved = evaluate("gradient_x_input", model, xs[:4], {"max_sensitivity": {"radius": 0.1}}, target=1)
    span = xs[:4].max(1) - xs[:4].min(1)
    weights = model.layers[-1].kernel.numpy()[:, 1]
    most = 0.1 * span * np.linalg.norm(weights) / np.linalg.norm(xs[:4] * weights, axis=1)
    assert (moved["max_sensitivity"].value < most).all()
    assert (moved["max_sensitivity"].value > most / 4).all()


# The table


def test_every_row_says_what_it_is() -> None:
    assert len({*EVERY, *(m.id for m in dx.methods())}) == len(EVERY) + len(
        dx.methods()
    )  # --ID.PARAMETER is of one table
    for measure in dx.measures():
        assert "arXiv" in measure.paper
        assert measure.limits.endswith(".")
        assert measure.details
        assert measure.cost_of({}) > 0
        assert all(p.doc and p.check(p.default) == p.default for p in measure.parameters)


def test_the_documentation_is_current() -> None:
    from beam_pipelines.cli import tables

    text = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
    assert text == tables.markdown_of_measures(), "run make docs"
    assert all(f"`{name}`" in text for name in EVERY)


# What must not matter


def same(a: dict[str, Measured], b: dict[str, Measured], order: Any = slice(None)) -> None:
    for name in a:
        np.testing.assert_allclose(a[name].value[order], b[name].value, rtol=1e-3, atol=1e-4, err_msg=name)
        assert a[name].evaluations[order].tolist() == b[name].evaluations.tolist()


def test_neither_batches_nor_order_nor_company_count(setting: Setting) -> None:
    names = [name for name in EVERY if name != "road"]
    evaluator = Evaluator(setting.explainer, names)
    found = evaluator.run(setting.xs)
    same(found, evaluator.run(setting.xs, batch_size=5))
    same(found, evaluator.run(setting.xs[::-1]), slice(None, None, -1))
    same(found, evaluator.run(setting.xs[1:2]), slice(1, 2))
    assert not np.allclose(
        found["sensitivity_n"].value, evaluator.run(setting.xs, seed=1)["sensitivity_n"].value, atol=1e-6
    )


def test_costs_are_those_that_the_table_foretells() -> None:
    setting = pixels()
    evaluator = Evaluator(setting.explainer, EVERY)
    found = evaluator.run(setting.xs)
    for row in TABLE:
        spent, foretold = found[row.id].evaluations.max(), row.cost_of(evaluator.parameters[row.id])
        assert spent <= foretold <= spent + 2, (
            row.id
        )  # the ends f(x) and f(x′) are asked for where there is no probability
    assert evaluator.run(setting.xs[:0])["deletion"].curve.shape == (0, 21)


def test_what_is_known_is_not_asked_again(setting: Setting) -> None:
    evaluator = Evaluator(setting.explainer, SETS)
    alone = evaluator.run(setting.xs)
    known = evaluator.run(setting.xs, known=evaluator.chance(setting.xs))
    for name in SETS:
        np.testing.assert_allclose(known[name].value, alone[name].value, rtol=1e-5, atol=1e-6)
        assert (known[name].evaluations == 0).all()
        assert (alone[name].evaluations > 100).all()


def test_what_leaves_the_input_together() -> None:
    setting, asked = pixels(), {"deletion": {"steps": 4, "blocks": 4}}
    result = setting.result()
    found = Evaluator(setting.explainer, asked).run(setting.xs, result)["deletion"]
    quarters = np.arange(8)[:, None] // 4 * 2 + np.arange(8) // 4
    values = np.asarray(result.attributions)
    for i, twin in enumerate(setting.twins(values)):
        twin.players = [np.repeat((quarters == q)[..., None], 3, -1) for q in range(4)]
        twin.credits = [values[i][p].sum() for p in twin.players]
        close(found.curve[i], twin.curve(4))
    segments = np.stack([quarters] * 3)
    by_number = Evaluator(setting.explainer, {"deletion": {"steps": 4}}).run(setting.xs, result, segments=segments)
    close(by_number["deletion"].curve, found.curve)
    segments[0] = np.minimum(segments[0], 1)  # two parts: each step of four is half of one, or nothing
    of_two = Evaluator(setting.explainer, {"deletion": {"steps": 4}}).run(setting.xs, result, segments=segments)
    assert len(np.unique(np.round(of_two["deletion"].curve[0], 5))) == 3
    close(of_two["deletion"].curve[1:], found.curve[1:])


def test_maps_of_the_first_axes_are_measured_too() -> None:
    setting = pixels()
    sampled = dx.Explainer("shapley_sampling", setting.explainer.graph, target=1, sampling_dims=(1, 2), samples=20)
    result = sampled.run(setting.xs, return_result=True)
    assert np.asarray(result.attributions).shape == (3, 8, 8)
    found = Evaluator(sampled, ["sensitivity_n", "completeness"]).run(setting.xs, result)
    assert found["sensitivity_n"].value.min() > 0.5
    assert found["completeness"].value.max() < 1e-3
    exact = {"infidelity": {"scaling": "none", "samples": 20}}
    spread = np.repeat(np.asarray(result.attributions)[..., None] / 3, 3, -1)  # the same, a third to every channel
    one, other = (
        Evaluator(sampled, exact).run(setting.xs, r)["infidelity"].value for r in (result, replaced(result, spread))
    )
    np.testing.assert_allclose(one, other, rtol=1e-4)
    turned = dx.Explainer("shapley_sampling", setting.explainer.graph, target=1, sampling_dims=3)
    with pytest.raises(ParameterError, match="do not lie on examples of shape"):
        Evaluator(turned, ["deletion"]).run(setting.xs)


def test_several_inputs_play_one_game() -> None:
    model = models.two_inputs()
    xs = {"numbers": RNG.normal(size=(3, 4)).astype(np.float32), "ids": RNG.integers(1, 10, (3, 6)).astype(np.int32)}
    found = evaluate("integrated_gradients", model, xs, ["completeness", "sensitivity_n", "deletion"], target=0)
    assert found["completeness"].value.max() < 0.02
    assert found["sensitivity_n"].value.min() > 0.5
    np.testing.assert_allclose(found["deletion"].curve[:, -1], 0, atol=1e-5)


def two_texts() -> tuple[keras.Model, list[np.ndarray]]:
    """Two embeddings, the second input's looked up first; one half where no word is left. Texts of different lengths."""
    keras.utils.set_random_seed(0)
    p, q = keras.Input((6,), dtype="int32", name="p"), keras.Input((6,), dtype="int32", name="q")
    tables = [layers.Embedding(10, 4, embeddings_initializer="normal") for _ in range(2)]
    second, first = tables[1](q), tables[0](p)
    both = layers.Concatenate()([layers.Flatten()(first), layers.Flatten()(second)])
    model = keras.Model([p, q], layers.Dense(2, "softmax", use_bias=False, kernel_initializer="normal")(both))
    for table in tables:
        table.set_weights([table.get_weights()[0] * 20 * (np.arange(10) > 0)[:, None]])  # padding is nothing
    short, long = np.array([[3, 0, 0, 0, 0, 0]], np.int32), np.array([[3, 4, 5, 6, 7, 8]], np.int32)
    return model, [np.concatenate([short, long]), np.concatenate([long, short])]


def test_each_text_has_its_own_padding() -> None:
    model, xs = two_texts()
    asked = {"deletion": {"steps": 7}, "sensitivity_n": {}, "stability": {}}
    found = evaluate("gradient_x_input", model, xs, asked, target=1)
    np.testing.assert_allclose(found["deletion"].curve[:, -1], 0.5, atol=1e-6)  # every word has left, of either text
    # Seven words: every step takes one, and none is spent on padding.
    assert (np.abs(np.diff(found["deletion"].curve, axis=1)) > 1e-6).all()
    np.testing.assert_allclose(found["sensitivity_n"].value, 1, atol=1e-3)  # the logits are linear in the embeddings


def test_padding_is_no_feature_of_a_stable_map() -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(30, 4, mask_zero=True, embeddings_initializer=keras.initializers.RandomNormal(0, 1))(ids)
    hidden = layers.GlobalAveragePooling1D()(layers.Dense(8, "tanh")(x))
    model = keras.Model(ids, layers.Dense(2)(hidden))
    xs = RNG.integers(1, 30, (4, 6)).astype(np.int32)
    padded = np.pad(xs, [(0, 0), (0, 20)])
    names = ["stability", "max_sensitivity"]
    for method in ("saliency", "gradient_x_input"):
        plain, other = (evaluate(method, model, x, names, target=1) for x in (xs, padded))
        # The noise is another draw, so that they are alike but not the same; with padding as features they were not alike.
        for name in names:
            assert abs(np.nanmean(plain[name].value) - np.nanmean(other[name].value)) < 0.25, (method, name)


def test_the_order_of_features_in_the_input_is_no_merit_of_the_map() -> None:
    """A model that reads the top row: a map that says nothing, or as much of all, is not measured as if it pointed there."""
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
        found = evaluator.run(xs, replaced(result, np.full(xs.shape, constant, np.float32)))
        assert np.isnan(found["deletion"].value).all() and np.isnan(found["insertion"].curve).all()
    half = np.zeros(xs.shape, np.float32)
    half[:, 0, 0] = 1  # one of eight that matter; all others are equal
    found = evaluator.run(xs, replaced(result, half))
    right = evaluator.run(xs, result)
    assert abs(found["deletion"].value.mean() - chance["deletion"].value.mean()) < 0.08
    assert found["deletion"].value.mean() > right["deletion"].value.mean() + 0.2


def test_what_is_undefined_is_nan() -> None:
    setting = pixels()
    result = setting.result()
    values = np.array(result.attributions)
    values[0], values[1, 0, 0, 0] = 0, np.nan
    found = Evaluator(setting.explainer, [*SETS, "deletion", "stability"]).run(setting.xs, replaced(result, values))
    for name in ("sensitivity_n", "deletion", "stability"):
        assert np.isnan(found[name].value).tolist() == [True, True, False], name
    assert found["infidelity"].value[0] == 1
    # A score that does not change owes nothing.
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    flat = keras.Model(x, layers.Dense(2, kernel_initializer="zeros")(x))
    still = evaluate("gradient_x_input", flat, np.ones((2, 4), np.float32), ["completeness"], target=0)
    assert np.isnan(still["completeness"].value).all()


def test_of_two_features_there_is_no_correlation() -> None:
    model, xs = linear(2)
    found = evaluate("gradient_x_input", model, xs[:4], ["sensitivity_n", "faithfulness_correlation"], target=1)
    assert all(np.isnan(m.value).all() for m in found.values())
    model, xs = linear(3)
    found = evaluate("gradient_x_input", model, xs[:4], ["sensitivity_n", "faithfulness_correlation"], target=1)
    assert all(np.isfinite(m.value).all() for m in found.values())


def test_each_n_counts_once() -> None:
    setting = numbers()  # seven features: the first of eight sizes are 1, 1, 2, ...
    found = Evaluator(setting.explainer, ["sensitivity_n"]).run(setting.xs)["sensitivity_n"]
    for curve, at, value in zip(found.curve, found.at, found.value, strict=True):
        sizes, first = np.unique(np.round(at * 7), return_index=True)
        assert len(sizes) < 8
        assert value == pytest.approx(curve[first].mean(), rel=1e-5)


def test_inputs_of_one_number_are_moved_like_those_of_one_array() -> None:
    keras.utils.set_random_seed(0)
    apart = [keras.Input((1,), name=name) for name in "abcd"]
    together = keras.Input((4,))
    rest = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(2)])
    of_four, of_one = keras.Model(apart, rest(layers.Concatenate()(apart))), keras.Model(together, rest(together))
    xs = RNG.normal(size=(6, 4)).astype(np.float32)
    names = ["max_sensitivity", "stability"]
    one = evaluate("gradient_x_input", of_one, xs, names, target=1)
    four = evaluate("gradient_x_input", of_four, [xs[:, i : i + 1] for i in range(4)], names, target=1)
    for name in names:
        np.testing.assert_allclose(four[name].value.mean(), one[name].value.mean(), rtol=0.5)
    assert (four["max_sensitivity"].value > 0.005).all()
    nothing = evaluate("gradient_x_input", of_one, np.zeros((2, 4), np.float32), names, target=1)
    assert all(np.isnan(m.value).all() for m in nothing.values())  # nothing can be moved


def test_a_method_that_breaks_beside_the_example_is_not_stable() -> None:
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(1, kernel_initializer="ones")(keras.ops.sqrt(x)))
    xs = np.full((2, 5), 1.0, np.float32)
    xs[:, 0] = 1e-3  # a little less is below zero
    found = evaluate("saliency", model, xs, ["max_sensitivity", "stability"])
    assert all(np.isnan(m.value).all() for m in found.values())


def test_road_is_low_for_good_maps_in_either_order() -> None:
    setting = pixels()
    result = setting.result()
    for order in ("morf", "lerf"):
        evaluator = Evaluator(setting.explainer, {"road": {"order": order}})
        good = evaluator.run(setting.xs, result)["road"].value.mean()
        bad = evaluator.run(setting.xs, replaced(result, -np.asarray(result.attributions)))["road"].value.mean()
        assert good < bad, order


def test_what_was_explained_is_what_is_measured() -> None:
    """The score of a Result's own weights or targets; a measure's baseline is the method's."""
    model, xs = linear()
    explainer = dx.Explainer("gradient_x_input", model)
    evaluator = Evaluator(explainer, ["sensitivity_n", "deletion"])
    weights = np.tile(np.array([1, -2, 0.5], np.float32), (5, 1))
    for asked in ({"ys": weights}, {"target": np.array([0, 1, 2, 0, 1])}):
        result = explainer.run(xs[:5], return_result=True, **asked)
        found = evaluator.run(xs[:5], result)
        np.testing.assert_allclose(found["sensitivity_n"].value, 1, atol=1e-3)
        chance = evaluator.chance(xs[:5], result)
        np.testing.assert_allclose(chance["deletion"].curve[:, 0], found["deletion"].curve[:, 0], rtol=1e-5)
    own = evaluate("integrated_gradients", model, xs[:5], ["completeness", "sensitivity_n"], target=1, baseline=1.0)
    np.testing.assert_allclose(own["completeness"].value, 0, atol=1e-3)
    np.testing.assert_allclose(own["sensitivity_n"].value, 1, atol=1e-3)
    other = evaluate("integrated_gradients", model, xs[:5], {"completeness": {"baseline": 0.0}}, target=1, baseline=1.0)
    assert other["completeness"].value.max() > 0.05
    two = models.two_inputs()
    given = {"numbers": RNG.normal(size=(3, 4)).astype(np.float32), "ids": RNG.integers(1, 10, (3, 6)).astype(np.int32)}
    named = dict.fromkeys(dx.Explainer("saliency", two).submodel.cut.entry_names, 0.0)
    evaluate("gradient_x_input", two, given, {"deletion": {"baseline": named}}, target=0)  # by name, as methods take it


def test_answers_to_other_questions_are_refused() -> None:
    model, xs = linear()
    explainer = dx.Explainer("gradient_x_input", model, target=1)
    evaluator = Evaluator(explainer, SETS)
    known = evaluator.chance(xs[:5])
    evaluator.run(xs[:5], known=known)
    Evaluator(dx.Explainer("saliency", model, target=1), SETS).run(
        xs[:5], known=known
    )  # another method may ask the same
    for other in ({"seed": 1}, {"target": 0}):
        with pytest.raises(InputError, match="known: what it says of sensitivity_n was asked of another model"):
            evaluator.run(xs[:5], known=known, **other)
    with pytest.raises(InputError, match="leave it out"):
        evaluator.run(xs[4::-1], known=known)
    with pytest.raises(InputError, match="leave it out"):
        Evaluator(explainer, {"sensitivity_n": {"baseline": 1.0}}).run(xs[:5], known=known)
    with pytest.raises(ParameterError, match="make an Evaluator of its own"):
        evaluator.of(dx.Explainer("gradient_x_input", linear()[0], target=1))


def test_maps_and_segments_must_lie_on_the_examples() -> None:
    model, xs = linear(4)
    explainer = dx.Explainer("gradient_x_input", model, target=1)
    result = explainer.run(xs[:3], return_result=True)
    with pytest.raises(ParameterError, match=r"maps of shape \(9,\) do not lie on examples of shape \(4,\)"):
        Evaluator(explainer, ["sensitivity_n"]).run(xs[:3], replaced(result, np.ones((3, 9), np.float32)))
    setting = pixels()
    for wrong in (np.zeros((3, 8, 7), int), np.zeros((3, 8, 8, 3), int), np.full((3, 8, 8), -1)):
        with pytest.raises(
            InputError, match=r"segments: got int64 .* expected whole numbers from 0, of shape \(3, 8, 8\)"
        ):
            Evaluator(setting.explainer, ["deletion"]).run(setting.xs, segments=wrong)


def test_what_varies_only_by_rounding_has_no_correlation() -> None:
    noise, varying = RNG.normal(size=(2, 3, 50))
    found = correlation(
        tf.constant(np.stack([noise, 5 + 1e-8 * noise])[:, 0]), tf.constant(np.stack([varying, varying])[:, 0])
    )
    assert np.isfinite(found.numpy()).tolist() == [True, False]
    np.testing.assert_allclose(found[0], np.corrcoef(noise[0], varying[0])[0, 1])


def test_bad_questions_are_answered_clearly() -> None:
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
    with pytest.raises(InputError, match="segments: got float64"):
        Evaluator(setting.explainer, ["deletion"]).run(setting.xs, segments=np.zeros((3, 7)))
    with pytest.raises(InputError, match="expected those of 2 examples"):
        Evaluator(setting.explainer, ["deletion"]).run(setting.xs[:2], setting.result(), target=1)
