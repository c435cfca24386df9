"""DeepLIFT: differences from a reference, by the Rescale rule."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tb_deepexplain.graph.rules import Activation, Rule
from tb_deepexplain.methods.parameters import Baseline, OnUnsupported
from tb_deepexplain.score import Explanation, Score

NEAR = {tf.float32: 1e-5, tf.float64: 1e-10}  # differences of z below which the quotient loses its digits


def deeplift(score: Score, *, baseline: Baseline = None, on_unsupported: OnUnsupported = "error") -> Explanation:
    """(x − x′) · ∂f/∂x with (f(z) − f(z′)) / (z − z′) in place of every activation's f′(z); z′ is z at the baseline x′.

    Shrikumar, Greenside, Kundaje 2017 (arXiv 1704.02685), the Rescale rule. Where z ≈ z′ the derivative at their
    middle stands for the quotient. Sums to f(x) − f(x′), but for max pooling, which gives all to the winner.
    """
    base = score.baseline(baseline)

    def rescaled(a: Activation) -> Any:
        change = a.z - a.z_reference
        far = tf.abs(change) > NEAR[a.z.dtype]
        quotient = (a.y - a.y_reference) / tf.where(far, change, tf.ones_like(change))
        return tf.where(far, quotient, a.slope((a.z + a.z_reference) / 2))

    rule = Rule("deeplift", rescaled, base, on_unsupported)
    value, gradient = score.gradient(score.x, rule=rule)
    attributions = [g * (x - b) for g, x, b in zip(gradient, score.x, base, strict=True)]
    return Explanation(attributions, tf.ones([score.n], tf.int32), value, score.at(base), rule.notes())
