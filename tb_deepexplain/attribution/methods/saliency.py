"""Saliency: the magnitude of the gradient."""

from __future__ import annotations

from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.lazy_tensorflow import tf


def saliency(score: Score) -> Explanation:
    """|∂f/∂x|: how fast the score changes with each feature, not how much of it a feature makes.

    Simonyan, Vedaldi, Zisserman 2014 (arXiv 1312.6034), section 3.
    """
    value, gradient = score.gradient(score.x)
    return Explanation([tf.abs(g) for g in gradient], tf.ones([score.n], tf.int32), value)
