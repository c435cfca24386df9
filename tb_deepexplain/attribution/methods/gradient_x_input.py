"""Gradient × input: the first-order share of each feature."""

from __future__ import annotations

from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.lazy_tensorflow import tf


def gradient_x_input(score: Score) -> Explanation:
    """x · ∂f/∂x. Sums to f(x) only for models without biases and with piecewise linear activations.

    Shrikumar et al. 2016 (arXiv 1605.01713), section 2.3.
    """
    value, gradient = score.gradient(score.x)
    return Explanation([g * x for g, x in zip(gradient, score.x, strict=True)], tf.ones([score.n], tf.int32), value)
