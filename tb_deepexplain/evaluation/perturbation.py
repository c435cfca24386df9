"""FeatureGroups: the features of examples in groups, how the score falls when groups are removed, and their attributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from tb_deepexplain.attribution.score import Score
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Lengths

# pictures [B, H, W, C], the removed pixels [B, H, W, 1], the example of each [B] → pictures
Replace = Callable[[Any, Any, Any], Any]
_TIES = 2**30  # the number of the random draw that orders ties; no measure draws as often


class FeatureGroups:
    """The features of N examples in P groups. Group `p` is removed by setting its values to the baseline.

    `rows` `[B]` always names the example of each of B points, and `removed` `[B, P]` the groups that are removed from it.
    """

    def __init__(
        self,
        score: Score,
        maps: list[Any],
        numbers: list[Any],
        present: Any,
        base: list[Any],
        replace: Replace | None,
    ) -> None:
        """`numbers`: for each input the group of each value, like one example or like all `[N, ...]`. `present` `[N, P]`: which
        groups an example has."""
        self._score, self._numbers, self._base, self._replace = score, numbers, base, replace
        self.n, self.present = score.n, present
        self._count = tf.shape(present)[1]  # P
        self.counts = tf.reduce_sum(tf.cast(present, tf.int32), 1)  # [N] groups that an example has
        self.attributions = self._sum_over_groups(maps)  # [N, P]
        self.evaluations: Any = 0  # of each example, so far

    @cached_property
    def _value(self) -> Any:
        """f(x) `[N]`; read it before a loop that uses it, not in it."""
        self.evaluations += 1
        return tf.cast(self._score.values(), tf.float64)

    @cached_property
    def _start(self) -> Any:
        """f(x′) `[N]`, the score without any group; read it before a loop, too."""
        self.evaluations += 1
        return self.map(self.n, lambda items: self.score(items, tf.gather(self.present, items)))

    @cached_property
    def distinguished(self) -> Any:
        """[N] whether the attributions of an example's groups differ by more than rounding."""
        magnitude = tf.reduce_max(tf.abs(tf.where(self.present, self.attributions, 0)), 1)
        largest = tf.reduce_max(tf.where(self.present, self.attributions, -math.inf), 1)
        smallest = tf.reduce_min(tf.where(self.present, self.attributions, math.inf), 1)
        return largest - smallest > 1e-6 * magnitude

    def score(self, rows: Any, removed: Any) -> Any:
        """The score `[B]` of the examples without the removed groups."""
        return tf.cast(self._score(self._points(rows, removed), rows), tf.float64)

    def random_sets(self, count: int, sizes: Callable[[Any, Any], Any], changes: Any) -> tuple[Any, Any]:
        """How much the score falls without random sets of groups, and the sums of their attributions, each `[N, count]`.

        `sizes(rows, numbers)` is the number of groups of each set. `changes` are the falls if they are known, else None.
        """
        value = self._value if changes is None else None

        def evaluate(items: Any) -> list[Any]:
            rows, number = items // count, items % count
            removed = self._random_set(rows, number, sizes(rows, number))
            total = tf.reduce_sum(tf.where(removed, tf.gather(self.attributions, rows), 0), 1)
            return [total] if value is None else [total, tf.gather(value, rows) - self.score(rows, removed)]

        total, *falls = (tf.reshape(t, [-1, count]) for t in self._score.map(self.n * count, evaluate))
        self.evaluations += count if falls else 0
        return (falls[0] if falls else changes), total

    def curve(self, shares: Sequence[float] | Any, removed: Callable[[Any, Any], Any]) -> Any:
        """Levels of the score `[N, K]` without the groups `removed(rows, first)`; `first` `[B, P]` marks the share `shares[k]` of
        groups with the largest attributions.

        A level is the probability of the target if the model has one. Otherwise it is the part of |f(x) − f(x′)| that is left, in
        units of the score: a share of it would mean everything where it is small and nothing where it is large. NaN for a map
        whose groups have equal attributions.
        """
        shares, ranks = tf.constant(shares, tf.float64), self._ranks()
        count = shares.shape[0]
        ends = None if self._score.has_probability else (self._value, self._start)
        self.evaluations += count

        def level(rows: Any, removed: Any) -> Any:
            if ends is None:
                return tf.cast(self._score.probability(self._points(rows, removed), rows), tf.float64)
            value, start = (tf.gather(end, rows) for end in ends)
            return (self.score(rows, removed) - start) * tf.sign(value - start)

        def evaluate(items: Any) -> Any:
            rows, share = items // count, tf.gather(shares, items % count)
            first = tf.cast(tf.round(share * tf.cast(tf.gather(self.counts, rows), tf.float64)), tf.int32)
            return level(rows, removed(rows, tf.gather(ranks, rows) < first[:, None]))

        levels = tf.reshape(self.map(self.n * count, evaluate), [-1, count])
        return tf.where(self.distinguished[:, None], levels, tf.constant(math.nan, levels.dtype))

    def map(self, total: Any, evaluate: Callable[[Any], Any]) -> Any:
        """`Score.map` of a function that returns one tensor or several."""
        tensors = self._score.map(total, lambda items: tf.nest.flatten(evaluate(items)))
        return tensors[0] if len(tensors) == 1 else tensors

    def uniform(self, rows: Any, numbers: Any) -> Any:
        """[B] random numbers in [0, 1): the draw `numbers[b]` of example `rows[b]`."""
        return self._score.draw(rows, numbers, [1])[:, 0]

    def normal(self, rows: Any, number: int) -> Any:
        """[B, like the first input] standard normal random numbers, one draw of each example."""
        (x, *_), count = self._score.x, tf.size(self._score.x[0][0])
        uniform = self._score.draw(rows, tf.fill(tf.shape(rows), number), [count])
        return tf.reshape(tf.math.ndtri(tf.clip_by_value(uniform, 1e-6, 1 - 1e-6)), [-1, *_example_shape(x)])

    def _sum_over_groups(self, maps: list[Any]) -> Any:
        """The attributions of each group [N, P]. A map over the first axes only is spread evenly over the others."""
        total = tf.zeros([self.n * self._count], tf.float64)
        for x, values, number in zip(self._score.x, maps, self._numbers, strict=True):
            example = tf.reshape(tf.range(self.n), [-1, *[1] * (x.shape.rank - 1)])
            cell = tf.broadcast_to(number + self._count * example, tf.shape(x))
            copies = tf.cast(tf.size(x) // tf.maximum(tf.size(values), 1), tf.float64)
            spread = tf.broadcast_to(align(tf.cast(values, tf.float64), x), tf.shape(x)) / copies
            total += tf.math.unsorted_segment_sum(tf.reshape(spread, [-1]), tf.reshape(cell, [-1]), tf.size(total))
        return tf.reshape(total, [self.n, self._count])

    def _random_set(self, rows: Any, numbers: Any, sizes: Any) -> Any:
        """[B, P] a random set of `sizes[b]` groups that the example has: its draw `numbers[b]`."""
        keys = self._score.draw(rows, numbers, [self._count])
        order = tf.argsort(tf.where(tf.gather(self.present, rows), keys, 2.0), stable=True)
        return tf.argsort(order, stable=True) < sizes[:, None]

    def _ranks(self) -> Any:
        """[N, P] the rank of each group from 0, the largest attribution towards the target, or towards f(x) − f(x′).

        Equal attributions are ordered at random: the order of the features in the input is no merit of the map.
        """
        towards = self.attributions
        if not self._score.has_probability:
            towards *= tf.sign(self._value - self._start)[:, None]
        last = tf.constant(math.inf, tf.float64)
        shuffled = tf.argsort(self._score.draw(tf.range(self.n), tf.fill([self.n], _TIES), [self._count]))
        keys = tf.gather(tf.where(self.present, -towards, last), shuffled, batch_dims=1)
        order = tf.gather(shuffled, tf.argsort(keys, stable=True), batch_dims=1)
        return tf.argsort(order)

    def _points(self, rows: Any, removed: Any) -> list[Any]:
        """The examples without the removed groups, like the inputs, [B, ...]."""
        points = []
        for x, number, base in zip(self._score.x, self._numbers, self._base, strict=True):
            examples = tf.gather(x, rows)
            if number.shape.rank == x.shape.rank:  # each example has its own groups
                mask = tf.gather(removed, tf.gather(number, rows), batch_dims=1)
            else:
                mask = tf.gather(removed, number, axis=1)
            replaced = self._replace(examples, mask[..., :1], rows) if self._replace else tf.where(mask, base, examples)
            points.append(replaced)
        return points


def align(values: Any, x: Any) -> Any:
    """The values with axes of length 1 appended until they have as many axes as x."""
    missing = x.shape.rank - values.shape.rank
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * missing], 0)) if missing else values


