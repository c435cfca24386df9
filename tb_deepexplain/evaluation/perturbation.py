"""What a measure asks: how the score changes when features leave the input, and what their map had credited them with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Annotated, Any, NamedTuple

from tb_deepexplain.attribution.score import Score
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Doc, Lengths

Blocks = Annotated[
    Lengths | int | None,
    AtLeast(1),
    Doc(
        "Size, along each axis of an example, of the blocks that leave the input together; one number is that of every axis but "
        "channels and embedding dimensions, which stay whole. By default a pixel, a token, or a single feature."
    ),
]


Steps = Annotated[int, AtLeast(1), Doc("Points of the curve behind the first, evenly spaced in the share of features.")]
# pictures [B, H, W, C], which pixels leave [B, H, W, 1], examples [B] → pictures
Replace = Callable[[Any, Any, Any], Any]
_TIES = 2**30  # the number of a draw that no measure makes


class Measured(NamedTuple):
    """What a measure says of N maps."""

    value: Any  # [N]; NaN where it is undefined
    evaluations: Any  # [N] or one number, model evaluations spent on each example
    curve: Any = None  # [N, K]
    at: Any = None  # [N, K] where along its axis, in shares of the features
    # [N, S] what the score lost without each set of features: of any map, so that it need not be asked again
    changes: Any = None
    asked: str = ""  # a digest of model, examples, targets, seed and parameters: answers to the same question


class Case:
    """Maps, and the score that they explain.

    `maps` are like the inputs of the score, or have their first axes only. `lengths` are for each input those of its texts, `[N]`,
    or None: what comes behind is padding, and no feature. `segments` `[N, ...]` number the features of the first input, in place of blocks.
    """

    def __init__(
        self,
        score: Score,
        maps: Sequence[Any],
        lengths: Sequence[Any] | None = None,
        segments: Any = None,
        changes: Any = None,
    ) -> None:
        """`changes`: those that the same measure found for other maps of the same scores."""
        self.score, self.maps, self.changes = score, list(maps), changes
        self._lengths, self._segments = lengths or [None] * len(score.x), segments

    def game(self, blocks: Lengths | int | None, baseline: Any = None, replace: Replace | None = None) -> Game:
        """The features as players that can be replaced by the baseline or, in pictures, by what `replace` makes."""
        groups, first = [], tf.constant(0)
        present = []
        for i, x in enumerate(self.score.x):
            if self._segments is not None and i == 0:
                own = _along(self._segments, x)
                number, count = own, tf.reduce_max(self._segments) + 1
                # An example may have fewer segments than another.
                here = tf.reduce_any(
                    tf.reshape(self._segments, [self.score.n, -1, 1]) == tf.range(count)[None, None], axis=1
                )
            else:
                sizes = _sizes(x, blocks, self.score.embeddings[i], i)
                number, counts = _number(x, sizes)
                count = math.prod(counts)
                here = tf.fill([self.score.n, count], True)
                if (lengths := self._lengths[i]) is not None:
                    begins = tf.range(count) // math.prod(counts[1:]) * sizes[0]
                    here = begins[None] < tf.cast(lengths, tf.int32)[:, None]
            groups.append(number + first)
            present.append(here)
            first += count
        return Game(self.score, self.maps, groups, tf.concat(present, 1), self.score.baseline(baseline), replace)


class Game:
    """Features that leave the input, for the baseline, together or alone: the players, P of them."""

    def __init__(
        self,
        score: Score,
        maps: list[Any],
        groups: list[Any],
        present: Any,
        base: list[Any],
        replace: Replace | None,
    ) -> None:
        """`groups`: the number of the player that each value belongs to, [..., like x] for all examples or for each."""
        self._score, self._groups, self._base, self._replace = score, groups, base, replace
        self.n, self.present = score.n, present  # [N, P]
        self.players = tf.shape(present)[1]
        self.sizes = tf.reduce_sum(tf.cast(present, tf.int32), 1)  # [N]
        self.credits = self._credit(maps)  # [N, P] the sum of the map over each player's values
        self.spent: Any = 0  # evaluations for each example, so far

    @cached_property
    def _value(self) -> Any:
        """[N]; to be asked for outside the loop that needs it."""
        self.spent += 1
        return tf.cast(self._score.values(), tf.float64)

    @cached_property
    def _start(self) -> Any:
        """[N] the score where every player has left; likewise."""
        self.spent += 1
        return self.map(self.n, lambda items: self.score(items, tf.gather(self.present, items)))

    def _credit(self, maps: list[Any]) -> Any:
        total = tf.zeros([self.n * self.players], tf.float64)
        for x, values, group in zip(self._score.x, maps, self._groups, strict=True):
            own = tf.broadcast_to(group + self.players * _rows(self.n, x), tf.shape(x))
            share = tf.cast(tf.size(x) // tf.maximum(tf.size(values), 1), tf.float64)
            spread = tf.broadcast_to(_along(tf.cast(values, tf.float64), x), tf.shape(x)) / share
            total += tf.math.unsorted_segment_sum(tf.reshape(spread, [-1]), tf.reshape(own, [-1]), tf.size(total))
        return tf.reshape(total, [self.n, self.players])

    def score(self, rows: Any, off: Any) -> Any:
        """[B] the score of the example `rows[b]` without the players `off[b]`, [B, P]."""
        return tf.cast(self._score(self._points(rows, off), rows), tf.float64)

    def sets(self, count: int, sizes: Callable[[Any, Any], Any], changes: Any) -> tuple[Any, Any]:
        """[N, count] what the score loses without random sets of players, and what the map credits these with; `sizes(rows,
        numbers)` is how many players a set has, `changes` what is known of the losses."""
        value = self._value if changes is None else None

        def evaluate(items: Any) -> list[Any]:
            rows, number = items // count, items % count
            off = self._draw(rows, number, sizes(rows, number))
            total = tf.reduce_sum(tf.where(off, tf.gather(self.credits, rows), 0), 1)
            return [total] if value is None else [total, tf.gather(value, rows) - self.score(rows, off)]

        found = self._score.map(self.n * count, evaluate)
        total, *lost = (tf.reshape(t, [-1, count]) for t in found)
        self.spent += count if lost else 0
        return (lost[0] if lost else changes), total

    def _draw(self, rows: Any, numbers: Any, sizes: Any) -> Any:
        """[B, P] random players, `sizes[b]` of them: of the example `rows[b]` the draw of this number."""
        chance = self._score.draw(rows, numbers, [self.players])
        return _places(tf.where(tf.gather(self.present, rows), chance, 2.0)) < sizes[:, None]

    def chance(self, rows: Any, numbers: Any) -> Any:
        """[B] one random number in [0, 1) for each."""
        return self._score.draw(rows, numbers, [1])[:, 0]

    def _ranks(self) -> Any:
        """[N, P] the place of each player, those with the largest credit first: for the target, or for f(x) − f(x′). Chance
        orders those with the same: the order in which they lie is no merit of the map."""
        towards = self.credits
        if not self._score.has_probability:
            towards *= tf.sign(self._value - self._start)[:, None]
        last = tf.constant(math.inf, tf.float64)
        by_chance = tf.argsort(self._score.draw(tf.range(self.n), tf.fill([self.n], _TIES), [self.players]))
        keys = tf.gather(tf.where(self.present, -towards, last), by_chance, batch_dims=1)
        order = tf.gather(by_chance, tf.argsort(keys, stable=True), batch_dims=1)
        return tf.argsort(order)

    @cached_property
    def says(self) -> Any:
        """[N] whether the map tells any of the players from the others, by more than rounding."""
        size = tf.reduce_max(tf.abs(tf.where(self.present, self.credits, 0)), 1)
        most = tf.reduce_max(tf.where(self.present, self.credits, -math.inf), 1)
        least = tf.reduce_min(tf.where(self.present, self.credits, math.inf), 1)
        return most - least > 1e-6 * size

    def map(self, total: Any, evaluate: Callable[[Any], Any]) -> Any:
        """`Score.map` of what gives one tensor or several."""
        found = self._score.map(total, lambda items: tf.nest.flatten(evaluate(items)))
        return found[0] if len(found) == 1 else found

    def _points(self, rows: Any, off: Any) -> list[Any]:
        points = []
        for x, group, base in zip(self._score.x, self._groups, self._base, strict=True):
            own = tf.gather(x, rows)
            if group.shape.rank == x.shape.rank:  # an example's own
                mask = tf.gather(off, tf.gather(group, rows), batch_dims=1)
            else:
                mask = tf.gather(off, group, axis=1)
            points.append(self._replace(own, mask[..., :1], rows) if self._replace else tf.where(mask, base, own))
        return points

    def noise(self, rows: Any, number: int) -> Any:
        """[B, like x] normal random numbers of deviation 1 for the first input."""
        (x, *_), count = self._score.x, tf.size(self._score.x[0][0])
        even = self._score.draw(rows, tf.fill(tf.shape(rows), number), [count])
        return tf.reshape(tf.math.ndtri(tf.clip_by_value(even, 1e-6, 1 - 1e-6)), [-1, *x.shape[1:]])

    def curve(self, steps: Sequence[float] | Any, off: Callable[[Any, Any], Any]) -> Any:
        """[N, K] levels where `off(rows, first)` are away, `first` being the share `steps[k]` of largest credits.

        A level is the probability of the target where the model has one, else what is left of |f(x) − f(x′)|, in units of the
        score: a share of it would say all where it is small and nothing where it is large. NaN of a map that tells no features
        from others.
        """
        shares, ranks = tf.constant(steps, tf.float64), self._ranks()
        count = tf.size(shares)
        ends = None if self._score.has_probability else (self._value, self._start)
        self.spent += len(steps)

        def level(rows: Any, off: Any) -> Any:
            if ends is None:
                return tf.cast(self._score.probability(self._points(rows, off), rows), tf.float64)
            value, start = (tf.gather(end, rows) for end in ends)
            return (self.score(rows, off) - start) * tf.sign(value - start)

        def evaluate(items: Any) -> Any:
            rows, turns = items // count, tf.gather(shares, items % count)
            turns = tf.cast(tf.round(turns * tf.cast(tf.gather(self.sizes, rows), tf.float64)), tf.int32)
            return level(rows, off(rows, tf.gather(ranks, rows) < turns[:, None]))

        found = tf.reshape(self.map(self.n * count, evaluate), [-1, len(steps)])
        return tf.where(self.says[:, None], found, tf.constant(math.nan, found.dtype))


def area(curve: Any) -> Any:
    """[N] under curves [N, K] over [0, 1]."""
    return tf.reduce_mean((curve[:, 1:] + curve[:, :-1]) / 2, 1)


def correlation(a: Any, b: Any) -> Any:
    """Pearson's, over the last axis; NaN where one of the two does not vary by more than rounding."""
    (a, own), (b, other) = (_centred(t) for t in (a, b))
    found = tf.reduce_sum(a * b, -1) / tf.sqrt(tf.reduce_sum(a * a, -1) * tf.reduce_sum(b * b, -1))
    return tf.where(own & other, found, tf.constant(math.nan, a.dtype))


