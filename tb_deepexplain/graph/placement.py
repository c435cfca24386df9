"""Placement: parts of a model's graph put, one after another, into the function that is being traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.graph.cut import GraphView, tensor
from tb_deepexplain.graph.inlining import renamed


class Placement:
    """What of a model stands in the current function so far; `feeds` take the place of the tensors they name.

    Nothing is placed twice. `captures` are the variables behind the model's placeholders.
    """

    def __init__(self, view: GraphView, captures: Mapping[str, Any], feeds: Mapping[str, Any]) -> None:
        self._view, self._captures = view, captures
        self._feeds, self._placed = dict(feeds), dict(feeds)

    def beside(self, feeds: Mapping[str, Any]) -> Placement:
        """The same model once more, with these tensors fed as well."""
        return Placement(self._view, self._captures, self._feeds | dict(feeds))

    def fetch(self, names: Sequence[str]) -> list[Any]:
        """The tensors of these names, placed where they are not yet."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._placed]
        if wanted:
            graph = tf.compat.v1.get_default_graph()
            for name in self._view.placeholders(wanted, self._placed):
                if tensor(name) not in self._placed:
                    self._placed[tensor(name)] = graph.capture(self._captures[tensor(name)])
            graph_def = self._view.subgraph(wanted, self._placed)
            graph_def = renamed(graph_def) if graph_def.library.function else graph_def
            used = {tensor(i) for node in graph_def.node for i in node.input}
            new = [node.name for node in graph_def.node]
            placed = tf.graph_util.import_graph_def(
                graph_def,
                {name: t for name, t in self._placed.items() if name in used},
                return_elements=new,
                name="model",
            )
            for name, op in zip(new, placed, strict=True):
                for i, output in enumerate(op.outputs):
                    self._placed.setdefault(f"{name}:{i}", output)  # what was fed or replaced stays so
        return [self._placed[name] for name in names]

    def replace(self, name: str, value: Any) -> None:
        """Whatever is placed from now on reads `value` where the model reads `name`."""
        self._placed[name] = value
