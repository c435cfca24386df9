"""Shapley value sampling: features leave the input in random order, and each is credited with the change of the score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.attribution.methods.shapley_regression import design
from tb_deepexplain.attribution.score import Explanation, Score, map_dtype
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc, Lengths, Role

Evaluate = Callable[[Any, Any], Any]  # rows [B], whether each player is absent [B, players] → scores [B]


def shapley_sampling(
    score: Score,
    *,
    samples: Annotated[
        int, AtLeast(1), Doc("Random orders of the features; an example costs samples * (players - 1) + 2 evaluations.")
    ] = 5,
    sampling_dims: Annotated[
        Lengths | int | None,
        AtLeast(1),
        Role.MAP_AXES,
        Doc(
            "Axes whose index combinations are the features, the batch being axis 0: 1,2 are the pixels of a picture with all "
            "their channels, and the map has these axes. All axes by default; of embeddings, whole tokens."
        ),
    ] = None,
    baseline: Baseline = None,
    estimator: Annotated[
        Literal["antithetic", "permutation", "kernel"],
        Doc(
            "Each order paired with its reverse, an unpaired last one counting half; independent orders, as in DeepExplain; or a "
            "regression on coalitions at the same cost, the most accurate from 16 samples on, exact once they cover all."
        ),
    ] = "antithetic",
) -> Explanation:
    """Mean over orders of f(before) − f(after) as feature i follows those before it to the baseline. Sums to f(x) − f(x′).

    Castro, Gómez, Tejada 2009 (Computers & Operations Research 36(5)); paired orders: Mitchell et al. 2022
    (arXiv 2104.12199); coalitions: Musco, Witter 2025 (arXiv 2410.01917). The features of all inputs are the players of one game.
    """
    base = score.baseline(baseline)
    axes = [_axes(x.shape[1:], sampling_dims, e) for x, e in zip(score.x, score.whole, strict=True)]
    shapes = [_shape(x) for x in score.x]  # whole numbers; tensors for the lengths of texts of any length
    lengths = [[shape[a] for a in axes_of_input] for shape, axes_of_input in zip(shapes, axes, strict=True)]
    counts = [math.prod(of_input) for of_input in lengths]

    def evaluate(rows: Any, absent: Any) -> Any:
        masks = map(_mask, tf.split(absent, counts, axis=1), shapes, axes)
        points = [tf.where(mask, b, tf.gather(x, rows)) for mask, b, x in zip(masks, base, score.x, strict=True)]
        return tf.cast(score(points, rows), tf.float64)

    values = score.values()
    value, start = (tf.cast(t, tf.float64) for t in (values, score.at(base)))
    if estimator == "kernel":
        credit, evaluations = _regress(score, samples, sum(counts), evaluate, value, start)
    else:
        shares = np.ones(samples)
        if estimator == "antithetic" and samples % 2:  # an order without its reverse is much less accurate than a pair
            shares[-1] = 0.5
        credit, evaluations = _walk(score, sum(counts), estimator, shares / shares.sum(), evaluate, value, start)
    parts = zip(tf.split(credit, counts, axis=1), score.x, lengths, strict=True)
    maps = [tf.cast(tf.reshape(c, [-1, *of_input]), map_dtype(x, values)) for c, x, of_input in parts]
    return Explanation(maps, tf.fill([score.n], evaluations + 2), value, start)


def players(
    shapes: Sequence[Sequence[int]], whole: Sequence[bool], *, sampling_dims: Lengths | int | None, **_: object
) -> int:
    """The number of players, the feature groups, in an example whose inputs have these shapes."""
    return sum(
        math.prod(shape[axis - 1] for axis in _axes(shape, sampling_dims, is_whole))
        for shape, is_whole in zip(shapes, whole, strict=True)
    )


def counts_players_late(_: Sequence[int], *, estimator: str, **__: object) -> bool:
    """Whether the number of players may be unknown while the method is traced: not for the kernel, whose coalitions are chosen then."""
    return estimator != "kernel"


def _axes(shape: Sequence[int], sampling_dims: Lengths | int | None, whole: bool) -> list[int]:
    """The axes whose index combinations are the players; ParameterError if an example has other axes."""
    if sampling_dims is None:  # whole tokens: single embedding dimensions mean nothing to a reader
        return list(range(1, len(shape) + (0 if whole else 1)))
    axes = [sampling_dims] if isinstance(sampling_dims, int) else list(sampling_dims)
    if not axes or len(set(axes)) < len(axes) or not all(1 <= axis <= len(shape) for axis in axes):
        raise ParameterError(
            f"shapley_sampling: sampling_dims={tuple(axes)} does not fit an example of shape {tuple(shape)}; expected "
            f"different axes from 1 to {len(shape)} (axis 0 is the batch)"
        )
    return axes


def _mask(absent: Any, shape: Sequence[Any], axes: Sequence[int]) -> Any:
    """[B, players], row-major over `axes` in their order, as a mask that broadcasts to [B, *shape[1:]]."""
    by_axis = tf.reshape(absent, [-1, *(shape[a] for a in axes)])
    ascending = tf.transpose(by_axis, [0, *(1 + axes.index(a) for a in sorted(axes))])
    return tf.reshape(ascending, [-1, *(shape[a] if a in axes else 1 for a in range(1, len(shape)))])


def _shape(x: Any) -> list[Any]:
    return [static or size for static, size in zip(x.shape, tf.unstack(tf.shape(x)), strict=True)]


def _ranks(score: Score, samples: int, players: Any, estimator: str) -> Any:
    """[N, samples, players] the rank of each player in random orders, which differ between the examples."""
    if estimator != "antithetic":
        return tf.argsort(score.uniform([samples, players]))
    pairs = (samples + 1) // 2
    ranks = tf.argsort(score.uniform([pairs, players]))
    return tf.reshape(tf.stack([ranks, players - 1 - ranks], 2), [-1, 2 * pairs, players])[:, :samples]


def _walk(
    score: Score, players: Any, estimator: str, shares: np.ndarray, evaluate: Evaluate, value: Any, start: Any
) -> tuple[Any, Any]:
    """Credits [N, players] by removing the players one by one in every order, and the evaluations for each example."""
    samples = len(shares)
    ranks = _ranks(score, samples, players, estimator)
    inner = players - 1  # points of an order between its ends, which all orders share
    flat = tf.reshape(ranks, [-1, players])

    def evaluate_items(items: Any) -> list[Any]:
        order, absent = items // tf.maximum(inner, 1), items % tf.maximum(inner, 1) + 1
        return [evaluate(order // samples, tf.gather(flat, order) < absent[:, None])]

    (between,) = score.map(score.n * samples * inner, evaluate_items)
    ends = [tf.broadcast_to(end[:, None, None], [score.n, samples, 1]) for end in (value, start)]
    path = tf.concat([ends[0], tf.reshape(between, [score.n, samples, inner]), ends[1]], 2)
    change = tf.gather(path[:, :, :-1] - path[:, :, 1:], ranks, batch_dims=2)
    return tf.einsum("nsp,s->np", change, shares), samples * inner


def _regress(score: Score, samples: int, players: int, evaluate: Evaluate, value: Any, start: Any) -> tuple[Any, int]:
    """Credits [N, players] that fit the scores of coalitions best under Shapley's kernel, and the evaluations.

    All examples share one design of coalitions, and each numbers the players in its own random order: the
    coalitions are random, and yet the regression is one matrix, computed once.
    """
    if samples < 4:
        raise ParameterError(
            f"shapley_sampling: estimator='kernel' got samples={samples}, too few coalitions to tell the players apart; "
            "give at least 4, or estimator='antithetic'"
        )
    members, solve = design(players, samples * (players - 1) // 2)
    pairs, absent = len(members), tf.constant(np.concatenate([~members, members]).ravel())
    number = tf.reshape(_ranks(score, 1, players, "kernel"), [-1, players])

    def evaluate_items(items: Any) -> list[Any]:
        rows, coalition = items // max(2 * pairs, 1), items % max(2 * pairs, 1)
        return [evaluate(rows, tf.gather(absent, coalition[:, None] * players + tf.gather(number, rows)))]

    (scores,) = score.map(score.n * 2 * pairs, evaluate_items)
    scores = tf.reshape(scores, [score.n, 2, pairs])
    share = (value - start)[:, None] / players
    # Half the difference between a coalition and its complement, less what equal shares explain.
    odd = (scores[:, 0] - scores[:, 1]) / 2 - share * (members.sum(1) - players / 2)
    return tf.gather(share + odd @ tf.constant(solve.T), number, batch_dims=1), 2 * pairs
