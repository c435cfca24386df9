"""Custom gradients (tf.custom_gradient): `inline` marks the nodes that have one and removes it."""

from __future__ import annotations

from tb_deepexplain.graph.graph_view import GraphView, node_name

CUSTOM_GRADIENT = "_custom_gradient"  # attribute of nodes whose custom gradient was removed


def custom_gradients(view: GraphView, output: str) -> list[str]:
    """The nodes before `output` that had a custom gradient, which may differ from the derivative of what they compute."""
    needed = view.ancestors([output])
    return [n for n in view.nodes if n in needed and CUSTOM_GRADIENT in view.nodes[n].attr and not _is_silu(view, n)]


def _is_silu(view: GraphView, name: str) -> bool:
    """x · sigmoid(βx): TensorFlow's custom gradient only saves memory and equals the derivative."""
    product = node_name(view.inputs[name][0])
    factors = [view.nodes[node_name(i)].op for i in view.inputs[product]]
    return view.nodes[product].op == "Mul" and "Sigmoid" in factors
