"""MapsWithScore: what a measure gets that removes features and watches the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from tb_deepexplain.attribution.score import Score
from tb_deepexplain.evaluation.perturbation import FeatureGroups, Replace, align, block_numbers, block_sizes
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Doc, Lengths

Blocks = Annotated[
    Lengths | int | None,
    AtLeast(1),
    Doc(
        "Size, along each axis of an example, of the blocks that are removed together; one number is that of every axis except "
        "channels and embedding dimensions, which stay whole. By default a pixel, a token, or a single feature."
    ),
]

Steps = Annotated[int, AtLeast(1), Doc("Points of the curve after the first, evenly spaced in the share of features.")]


class MapsWithScore:
    """The maps of N examples, and the score that they explain.

    `values` has a tensor `[N, ...]` for each input of the score: attributions like the input, or over its first axes only.
    `changes` `[N, S]`, if any, are the falls of the score that the same measure returned for other maps of these examples.
    """

    def __init__(
        self,
        score: Score,
        values: Sequence[Any],
        lengths: Sequence[Any] | None = None,
        segments: Any = None,
        changes: Any = None,
    ) -> None:
        """`lengths`: for each input the number of tokens of its texts `[N]`, or None; what follows is padding, and no feature.
        `segments` `[N, ...]`: numbers of the feature groups of the first input, in place of blocks."""
        self.score, self.values, self.changes = score, list(values), changes
        self._lengths, self._segments = lengths or [None] * len(score.x), segments

    def feature_groups(
        self, blocks: Lengths | int | None, baseline: Any = None, replace: Replace | None = None
    ) -> FeatureGroups:
        """The features in groups that can be removed: replaced by the baseline or, in pictures, by what `replace` returns."""
        numbers, present, first = [], [], tf.constant(0)
        for i in range(len(self.score.x)):
            number, is_present = self._segments_of_first() if self._has_segments(i) else self._blocks(i, blocks)
            numbers.append(number + first)
            present.append(is_present)
            first += tf.shape(is_present)[1]
        base = self.score.baseline(baseline)
        return FeatureGroups(self.score, self.values, numbers, tf.concat(present, 1), base, replace)

    def _has_segments(self, i: int) -> bool:
        return self._segments is not None and i == 0

    def _segments_of_first(self) -> tuple[Any, Any]:
        """The group number of each value of the first input, and which groups an example has, `[N, P]`."""
        groups = tf.range(tf.reduce_max(self._segments) + 1)
        # An example may have fewer segments than another.
        present = tf.reduce_any(tf.reshape(self._segments, [self.score.n, -1, 1]) == groups[None, None], axis=1)
        return align(self._segments, self.score.x[0]), present

    def _blocks(self, i: int, blocks: Lengths | int | None) -> tuple[Any, Any]:
        """The block number of each value of input i, and which blocks are no padding, `[N, P]`."""
        x, lengths = self.score.x[i], self._lengths[i]
        sizes = block_sizes(x, blocks, self.score.whole[i], i)
        number, counts = block_numbers(x, sizes)
        count = math.prod(counts)
        if lengths is None:
            return number, tf.fill([self.score.n, count], True)
        first_token = tf.range(count) // math.prod(counts[1:]) * sizes[0]
        return number, first_token[None] < tf.cast(lengths, tf.int32)[:, None]
