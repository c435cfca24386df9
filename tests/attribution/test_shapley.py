"""Shapley value sampling: against the definition, exact values and axioms; errors by budget; and that broken twins are caught."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.attribution.methods.shapley_regression import design
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.errors import ParameterError
from tests import models
from tests.attribution import golden
from tests.closeness import assert_maps_close

# Not by an import statement: the package has the function under the module's name.
sampling = importlib.import_module("tb_deepexplain.attribution.methods.shapley_sampling")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 3, 2))
KINKS = RNG.normal(size=(24, 30))
ESTIMATORS = ("permutation", "antithetic", "kernel")
Output = Callable[..., Any]


def kinked(x: Any) -> Any:
    """With interactions of all orders between the features."""
    flat = tf.reshape(x, [-1, math.prod(x.shape[1:])])
    weights = tf.constant(KINKS[: flat.shape[1]], x.dtype)
    return tf.reduce_sum(tf.nn.relu(flat @ weights - 0.3) ** 1.5, 1) + tf.reduce_prod(tf.tanh(flat[:, :3]), 1)


def play(output: Output, *x: np.ndarray, seeds: Sequence[int] | None = None, **params: Any) -> Explanation:
    """The method in double precision on `output(*x)`; each example's seed is its number by default."""
    batch_size, jit, whole = (params.pop(k, v) for k, v in (("batch_size", 64), ("jit", False), ("whole", None)))
    numbers = np.arange(len(x[0])) if seeds is None else np.asarray(seeds)
    checked = find_method("shapley_sampling").check(params)

    @tf.function(autograph=False)
    def call(x: list[Any]) -> Explanation:
        score = Score(lambda points, _: output(*points), x, batch_size=batch_size, seeds=numbers, jit=jit, whole=whole)
        return sampling.shapley_sampling(score, **checked)

    explanation = call([tf.constant(t) for t in x])
    maps = [m.numpy() for m in explanation.attributions]
    return Explanation(maps[0] if len(maps) == 1 else maps, *(t.numpy() for t in explanation[1:4]))


def repeated(output: Output, x: np.ndarray, times: int, **params: Any) -> np.ndarray:
    """Maps [times, ...] of one example, by as many seeds."""
    return play(output, np.repeat(x[None], times, 0), **{"batch_size": 4096, **params}).attributions


def exact(output: Output, x: np.ndarray, baseline: Any = 0.0) -> np.ndarray:
    """Shapley values of one example by all coalitions of its numbers."""
    players = x.size
    kept = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
    scores = output(tf.constant(np.where(kept.reshape(-1, *x.shape), x, baseline))).numpy()
    sizes, values = kept.sum(1), np.zeros(players)
    share = np.array([1 / (players * math.comb(players - 1, s)) for s in range(players)])
    for i in range(players):
        without = np.flatnonzero(~kept[:, i])
        values[i] = (share[sizes[without]] * (scores[without + 2**i] - scores[without])).sum()
    return values.reshape(x.shape)


def assert_unbiased(maps: np.ndarray, expected: np.ndarray) -> None:
    stderr = maps.std(0, ddof=1) / math.sqrt(len(maps))
    assert (abs(maps.mean(0) - expected) < 4.5 * stderr + 1e-9).all()


# Against the definition.


def literal(
    output: Output,
    x: np.ndarray,
    ranks: np.ndarray,
    shares: Sequence[float],
    axes: tuple[int, ...],
    baseline: np.ndarray,
) -> np.ndarray:
    """Order by order and player by player."""
    sizes = [x.shape[a] for a in axes]
    credit = np.zeros((len(x), *sizes))
    for n, orders in enumerate(ranks):
        for rank, share in zip(orders, shares, strict=True):
            point = x[n].copy()
            before = output(tf.constant(point[None])).numpy()[0]
            for position in range(len(rank)):
                player = np.unravel_index(list(rank).index(position), sizes)
                where: list[Any] = [slice(None)] * point.ndim
                for axis, index in zip(axes, player, strict=True):
                    where[axis - 1] = index
                point[tuple(where)] = baseline[tuple(where)]
                after = output(tf.constant(point[None])).numpy()[0]
                credit[(n, *player)] += (before - after) * share
                before = after
    return credit


