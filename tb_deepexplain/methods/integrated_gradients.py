"""Integrated gradients: the gradient averaged along the straight path from a baseline to the input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import tensorflow as tf

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.methods.parameters import Above, AtLeast, Baseline, Doc
from tb_deepexplain.score import Explanation, Score

FIRST_INTERVALS = 4
NARROWEST = 2.0**-20  # of the path; below it float32 points no longer differ


def integrated_gradients(
    score: Score,
    *,
    tolerance: Annotated[float, Above(0), Doc("Completeness gap allowed, as a share of |f(x) - f(baseline)|.")] = 0.01,
    max_evaluations: Annotated[
        int, AtLeast(3), Doc("Model evaluations after which an example stops refining, its gap as it is.")
    ] = 512,
    steps: Annotated[
        int | None, AtLeast(1), Doc("A fixed rule of this many evaluations instead of refining to the tolerance.")
    ] = None,
    quadrature: Annotated[
        Literal["gauss_legendre", "right", "trapezoid"],
        Doc("The fixed rule used with steps; 'right' with 100 steps is DeepExplain's."),
    ] = "gauss_legendre",
    baseline: Baseline = None,
) -> Explanation:
    """(x − x′) · ∫₀¹ ∂f/∂x (x′ + α(x − x′)) dα. Sums to f(x) − f(x′).

    Sundararajan, Taly, Yan 2017 (arXiv 1703.01365), equation 1. By default the path is bisected where
    Simpson's rule disagrees with the known change of f, the worst intervals first: a fixed rule wastes
    evaluations on easy paths and is wrong on hard ones (layer norm near zero), and does not say which.
    """
    if steps is None and quadrature != "gauss_legendre":
        raise ParameterError(
            f"integrated_gradients: quadrature={quadrature!r} is a fixed rule and needs steps; DeepExplain's is steps=100"
        )
    base = score.baseline(baseline)
    if steps is not None:
        return _fixed(score, base, *_rule(quadrature, steps))
    return _adaptive(score, base, tolerance, max_evaluations)


def held(*, max_evaluations: int = 512, steps: int | None = None, **_: object) -> int:
    """Gradients an example may hold while it is refined: three for each interval, and as many again in a round's copies."""
    return 1 if steps is not None else 3 * max_evaluations


