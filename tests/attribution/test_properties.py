"""Properties of each method on simple functions, and broken twins that violate them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.inputs import example_seeds
from tb_deepexplain.attribution.methods import TABLE, find_method
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.errors import ParameterError
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
LINEAR = RNG.normal(size=(4, 3)).astype(np.float32)


def run(method: Any, output: Callable[[Any], Any], x: Any, *, batch_size: int = 16, **params: Any) -> Explanation:
    """A method on `output(x)`; `method` is an id or a function like those in the table."""
    (explanation,) = run_each(method, output, [x], batch_size=batch_size, **params)
    return explanation


def run_each(
    method: Any, output: Callable[[Any], Any], arrays: list[Any], *, batch_size: int = 16, **params: Any
) -> list[Explanation]:
    """A method on `output(x)` for each array of examples; arrays of equal shape share one trace."""
    function = find_method(method).function if isinstance(method, str) else method
    spec = tf.TensorSpec([None, *arrays[0].shape[1:]], arrays[0].dtype)
    model = tf.function(output, input_signature=[spec], autograph=False)
    compute_output = dx.load_model(model).submodel().compute_output

    @tf.function(autograph=False)
    def call(x: Any, seeds: Any) -> Explanation:
        return function(Score(compute_output, [x], batch_size=batch_size, seeds=seeds), **params)

    explanations = []
    for x in arrays:
        explanation = call(tf.constant(x), tf.constant(example_seeds([x], 0)))
        texts = [(text.numpy().decode(), applies.numpy()) for text, applies in explanation.warnings]
        by_products = (None if value is None else value.numpy() for value in explanation[1:4])
        explanations.append(Explanation(explanation.attributions[0].numpy(), *by_products, texts))
    return explanations


def linear(x: Any) -> Any:
    return tf.reduce_sum(x * LINEAR.astype(x.dtype.as_numpy_dtype), axis=(1, 2))


def cubic(x: Any) -> Any:
    return tf.reduce_sum(x**3, axis=(1, 2)) + x[:, 0, 0] * x[:, 1, 1]


def kinked(x: Any) -> Any:
    return tf.reduce_sum(tf.nn.relu(tf.reshape(x, [-1, 12]) @ tf.constant(KINKS, x.dtype) - 0.3), axis=1)


def smooth(x: Any) -> Any:
    """Without products, so that backward rules treat it too."""
    return tf.reduce_sum(tf.tanh(tf.reshape(x, [-1, 12]) @ tf.constant(KINKS, x.dtype)), axis=1) + tf.reduce_sum(
        x**3, axis=(1, 2)
    )


def singular(x: Any) -> Any:
    """Like a layer norm near the zero baseline: the whole change happens in the first hundredth of the path."""
    flat = tf.reshape(x, [-1, 12])
    return tf.reduce_sum(flat * np.arange(12.0) / tf.sqrt(tf.reduce_sum(flat**2, 1, keepdims=True) + 1e-4), axis=1)


KINKS = RNG.normal(size=(12, 20))
X = RNG.normal(size=(5, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "occlusion"])
def test_linear_scores_are_explained_by_weight_times_input(method: str) -> None:
    assert_maps_close(run(method, linear, X).attributions, X * LINEAR)


def test_saliency_is_the_magnitude_of_the_gradient() -> None:
    np.testing.assert_allclose(
        run("saliency", linear, X).attributions, np.broadcast_to(abs(LINEAR), X.shape), rtol=1e-6
    )


# Twins: a slow, literal version of each method's definition, for `smooth` at a baseline of zeros, in double precision.


def _smooth(x: np.ndarray) -> np.ndarray:
    return np.tanh(x.reshape(-1, 12) @ KINKS).sum(1) + (x**3).sum((1, 2))


def _slope(x: np.ndarray) -> np.ndarray:
    z = x.reshape(-1, 12) @ KINKS
    return ((1 - np.tanh(z) ** 2) @ KINKS.T).reshape(x.shape) + 3 * x**2


def _integrate(x: np.ndarray) -> np.ndarray:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return x * sum(w / 2 * _slope((node + 1) / 2 * x) for node, w in zip(nodes, weights, strict=True))


def _propagate(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Both activations, tanh and the cube, with f(z) / (z + ε·sign z) in place of f′(z); ε = 0 is DeepLIFT at zero."""
    z = x.reshape(-1, 12) @ KINKS
    of_tanh = ((np.tanh(z) / (z + epsilon * np.sign(z))) @ KINKS.T).reshape(x.shape)
    return x * (of_tanh + x**3 / (x + epsilon * np.sign(x)))


