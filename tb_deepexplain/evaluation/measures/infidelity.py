"""Infidelity: how much of what the score loses without random features their attributions do not explain."""

from __future__ import annotations

from typing import Annotated, Literal

from tb_deepexplain.evaluation.perturbation import Blocks, Case, Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc


def infidelity(
    case: Case,
    *,
    samples: Annotated[int, AtLeast(2), Doc("Random sets, of sizes drawn evenly from 1 to all.")] = 100,
    scaling: Annotated[
        Literal["fitted", "none"],
        Doc(
            "Whether the map may be multiplied by the one positive number that suits it best, so that units do not count."
        ),
    ] = "fitted",
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Mean over random sets S of (Σ_S attributions − (f(x) − f(x without S)))², as a share of the mean of (f(x) − f(x without S))².

    0: all explained; with fitted scaling at most 1, which is what a map of zeros gets, and one of the wrong sign. Yeh, Hsieh,
    Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392), definition 2.1 with sets that are set to a baseline; the share is ours.
    """
    game = case.game(blocks, baseline)

    def size(rows: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        most = tf.gather(game.sizes, rows)
        drawn = 1 + tf.cast(game.chance(rows, samples + number) * tf.cast(most, tf.float32), tf.int32)
        return tf.minimum(drawn, most)

    changes, total = game.sets(samples, size, case.changes)
    if scaling == "fitted":
        power = tf.reduce_sum(total * total, 1, keepdims=True)
        fit = tf.math.divide_no_nan(tf.reduce_sum(total * changes, 1, keepdims=True), power)
        total *= tf.maximum(fit, 0)  # a map of the wrong sign is wrong, whatever its unit
    share = tf.reduce_sum((total - changes) ** 2, 1) / tf.reduce_sum(changes**2, 1)
    return Measured(share, game.spent, changes=changes)
