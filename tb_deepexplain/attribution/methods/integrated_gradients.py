"""Integrated gradients: the gradient averaged along the straight path from a baseline to the input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.attribution.completeness import allowed_gap, is_above_tolerance
from tb_deepexplain.attribution.score import ROUNDING, Explanation, Score
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Above, AtLeast, Baseline, Doc

FIRST_INTERVALS = 4
ROUND = 2304  # evaluations in a round, at least, as long as there are examples: what is done once a round costs as much as some
NARROWEST = 2.0**-20  # of the path; below it float32 points no longer differ
# From a baseline of zeros, points differ by a share of their distance to it. Norms of norms change at 1e-12 of the path.
NARROWEST_AT_ZERO = 2.0**-64
ROUNDINGS = 2.0  # the gap that rounding leaves, in rounding errors of the score: both ends of the path have one
# Rounding errors of an interval, in the gap that rounding leaves: the difference of two scores, each of which is off by up to a
# rounding error of the score, is at most so large in the root mean square.
NOISE = 2**0.5 / ROUNDINGS
STEEP = 100.0  # a slope at the baseline that is so many times the mean slope
LAST_DIGITS = 8  # of a score in its dtype that rounding may change
ROUNDED = f"{ROUNDING} limits it"
SIMPSON, MIDPOINT = np.array([1.0, 4.0, 1.0]) / 6, np.array([0.0, 1.0, 0.0])  # weights of an interval's nodes


def integrated_gradients(
    score: Score,
    *,
    tolerance: Annotated[
        float,
        Above(0),
        Doc(
            "Completeness gap allowed, as a share of |f(x) - f(baseline)|. It is the error of the sum: that of a single value may be "
            "several times as large."
        ),
    ] = 0.01,
    max_evaluations: Annotated[
        int, AtLeast(3), Doc("Model evaluations after which an example is refined no further, whatever its gap.")
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
        return _integrate_fixed(score, path, *_rule(quadrature, steps), tolerance)
    return _integrate_adaptively(score, path, tolerance, max_evaluations)


def _rule(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes in [0, 1] of a quadrature, and their weights."""
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
    """The straight paths from the baseline to every example."""

    def __init__(self, score: Score, base: list[Any] | None) -> None:
        """`base` None: a baseline of zeros, which saves a pass over every point."""
        self._score, self._base, self.is_from_zero = score, base, base is None
        self.difference = score.x if base is None else [x - b for x, b in zip(score.x, base, strict=True)]

    def start(self) -> Any:
        return self._score.at(self._base or [tf.zeros(tf.shape(x)[1:], x.dtype) for x in self._score.x])

    def evaluate(self, rows: Any, alpha: Any) -> tuple[Any, Any, list[Any]]:
        """At the share `alpha` of the paths of `rows`: the score, its slope along the path, and its gradient."""
        differences = [tf.gather(d, rows) for d in self.difference]
        points = [d * _like(alpha, d) for d in differences]
        if self._base is not None:
            points = [p + b for p, b in zip(points, self._base, strict=True)]
        value, gradient = self._score.gradient(points, rows)
        slope = tf.add_n([_dot(g, d) for g, d in zip(gradient, differences, strict=True)])
        return tf.cast(value, tf.float64), tf.cast(slope, tf.float64), gradient


def _like(values: Any, tensor: Any) -> Any:
    """[B] → [B, 1, ...], so that it multiplies a tensor [B, ...]."""
    return tf.reshape(tf.cast(values, tensor.dtype), [-1, *[1] * (len(tensor.shape) - 1)])


def _dot(a: Any, b: Any) -> Any:
    """Σ a · b of each row."""
    return tf.reduce_sum(a * b, axis=list(range(1, len(a.shape))))


def _sum_by_row(values: list[Any], weights: Any, rows: Any, n: Any) -> list[Any]:
    """Σ weights · values over the entries of each row, `[n, ...]`."""
    used = _numbers(weights != 0)
    used = tf.gather(used, tf.argsort(tf.gather(rows, used), stable=True))  # sums of sorted rows are five times faster
    ids = tf.gather(rows, used)
    return [tf.sparse.segment_sum(v * _like(weights, v), used, ids, num_segments=n) for v in values]


