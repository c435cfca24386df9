"""Integrated gradients: the gradient averaged along the straight path from a baseline to the input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Above, AtLeast, Baseline, Doc

FIRST_INTERVALS = 4
NARROWEST = 2.0**-20  # of the path; below it float32 points no longer differ
SIMPSON, MIDDLE = np.array([1.0, 4.0, 1.0]) / 6, np.array([0.0, 1.0, 0.0])  # weights of an interval's nodes


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
    evaluations on easy paths and is wrong on hard ones (layer norm near zero), and does not say which. The
    easiest paths take 9 evaluations.
    """
    if steps is None and quadrature != "gauss_legendre":
        raise ParameterError(
            f"integrated_gradients: quadrature={quadrature!r} is a fixed rule and needs steps; DeepExplain's is steps=100"
        )
    path = _Path(score, None if baseline is None else score.baseline(baseline))
    if steps is not None:
        return _fixed(score, path, *_rule(quadrature, steps))
    return _adaptive(score, path, tolerance, max_evaluations)


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


class _Path:
    """The straight ways from the baseline to every example."""

    def __init__(self, score: Score, base: list[Any] | None) -> None:
        """`base` None is the baseline of zeros, which saves a pass over every point."""
        self._score, self._base = score, base
        self.way = score.x if base is None else [x - b for x, b in zip(score.x, base, strict=True)]

    def start(self) -> Any:
        return self._score.at(self._base or [tf.zeros(tf.shape(x)[1:], x.dtype) for x in self._score.x])

    def evaluate(self, rows: Any, alpha: Any) -> tuple[Any, Any, list[Any]]:
        """At the share `alpha` of the ways of `rows`: the score, its slope along the way, and its gradient."""
        ways = [tf.gather(w, rows) for w in self.way]
        points = [w * _like(alpha, w) for w in ways]
        if self._base is not None:
            points = [p + b for p, b in zip(points, self._base, strict=True)]
        value, gradient = self._score.gradient(points, rows)
        slope = tf.add_n([_dot(g, w) for g, w in zip(gradient, ways, strict=True)])
        return tf.cast(value, tf.float64), tf.cast(slope, tf.float64), gradient


def _like(values: Any, tensor: Any) -> Any:
    """[B] → [B, 1, ...], to be multiplied with a tensor [B, ...]."""
    return tf.reshape(tf.cast(values, tensor.dtype), [-1, *[1] * (len(tensor.shape) - 1)])


def _dot(a: Any, b: Any) -> Any:
    """Σ a · b of each row."""
    return tf.reduce_sum(a * b, axis=list(range(1, len(a.shape))))


def _sum_by_row(values: list[Any], weights: Any, rows: Any, n: Any) -> list[Any]:
    """Σ weights · values over the entries of each row, `[n, ...]`."""
    used = tf.where(weights != 0)[:, 0]
    used = tf.gather(used, tf.argsort(tf.gather(rows, used), stable=True))  # sums of sorted rows are five times faster
    ids = tf.gather(rows, used)
    return [tf.sparse.segment_sum(v * _like(weights, v), used, ids, num_segments=n) for v in values]


def _fixed(score: Score, path: _Path, nodes: np.ndarray, weights: np.ndarray) -> Explanation:
    steps = len(nodes)

    def step(items: Any, total: list[Any]) -> list[Any]:
        rows, k = items // steps, items % steps
        _, _, gradient = path.evaluate(rows, tf.gather(tf.constant(nodes), k))
        shares = _sum_by_row(gradient, tf.gather(tf.constant(weights), k), rows, score.n)
        return [t + s for t, s in zip(total, shares, strict=True)]

    total = score.fold(score.n * steps, step, [tf.zeros_like(x) for x in score.x])
    attributions = [t * w for t, w in zip(total, path.way, strict=True)]
    return Explanation(attributions, tf.fill([score.n], steps + 2), score.values(), path.start())


