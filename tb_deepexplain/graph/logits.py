"""The softmax or sigmoid at the end of a model, and the logits before it."""

from __future__ import annotations

from tb_deepexplain.graph.graph_view import FLOAT_TYPES, RESHAPING_OPS, GraphView, node_name

_PROBABILITY_OPS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_VALUE_PRESERVING_OPS = frozenset({"Identity", "Cast", "StopGradient", "PreventGradient", "CheckNumerics"})
_ORDER_OPS = RESHAPING_OPS | {"Transpose"}


def final_activation(view: GraphView, output: str) -> str | None:
    """Softmax, LogSoftmax or Sigmoid, if `output` is one, in any shape and order; else None."""
    name = final_activation_node(view, output)
    return None if name is None else str(view.nodes[name].op)


def final_activation_node(view: GraphView, output: str) -> str | None:
    """The node of the softmax or sigmoid that computes the values of `output`; None if they come from another op."""
    return _walk_back(view, output)[0]


def find_logits(view: GraphView, output: str) -> str | None:
    """The logits before the softmax or sigmoid that computes `output`, in its shape and order; None if there is none.

    Where the model reshapes or transposes the probabilities, the graph gets copies of these nodes for the logits.
    """
    activation, nodes_after = _walk_back(view, output)
    if activation is None:
        return None
    logits = view.inputs[activation][0]
    if any(view.nodes[name].op not in _VALUE_PRESERVING_OPS for name in nodes_after):
        for name in reversed(nodes_after):
            logits = view.add_copy(name, f"{name}/of_logits", logits)
    return logits


def _walk_back(view: GraphView, output: str) -> tuple[str | None, list[str]]:
    """(the final softmax or sigmoid, the nodes between it and `output`, the last first)."""
    nodes_after = []
    while (op := view.nodes[name := node_name(output)].op) in _VALUE_PRESERVING_OPS | _ORDER_OPS:
        if op == "Cast" and view.nodes[name].attr["DstT"].type not in FLOAT_TYPES:  # a rounding
            return None, []
        nodes_after.append(name)
        output = view.inputs[name][0]
    return (name if op in _PROBABILITY_OPS else None), nodes_after