def _occlude(x: np.ndarray) -> np.ndarray:
    def fall(i: int) -> np.ndarray:
        without = x.reshape(-1, 12).copy()
        without[:, i] = 0
        return _smooth(x) - _smooth(without.reshape(x.shape))

    return np.stack([fall(i) for i in range(12)], 1).reshape(x.shape)


def _shapley(x: np.ndarray) -> np.ndarray:
    """Over all coalitions of the twelve features."""
    coalitions = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    scores = np.stack([_smooth((row.ravel() * coalitions).reshape(-1, 4, 3)) for row in x])  # [N, coalitions]
    sizes, values = coalitions.sum(1), np.zeros((len(x), 12))
    for i in range(12):
        without = np.flatnonzero(coalitions[:, i] == 0)
        share = [1 / (12 * math.comb(11, size)) for size in sizes[without]]
        values[:, i] = (scores[:, without + 2**i] - scores[:, without]) @ share
    return values.reshape(x.shape)


TWINS: dict[
    str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]
] = {  # parameters of the method, and the twin
    "saliency": ({}, lambda x: abs(_slope(x))),
    "gradient_x_input": ({}, lambda x: x * _slope(x)),
    "integrated_gradients": ({"tolerance": 1e-7, "max_evaluations": 20_000}, _integrate),
    "epsilon_lrp": ({"epsilon": 1e-2}, lambda x: _propagate(x, 1e-2)),
    "deeplift": ({}, lambda x: _propagate(x, 0)),
    "occlusion": ({}, _occlude),
    "shapley_sampling": ({"estimator": "kernel", "samples": 373}, _shapley),  # enough for all coalitions
}