def _integrate_fixed(
    score: Score, path: _Path, nodes: np.ndarray, weights: np.ndarray, tolerance: float
) -> Explanation:
    """The integral by a fixed quadrature."""
    steps = len(nodes)

    def step(items: Any, total: list[Any]) -> list[Any]:
        rows, k = items // steps, items % steps
        _, _, gradient = path.evaluate(rows, tf.gather(tf.constant(nodes), k))
        shares = _sum_by_row(gradient, tf.gather(tf.constant(weights), k), rows, score.n)
        return [t + s for t, s in zip(total, shares, strict=True)]

    total = score.fold(score.n * steps, step, [tf.zeros_like(x) for x in score.x])
    attributions = [t * w for t, w in zip(total, path.difference, strict=True)]
    value, start = (tf.cast(t, tf.float64) for t in (score.values(), path.start()))
    above = is_above_tolerance(attributions, start, value, tolerance)
    above_rounding = is_above_tolerance(attributions, start, value, tolerance, _rounding(score, start, value))
    gap = f"the completeness gap is above tolerance={tolerance:g}"
    text = f"{gap} with steps={steps}: take more, leave steps out to refine to the tolerance, or choose a baseline inside the data"
    texts = [(text, above_rounding), (f"{gap}: {ROUNDED}", above & ~above_rounding)]
    return Explanation(attributions, tf.fill([score.n], steps + 2), value, start, texts)


def _rounding(score: Score, start: Any, value: Any) -> Any:
    """[N] the gap that rounding leaves, which no evaluation closes."""
    size = tf.abs(tf.cast(value, tf.float64)) + tf.abs(tf.cast(start, tf.float64))
    return ROUNDINGS * tf.maximum(tf.cast(score.rounding, tf.float64), LAST_DIGITS * score.epsilon * size)


def _integrate_adaptively(score: Score, path: _Path, tolerance: float, max_evaluations: int) -> Explanation:
    """The integral by intervals of many examples, halved where that is needed."""
    refinement = _Refinement(score, path, tolerance, max_evaluations)
    (state,) = tf.while_loop(
        lambda state: (tf.size(state["rows"]) > 0) | (state["admitted"] < score.n),
        lambda state: (refinement.refine(refinement.admit(state)),),
        (refinement.first,),
        shape_invariants=(refinement.shapes,),
        parallel_iterations=1,
    )
    attributions = [t * w for t, w in zip(state["total"], path.difference, strict=True)]
    start, value = state["start"], state["value"]
    change = tf.maximum(tf.abs(value - start), allowed_gap(start, value, tolerance))
    steep = tf.abs(state["slope_at_start"]) > STEEP * change
    above_tolerance = is_above_tolerance(attributions, start, value, tolerance)
    above_rounding = is_above_tolerance(attributions, start, value, tolerance, _rounding(score, start, value))
    exhausted = state["evaluations"] + 2 > max_evaluations
    gap = f"the completeness gap is above tolerance={tolerance:g}"
    stopped = f"{gap} after max_evaluations={max_evaluations}; allow more"
    jumps = f"{gap}: on the path the score jumps, has no derivative or is rounded too coarsely; more evaluations do not help"
    steeply = (
        f"{gap}: at the baseline the slope is over {STEEP:g} times the mean slope, as in a model that normalises a baseline of "
        "zeros; choose a baseline inside the data, such as the padding of a text or a mean"
    )
    texts = [
        (f"{gap}: {ROUNDED}", above_tolerance & ~above_rounding),
        (steeply, above_rounding & steep),
        (stopped, above_rounding & exhausted & ~steep),
        (jumps, above_rounding & ~exhausted & ~steep),
    ]
    return Explanation(attributions, state["evaluations"], value, start, texts)


