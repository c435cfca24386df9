"""ImportedGraph: a model graph, imported node by node into the function that is being traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.graph.custom_gradients import CUSTOM_GRADIENT
from tb_deepexplain.graph.function_library import rename_functions
from tb_deepexplain.graph.graph_view import GraphView, tensor_name


class ImportedGraph:
    """The nodes of a model that are in the current function so far. Each is imported once, when it is first needed.

    `captures` are the variables that the model's placeholders stand for; `feeds` replace the tensors that they name; without
    `custom_gradients` the gradient is that of what the model computes.
    """

    def __init__(
        self, view: GraphView, captures: Mapping[str, Any], feeds: Mapping[str, Any], custom_gradients: bool = True
    ) -> None:
        self._view, self._captures, self._custom_gradients = view, captures, custom_gradients
        self._feeds, self._tensors = dict(feeds), dict(feeds)

    def import_again(self, feeds: Mapping[str, Any]) -> ImportedGraph:
        """Another import of the same model, with these feeds added."""
        return ImportedGraph(self._view, self._captures, self._feeds | dict(feeds), self._custom_gradients)

    def fetch(self, names: Sequence[str]) -> list[Any]:
        """The tensors of these names; the nodes that compute them are imported where they are missing."""
        missing = [name for name in dict.fromkeys(names) if name not in self._tensors]
        if missing:
            self._capture_variables(missing)
            self._import(missing)
        return [self._tensors[name] for name in names]

    def replace(self, name: str, value: Any) -> None:
        """Nodes that are imported from now on read `value` instead of the tensor `name`."""
        self._tensors[name] = value

    def values_per_example(self) -> int:
        """The numbers that the imported tensors hold for one example, as far as their shapes are known."""
        shapes = [t.shape for t in self._tensors.values()]
        return sum(s[1:].num_elements() or 0 for s in shapes if s.rank and s[0] is None)

    def _capture_variables(self, names: Sequence[str]) -> None:
        graph = tf.compat.v1.get_default_graph()
        for placeholder in map(tensor_name, self._view.placeholders(names, self._tensors)):
            if placeholder not in self._tensors:
                self._tensors[placeholder] = graph.capture(self._captures[placeholder])

    def _import(self, names: Sequence[str]) -> None:
        graph_def = self._view.subgraph(names, self._tensors)
        if graph_def.library.function:
            graph_def = rename_functions(graph_def)
        for node in graph_def.node:
            if CUSTOM_GRADIENT in node.attr and not self._custom_gradients:
                node.attr.pop("_gradient_op_type", None)
        read = {tensor_name(i) for node in graph_def.node for i in node.input}
        nodes = [node.name for node in graph_def.node]
        operations = tf.graph_util.import_graph_def(
            graph_def,
            {name: t for name, t in self._tensors.items() if name in read},
            return_elements=nodes,
            name="model",
        )
        for name, operation in zip(nodes, operations, strict=True):
            for i, output in enumerate(operation.outputs):
                self._tensors.setdefault(f"{name}:{i}", output)  # a feed or replacement stays