REAL_RANKS = sampling._ranks
BASELINE = RNG.normal(size=X.shape[1:])


def check_literal(axes: tuple[int, ...] | None, estimator: str = "antithetic", samples: int = 3) -> None:
    every = axes or (1, 2, 3)
    score = Score(lambda points, _: kinked(*points), [X], seeds=np.arange(3))
    ranks = REAL_RANKS(score, samples, math.prod(X.shape[a] for a in every), estimator).numpy()
    actual = play(kinked, X, samples=samples, sampling_dims=axes, baseline=BASELINE, estimator=estimator, batch_size=7)
    shares = {2: (1 / 2, 1 / 2), 3: (2 / 5, 2 / 5, 1 / 5)}[samples]  # half the weight for the order without its reverse
    expected = literal(kinked, X, ranks, shares, every, BASELINE)
    np.testing.assert_allclose(actual.attributions, expected, rtol=1e-9, atol=1e-12)
    assert (actual.evaluations == samples * (ranks.shape[2] - 1) + 2).all()


@pytest.mark.parametrize("axes", [None, (1,), (2,), (3,), (1, 2), (2, 1), (3, 1), (2, 3, 1)])
def test_it_is_the_literal_mean_over_orders(axes: tuple[int, ...] | None) -> None:
    check_literal(axes)
    check_literal(axes, "permutation", 2)


def test_one_axis_may_be_a_number() -> None:
    actual = [play(kinked, X, sampling_dims=axes).attributions for axes in (2, [2])]
    np.testing.assert_array_equal(*actual)
    assert actual[0].shape == (3, 3)


def test_ranks_are_orders_and_their_reverses() -> None:
    score = Score(lambda points, _: kinked(*points), [X], seeds=np.arange(3))
    ranks = REAL_RANKS(score, 5, 24, "antithetic").numpy()
    np.testing.assert_array_equal(np.sort(ranks, 2), np.broadcast_to(np.arange(24), (3, 5, 24)))
    np.testing.assert_array_equal(ranks[:, 0::2][:, :2] + ranks[:, 1::2], np.full((3, 2, 24), 23))
    assert len(np.unique(ranks.reshape(-1, 24), axis=0)) == 15


# Against exact values.

EXACT = [c for c in golden.index()["cases"] if c["method"] == "shapley_sampling" and c["has_exact_shapley"]]


@pytest.mark.parametrize("case", EXACT, ids=lambda c: c["id"])
def test_random_orders_are_as_accurate_as_the_originals(case: dict[str, Any]) -> None:
    data = dict(np.load(golden.FOLDER / case["file"]))
    golden.set_weights(golden.build(case["model"]), case["model"], data)
    (name,) = case["wrt"]
    for estimator in ESTIMATORS:
        explainer = dx.Explainer(
            "shapley_sampling",
            golden.graph(case["model"]),
            inputs=case["wrt"],
            output=case["target"],
            logits=False,
            **{**case["params"], "estimator": estimator},
        )
        actual = explainer.run({name: data[f"x:{name}"]}, ys=data["ys"])[name]
        assert (abs(actual - data["exact_shapley"]) <= 4 * data["mc_stderr"] + 2e-6).all()


def _small(players: int) -> np.ndarray:
    return np.random.default_rng(players).normal(size=players)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("samples", [4, 5, 7])
def test_estimates_scatter_about_the_exact_values(estimator: str, samples: int) -> None:
    x = _small(7)
    maps = repeated(kinked, x, 1500, samples=samples, estimator=estimator, baseline=0.3)
    expected = exact(kinked, x, 0.3)
    assert np.linalg.norm(maps[0] - expected) > 1e-3
    assert_unbiased(maps, expected)


