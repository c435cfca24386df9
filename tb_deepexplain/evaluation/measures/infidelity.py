"""Infidelity: how much of the score's fall without random features do their attributions leave unexplained?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tb_deepexplain.evaluation.maps_with_score import Blocks, MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc


def infidelity(
    maps: MapsWithScore,
    *,
    samples: Annotated[int, AtLeast(2), Doc("Random sets, of sizes drawn uniformly from 1 to all features.")] = 100,
    scaling: Annotated[
        Literal["fitted", "none"],
        Doc(
            "Whether the map is first multiplied by the positive number that fits best, so that its unit does not count."
        ),
    ] = "fitted",
    blocks: Blocks = None,
    baseline: Baseline = None,
) -> Measured:
    """Mean over random sets S of (Σ_S attributions − (f(x) − f(x without S)))², as a share of the mean of (f(x) − f(x without S))².

    0: all explained. With fitted scaling it is at most 1, the value of a map of zeros and of one with the wrong sign. Yeh, Hsieh,
    Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392), definition 2.1 with sets that are replaced by a baseline; the division by
    the mean is ours.
    """
    groups = maps.feature_groups(blocks, baseline)

    def size(rows: Any, number: Any) -> Any:
        largest = tf.gather(groups.counts, rows)
        drawn = 1 + tf.cast(groups.uniform(rows, samples + number) * tf.cast(largest, tf.float32), tf.int32)
        return tf.minimum(drawn, largest)

    changes, total = groups.random_sets(samples, size, maps.changes)
    if scaling == "fitted":
        power = tf.reduce_sum(total * total, 1, keepdims=True)
        factor = tf.math.divide_no_nan(tf.reduce_sum(total * changes, 1, keepdims=True), power)
        total *= tf.maximum(factor, 0)  # a map with the wrong sign is wrong in any unit
    share = tf.reduce_sum((total - changes) ** 2, 1) / tf.reduce_sum(changes**2, 1)
    return Measured(share, groups.evaluations, changes=changes)
