"""Gradients that somebody wrote for a step of the model (tf.custom_gradient): marked by `inline`, not used, and said so."""

from __future__ import annotations

from tb_deepexplain.graph.cut import GraphView, node_of

OWN_GRADIENT = "_own_gradient"  # marks such nodes


def own_gradients(view: GraphView, output: str) -> list[str]:
    """The nodes on the way to `output` whose gradient was written, and may not be that of what they compute."""
    needed = view.ancestors([output])
    return [n for n in view.nodes if n in needed and OWN_GRADIENT in view.nodes[n].attr and not _is_silu(view, n)]


def _is_silu(view: GraphView, name: str) -> bool:
    """x · sigmoid(βx), whose gradient TensorFlow wrote to save memory: it is the right one."""
    product = node_of(view.inputs[name][0])
    factors = [view.nodes[node_of(i)].op for i in view.inputs[product]]
    return view.nodes[product].op == "Mul" and "Sigmoid" in factors
