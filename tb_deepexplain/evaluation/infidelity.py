"""Infidelity: how much of what the score loses without random features their attributions do not explain."""

from __future__ import annotations

from typing import Annotated, Literal

import tensorflow as tf

from tb_deepexplain.evaluation.game import Blocks, Case, Measured
from tb_deepexplain.methods.parameters import AtLeast, Baseline, Doc


def infidelity(
    case: Case,
    *,
    samples: Annotated[int, AtLeast(2), Doc("Random sets, of sizes drawn evenly from 1 to all.")] = 100,
    scaling: Annotated[
        Literal["fitted", "none"],
        Doc("Whether the map may be multiplied by the one number that suits it best, so that units do not count."),
    ] = "fitted",
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Mean over random sets S of (Σ_S attributions − (f(x) − f(x without S)))², as a share of the mean of (f(x) − f(x without S))².

    0: all explained; with fitted scaling at most 1, which is what a map of zeros gets. Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019
    (arXiv 1901.09392), definition 2.1 with sets that are set to a baseline; the share is ours.
    """
    game = case.game(blocks, baseline)

    def evaluate(items: tf.Tensor) -> list[tf.Tensor]:
        rows, number = items // samples, items % samples
        most = tf.cast(tf.gather(game.sizes, rows), tf.float32)
        size = 1 + tf.cast(game.chance(rows, samples + number) * most, tf.int32)
        off = game.draw(rows, number, tf.minimum(size, tf.gather(game.sizes, rows)))
        return [game.change(rows, off), game.total(rows, off)]

    change, total = (tf.reshape(t, [-1, samples]) for t in game.map(game.n * samples, evaluate))
    if scaling == "fitted":
        power = tf.reduce_sum(total * total, 1, keepdims=True)
        total *= tf.math.divide_no_nan(tf.reduce_sum(total * change, 1, keepdims=True), power)
    return Measured(tf.reduce_sum((total - change) ** 2, 1) / tf.reduce_sum(change**2, 1), samples + game.spent)