class _Refinement:
    """Intervals of many examples in one flat list, refined together, so that every batch is full.

    An interval has Simpson's three nodes, at which the score `f` and its slope `s` along the path are known, so
    halving it costs two evaluations and wastes none. The change of f over the interval is known exactly; its
    difference from Simpson's rule is the error, without further evaluations. Nodes are kept in a list of their own, to
    which intervals point, because neighbours share them and their gradients `g` are large. Each round admits examples, as many
    as fill its last batch, and evaluates their first nodes and the new nodes of the round before, so that the gradient is traced
    in one place. Only first nodes have the shares 0 and 1.
    """

    def __init__(self, score: Score, path: _Path, tolerance: float, max_evaluations: int) -> None:
        """`first` is the state before the first round, and `shapes` are those of all states."""
        self._score, self._path = score, path
        self._tolerance, self._max_evaluations = tolerance, max_evaluations
        self._parts = min(FIRST_INTERVALS, (max_evaluations - 1) // 2)
        self._knots = np.linspace(0, 1, 2 * self._parts + 1)
        self._most_live = score.examples_in_memory(max_evaluations)
        no_numbers, no_values = tf.zeros([0], tf.int32), tf.zeros([0], tf.float64)
        self.first = {
            "admitted": tf.constant(0),  # the first examples
            "live": tf.constant(0),  # those of them that have intervals
            "rows": no_numbers,  # the example of each interval
            # The index of each of its nodes in the list of nodes, the new ones last.
            "indices": tf.zeros([0, 3], tf.int32),
            "new": {"rows": no_numbers, "alpha": no_values},
            "known": {
                "rows": no_numbers,  # the example of each node
                "alpha": no_values,
                "f": no_values,
                "s": no_values,
                "g": [tf.zeros(tf.concat([[0], tf.shape(x)[1:]], 0), x.dtype) for x in score.x],
            },
            "evaluations": tf.fill([score.n], len(self._knots)),  # of known and new nodes
            "total": [tf.zeros_like(x) for x in score.x],
            # [N] at the ends of the paths, known after an example's first round
            **dict.fromkeys(("start", "value", "slope_at_start"), tf.zeros([score.n], tf.float64)),
        }
        self.shapes = tf.nest.map_structure(
            lambda t: tf.TensorShape([None, *t.shape[1:]] if t.shape.rank else []), self.first
        )
        self.shapes["known"]["g"] = self.shapes["total"] = [tf.TensorShape([None, *x.shape[1:]]) for x in score.x]

    def admit(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state with the first intervals of as many further examples as fill the round's last batch and fit into memory."""
        knots, waiting = len(self._knots), tf.size(state["new"]["rows"])
        size = self._score.batch_size
        free = -(-tf.maximum(waiting, ROUND) // size) * size - waiting  # evaluations up to a whole number of batches
        places = tf.maximum(tf.minimum(self._most_live - state["live"], self._score.n - state["admitted"]), 0)
        count = tf.minimum(free // knots, places)
        nodes = tf.range(count * knots)
        first_node = tf.size(state["known"]["rows"]) + waiting
        return state | {
            "admitted": state["admitted"] + count,
            "rows": tf.concat([state["rows"], state["admitted"] + tf.range(count * self._parts) // self._parts], 0),
            "indices": tf.concat([state["indices"], first_node + _triples(nodes, self._parts)], 0),
            "new": {
                "rows": tf.concat([state["new"]["rows"], state["admitted"] + nodes // knots], 0),
                "alpha": tf.concat([state["new"]["alpha"], tf.tile(self._knots, [count])], 0),
            },
        }

    def refine(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state without the intervals of examples that are ready, which are added to their totals, and with halves of others."""
        new, known, rows, n = self._evaluate(state["new"]), state["known"], state["rows"], self._score.n
        nodes = tf.nest.map_structure(lambda a, b: tf.concat([a, b], 0), known, new)
        at_ends = {
            "start": state["start"] + _sum_where(new["alpha"] == 0, new["f"], new["rows"], n),
            "value": state["value"] + _sum_where(new["alpha"] == 1, new["f"], new["rows"], n),
            "slope_at_start": state["slope_at_start"] + _sum_where(new["alpha"] == 0, new["s"], new["rows"], n),
        }
        rounding = _rounding(self._score, at_ends["start"], at_ends["value"])
        allowed = allowed_gap(at_ends["start"], at_ends["value"], self._tolerance, rounding)
        ends, f, s = (tf.gather(nodes[k], state["indices"]) for k in ("alpha", "f", "s"))
        first, _, last = tf.unstack(ends, axis=1)
        rule, error = _integrate_intervals(last - first, f, s)
        narrowest = tf.maximum(NARROWEST * last, NARROWEST_AT_ZERO) if self._path.is_from_zero else NARROWEST
        pairs = (self._max_evaluations - state["evaluations"]) // 2
        split = _to_split(rows, error, last - first > narrowest, allowed, NOISE * rounding, pairs, n)
        splits = tf.math.unsorted_segment_sum(tf.cast(split, tf.int32), rows, n)
        ready = tf.gather(splits, rows) == 0
        rule = tf.where(ready[:, None], rule, tf.zeros_like(rule))
        count = tf.shape(nodes["rows"])[0]
        weights = tf.math.unsorted_segment_sum(tf.reshape(rule, [-1]), tf.reshape(state["indices"], [-1]), count)
        shares = _sum_by_row(nodes["g"], weights, nodes["rows"], n)
        # Intervals of examples that are not ready are kept, and split into halves if they are too wide.
        refined = _halve(state, nodes, ends, _numbers(~ready & ~split), _numbers(split))
        total = [t + share for t, share in zip(state["total"], shares, strict=True)]
        counts = {
            "admitted": state["admitted"],
            "live": tf.size(_numbers(splits > 0)),
            "evaluations": state["evaluations"] + 2 * splits,
        }
        return refined | at_ends | counts | {"total": total}

    def _evaluate(self, points: dict[str, Any]) -> dict[str, Any]:
        """Nodes at these shares `alpha` of the paths of `rows`."""
        rows, alpha = points["rows"], points["alpha"]

        def evaluate_items(items: Any) -> list[Any]:
            value, slope, gradient = self._path.evaluate(tf.gather(rows, items), tf.gather(alpha, items))
            return [value, slope, *gradient]

        value, slope, *gradient = self._score.map(tf.shape(rows)[0], evaluate_items)
        return {"rows": rows, "alpha": alpha, "f": value, "s": slope, "g": gradient}


def _halve(state: dict[str, Any], nodes: dict[str, Any], ends: Any, kept: Any, halved: Any) -> dict[str, Any]:
    """Intervals and nodes of the state with the intervals of the numbers `kept`, and the halves of those of the numbers `halved`.

    `nodes` are all nodes, known and new, and `ends` `[m, 3]` the shares at those of the intervals.
    """
    live, indices = tf.unique(tf.reshape(tf.gather(state["indices"], tf.concat([kept, halved], 0)), [-1]))
    kept_nodes, halved_nodes = tf.split(tf.reshape(indices, [-1, 3]), [tf.size(kept), tf.size(halved)])
    first, middle, last = tf.unstack(tf.gather(ends, halved), axis=1)
    quarters = tf.reshape(tf.stack([first + middle, middle + last], 1) / 2, [-1])
    rows = tf.gather(state["rows"], halved)
    rows = tf.reshape(tf.stack([rows, rows], 1), [-1])
    return {
        "rows": tf.concat([tf.gather(state["rows"], kept), rows], 0),
        "indices": tf.concat([kept_nodes, _halves(halved_nodes, tf.size(live) + tf.range(tf.size(rows)))], 0),
        "new": {"rows": rows, "alpha": quarters},
        "known": tf.nest.map_structure(lambda values: tf.gather(values, live), nodes),
    }


def _numbers(condition: Any) -> Any:
    """[m] bool → the numbers of those that meet the condition."""
    return tf.reshape(tf.where(condition), [-1])


def _sum_where(condition: Any, values: Any, rows: Any, n: Any) -> Any:
    """Σ values over the entries of each row that meet the condition, `[n]`."""
    return tf.math.unsorted_segment_sum(tf.where(condition, values, tf.zeros_like(values)), rows, n)


def _triples(nodes: Any, count: int) -> Any:
    """[m · (2·count + 1)] values at nodes in order → [m · count, 3] the values of each interval."""
    nodes_of_interval = [[2 * i, 2 * i + 1, 2 * i + 2] for i in range(count)]
    return tf.reshape(tf.gather(tf.reshape(nodes, [-1, 2 * count + 1]), nodes_of_interval, axis=1), [-1, 3])


def _halves(old: Any, new: Any) -> Any:
    """[m, 3] values of intervals and two new values of each → [2 · m, 3] those of their halves."""
    (first, middle, last), quarters = tf.unstack(old, axis=1), tf.unstack(tf.reshape(new, [-1, 2]), axis=1)
    return _triples(tf.stack([first, quarters[0], middle, quarters[1], last], 1), 2)


def _integrate_intervals(width: Any, f: Any, s: Any) -> tuple[Any, Any]:
    """The weights [m, 3] of each interval's nodes in the integral, and its signed error [m].

    `width` [m] are their shares of the path, `f` [m, 3] the scores at their nodes, and `s` [m, 3] the slopes.

    Simpson's rule; the midpoint rule where an end has no derivative, such as a distance at zero, or one that means
    nothing for the interval, such as that of a norm at zero.
    """
    first, _, last = tf.unstack(f, axis=1)
    middle_slope = s[:, 1]
    known, smooth = (tf.reduce_all(tf.math.is_finite(v), 1) for v in (f, s))
    bound = STEEP * (tf.abs(middle_slope) * width + tf.abs(last - first))
    smooth &= tf.reduce_max(tf.abs(s), 1) * width <= bound
    rule = width[:, None] * tf.where((known & ~smooth)[:, None], MIDPOINT, SIMPSON)
    return rule, tf.reduce_sum(tf.where(rule == 0, rule, rule * s), 1) - (last - first)


def _to_split(rows: Any, error: Any, is_wide: Any, allowed: Any, noise: Any, pairs: Any, n: Any) -> Any:
    """Which intervals to halve, by their signed errors: none of an example whose error is within `allowed`.

    An example's error is the sum of its intervals' errors. Because they may cancel by chance, the root of the sum of
    their squares must be within `allowed` too. (The sum of their sizes would be too strict: nets with many kinks have
    errors of random sign.) The squares of `noise`, the rounding of one interval, are no error: they grow with the number of
    intervals. Intervals with more than half of an even share are halved, the worst first, if they
    are wide enough (`is_wide`); `pairs` is the number of halvings that each example has evaluations left for.
    """
    finite = tf.math.is_finite(error)
    size = tf.where(finite, tf.abs(error), 0)
    # NaN where an example cannot be integrated: never greater.
    whole, squares, count = (tf.math.unsorted_segment_sum(v, rows, n) for v in (error, error**2, tf.ones_like(error)))
    spread = squares > allowed**2 + count * noise**2
    unmet = spread | (tf.abs(whole) > allowed)
    share = allowed / (2 * tf.where(spread, tf.sqrt(count), count))
    order = tf.argsort(-size)
    order = tf.gather(order, tf.argsort(tf.gather(rows, order), stable=True))  # by example, the worst first
    by_row = tf.gather(rows, order)
    before = tf.cumsum(tf.cast(count, tf.int32), exclusive=True)
    rank = tf.range(tf.size(rows)) - tf.gather(before, by_row)
    # Not tf.scatter_nd: inside a loop the graph optimiser takes its shape from the first round.
    affordable = tf.gather(rank < tf.gather(pairs, by_row), tf.math.invert_permutation(order))
    return tf.gather(unmet, rows) & (size > tf.gather(share, rows)) & is_wide & affordable