@pytest.mark.parametrize("players", [2, 3, 4, 7, 8])
def test_all_coalitions_make_the_kernel_exact(players: int) -> None:
    x = _small(players)[None]
    actual = play(kinked, x, samples=100, estimator="kernel", baseline=0.3)
    np.testing.assert_allclose(actual.attributions[0], exact(kinked, x[0], 0.3), rtol=1e-9, atol=1e-12)
    assert actual.evaluations[0] == 2**players  # and no coalition twice


def _error(estimator: str, samples: int, times: int = 300) -> float:
    """Root mean square over seeds, of ten players."""
    x = _small(10)
    return float(
        np.sqrt(np.mean((repeated(kinked, x, times, samples=samples, estimator=estimator) - exact(kinked, x)) ** 2))
    )


@pytest.mark.parametrize("estimator", ["permutation", "antithetic"])
def test_the_error_falls_with_the_square_root_of_samples(estimator: str) -> None:
    errors = [_error(estimator, samples) for samples in (4, 16, 64)]
    slope = np.polyfit(np.log([4, 16, 64]), np.log(errors), 1)[0]
    assert -0.56 < slope < -0.44, (errors, slope)


def test_the_estimators_rank_as_documented() -> None:
    for samples, share in ((6, 0.97), (20, 0.6)):
        permutation, antithetic, kernel = (_error(estimator, samples) for estimator in ESTIMATORS)
        assert antithetic < 0.65 * permutation
        assert kernel < share * antithetic


def test_an_order_without_its_reverse_does_no_harm() -> None:
    assert _error("antithetic", 5) < 1.02 * _error("antithetic", 4)


