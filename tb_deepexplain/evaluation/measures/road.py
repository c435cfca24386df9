"""ROAD: does the prediction fall when the pixels of largest attribution are filled in from their neighbours?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.evaluation.maps_with_score import MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import AtLeast, Doc

_NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12  # direct neighbours weigh 1/6, diagonal ones 1/12
_ITERATIONS, _TOLERANCE, _TINY = 500, 1e-6, 1e-12


def road(
    maps: MapsWithScore,
    *,
    steps: Annotated[int, AtLeast(1), Doc("Shares of removed pixels, evenly spaced between none and all.")] = 9,
    order: Annotated[
        Literal["morf", "lerf"], Doc("Whether the most or the least relevant pixels are removed first.")
    ] = "morf",
    noise: Annotated[
        float,
        AtLeast(0),
        Doc("Standard deviation of the noise on filled pixels, as a share of the picture's range."),
    ] = 0.01,
) -> Measured:
    """Mean probability of the target while pixels are replaced by noisy linear imputation, for lerf 1 less that; low is good.

    A removed pixel becomes the weighted mean of its eight neighbours, which may be removed, too: one linear system per picture,
    solved by conjugate gradients. Only for pictures; needs no retraining. Rong, Leemann, Borisov, Kasneci, Kasneci 2022 (arXiv
    2202.00449), section 5.
    """
    (x, *others) = maps.score.x
    if others or x.shape.rank != 4 or maps.score.whole[0]:
        raise UnsupportedModelError(
            "road fills in pixels and needs one picture [height, width, channels]; use deletion"
        )
    span = tf.reduce_max(x, [1, 2, 3]) - tf.reduce_min(x, [1, 2, 3])

    def replace(pictures: Any, removed: Any, rows: Any) -> Any:
        grain = noise * tf.reshape(tf.gather(span, rows), [-1, 1, 1, 1]) * tf.cast(groups.normal(rows, 0), x.dtype)
        return tf.where(removed, impute(pictures, removed) + grain, pictures)

    groups = maps.feature_groups(None, None, replace)
    shares = np.linspace(0, 1, steps + 2)[1:-1]
    most_relevant_first = order == "morf"
    curve = groups.curve(
        shares if most_relevant_first else 1 - shares,
        lambda rows, first: (first == most_relevant_first) & tf.gather(groups.present, rows),
    )
    mean = tf.reduce_mean(curve, 1)
    return Measured(mean if most_relevant_first else 1 - mean, groups.evaluations, curve, shares)


def impute(pictures: Any, removed: Any) -> Any:
    """Pictures [B, H, W, C] with every removed pixel [B, H, W, 1] the weighted mean of its neighbours within the picture."""
    channels = pictures.shape[-1]
    kernel = tf.constant(np.tile(_NEIGHBOURS[:, :, None, None], [1, 1, channels, 1]), pictures.dtype)
    weight = tf.nn.depthwise_conv2d(tf.ones_like(pictures[:1]), kernel, [1, 1, 1, 1], "SAME")
    mask = tf.cast(removed, pictures.dtype)

    def sum_of_neighbours(values: Any) -> Any:
        return mask * tf.nn.depthwise_conv2d(values, kernel, [1, 1, 1, 1], "SAME")

    def dot(a: Any, b: Any) -> Any:  # each channel of each picture is a system of its own
        return tf.reduce_sum(a * b, [1, 2], keepdims=True)

    kept = pictures * (1 - mask)
    # Start from the mean of the kept pixels: it is nearer than zero, and it is the answer where a pixel has no kept neighbours.
    count = tf.reduce_sum(1 - mask, [1, 2], keepdims=True)
    start = mask * tf.math.divide_no_nan(tf.reduce_sum(kept, [1, 2], keepdims=True), count)
    residual = sum_of_neighbours(kept) - (mask * weight * start - sum_of_neighbours(start))
    limit = _TOLERANCE**2 * tf.maximum(dot(residual, residual), _TINY)

    def step(i: Any, solution: Any, residual: Any, direction: Any) -> list[Any]:
        product = mask * weight * direction - sum_of_neighbours(direction)
        square = dot(residual, residual)
        length = tf.math.divide_no_nan(square, dot(direction, product))
        next_residual = residual - length * product
        factor = tf.math.divide_no_nan(dot(next_residual, next_residual), square)
        return [i + 1, solution + length * direction, next_residual, next_residual + factor * direction]

    _, solution, _, _ = tf.while_loop(
        lambda i, _, residual, __: (i < _ITERATIONS) & tf.reduce_any(dot(residual, residual) > limit),
        step,
        [0, start, residual, residual],
    )
    return kept + solution
