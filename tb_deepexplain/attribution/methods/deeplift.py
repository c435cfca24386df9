"""DeepLIFT: differences from a reference, by the Rescale rule."""

from __future__ import annotations

from typing import Any

from tb_deepexplain.attribution.completeness import is_above_tolerance
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.graph.backward_rules import Activation, Rule
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline, OnUnsupported

TOLERANCE = 0.01  # the completeness gap without a warning, as a share of |f(x) − f(x′)|
NEAR = {"float32": 1e-5, "float64": 1e-10}  # differences of z below which the quotient loses its digits


def deeplift(score: Score, *, baseline: Baseline = None, on_unsupported: OnUnsupported = "error") -> Explanation:
    """(x − x′) · ∂f/∂x with (f(z) − f(z′)) / (z − z′) in place of every activation's f′(z); z′ is z at the baseline x′.

    Shrikumar, Greenside, Kundaje 2017 (arXiv 1704.02685), the Rescale rule. Where z ≈ z′ the derivative
    replaces the quotient. Sums to f(x) − f(x′), except for maxima, which give all to the winner. The baseline is
    evaluated once for all examples.
    """
    base = score.baseline(baseline)
    rule = Rule("deeplift", _rescale, base, on_unsupported)
    value, gradient, start = score.propagate(rule)
    attributions = [g * (x - b) for g, x, b in zip(gradient, score.x, base, strict=True)]
    gap = is_above_tolerance(attributions, start, value, TOLERANCE)
    reasons = [f"all goes to the winner of {rule.maxima}"] if rule.maxima else []
    reasons += ["some steps keep their plain gradient"] if rule.unsupported else []
    reason = " and ".join(reasons) or "half precision or batch statistics"
    text = f"the map does not sum to the change of the score: the completeness gap is above {TOLERANCE:.0%} ({reason})"
    return Explanation(attributions, tf.ones([score.n], tf.int32), value, start, [*rule.warnings(), (text, gap)])


def _rescale(a: Activation) -> Any:
    """The multiplier of the Rescale rule."""
    near = NEAR[a.z.dtype.name]
    if a.op != "Relu":
        change = a.z - a.z_reference
        # The derivative at z′ is cheap, being one for all examples; so close to z′, it is that at z.
        return tf.where(tf.abs(change) > near, (a.y - a.y_reference) / change, a.derivative(a.z_reference))
    at_kink = (a.z_reference != 0) & (tf.abs(a.z_reference) <= near)
    return tf.cond(tf.reduce_any(at_kink), lambda: _rescale_relu_at_kink(a, near), lambda: _share_above_zero(a))


def _share_above_zero(a: Activation) -> Any:
    """A ReLU's quotient without a division of differences: the share of the way between z′ and z that lies above zero."""
    return tf.math.divide_no_nan(a.y + a.y_reference, tf.abs(a.z) + tf.abs(a.z_reference))


def _rescale_relu_at_kink(a: Activation, near: float) -> Any:
    """With DeepExplain's derivative halfway between z′ and z, which differs if z′ is next to the kink."""
    change = a.z - a.z_reference
    return tf.where(tf.abs(change) > near, (a.y - a.y_reference) / change, tf.cast(a.z > -a.z_reference, change.dtype))
