"""Occlusion: what the score loses when a window of the input is replaced by the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.methods.parameters import AtLeast, Baseline, Doc, Lengths
from tb_deepexplain.score import Explanation, Score


def occlusion(
    score: Score,
    *,
    window_shape: Annotated[
        Lengths | None,
        AtLeast(1),
        Doc("Size of the window along each axis of an example; one feature, or one token, by default."),
    ] = None,
    step: Annotated[
        Lengths | int | None,
        AtLeast(1),
        Doc("Distance between windows, for all axes or along each; 1 by default, or the window at a token."),
    ] = None,
    baseline: Baseline = None,
) -> Explanation:
    """Mean over the windows w that cover a feature of (f(x) − f(x with w replaced)) / |w|.

    Windows stand at 0, step, 2·step, ... while they fit; features that none covers are NaN. Several inputs
    are occluded one at a time. Zeiler & Fergus 2014 (arXiv 1311.2901), section 4.2; the mean over
    overlapping windows as in DeepExplain.
    """
    value = score(score.x)
    bases = score.baseline(baseline)
    attributions, evaluations = [], tf.ones([score.n], tf.int32)
    for i, x in enumerate(score.x):
        cover = _coverage(tuple(x.shape[1:]), window_shape, step, score.embeddings[i])
        windows = math.prod(len(c) for c in cover)
        attributions.append(_occlude(score, i, bases[i], cover, windows, value))
        evaluations += windows
    return Explanation(attributions, evaluations, value)


def _coverage(
    shape: Sequence[int], window: Lengths | None, step: Lengths | int | None, embedding: bool
) -> list[np.ndarray]:
    """For each axis, which positions [windows, size] each window covers; a window is their outer product."""
    if embedding and window is None:  # whole tokens: single embedding dimensions mean nothing to a reader
        window = Lengths((*[1] * (len(shape) - 1), shape[-1]))
        step = window if step is None else step
    window = window or Lengths([1] * len(shape))
    steps = step if isinstance(step, tuple) else (step or 1,) * len(shape)
    for name, given in (("window_shape", window), ("step", steps)):
        if len(given) != len(shape):
            raise ParameterError(
                f"occlusion: {name}={tuple(given)} has {len(given)} entries; an example has {len(shape)} axes {tuple(shape)}"
            )
    if any(w > s for w, s in zip(window, shape, strict=True)):
        raise ParameterError(
            f"occlusion: window_shape={tuple(window)} does not fit into an example of shape {tuple(shape)}"
        )
    cover = []
    for size, width, stride in zip(shape, window, steps, strict=True):
        starts = np.arange(0, size - width + 1, stride)[:, None]
        positions = np.arange(size)[None, :]
        cover.append(((positions >= starts) & (positions < starts + width)).astype(np.float64))
    return cover


def _occlude(score: Score, i: int, base: Any, cover: list[np.ndarray], windows: int, value: Any) -> Any:
    x = score.x[i]
    axes = [tf.constant(c, x.dtype) for c in cover]
    counts = [len(c) for c in cover]

    def evaluate(items: Any) -> list[Any]:
        rows, window = items // windows, items % windows
        hidden = tf.ones([tf.shape(items)[0], *[1] * len(axes)], x.dtype)
        for axis, count in enumerate(counts):  # windows are numbered row-major
            line = tf.gather(axes[axis], window // math.prod(counts[axis + 1 :]) % count)
            hidden *= tf.reshape(line, [-1, *[1] * axis, line.shape[1], *[1] * (len(axes) - axis - 1)])
        points = [tf.gather(t, rows) for t in score.x]
        points[i] = points[i] * (1 - hidden) + base * hidden  # a product, so that NaN in x stays NaN
        return [score(points, rows)]

    (occluded,) = score.map(score.n * windows, evaluate)
    # Windows are boxes, so spreading their differences over the features goes one axis at a time.
    spread = tf.reshape(value[:, None] - tf.reshape(occluded, [-1, windows]), [-1, *counts])
    spread = tf.cast(spread, x.dtype)
    for axis in axes:
        spread = tf.tensordot(spread, axis, [[1], [0]])
    size = math.prod(int(c[0].sum()) for c in cover)
    covered = _outer([c.sum(axis=0) for c in cover]) * size
    return spread / tf.constant(np.where(covered == 0, np.nan, covered), x.dtype)


def _outer(lines: list[np.ndarray]) -> np.ndarray:
    product = np.ones(())
    for line in lines:
        product = np.multiply.outer(product, line)
    return product