@pytest.mark.parametrize("method", [m.id for m in TABLE])
def test_each_method_agrees_with_a_literal_twin(method: str) -> None:
    assert method in TWINS, "write the method's definition once more, slowly, as a row of TWINS"
    parameters, twin = TWINS[method]
    x = X.astype(np.float64)
    actual, expected = run(method, smooth, x, **parameters).attributions, twin(x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("method", [m.id for m in TABLE])
def test_maps_do_not_depend_on_the_batch_size(method: str) -> None:
    one, many = (run(method, smooth, X, batch_size=size) for size in (3, 1000))
    assert_maps_close(one.attributions, many.attributions)
    np.testing.assert_array_equal(one.evaluations, many.evaluations)


@pytest.mark.parametrize("method", [m.id for m in TABLE])
def test_maps_do_not_depend_on_other_examples(method: str) -> None:
    together, *alone = run_each(method, smooth, [X, *(X[i : i + 1] for i in range(5))])
    assert_maps_close(np.concatenate([explanation.attributions for explanation in alone]), together.attributions)


@pytest.mark.parametrize("method", [m.id for m in TABLE])
def test_no_examples_give_no_maps(method: str) -> None:
    assert run(method, smooth, X[:0]).attributions.shape == (0, 4, 3)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fold_keeps_the_shapes_of_its_state(n: int) -> None:
    """Also if a step does not know the number of examples statically, and for batches of no and of one example."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([n, 4, 3])])
    def fold(x: Any) -> list[Any]:
        score = Score(lambda points, _: tf.reduce_sum(points[0], [1, 2]), [x], batch_size=2)

        def step(items: Any, total: list[Any]) -> list[Any]:
            rows = items // 5
            sums = tf.math.unsorted_segment_sum(tf.gather(x, rows), rows, score.n)
            return [total[0] + tf.raw_ops.PlaceholderWithDefault(input=sums, shape=[None, 4, 3])]

        (total,) = score.fold(score.n * 5, step, [tf.zeros_like(x)])
        assert total.shape == (n, 4, 3)
        return total

    np.testing.assert_allclose(fold(X[:n]), 5 * X[:n], rtol=1e-5)


def _gap(explanation: Explanation, score: Callable[[Any], Any], x: np.ndarray, baseline: Any = 0.0) -> np.ndarray:
    base = np.broadcast_to(np.asarray(baseline, x.dtype), x.shape)
    change = score(tf.constant(x)).numpy() - score(tf.constant(base)).numpy()
    return abs(explanation.attributions.sum((1, 2), dtype=np.float64) - change) / abs(change)


@pytest.mark.parametrize("score", [cubic, kinked, singular])
@pytest.mark.parametrize("baseline", [0.0, 0.25, RNG.normal(size=(4, 3))])
def test_integrated_gradients_meets_its_tolerance(score: Callable[[Any], Any], baseline: Any) -> None:
    x = X.astype(np.float64)
    for tolerance in (0.05, 1e-4):
        actual = run("integrated_gradients", score, x, tolerance=tolerance, max_evaluations=20_000, baseline=baseline)
        assert _gap(actual, score, x, baseline).max() <= tolerance
        np.testing.assert_allclose(actual.score, score(tf.constant(x)).numpy(), rtol=1e-12)


def test_integrated_gradients_of_a_distance_need_no_derivative_at_the_baseline() -> None:
    def distance(x: Any) -> Any:
        return tf.sqrt(tf.reduce_sum(x**2, [1, 2]))

    x = X.astype(np.float64)
    actual = run("integrated_gradients", distance, x)
    np.testing.assert_allclose(actual.attributions, x**2 / distance(tf.constant(x)).numpy()[:, None, None], rtol=1e-9)
    assert not any(np.any(applies) for _, applies in actual.warnings)


def test_integrated_gradients_tell_a_jump_from_too_few_evaluations() -> None:
    def jump(x: Any) -> Any:
        return tf.reduce_sum(tf.where(x > 0.37, 5.0, 0.0) + x, [1, 2])

    def texts(score: Callable[[Any], Any], **params: Any) -> list[str]:
        actual = run("integrated_gradients", score, np.ones((1, 2, 2), np.float32), **params)
        return [text for text, applies in actual.warnings if np.any(applies)]

    assert "the score jumps" in texts(jump)[0]
    assert "allow more" in texts(jump, max_evaluations=16)[0]


def test_integrated_gradients_never_spends_more_than_allowed() -> None:
    for bound in (3, 5, 16, 33):
        actual = run("integrated_gradients", singular, X.astype(np.float64), tolerance=1e-9, max_evaluations=bound)
        assert actual.evaluations.max() <= bound


def test_refining_beats_the_fixed_rule_at_the_same_cost() -> None:
    x = X.astype(np.float64)
    refined = run("integrated_gradients", singular, x, tolerance=0.01)
    steps = int(refined.evaluations.max())
    fixed = run("integrated_gradients", singular, x, steps=steps)
    assert _gap(refined, singular, x).max() < 0.01 < np.median(_gap(fixed, singular, x))


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "right", "trapezoid"])
def test_fixed_rules_are_the_literal_sums(quadrature: str) -> None:
    x = X.astype(np.float64)
    actual = run("integrated_gradients", cubic, x, steps=7, quadrature=quadrature).attributions
    nodes, weights = {
        "gauss_legendre": ((np.polynomial.legendre.leggauss(7)[0] + 1) / 2, np.polynomial.legendre.leggauss(7)[1] / 2),
        "right": (np.arange(1, 8) / 7, np.full(7, 1 / 7)),
        "trapezoid": (np.arange(7) / 6, np.array([0.5, 1, 1, 1, 1, 1, 0.5]) / 6),
    }[quadrature]
    literal = np.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        gradient = 3 * (node * x) ** 2
        gradient[:, 0, 0] += node * x[:, 1, 1]
        gradient[:, 1, 1] += node * x[:, 0, 0]
        literal += weight * gradient * x
    np.testing.assert_allclose(actual, literal, rtol=1e-10)


def _literal_occlusion(
    score: Callable[[Any], Any], x: np.ndarray, window: tuple[int, ...], step: tuple[int, ...], baseline: float
) -> np.ndarray:
    """Window by window, as the definition says."""
    total, count = np.zeros_like(x), np.zeros_like(x)
    value = score(tf.constant(x)).numpy()
    for i in range(0, x.shape[1] - window[0] + 1, step[0]):
        for j in range(0, x.shape[2] - window[1] + 1, step[1]):
            hidden = x.copy()
            hidden[:, i : i + window[0], j : j + window[1]] = baseline
            difference = (value - score(tf.constant(hidden)).numpy()) / (window[0] * window[1])
            total[:, i : i + window[0], j : j + window[1]] += difference[:, None, None]
            count[:, i : i + window[0], j : j + window[1]] += 1
    with np.errstate(invalid="ignore"):
        return total / count


@pytest.mark.parametrize(
    ("window", "step"),
    [((1, 1), (1, 1)), ((2, 3), (1, 3)), ((3, 2), (1, 1)), ((2, 2), (2, 2)), ((3, 2), (2, 1)), ((1, 1), (3, 2))],
)
def test_occlusion_is_the_literal_mean_over_windows(window: tuple[int, int], step: tuple[int, int]) -> None:
    x = X.astype(np.float64)
    actual = run("occlusion", cubic, x, window_shape=window, step=step, baseline=0.5)
    np.testing.assert_allclose(actual.attributions, _literal_occlusion(cubic, x, window, step, 0.5), rtol=1e-10)


def test_a_window_of_one_number_applies_to_every_axis_that_is_long_enough() -> None:
    for window, lengths in ((2, (2, 2)), (4, (4, 3))):
        actual, expected = (run("occlusion", cubic, X, window_shape=w).attributions for w in (window, lengths))
        np.testing.assert_array_equal(actual, expected)


def test_occlusion_of_a_long_signal_holds_no_window_for_each_sample() -> None:
    """A matrix of windows by samples would be 20 GB."""
    x = np.zeros((1, 50_000), np.float32)
    x[0, 123] = 3
    actual = run("occlusion", lambda x: tf.reduce_sum(x, 1), x, window_shape=(10,), step=5_000).attributions
    assert actual.shape == x.shape
    many = run("occlusion", lambda x: tf.reduce_sum(x, 1), x[:, :20_000], window_shape=(19_000,)).attributions
    assert many[0, 123] == pytest.approx(3 / 19_000)


def test_occlusion_leaves_uncovered_features_nan() -> None:
    actual = run("occlusion", cubic, X, window_shape=(2, 2), step=(2, 2)).attributions
    assert np.isnan(actual[:, :, 2]).all()
    assert np.isfinite(actual[:, :, :2]).all()


def test_a_window_without_its_last_axis_has_all_channels() -> None:
    """As people write it for pictures [H, W, 1] and signals [T, C]."""
    for window, step in (((2,), 1), ((2,), (2,)), ((1,), (1, 2))):
        actual = run("occlusion", cubic, X, window_shape=window, step=step).attributions
        expected = run("occlusion", cubic, X, window_shape=(*window, 3), step=(np.ravel(step)[0], 1)).attributions
        np.testing.assert_array_equal(actual, expected)
    pictures = RNG.normal(size=(2, 5, 4, 1)).astype(np.float32)
    actual, expected = (
        run("occlusion", lambda x: tf.reduce_sum(x**2, [1, 2, 3]), pictures, window_shape=window).attributions
        for window in ((3, 3), (3, 3, 1))
    )
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window_shape": (5, 1)}, "does not fit into an example of shape"),
        ({"window_shape": (2, 2, 2)}, "has 3 entries; an example has 2 axes"),
        ({"window_shape": (5,)}, r"window_shape=\(5, 3\) does not fit into an example of shape \(4, 3\)"),
        ({"step": (1, 1, 1)}, "has 3 entries"),
        ({"baseline": np.zeros((5, 4, 3))}, "leave the batch dimension out"),
        ({"baseline": np.zeros((3, 4))}, r"expected shape \(4, 3\)"),
        ({"baseline": np.nan}, "NaN or infinity"),
    ],
)
def test_occlusion_refuses_what_does_not_fit(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        run("occlusion", cubic, X, **params)


# Saboteurs: twins with one thing wrong, of the right shape. The properties above must tell them from the real ones.


def _dropped_step(score: Score) -> Explanation:
    # From sys.modules: the package has the function under the module's name.
    module = sys.modules["tb_deepexplain.attribution.methods.integrated_gradients"]
    nodes, weights = module._rule("gauss_legendre", 32)
    return module._integrate_fixed(score, module._Path(score, None), nodes[:-1], weights[:-1], 0.01)


def _x_for_difference(score: Score) -> Explanation:
    explanation = find_method("intgrad").function(score, baseline=0.25)
    return explanation._replace(
        attributions=[a * x / (x - 0.25) for a, x in zip(explanation.attributions, score.x, strict=True)]
    )


def _abs(score: Score) -> Explanation:
    explanation = find_method("intgrad").function(score)
    return explanation._replace(attributions=[tf.abs(a) for a in explanation.attributions])


@pytest.mark.parametrize(("saboteur", "baseline"), [(_dropped_step, 0.0), (_x_for_difference, 0.25), (_abs, 0.0)])
def test_saboteurs_break_completeness(saboteur: Callable[[Score], Explanation], baseline: float) -> None:
    x = X.astype(np.float64)
    assert _gap(run(saboteur, cubic, x), cubic, x, baseline).max() > 0.01