# The axioms.


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("axes", [None, (2,), (3, 1)])
def test_credits_sum_to_the_change_of_the_score(estimator: str, axes: tuple[int, ...] | None) -> None:
    actual = play(kinked, X, samples=4, sampling_dims=axes, baseline=0.2, estimator=estimator)
    np.testing.assert_allclose(actual.score, kinked(tf.constant(X)).numpy(), rtol=1e-12)
    np.testing.assert_allclose(actual.baseline_score, kinked(tf.constant(np.full_like(X, 0.2))).numpy(), rtol=1e-12)
    total = actual.attributions.reshape(3, -1).sum(1)
    np.testing.assert_allclose(total, actual.score - actual.baseline_score, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_additive_game_is_occlusion_of_single_features(estimator: str) -> None:
    def additive(x: Any) -> Any:
        return tf.reduce_sum(tf.sin(3 * x) + x**3 * BASELINE, axis=(1, 2, 3))

    actual = play(additive, X, samples=4, estimator=estimator, baseline=0.2).attributions
    score = Score(lambda points, _: additive(*points), [X])
    occluded = find_method("occlusion").function(score, baseline=0.2).attributions[0]
    np.testing.assert_allclose(actual, occluded.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("estimator", ["permutation", "antithetic"])
def test_a_player_without_effect_gets_nothing(estimator: str) -> None:
    actual = play(lambda x: kinked(x[:, :3]) * x[:, 3, 0, 0], X, estimator=estimator).attributions
    assert abs(actual[:, 3, 1:]).max() < 1e-14 and abs(actual[:, 3, 0, 1]).max() < 1e-14
    assert (abs(actual[:, :3]) > 1e-6).mean() > 0.9


def test_players_of_equal_effect_get_equal_credit() -> None:
    def alike(x: Any) -> Any:
        return tf.nn.relu(x[:, 0] + x[:, 1] - x[:, 2] * x[:, 3]) ** 2

    x = np.array([0.7, 0.7, 0.4, 0.9])
    for estimator in ESTIMATORS:
        maps = repeated(alike, x, 1000, estimator=estimator, samples=4)
        assert_unbiased(maps[:, 0] - maps[:, 1], np.zeros(()))
        assert_unbiased(maps[:, 2] - maps[:, 3], np.zeros(()))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_is_linear_in_the_score(estimator: str) -> None:
    def other(x: Any) -> Any:
        return tf.reduce_max(x, axis=(1, 2, 3)) * x[:, 0, 0, 0]

    first, second, both = (
        play(f, X, estimator=estimator).attributions for f in (kinked, other, lambda x: kinked(x) - 2 * other(x))
    )
    np.testing.assert_allclose(both, first - 2 * second, rtol=1e-9, atol=1e-10)


# Inputs and shapes.


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_several_inputs_play_one_game(estimator: str) -> None:
    x, y = X[:, :, 0, 0], X[:, 0]  # [3, 4] and [3, 3, 2]

    def together(x: Any, y: Any) -> Any:
        return kinked(tf.concat([x, tf.reshape(y, [-1, 6])], 1))

    two = play(together, x, y, estimator=estimator, baseline=[0.1, np.full((3, 2), 0.1)])
    one = play(kinked, np.concatenate([x, y.reshape(3, 6)], 1), estimator=estimator, baseline=0.1)
    np.testing.assert_array_equal(two.attributions[0], one.attributions[:, :4])
    np.testing.assert_array_equal(two.attributions[1], one.attributions[:, 4:].reshape(3, 3, 2))
    np.testing.assert_array_equal(two.evaluations, one.evaluations)


def test_the_players_of_embeddings_are_whole_tokens() -> None:
    words = X[:, :, :, 0]
    actual = play(kinked, words, whole=[True])
    np.testing.assert_array_equal(actual.attributions, play(kinked, words, sampling_dims=(1,)).attributions)
    assert actual.attributions.shape == (3, 4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_player_gets_all(estimator: str) -> None:
    for x in (X[:, :1, :1, :1], X[:, 0, 0, 0]):  # and an input of one number for each example
        actual = play(
            lambda x: tf.reduce_sum(tf.reshape(x, [tf.shape(x)[0], 1]) ** 3, 1), x, estimator=estimator, baseline=0.5
        )
        np.testing.assert_allclose(actual.attributions, x**3 - 0.125)
        assert (actual.evaluations == 2).all()


def test_missing_features_are_replaced_not_scaled() -> None:
    seen = []

    def watch(x: Any) -> Any:
        tf.py_function(lambda t: seen.append(t.numpy()), [x], [])
        return tf.reduce_sum(x, 1)

    play(watch, np.array([[1.0, 2.0, 4.0]]), baseline=np.array([10.0, 20.0, 40.0]))
    assert {abs(v) for v in np.concatenate(seen).ravel()} == {1, 2, 4, 10, 20, 40}


def test_thousands_of_players_fit() -> None:
    x = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
    weights = tf.constant(RNG.normal(size=(3072, 8)).astype(np.float32))
    actual = play(
        lambda x: tf.reduce_sum(tf.tanh(tf.reshape(x, [-1, 3072]) @ weights), 1), x, samples=2, batch_size=256
    )
    assert actual.attributions.shape == x.shape and actual.attributions.dtype == np.float32
    np.testing.assert_allclose(
        actual.attributions.sum((1, 2, 3), dtype=float), actual.score - actual.baseline_score, rtol=1e-4
    )


def test_compiled_by_xla_it_is_the_same() -> None:
    for estimator in ESTIMATORS:
        plain, compiled = (play(kinked, X, estimator=estimator, jit=jit, batch_size=50).attributions for jit in (0, 1))
        np.testing.assert_allclose(plain, compiled, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sampling_dims": (0, 1)}, "is not accepted; expected .* at least 1"),
        ({"sampling_dims": 0}, "is not accepted; expected .* at least 1"),
        ({"sampling_dims": ()}, "is not accepted; expected list of whole numbers"),
        ({"sampling_dims": (1.5,)}, "is not accepted; expected list of whole numbers"),
        (
            {"sampling_dims": (4,)},
            r"\(4,\) does not fit an example of shape \(4, 3, 2\); expected different axes from 1 to 3",
        ),
        ({"sampling_dims": (1, 1)}, "expected different axes from 1 to 3"),
        ({"samples": 0}, "samples=0 is not accepted; expected whole number, at least 1"),
        ({"estimator": "sobol"}, "'antithetic', 'permutation' or 'kernel'"),
        ({"estimator": "kernel", "samples": 3}, "too few coalitions .* give at least 4"),
        ({"estimator": "kernel", "samples": 10**6}, "24 players from 16777214 coalitions .* give fewer samples"),
        ({"baseline": np.zeros((3, 4, 3, 2))}, "leave the batch dimension out"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        play(kinked, X, **params)


def test_the_batch_axis_is_refused_without_the_table_too() -> None:
    with pytest.raises(ParameterError, match=r"axes from 1 to 3 \(axis 0 is the batch\)"):
        sampling.shapley_sampling(
            Score(lambda points, _: kinked(*points), [X], seeds=np.arange(3)), sampling_dims=(0, 1)
        )


# Chance.


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_random_numbers_depend_on_the_example_only(estimator: str) -> None:
    pictures = RNG.normal(size=(7, 8, 8, 3)).astype(np.float32)
    explainer = dx.Explainer(
        "shapley_sampling", models.graph(models.image), target=1, sampling_dims=(2, 1), samples=4, estimator=estimator
    )
    reference, order = explainer.run(pictures), RNG.permutation(7)
    for size in (1, 5, 64, 1000):
        assert_maps_close(explainer.run(pictures[order], batch_size=size), reference[order])
    np.testing.assert_array_equal(explainer.run(pictures), reference)
    other = explainer.run(pictures, seed=1)
    assert (abs(other - reference).max((1, 2)) > 1e-3).all()
    assert_maps_close(other.sum((1, 2)), reference.sum((1, 2)))


# The design of coalitions.


@pytest.mark.parametrize("players", [*range(1, 21), 50])
def test_a_design_tells_all_players_apart(players: int) -> None:
    for samples in (4, 5, 7, 30):
        kept, solve = design(players, samples * (players - 1) // 2)
        assert len({row.tobytes() for row in np.concatenate([kept, ~kept])}) == 2 * len(kept)
        equal_shares = np.eye(players) - 1 / players
        np.testing.assert_allclose(solve @ kept @ equal_shares, equal_shares, atol=1e-9)
        sizes = np.bincount(np.minimum(kept.sum(1), players - kept.sum(1)), minlength=2)[1:]
        room = [math.comb(players, k) // (2 if 2 * k == players else 1) for k in range(1, players // 2 + 1)]
        unfilled = [s for s, r in zip(sizes, room, strict=False) if s < r]
        assert not unfilled or max(sizes) - min(unfilled) <= 1  # as many of each size as there are
        leverage = np.zeros(players // 2 + 1)
        np.add.at(leverage, np.minimum(kept.sum(1), players - kept.sum(1)), (solve.T * (kept @ equal_shares)).sum(1))
        halves = 1.0 - (np.arange(1, players // 2 + 1) * 2 == players) / 2
        np.testing.assert_allclose(leverage[1:], halves * (players - 1) / (halves.sum() or 1), rtol=1e-3)


# Saboteurs: one thing wrong, of the right shape. The definition above must tell them from the real ones.


def _reshaped(mask: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """As the original: no transposition."""
    return tf.reshape(mask, [-1, *(shape[a] if a in axes else 1 for a in range(1, len(shape)))])


def _walk_without_the_last(*args: Any) -> tuple[Any, int]:
    credit, spent = REAL_WALK(*args)
    return credit * tf.constant([1.0] * (credit.shape[1] - 1) + [0], tf.float64), spent


REAL_WALK = sampling._walk
SABOTEURS = {
    "off_by_one": ("_ranks", lambda *args: REAL_RANKS(*args) + 1),
    "order_for_rank": ("_ranks", lambda *args: tf.argsort(REAL_RANKS(*args))),
    "one_order_for_all": ("_ranks", lambda *args: tf.repeat(REAL_RANKS(*args)[:1], 3, axis=0)),
    "reshape_for_transpose": ("_mask", _reshaped),
    "last_player_dropped": ("_walk", _walk_without_the_last),
}


@pytest.mark.parametrize("name", SABOTEURS)
def test_saboteurs_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, *SABOTEURS[name])
    with pytest.raises((AssertionError, tf.errors.InvalidArgumentError)):
        check_literal((2, 1))