def _adaptive(score: Score, path: _Path, tolerance: float, max_evaluations: int) -> Explanation:
    """Intervals of all examples in one flat list, refined together, so that every batch is full.

    An interval has Simpson's three nodes, of which the score `f` and its slope `s` along the path are known, so
    that halving it costs two evaluations and wastes none. The change of f over the interval is known exactly,
    and what Simpson's rule makes of it tells the error without further evaluations. The nodes' gradients `g`
    are kept in a list of their own, to which intervals point: they are large, and every copy of them counts.
    """
    n = score.n
    parts = min(FIRST_INTERVALS, (max_evaluations - 1) // 2)
    knots = 2 * parts + 1

    def evaluate(rows: Any, alpha: Any) -> tuple[Any, Any, list[Any]]:
        def at(items: Any) -> list[Any]:
            value, slope, gradient = path.evaluate(tf.gather(rows, items), tf.gather(alpha, items))
            return [value, slope, *gradient]

        count = tf.shape(rows)[0]
        value, slope, *gradient = score.map(count, at)
        # Of no points at all, map does not know the length of a text.
        shapes = [tf.concat([[count], tf.shape(x)[1:]], 0) for x in score.x]
        return value, slope, [tf.reshape(g, shape) for g, shape in zip(gradient, shapes, strict=True)]

    def triples(nodes: Any, count: int) -> Any:
        """[m · (2·count + 1)] values at nodes in order → [m · count, 3] those of each interval."""
        places = [[2 * i, 2 * i + 1, 2 * i + 2] for i in range(count)]
        return tf.reshape(tf.gather(tf.reshape(nodes, [-1, 2 * count + 1]), places, axis=1), [-1, 3])

    rows = tf.repeat(tf.range(n), knots)
    alpha = tf.tile(tf.linspace(tf.constant(0.0, tf.float64), 1.0, knots), [n])
    f, s, g = evaluate(rows, alpha)
    start, value = tf.reshape(f, [-1, knots])[:, 0], tf.reshape(f, [-1, knots])[:, -1]
    # A score that hardly changes along the path is judged by its own size, not by its rounding errors.
    allowed = tolerance * tf.maximum(tf.abs(value - start), 1e-3 * tf.maximum(tf.abs(value), tf.abs(start)))

    state = {
        "rows": tf.repeat(tf.range(n), parts),  # of the intervals: the example, and of each node
        "nodes": triples(tf.range(n * knots), parts),  # its place in the list of gradients
        "ends": triples(alpha, parts),
        "f": triples(f, parts),
        "s": triples(s, parts),
        "g": g,
        "of": rows,  # the example of each gradient
        "spent": tf.fill([n], knots),
        "total": [tf.zeros_like(x) for x in score.x],
    }
    every = [tf.TensorShape([None, *x.shape[1:]]) for x in score.x]
    shapes = {
        **{k: tf.TensorShape([None, 3]) for k in ("nodes", "ends", "f", "s")},
        **{k: tf.TensorShape([None]) for k in ("rows", "of", "spent")},
        **dict.fromkeys(("g", "total"), every),
    }

    def refine(state: dict[str, Any]) -> tuple[dict[str, Any]]:
        rows, nodes, ends, f, s = (state[k] for k in ("rows", "nodes", "ends", "f", "s"))
        width = ends[:, 2] - ends[:, 0]
        # Simpson's rule; that of the middle where an end has no derivative, as a distance has none from itself.
        known, smooth = (tf.reduce_all(tf.math.is_finite(v), 1, keepdims=True) for v in (f, s))
        rule = width[:, None] * tf.where(known & ~smooth, MIDDLE, SIMPSON)
        error = tf.reduce_sum(tf.where(rule == 0, rule, rule * s), 1) - (f[:, 2] - f[:, 0])
        split = _to_split(rows, error, width, allowed, (max_evaluations - state["spent"]) // 2, n)
        ready = tf.gather(tf.math.unsorted_segment_sum(tf.cast(split, tf.int32), rows, n), rows) == 0
        rule = tf.where(ready[:, None], rule, tf.zeros_like(rule))
        count = tf.shape(state["of"])[0]
        weights = tf.math.unsorted_segment_sum(tf.reshape(rule, [-1]), tf.reshape(nodes, [-1]), count)
        shares = _sum_by_row(state["g"], weights, state["of"], n)

        # Intervals of examples that are not ready stay, those to be split as their halves.
        kept, halved = tf.where(~ready & ~split)[:, 0], tf.where(split)[:, 0]
        live, places = tf.unique(tf.reshape(tf.gather(nodes, tf.concat([kept, halved], 0)), [-1]))
        places = tf.reshape(places, [-1, 3])
        kept_places, halved_places = places[: tf.size(kept)], places[tf.size(kept) :]
        middle = tf.gather(ends, halved)
        quarters = tf.stack([middle[:, 0] + middle[:, 1], middle[:, 1] + middle[:, 2]], 1) / 2
        fresh = tf.repeat(tf.gather(rows, halved), 2)
        new_f, new_s, new_g = evaluate(fresh, tf.reshape(quarters, [-1]))
        new_places = tf.size(live) + tf.range(tf.size(fresh))

        def halves(old: Any, new: Any) -> Any:
            new = tf.reshape(new, [-1, 2])
            return triples(tf.stack([old[:, 0], new[:, 0], old[:, 1], new[:, 1], old[:, 2]], 1), 2)

        def with_halves(old: Any, new: Any) -> Any:
            return tf.concat([tf.gather(old, kept), halves(tf.gather(old, halved), new)], 0)

        return (
            {
                "rows": tf.concat([tf.gather(rows, kept), fresh], 0),
                "nodes": tf.concat([kept_places, halves(halved_places, new_places)], 0),
                "ends": with_halves(ends, quarters),
                "f": with_halves(f, new_f),
                "s": with_halves(s, new_s),
                "g": [tf.concat([tf.gather(o, live), new], 0) for o, new in zip(state["g"], new_g, strict=True)],
                "of": tf.concat([tf.gather(state["of"], live), fresh], 0),
                "spent": state["spent"] + tf.math.unsorted_segment_sum(tf.ones_like(fresh), fresh, n),
                "total": [t + share for t, share in zip(state["total"], shares, strict=True)],
            },
        )

    (state,) = tf.while_loop(
        lambda state: tf.size(state["rows"]) > 0, refine, (state,), shape_invariants=(shapes,), parallel_iterations=1
    )
    attributions = [t * w for t, w in zip(state["total"], path.way, strict=True)]
    total = tf.add_n([tf.reduce_sum(tf.reshape(tf.cast(a, tf.float64), [n, -1]), 1) for a in attributions])
    missed = tf.abs(total - (value - start)) > allowed
    spent = state["spent"] + 2 > max_evaluations
    above = f"the completeness gap is above tolerance={tolerance:g}"
    more = f"{above} after max_evaluations={max_evaluations}; allow more"
    jumps = f"{above}: on its way the score jumps, has no derivative or is rounded too coarsely; more evaluations do not help"
    return Explanation(attributions, state["spent"], value, start, [(more, missed & spent), (jumps, missed & ~spent)])


def _to_split(rows: Any, error: Any, width: Any, allowed: Any, pairs: Any, n: Any) -> Any:
    """Which intervals to halve, by their signed errors: none of an example whose error is within what is allowed.

    An example's error is the sum of its intervals' errors, but not where they cancel by chance: the root of the sum
    of their squares must be within what is allowed too. (The sum of their sizes would be too much to ask: nets of
    many kinks have errors of random signs.) Halved are those with more than half of an even share, the worst first;
    `pairs` bounds the halvings an example can still pay.
    """
    finite = tf.math.is_finite(error)
    size = tf.where(finite, tf.abs(error), 0)
    # NaN where an example cannot be integrated: never greater.
    whole, squares, count = (tf.math.unsorted_segment_sum(v, rows, n) for v in (error, error**2, tf.ones_like(error)))
    spread = tf.sqrt(squares) > allowed
    unmet = spread | (tf.abs(whole) > allowed)
    share = allowed / (2 * tf.where(spread, tf.sqrt(count), count))
    order = tf.argsort(-size)
    order = tf.gather(order, tf.argsort(tf.gather(rows, order), stable=True))  # by example, the worst first
    by_row = tf.gather(rows, order)
    before = tf.cumsum(tf.cast(count, tf.int32), exclusive=True)
    rank = tf.range(tf.size(rows)) - tf.gather(before, by_row)
    # Not tf.scatter_nd: inside a loop the graph optimiser takes its shape from the first round.
    affordable = tf.gather(rank < tf.gather(pairs, by_row), tf.math.invert_permutation(order))
    return tf.gather(unmet, rows) & (size > tf.gather(share, rows)) & (width > NARROWEST) & affordable