def block_sizes(x: Any, blocks: Lengths | int | None, whole: bool, number: int) -> list[Any]:
    """The size of a block along each axis of an example; ParameterError if `blocks` does not fit input `number`."""
    lengths = _example_shape(x)
    if isinstance(blocks, tuple):
        if len(blocks) != len(lengths):
            raise ParameterError(
                f"blocks={tuple(blocks)} has {len(blocks)} entries; an example of input {number} has {len(lengths)} axes "
                f"{tuple(x.shape[1:])}"
            )
        return list(blocks)
    whole = whole or len(lengths) == 3  # embedding dimensions and channels stay together
    return [*[blocks or 1] * (len(lengths) - whole), *lengths[len(lengths) - whole :]]


def block_numbers(x: Any, sizes: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The number of the block of each value of an example, in row-major order, and the number of blocks along each axis."""
    shape = _example_shape(x)
    counts = [-(-length // size) for length, size in zip(shape, sizes, strict=True)]
    numbers = tf.zeros([1] * len(shape), tf.int32)
    for axis, (length, size, count) in enumerate(zip(shape, sizes, counts, strict=True)):
        along_axis = tf.reshape(tf.range(length) // size, [-1 if a == axis else 1 for a in range(len(shape))])
        numbers = numbers * count + along_axis
    return numbers, counts


def _example_shape(x: Any) -> list[Any]:
    """The lengths of an example's axes: numbers where they are known, else tensors."""
    dynamic = tf.unstack(tf.shape(x)[1:])
    return [static or length for static, length in zip(x.shape[1:], dynamic, strict=True)]