def mean_of_known(values: Any) -> Any:
    """Over the last axis, without NaN; NaN of nothing."""
    known = tf.math.is_finite(values)
    count = tf.reduce_sum(tf.cast(known, values.dtype), -1)
    total = tf.reduce_sum(tf.where(known, values, 0), -1)
    return tf.where(count > 0, total / tf.maximum(count, 1), tf.constant(math.nan, values.dtype))


def _centred(values: Any) -> tuple[Any, Any]:
    """Less their mean, and whether they vary."""
    centred = values - tf.reduce_mean(values, -1, keepdims=True)
    rounding = 1e-6 * tf.reduce_max(tf.abs(values), -1)
    return centred, tf.reduce_max(tf.abs(centred), -1) > rounding


def _places(keys: Any) -> Any:
    """[B, P] the place of each when they are sorted, ties in their order."""
    return tf.argsort(tf.argsort(keys, stable=True), stable=True)


def _along(values: Any, x: Any) -> Any:
    """With axes of length 1 behind, as many axes as x."""
    missing = x.shape.rank - values.shape.rank
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * missing], 0)) if missing else values


def _rows(n: Any, x: Any) -> Any:
    return tf.reshape(tf.range(n), [-1, *[1] * (x.shape.rank - 1)])


def _sizes(x: Any, blocks: Lengths | int | None, embedding: bool, number: int) -> list[Any]:
    """Of a block along each axis of an example."""
    shape = tf.unstack(tf.shape(x)[1:])
    lengths = [static or dynamic for static, dynamic in zip(x.shape[1:], shape, strict=True)]
    if isinstance(blocks, tuple):
        if len(blocks) != len(lengths):
            raise ParameterError(
                f"blocks={tuple(blocks)} has {len(blocks)} entries; an example of input {number} has {len(lengths)} axes "
                f"{tuple(x.shape[1:])}"
            )
        return list(blocks)
    whole = embedding or len(lengths) == 3  # channels of a picture
    return [*[blocks or 1] * (len(lengths) - whole), *lengths[len(lengths) - whole :]]


def _number(x: Any, sizes: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The block that each value of an example is in, row-major, and how many there are along each axis."""
    shape = [static or size for static, size in zip(x.shape[1:], tf.unstack(tf.shape(x)[1:]), strict=True)]
    counts = [-(-length // size) for length, size in zip(shape, sizes, strict=True)]
    number = tf.zeros([1] * len(shape), tf.int32)
    for axis, (length, size, count) in enumerate(zip(shape, sizes, counts, strict=True)):
        own = tf.reshape(tf.range(length) // size, [-1 if a == axis else 1 for a in range(len(shape))])
        number = number * count + own
    return number, counts
