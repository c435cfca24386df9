"""Why no gradient reaches an entry tensor: the steps between it and the output that pass none on."""

from __future__ import annotations

from typing import Any

from tensorflow.python.framework import ops  # TensorFlow does not say in public which ops have a gradient

from tb_deepexplain.graph.cut import Cut
from tb_deepexplain.graph.graph_view import FLOAT_TYPES, GraphView, list_names, node_name
from tb_deepexplain.graph.op_classes import FLAT_OPS


def find_gradient_block(view: GraphView, cut: Cut, entry: str) -> str:
    """The nodes that block the gradient of an entry tensor, in words; empty if the output does not depend on it."""
    tail = view.ancestors([cut.output], stop=cut.fed)
    consumers = view.value_consumers_within(entry, tail)
    if node_name(cut.output) not in view.value_descendants(consumers):
        return ""
    blocks: list[str] = []
    visited, stack = set(consumers), list(dict.fromkeys(consumers))
    while stack:
        name = stack.pop()
        if _blocks_gradient(view.nodes[name]):
            blocks.append(f"{name} ({view.nodes[name].op})")
            continue
        following = {n for n in view.value_consumers.get(name, ()) if n in tail} - visited
        visited |= following
        stack += sorted(following)
    return list_names(blocks) or "an unknown step"


def _blocks_gradient(node: Any) -> bool:
    if node.op in FLAT_OPS or (node.op == "Cast" and node.attr["DstT"].type not in FLOAT_TYPES):
        return True
    try:
        return ops.gradient_registry.lookup(node.op) is None
    except LookupError:
        return True
