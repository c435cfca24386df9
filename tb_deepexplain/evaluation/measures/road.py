"""ROAD: deletion whose removed pixels are filled in from those around them, so that no grey hole gives them away."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.evaluation.perturbation import Case, Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Doc

_NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12  # direct ones 1/6, diagonal ones 1/12
_ITERATIONS, _SMALL, _TINY = 500, 1e-6, 1e-12


def road(
    case: Case,
    *,
    steps: Annotated[int, AtLeast(1), Doc("Shares of the pixels that leave, evenly spaced between none and all.")] = 9,
    order: Annotated[
        Literal["morf", "lerf"], Doc("Whether the most or the least relevant pixels leave first.")
    ] = "morf",
    noise: Annotated[
        float, AtLeast(0), Doc("Deviation of what is added to filled pixels, as a share of the picture's range.")
    ] = 0.01,
) -> Measured:
    """Mean probability of the target while pixels are replaced by noisy linear imputation, for lerf 1 less that; low is good.

    A pixel that leaves becomes the weighted mean of its eight neighbours, which may have left, too: one linear system for a
    picture, solved by conjugate gradients. Only for pictures. Rong, Leemann, Borisov, Kasneci, Kasneci 2022 (arXiv 2202.00449),
    section 5. Needs no retraining.
    """
    (x, *others) = case.score.x
    if others or x.shape.rank != 4 or case.score.embeddings[0]:
        raise UnsupportedModelError(
            "road fills in pixels and needs one picture [height, width, channels]; use deletion"
        )
    span = tf.reduce_max(x, [1, 2, 3]) - tf.reduce_min(x, [1, 2, 3])

    def replace(pictures: Any, left: Any, rows: Any) -> Any:
        grain = noise * tf.reshape(tf.gather(span, rows), [-1, 1, 1, 1]) * tf.cast(game.noise(rows, 0), x.dtype)
        return tf.where(left, impute(pictures, left) + grain, pictures)

    game = case.game(None, None, replace)
    at = np.linspace(0, 1, steps + 2)[1:-1]
    first = at if order == "morf" else 1 - at
    curve = game.curve(first, lambda rows, first: (first == (order == "morf")) & tf.gather(game.present, rows))
    mean = tf.reduce_mean(curve, 1)
    return Measured(mean if order == "morf" else 1 - mean, game.spent, curve, at)


def impute(pictures: Any, left: Any) -> Any:
    """[B, H, W, C] with every pixel of `left` [B, H, W, 1] the weighted mean of its neighbours within the picture."""
    channels = pictures.shape[-1]
    kernel = tf.constant(np.tile(_NEIGHBOURS[:, :, None, None], [1, 1, channels, 1]), pictures.dtype)
    weight = tf.nn.depthwise_conv2d(tf.ones_like(pictures[:1]), kernel, [1, 1, 1, 1], "SAME")
    gone = tf.cast(left, pictures.dtype)

    def around(values: Any) -> Any:
        return gone * tf.nn.depthwise_conv2d(values, kernel, [1, 1, 1, 1], "SAME")

    def dot(a: Any, b: Any) -> Any:  # every channel of every picture is a system of its own
        return tf.reduce_sum(a * b, [1, 2], keepdims=True)

    known = pictures * (1 - gone)
    # From the mean of what is known: nearer than zero, and the answer where nothing is.
    count = tf.reduce_sum(1 - gone, [1, 2], keepdims=True)
    begin = gone * tf.math.divide_no_nan(tf.reduce_sum(known, [1, 2], keepdims=True), count)
    residual = around(known) - (gone * weight * begin - around(begin))
    limit = _SMALL**2 * tf.maximum(dot(residual, residual), _TINY)

    def step(i: Any, found: Any, residual: Any, direction: Any) -> list[Any]:
        product = gone * weight * direction - around(direction)
        size = dot(residual, residual)
        along = tf.math.divide_no_nan(size, dot(direction, product))
        after = residual - along * product
        onward = after + tf.math.divide_no_nan(dot(after, after), size) * direction
        return [i + 1, found + along * direction, after, onward]

    _, found, _, _ = tf.while_loop(
        lambda i, _, residual, __: (i < _ITERATIONS) & tf.reduce_any(dot(residual, residual) > limit),
        step,
        [0, begin, residual, residual],
    )
    return known + found
