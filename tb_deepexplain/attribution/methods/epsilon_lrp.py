"""ε-LRP: layer-wise relevance propagation with the ε-rule."""

from __future__ import annotations

from typing import Annotated, Any

from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.graph.backward_rules import Activation, Rule
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Above, Doc, OnUnsupported


def epsilon_lrp(
    score: Score,
    *,
    epsilon: Annotated[float, Above(0), Doc("Stabiliser, added with the sign of z.")] = 1e-4,
    on_unsupported: OnUnsupported = "error",
) -> Explanation:
    """x · ∂f/∂x with f(z) / (z + ε·sign z) in place of every activation's f′(z), where z includes the bias.

    Bach et al. 2015 (doi 10.1371/journal.pone.0130140), in the form of Ancona et al. 2018 (arXiv 1711.06104).
    Biases absorb relevance, so the map sums to f(x) only without biases; activations with f(0) ≠ 0 (sigmoid,
    softplus) make it large near z = 0.
    """

    def multiplier(a: Activation) -> Any:
        if a.op == "Relu":  # the same, cheaper: y is z or zero
            return a.y / (a.y + epsilon)
        return a.y / tf.where(a.z >= 0, a.z + epsilon, a.z - epsilon)

    rule = Rule("epsilon_lrp", multiplier, on_unsupported=on_unsupported)
    value, gradient, _ = score.propagate(rule)
    attributions = [g * x for g, x in zip(gradient, score.x, strict=True)]
    return Explanation(attributions, tf.ones([score.n], tf.int32), value, warnings=rule.warnings())
