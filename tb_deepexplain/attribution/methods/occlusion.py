"""Occlusion: how much the score falls when a window of the input is replaced by the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from tb_deepexplain.attribution.score import Explanation, Score, map_dtype
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Baseline, Doc, Lengths


def occlusion(
    score: Score,
    *,
    window_shape: Annotated[
        Lengths | int | None,
        AtLeast(1),
        Doc(
            "Size of the window along each axis of an example, or along all but the last, which it then covers (all channels); a "
            "single number applies to every axis that is long enough, or to whole tokens; 1 by default. Of several inputs, those "
            "without such axes have windows of 1."
        ),
    ] = None,
    step: Annotated[
        Lengths | int | None,
        AtLeast(1),
        Doc("Distance between windows, for all axes or along each; 1 by default."),
    ] = None,
    baseline: Baseline = None,
) -> Explanation:
    """Mean over the windows w that cover a feature of (f(x) − f(x with w replaced)) / |w|.

    Windows start at 0, step, 2·step, ... while they fit; features that no window covers are NaN, and windows
    without which the score is not finite are left out. Several inputs
    are occluded one at a time. Zeiler & Fergus 2014 (arXiv 1311.2901), section 4.2; the mean over
    overlapping windows as in DeepExplain.
    """
    value = score(score.x)
    bases = score.baseline(baseline)
    attributions, evaluations = [], tf.ones([score.n], tf.int32)
    left_out = tf.fill([score.n], False)
    layouts = _layouts([tuple(x.shape[1:]) for x in score.x], score.whole, window_shape, step)
    for i, x in enumerate(score.x):
        axes = _with_sizes(layouts[i], x)
        attribution, is_left_out = _occlude(score, i, bases[i], axes, value)
        attributions.append(attribution)
        left_out |= is_left_out
        evaluations += math.prod(a.count for a in axes)
    text = "without some windows the score is NaN or infinite: the map is the mean over the other windows"
    return Explanation(attributions, evaluations, value, warnings=[(text, left_out & tf.math.is_finite(value))])


def windows(
    shapes: Sequence[Sequence[int]],
    whole: Sequence[bool],
    *,
    window_shape: Lengths | int | None,
    step: Lengths | int | None,
    **_: object,
) -> int:
    """The number of windows in an example whose inputs have these shapes."""
    return sum(math.prod(axis.count for axis in of_input) for of_input in _layouts(shapes, whole, window_shape, step))


def windows_fit(
    sizes: Sequence[int], *, window_shape: Lengths | int | None, step: Lengths | int | None, **_: object
) -> bool:
    """Whether windows and steps are no longer than any of these sizes; windows that are depend on the size."""
    return min(sizes) >= max(np.max(1 if lengths is None else lengths) for lengths in (window_shape, step))


class _Axis(NamedTuple):
    """The windows along one axis of an example: they start at 0, step, 2·step, ..."""

    size: Any  # whole numbers; tensors if texts have any length
    width: Any
    step: int
    count: Any

    def in_window(self, window: Any) -> Any:
        """[B, size] whether each position is in the window of this number [B]."""
        start = (window * self.step)[:, None]
        position = tf.range(self.size)[None]
        return (position >= start) & (position < start + self.width)

    def covering(self) -> tuple[Any, Any]:
        """[size] the first window that covers each position, and the first after it that does not."""
        position = tf.range(self.size)
        end = tf.minimum(position // self.step + 1, self.count)
        return tf.minimum(tf.maximum(position - self.width + self.step, 0) // self.step, end), end


def _with_sizes(layout: Sequence[_Axis], x: Any) -> list[_Axis]:
    """The windows along each axis of the examples `x`, whose lengths may be tensors."""
    sizes = [axis.size or size for axis, size in zip(layout, tf.unstack(tf.shape(x)[1:]), strict=True)]
    return [
        axis._replace(size=size, count=(size - axis.width) // axis.step + 1)
        for axis, size in zip(layout, sizes, strict=True)
    ]


def _layouts(
    shapes: Sequence[Sequence[Any]], whole: Sequence[bool], window: Lengths | int | None, step: Lengths | int | None
) -> list[list[_Axis]]:
    """The windows of each input of an example: of 1 where another input has the axes of `window` and `step`, and this one has not."""
    have_axes = [_has_axes(shape, window) and _has_axes(shape, step) for shape in shapes]
    return [
        _layout(shape, *((window, step) if has_axes or not any(have_axes) else (None, None)), is_whole)
        for shape, has_axes, is_whole in zip(shapes, have_axes, whole, strict=True)
    ]


def _has_axes(shape: Sequence[Any], lengths: Lengths | int | None) -> bool:
    """Whether windows or steps of these lengths are meant for examples of this shape."""
    if isinstance(lengths, tuple):
        return len(lengths) in (len(shape), len(shape) - 1)
    return lengths is None or any((size or lengths) >= lengths for size in shape)


def _layout(shape: Sequence[Any], window: Lengths | int | None, step: Lengths | int | None, whole: bool) -> list[_Axis]:
    """The windows along each axis of an example; an unknown length counts as 0. ParameterError if they do not fit."""
    widths, steps = _per_axis(window, shape, shape[-1:]), _per_axis(step, shape, (1,))
    if whole and not isinstance(window, tuple):
        # Single embedding dimensions mean nothing to a reader.
        widths[-1] = shape[-1]
    elif isinstance(window, int) and any((size or window) >= window for size in shape):
        widths = [min(window, size or window) for size in shape]
    for name, lengths in (("window_shape", widths), ("step", steps)):
        if len(lengths) != len(shape):
            raise ParameterError(
                f"occlusion: {name}={tuple(lengths)} has {len(lengths)} entries; an example has {len(shape)} axes {tuple(shape)}"
            )
    if any(s and w > s for w, s in zip(widths, shape, strict=True)):
        raise ParameterError(
            f"occlusion: window_shape={tuple(widths)} does not fit into an example of shape {tuple(shape)}"
        )
    return [_Axis(s, w, k, ((s or 0) - w) // k + 1) for s, w, k in zip(shape, widths, steps, strict=True)]


def _per_axis(length: Lengths | int | None, shape: Sequence[Any], last: Sequence[Any]) -> list[int]:
    """The length along each axis; `last` along the last one if only that is missing, as in (3, 3) for H × W × C."""
    lengths = list(length) if isinstance(length, tuple) else [length or 1] * len(shape)
    return [*lengths, *last] if len(lengths) == len(shape) - 1 and None not in last else lengths


def _occlude(score: Score, i: int, base: Any, axes: list[_Axis], value: Any) -> tuple[Any, Any]:
    """The map [N, ...] of input i, and [N] whether windows without a finite score are left out of it.

    `value` is the score [N] of the examples.
    """
    x = score.x[i]
    counts = [a.count for a in axes]
    windows = math.prod(counts)

    def evaluate(items: Any) -> list[Any]:
        rows, window = items // windows, items % windows
        hidden = tf.fill([tf.shape(items)[0], *[1] * len(axes)], True)
        for n, axis in enumerate(axes):  # windows are numbered row-major
            line = axis.in_window(window // math.prod(counts[n + 1 :]) % axis.count)
            shape = [-1, *[1] * n, axis.size, *[1] * (len(axes) - n - 1)]
            hidden &= tf.reshape(line, shape)
        points = [tf.gather(t, rows) for t in score.x]
        points[i] = tf.where(hidden, base, points[i])
        return [score(points, rows)]

    (occluded,) = score.map(score.n * windows, evaluate)
    change = tf.reshape(tf.cast(value[:, None] - tf.reshape(occluded, [-1, windows]), tf.float64), [-1, *counts])
    finite = tf.math.is_finite(change)
    counted = tf.cond(
        tf.reduce_all(finite), lambda: tf.ones([1, *counts], tf.float64), lambda: tf.cast(finite, tf.float64)
    )
    sums, covered = (_sum_over_windows(t, axes) for t in (tf.where(finite, change, tf.zeros_like(change)), counted))
    size = math.prod(a.width for a in axes)
    mean = tf.where(covered < 0.5, tf.constant(np.nan, tf.float64), sums / (covered * size))
    left_out = tf.reduce_any(~finite, list(range(1, len(axes) + 1)))
    return tf.ensure_shape(tf.cast(mean, map_dtype(x, value)), x.shape), left_out


def _sum_over_windows(values: Any, axes: list[_Axis]) -> Any:
    """[N, windows along each axis] → [N, ...] for each feature the sum over the windows that cover it.

    Windows are boxes, so the sum is taken along one axis at a time.
    """
    for n, axis in enumerate(axes, 1):
        first, end = axis.covering()
        if axis.step >= axis.width:  # at most one window covers a position
            times = tf.reshape(tf.cast(end - first, tf.float64), [1, *[1] * (n - 1), -1, *[1] * (len(axes) - n)])
            values = times * tf.gather(values, tf.minimum(first, axis.count - 1), axis=n)
        else:
            cumulative = tf.pad(tf.cumsum(values, n), [[int(n == a), 0] for a in range(len(axes) + 1)])
            values = tf.gather(cumulative, end, axis=n) - tf.gather(cumulative, first, axis=n)
    return values
