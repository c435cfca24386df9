"""Methods ranked by the faithfulness of their maps: from measured values, and `dx.rank` on a model."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.errors import InputError, ParameterError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.evaluation import measures as measures_table
from tb_deepexplain.evaluation.maps_with_score import MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.measures import Measure, find_measure
from tb_deepexplain.evaluation.method_comparison import window_parameters
from tb_deepexplain.evaluation.ranking import MeasuredMethod, Ranking, rank_methods
from tb_deepexplain.registry.formula import Formula
from tests import models

FEW = {"sensitivity_n": {"samples": 10, "sizes": 3}, "deletion": {"steps": 5}}


def sparseness(maps: MapsWithScore) -> Measured:
    """Share of the attributions that are almost zero.

    It says nothing about the model.
    """
    (values,) = maps.values
    magnitudes = tf.reshape(tf.abs(values), [maps.score.n, -1])
    small = magnitudes < 0.1 * tf.reduce_max(magnitudes, 1, keepdims=True)
    return Measured(tf.reduce_mean(tf.cast(small, tf.float64), 1), 0)


SPARSENESS = Measure(
    function=sparseness,
    title="Sparseness",
    family="complexity",
    needs="score",
    better="higher",
    paper="none",
    limits="A test.",
    cost=Formula("0"),
)


def ranking_of(
    deletion: dict[str, Any], chance: Any = None, sanity: dict[str, float] | None = None, maps: int = 1
) -> Ranking:
    """The ranking of methods by these values of deletion, with `maps` maps of each example."""
    measured = [
        MeasuredMethod(
            id=method,
            title=method.upper(),
            values={"deletion": np.array(values)},
            chance={} if chance is None else {"deletion": np.array(chance)},
            sanity=(sanity or {}).get(method),
        )
        for method, values in deletion.items()
    ]
    count = len(measured[0].values["deletion"])
    return rank_methods(measured, [find_measure("deletion")], [i // maps for i in range(count)])


# From measured values


def test_ranks_are_means_over_the_maps() -> None:
    ranking = ranking_of({"b": [0.2, 0.2, 0.2], "a": [0.1, 0.1, 0.9]})
    first, second = ranking.methods
    assert (first.id, first.mean_rank) == ("a", pytest.approx(4 / 3))
    assert second.mean_rank == pytest.approx(5 / 3)
    assert (first.low, first.high) == (1, 2)
    assert first.best is not None and 0.6 < first.best < 0.9


def test_ranks_are_means_over_the_measures() -> None:
    values = {
        "a": {"deletion": np.array([0.1, 0.1]), "insertion": np.array([0.9, 0.9])},
        "b": {"deletion": np.array([0.2, 0.2]), "insertion": np.array([0.95, 0.8])},
    }
    measured = [MeasuredMethod(id=name, title=name, values=of_method) for name, of_method in values.items()]
    ranking = rank_methods(measured, [find_measure("deletion"), find_measure("insertion")], [0, 1])
    assert [method.mean_rank for method in ranking.methods] == [1.25, 1.75]


def test_more_maps_of_an_example_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    a, b, chance = rng.normal(0.4, 0.2, 20), rng.normal(0.5, 0.2, 20), rng.normal(0.5, 0.2, 20)
    one, many = (
        ranking_of({"a": np.repeat(a, maps), "b": np.repeat(b, maps)}, np.repeat(chance, maps), maps=maps)
        for maps in (1, 20)
    )
    assert (one.examples, one.maps, many.examples, many.maps) == (20, 20, 20, 400)
    for first, second in zip(one.methods, many.methods, strict=True):
        for name in ("mean_rank", "low", "high", "best"):
            assert getattr(first, name) == pytest.approx(getattr(second, name))
        expected = dataclasses.asdict(first.measures["deletion"])
        assert dataclasses.asdict(second.measures["deletion"]) == pytest.approx(expected)


def test_means_have_intervals_and_a_chance_level() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0.2, 0.05, 60), rng.normal(0.5, 0.05, 60)
    of_good, of_bad = (m.measures["deletion"] for m in ranking_of({"a": good, "b": bad}, chance=bad).methods)
    assert of_good.n == 60
    assert of_good.mean == pytest.approx(good.mean())
    assert of_good.high - of_good.low == pytest.approx(4 * good.std(ddof=1) / 60**0.5, rel=0.05)
    assert of_good.chance_level == pytest.approx(bad.mean())
    assert of_good.better_than_chance and not of_bad.better_than_chance
    (without_chance, _) = ranking_of({"a": good, "b": bad}).methods
    assert np.isnan(without_chance.measures["deletion"].chance_level)
    assert not without_chance.measures["deletion"].better_than_chance


def test_measures_that_do_not_judge_faithfulness_do_not_rank() -> None:
    values = {"a": {"deletion": 0.5, "sparseness": 0.9}, "b": {"deletion": 0.1, "sparseness": 0.1}}
    measured = [
        MeasuredMethod(id=name, title=name, values={k: np.full(3, v) for k, v in of_method.items()})
        for name, of_method in values.items()
    ]
    ranking = rank_methods(measured, [SPARSENESS, find_measure("deletion")], range(3))
    assert [measure.id for measure in ranking.ranked_by] == ["deletion"]
    assert [(method.id, method.mean_rank) for method in ranking.methods] == [("b", 1), ("a", 2)]
    unranked = rank_methods(measured, [SPARSENESS], range(3))
    assert [(method.id, method.mean_rank, method.best) for method in unranked.methods] == [
        ("a", None, None),
        ("b", None, None),
    ]
    assert unranked.advice.startswith("no measure judges faithfulness")
    assert "mean rank" in unranked.table()


def test_the_advice_is_honest() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0.2, 0.05, 60), rng.normal(0.5, 0.05, 60)

    def advice(a: Any, b: Any, chance: Any, sanity: float = 0.1) -> str:
        return ranking_of({"a": a, "b": b}, chance, {"a": sanity}).advice

    assert advice(good, bad, bad) == "a ranks first, in 100% of 1,000 resamplings of 60 examples."
    assert "too few to distinguish it from b" in advice(bad, bad[::-1], np.ones(60))
    assert "By deletion its maps are not significantly better than random ones" in advice(good, bad, good)
    assert "change little when the model's weights are randomised (similarity 0.80 of 1)" in advice(good, bad, bad, 0.8)


def test_a_ranking_is_text_and_json() -> None:
    ranking = ranking_of({"b": [0.2, 0.3], "a": [0.1, np.nan]}, chance=[0.5, 0.5], sanity={"a": 0.25})
    ranking = dataclasses.replace(ranking, left_out={"c": "no gradient"})
    titles, first, second, chance = ranking.table().splitlines()
    assert titles.split() == "method mean rank ↓ Deletion ↓ sanity ↓ evaluations ms per map".split()
    assert (first.split()[:2], second.split()[:2]) == (["1", "b"], ["2", "a"])
    assert chance.split() == ["random", "maps", "0.500"]
    text = str(ranking)
    assert text.startswith(ranking.table())
    assert f"advice    {ranking.advice}" in text
    assert text.endswith("left out  c: no gradient")
    shown = ranking.to_dict()
    assert list(shown) == ["examples", "maps", "ranked_by", "methods", "left_out", "advice"]
    assert list(shown["methods"][0]) == ("id title evaluations seconds sanity mean_rank low high best".split())
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking.examples = 3  # type: ignore[misc]


# On a model


@pytest.fixture(scope="module")
def picture_ranking() -> Ranking:
    xs = np.random.default_rng(0).random((10, 8, 8, 3)).astype(np.float32)
    ranking: Ranking = dx.rank(models.image(), xs, measures=FEW | {"stability": {"samples": 2}})
    return ranking


def test_all_methods_that_can_explain_the_model_are_ranked(picture_ranking: Ranking) -> None:
    assert {method.id for method in picture_ranking.methods} == {method.id for method in dx.methods()}
    assert picture_ranking.left_out == {}
    assert (picture_ranking.examples, picture_ranking.maps) == (10, 10)
    assert [measure.id for measure in picture_ranking.ranked_by] == ["sensitivity_n", "deletion"]
    assert picture_ranking.methods[-1].id == "saliency"  # it has no sign
    evaluations = {method.id: method.evaluations for method in picture_ranking.methods}
    assert evaluations["saliency"] == 1
    assert evaluations["occlusion"] == 65  # 64 windows of one pixel with all channels, and the picture itself
    for method in picture_ranking.methods:
        assert method.low is not None and method.mean_rank is not None and method.high is not None
        assert method.low <= method.mean_rank <= method.high
        assert method.sanity is not None and -1 <= method.sanity <= 1
        assert method.seconds > 0
        stability = method.measures["stability"]
        assert -1 <= stability.low <= stability.mean <= stability.high <= 1.5
        assert np.isnan(stability.chance_level)
        deletion = method.measures["deletion"]
        assert deletion.mean < deletion.chance_level or not deletion.better_than_chance
    assert picture_ranking.methods[0].measures["sensitivity_n"].better_than_chance


def test_a_ranking_says_the_same_as_its_evaluator(picture_ranking: Ranking) -> None:
    xs = np.random.default_rng(0).random((10, 8, 8, 3)).astype(np.float32)
    evaluator = dx.Evaluator(dx.Explainer("deeplift", models.image(), target="predicted"), FEW)
    measured, chance = evaluator.run(xs), evaluator.chance(xs)
    (ranked,) = (method for method in picture_ranking.methods if method.id == "deeplift")
    for name in FEW:
        assert ranked.measures[name].mean == pytest.approx(measured[name].value.mean(), rel=1e-3)
        assert ranked.measures[name].chance_level == pytest.approx(chance[name].value.mean(), rel=1e-3, abs=1e-4)


@functools.cache
def linear() -> tuple[dx.ModelGraph, np.ndarray]:
    keras.utils.set_random_seed(0)
    x = keras.Input((6,))
    xs = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    return dx.load_model(keras.Model(x, layers.Dense(3)(x))), xs


def test_a_measure_of_the_table_that_does_not_judge_faithfulness_does_not_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures_table, "TABLE", (*measures_table.TABLE, SPARSENESS))
    model, xs = linear()
    ranking = dx.rank(model, xs, methods=["saliency", "gradient_x_input"], measures={"sparseness": {}, **FEW})
    assert [measure.id for measure in ranking.measures] == ["sparseness", *FEW]
    assert [measure.id for measure in ranking.ranked_by] == list(FEW)
    only = dx.rank(model, xs, methods=["saliency", "gradient_x_input"], measures=["sparseness"])
    assert [method.mean_rank for method in only.methods] == [None, None]
    assert all(0 <= method.measures["sparseness"].mean <= 1 for method in only.methods)


def test_on_a_linear_model_no_signed_method_is_better() -> None:
    model, xs = linear()
    methods = ["gradient_x_input", "integrated_gradients", "deeplift", "shapley_sampling"]
    ranking = dx.rank(model, xs, methods=methods, measures=FEW)
    for method in ranking.methods:
        assert method.low is not None and method.high is not None
        assert method.low <= 2.5 <= method.high
    assert "too few to distinguish it from" in ranking.advice


def test_the_seed_and_the_order_of_inputs_do_not_matter_but_the_target_does() -> None:
    model = dx.load_model(models.two_inputs())
    rng = np.random.default_rng(0)
    xs = {"numbers": rng.normal(size=(4, 4)).astype(np.float32), "ids": rng.integers(1, 10, (4, 6)).astype(np.int32)}
    options: dict[str, Any] = {"methods": ["saliency", "gradient_x_input"], "measures": ["deletion"]}
    ranking = dx.rank(model, xs, target=0, **options)
    by_array = dx.rank(model, xs, target=np.zeros(4, int), **options)
    other = dx.rank(model, xs, target=1, **options)

    def means(ranking: Ranking) -> list[float]:
        return [method.measures["deletion"].mean for method in ranking.methods]

    assert means(ranking) == means(by_array) != means(other)


def test_background_vocabulary_and_switches_reach_the_methods() -> None:
    model, xs = linear()
    methods: dict[str, Any] = {"gradient_x_input": {}, "integrated_gradients": {"baseline": "mean"}}
    options: dict[str, Any] = {"methods": methods, "measures": {"deletion": {"steps": 3}}, "target": 0}

    def deletion(ranking: Ranking) -> float:
        (value,) = (m.measures["deletion"].mean for m in ranking.methods if m.id == "integrated_gradients")
        return value

    near = dx.rank(model, xs, background=(row for row in xs), **options)
    far = dx.rank(model, xs, background=xs + 100, **options)
    assert deletion(near) != deletion(far)
    with pytest.raises(ParameterError, match="give them with background="):
        dx.rank(model, xs, **options)
    text_options = {**options, "methods": {"occlusion": {"baseline": "film"}, "saliency": {}}}
    ids = np.array([[1, 2, 3], [3, 2, 0]])
    text = models.graph(models.text)
    with pytest.raises(ParameterError, match="vocabulary"):
        dx.rank(text, ids, **text_options)
    dx.rank(text, ids, vocabulary=["", "the", "film"], check_model=False, check_batch=False, **text_options)
    compiled = dx.rank(model, xs, jit=True, **{**options, "methods": ["gradient_x_input", "saliency"]})
    assert [method.id for method in compiled.methods][-1] == "saliency"


def test_methods_over_the_budget_or_without_a_rule_are_left_out() -> None:
    texts = np.array(["not a great film", "the dull film", "great film"])
    options: dict[str, Any] = {"measures": {"deletion": {"steps": 3}}}
    model = dx.load_model(models.text(strings=True))
    ranking = dx.rank(model, texts, budget=20, **options)
    assert {"epsilon_lrp", "deeplift", "integrated_gradients"} <= set(ranking.left_out)
    assert ranking.left_out["integrated_gradients"] == "512 evaluations per map, over the budget of 20"
    with pytest.raises(UnsupportedModelError):
        dx.rank(model, texts, methods=["saliency", "deeplift"], **options)


def test_wrong_arguments_are_refused() -> None:
    model, xs = linear()
    with pytest.raises(ParameterError, match="fewer than two methods are left to compare; name others"):
        dx.rank(model, xs, methods=["saliency"])
    with pytest.raises(ParameterError, match=r"left to compare \(shapley_sampling: 27 evaluations per map, over the"):
        dx.rank(model, xs, methods=["saliency", "shapley_sampling"], budget=5)
    for arguments in (("ig", model, xs), (xs, model), (model,), ("ig", model)):
        with pytest.raises(
            ParameterError, match=r"the order is rank\(model, xs\), with the names of methods as methods="
        ):
            dx.rank(*arguments)
    with pytest.raises(ParameterError, match="measures is empty"):
        dx.rank(model, xs, measures=[])
    with pytest.raises(UnknownMethodError, match="unknown measure 'deletions'"):
        dx.rank(model, xs, measures=["deletions"])
    with pytest.raises(InputError, match="xs holds no examples"):
        dx.rank(model, xs[:0])


def test_occlusion_of_pictures_uses_windows() -> None:
    assert window_parameters([(224, 112, 3)]) == {"window_shape": (16, 8, 3), "step": (16, 8, 3)}
    assert window_parameters([(8, 8, 1)])["step"] == (1, 1, 1)
    assert window_parameters([(4,), (16, 32, 3)]) == {"window_shape": (1, 2, 3), "step": (1, 2, 3)}
    for shapes in ([(10,)], [(None, None, 3)], [(8, 8, 3), (8, 8, 1)], [(8, 8, 3), (4, 8, 8, 3)]):
        assert window_parameters(shapes) == {}