def _rule(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and weights."""
    if quadrature == "right":
        return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)
    if quadrature == "trapezoid":
        if steps == 1:
            raise ParameterError("integrated_gradients: the trapezoid rule needs steps of at least 2")
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, steps), weights
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _at(score: Score, base: list[Any], rows: Any, alpha: Any) -> list[Any]:
    """The points x′ + α(x − x′) on the paths of the given rows."""
    points = []
    for x, b in zip(score.x, base, strict=True):
        share = tf.reshape(tf.cast(alpha, x.dtype), [-1, *[1] * len(b.shape)])
        points.append(b + share * (tf.gather(x, rows) - b))
    return points


def _fixed(score: Score, base: list[Any], nodes: np.ndarray, weights: np.ndarray) -> Explanation:
    steps = len(nodes)

    def step(items: Any, total: list[Any]) -> list[Any]:
        rows, k = items // steps, items % steps
        _, gradient = score.gradient(_at(score, base, rows, tf.gather(tf.constant(nodes), k)), rows)
        share = tf.gather(tf.constant(weights), k)
        return [t + _sum_by_row(g, share, rows, score.n) for t, g in zip(total, gradient, strict=True)]

    total = score.fold(score.n * steps, step, [tf.zeros_like(x) for x in score.x])
    attributions = [t * (x - b) for t, x, b in zip(total, score.x, base, strict=True)]
    return Explanation(attributions, tf.fill([score.n], steps + 2), score(score.x), score.at(base))


def _sum_by_row(values: Any, weights: Any, rows: Any, n: Any) -> Any:
    """Σ weights · values over the entries of each row, `[n, ...]`."""
    shaped = tf.reshape(tf.cast(weights, values.dtype), [-1, *[1] * (len(values.shape) - 1)])
    return tf.math.unsorted_segment_sum(values * shaped, rows, n)


def _adaptive(score: Score, base: list[Any], tolerance: float, max_evaluations: int) -> Explanation:
    """Intervals of all examples in one flat list, refined together, so that every batch is full.

    Each interval holds Simpson's three nodes: score `f`, slope along the path `s` and gradient `g`, so that
    halving it costs two evaluations and wastes none. The change of f over the interval is known exactly,
    and what Simpson's rule makes of it tells the error without further evaluations.
    """
    n = score.n
    parts = min(FIRST_INTERVALS, (max_evaluations - 1) // 2)
    knots = 2 * parts + 1

    def evaluate(rows: Any, alpha: Any) -> tuple[Any, Any, list[Any]]:
        def at(items: Any) -> list[Any]:
            own = tf.gather(rows, items)
            value, gradient = score.gradient(_at(score, base, own, tf.gather(alpha, items)), own)
            slope = tf.add_n(
                [
                    tf.reduce_sum(tf.reshape(g * (tf.gather(x, own) - b), [tf.shape(own)[0], -1]), 1)
                    for g, x, b in zip(gradient, score.x, base, strict=True)
                ]
            )
            return [tf.cast(value, tf.float64), tf.cast(slope, tf.float64), *gradient]

        value, slope, *gradient = score.map(tf.shape(rows)[0], at)
        return value, slope, gradient

    def triples(t: Any, count: int) -> Any:
        """[m · (2·count + 1), ...] nodes in order → [m · count, 3, ...] the nodes of each interval."""
        nodes = tf.reshape(t, [-1, 2 * count + 1, *t.shape[1:]])
        taken = tf.gather(nodes, [[2 * i, 2 * i + 1, 2 * i + 2] for i in range(count)], axis=1)
        return tf.reshape(taken, [-1, 3, *t.shape[1:]])

    rows = tf.repeat(tf.range(n), knots)
    alpha = tf.tile(tf.linspace(tf.constant(0.0, tf.float64), 1.0, knots), [n])
    f, s, g = evaluate(rows, alpha)
    start, value = tf.reshape(f, [-1, knots])[:, 0], tf.reshape(f, [-1, knots])[:, -1]
    # A score that hardly changes along the path is judged by its own size, not by its rounding errors.
    allowed = tolerance * tf.maximum(tf.abs(value - start), 1e-3 * tf.maximum(tf.abs(value), tf.abs(start)))

    state = {
        "rows": tf.repeat(tf.range(n), parts),
        "ends": triples(alpha, parts),
        "f": triples(f, parts),
        "s": triples(s, parts),
        "g": [triples(t, parts) for t in g],
        "done": tf.zeros([n], tf.float64),
        "spent": tf.fill([n], knots),
        "total": [tf.zeros_like(x) for x in score.x],
    }
    shapes = {
        "rows": tf.TensorShape([None]),
        **{k: tf.TensorShape([None, 3]) for k in ("ends", "f", "s")},
        "g": [tf.TensorShape([None, 3, *x.shape[1:]]) for x in score.x],
        **{k: tf.TensorShape([None]) for k in ("done", "spent")},
        "total": [tf.TensorShape([None, *x.shape[1:]]) for x in score.x],
    }

    def refine(state: dict[str, Any]) -> tuple[dict[str, Any]]:
        rows, ends, f, s = (state[k] for k in ("rows", "ends", "f", "s"))
        width = ends[:, 2] - ends[:, 0]
        error = tf.abs(f[:, 2] - f[:, 0] - width / 6 * (s[:, 0] + 4 * s[:, 1] + s[:, 2]))
        split = _to_split(rows, error, width, allowed - state["done"], (max_evaluations - state["spent"]) // 2, n)
        kept = tf.where(~split)[:, 0]
        simpson = tf.constant([1.0, 4.0, 1.0], tf.float64) / 6
        total = [
            t
            + _sum_by_row(
                tf.einsum("mk...,k->m...", tf.gather(g, kept), tf.cast(simpson, g.dtype)),
                tf.gather(width, kept),
                tf.gather(rows, kept),
                n,
            )
            for t, g in zip(state["total"], state["g"], strict=True)
        ]
        done = state["done"] + tf.math.unsorted_segment_sum(tf.gather(error, kept), tf.gather(rows, kept), n)
        halved = tf.where(split)[:, 0]
        rows, ends = tf.gather(rows, halved), tf.gather(ends, halved)
        quarters = tf.stack([ends[:, 0] + ends[:, 1], ends[:, 1] + ends[:, 2]], 1) / 2
        new_f, new_s, new_g = evaluate(tf.repeat(rows, 2), tf.reshape(quarters, [-1]))

        def halves(old: Any, new: Any) -> Any:
            old, new = tf.gather(old, halved), tf.reshape(new, [-1, 2, *new.shape[1:]])
            nodes = tf.stack([old[:, 0], new[:, 0], old[:, 1], new[:, 1], old[:, 2]], 1)
            return triples(tf.reshape(nodes, [-1, *nodes.shape[2:]]), 2)

        return (
            {
                "rows": tf.repeat(rows, 2),
                "ends": triples(
                    tf.reshape(tf.stack([ends[:, 0], quarters[:, 0], ends[:, 1], quarters[:, 1], ends[:, 2]], 1), [-1]),
                    2,
                ),
                "f": halves(state["f"], new_f),
                "s": halves(state["s"], new_s),
                "g": [halves(old, new) for old, new in zip(state["g"], new_g, strict=True)],
                "done": done,
                "spent": state["spent"] + tf.math.unsorted_segment_sum(tf.fill(tf.shape(rows), 2), rows, n),
                "total": total,
            },
        )

    (state,) = tf.while_loop(
        lambda state: tf.size(state["rows"]) > 0, refine, (state,), shape_invariants=(shapes,), parallel_iterations=1
    )
    attributions = [t * (x - b) for t, x, b in zip(state["total"], score.x, base, strict=True)]
    total = tf.add_n([tf.reduce_sum(tf.reshape(tf.cast(a, tf.float64), [n, -1]), 1) for a in attributions])
    missed = tf.abs(total - (value - start)) > allowed
    note = f"the completeness gap is above tolerance={tolerance:g} after max_evaluations={max_evaluations}; allow more"
    return Explanation(attributions, state["spent"], value, start, [(note, missed)])


def _to_split(rows: Any, error: Any, width: Any, budget: Any, pairs: Any, n: Any) -> Any:
    """Which intervals to halve: the worst of each example, until the errors of the others fit the budget.

    An example whose errors fit as they are is finished; otherwise those left alone may use half of what is
    left, so that the halves of the others have room. `pairs` bounds the halvings an example can still pay.
    """
    finite = tf.math.is_finite(error)
    whole = tf.math.unsorted_segment_sum(error, rows, n)  # NaN where an example cannot be integrated: never greater
    order = tf.argsort(tf.where(finite, error, 0))
    order = tf.gather(order, tf.argsort(tf.gather(rows, order), stable=True))  # by example, then by error
    by_row, sorted_error = tf.gather(rows, order), tf.gather(tf.where(finite, error, 0), order)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, n)
    before = tf.cumsum(counts, exclusive=True)
    running = tf.cumsum(sorted_error)
    offset = tf.gather(tf.concat([[tf.constant(0.0, error.dtype)], running], 0), tf.gather(before, by_row))
    worst_rank = tf.gather(before + counts, by_row) - 1 - tf.range(tf.size(rows))
    split = (
        (tf.gather(whole, by_row) > tf.gather(budget, by_row))
        & (running - offset > tf.gather(budget, by_row) / 2)
        & (worst_rank < tf.gather(pairs, by_row))
        & (tf.gather(width, order) > NARROWEST)
    )
    # Not tf.scatter_nd: inside a loop the graph optimiser takes its shape from the first round.
    return tf.gather(split, tf.math.invert_permutation(order))
