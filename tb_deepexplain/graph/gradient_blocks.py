"""Why no gradient reaches an entry tensor: the steps between it and the output that pass none on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.framework import ops  # TensorFlow does not say in public which ops have a gradient

from tb_deepexplain.graph.cut import Cut
from tb_deepexplain.graph.differentiation import differentiate
from tb_deepexplain.graph.graph_view import GraphView, list_names, node_name
from tb_deepexplain.graph.op_classes import is_flat

if TYPE_CHECKING:
    from tb_deepexplain.graph.imported_graph import ImportedGraph


def find_gradient_block(
    view: GraphView, cut: Cut, entry: str, specs: Sequence[Any], import_graph: Callable[..., ImportedGraph]
) -> str:
    """The nodes that block the gradient of an entry tensor, in words; empty if the output does not depend on it.

    `import_graph(entries, context)` imports the submodel into the function that is being traced; `specs` are the TensorSpecs
    of its two arguments.
    """
    tail = view.ancestors([cut.output], stop=cut.fed)
    consumers = view.value_consumers_within(entry, tail)
    dependent = view.value_descendants(consumers) & tail
    if node_name(cut.output) not in dependent:
        return ""
    blocks: list[str] = []
    visited, stack = set(consumers), list(dict.fromkeys(consumers))
    while stack:
        name = stack.pop()
        if _blocks_gradient(view.nodes[name]):
            blocks.append(name)
            continue
        following = {n for n in view.value_consumers.get(name, ()) if n in tail} - visited
        visited |= following
        stack += sorted(following)
    blocks = blocks or _last_with_gradient(view, cut, dependent, specs, import_graph)
    return list_names([f"{name} ({view.nodes[name].op})" for name in blocks])


def _blocks_gradient(node: Any) -> bool:
    if is_flat(node):
        return True
    try:
        return ops.gradient_registry.lookup(node.op) is None
    except LookupError:
        return True


def _last_with_gradient(
    view: GraphView,
    cut: Cut,
    dependent: set[str],
    specs: Sequence[Any],
    import_graph: Callable[..., ImportedGraph],
) -> list[str]:
    """The nodes that a gradient of the output reaches, but none of the tensors that they are computed from."""
    read = {t for t in [*view.consumers, cut.output] if node_name(t) in dependent}
    blocking_nodes = list[str]()

    def trace(entries: list[Any], context: list[Any]) -> None:
        tensors = dict(zip(read, import_graph(entries, context).fetch(list(read)), strict=True))
        real = [t for t in read if tensors[t].dtype.is_floating]
        gradients = differentiate(tensors[cut.output], [tensors[t] for t in real])
        reached = {node_name(t) for t, gradient in zip(real, gradients, strict=True) if gradient is not None}
        inputs = {n: {node_name(i) for i in view.inputs[n]} & dependent for n in reached}
        blocking_nodes.extend(n for n in view.nodes if n in reached and not inputs[n] & reached)

    tf.function(trace, autograph=False).get_concrete_function(*specs)
    return blocking_nodes
