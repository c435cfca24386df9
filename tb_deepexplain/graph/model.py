"""ModelGraph, the one form in which a model is explained, and BoundGraph, the same with its ends chosen.

A ModelGraph is an inlined TensorFlow function graph whose variables are captured, not copied: a model is in
memory once, and training it further shows in the next explanation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.cut import Cut, GraphView, make_cut, tensor
from tb_deepexplain.graph.inline import inline, outputs_of


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of a model: its name, dtype ("float32", "int64", "string", ...) and shape, batch included."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    node: str = dataclasses.field(repr=False)

    @property
    def is_float(self) -> bool:
        return bool(tf.as_dtype(self.dtype).is_floating)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


class ModelGraph:
    """A model as a graph. `inputs` says what it reads, `outputs` names what it gives."""

    def __init__(
        self,
        function: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        source: str,
        *,
        keep: Any = None,
        layers: Mapping[str, str] | None = None,
        ordered: bool = True,
    ) -> None:
        """`layers` are the output tensors of layers where they are known; `ordered` says whether inputs have an order."""
        placeholders = function.inputs[: len(inputs)]
        self.source, self.ordered, self._layers = source, ordered, dict(layers or {})
        self.inputs = tuple(
            InputSpec(name, p.dtype.name, tuple(p.shape) if p.shape.rank is not None else (None,), p.op.name)
            for name, p in zip(inputs, placeholders, strict=True)
        )
        for spec in self.inputs:
            if spec.shape and spec.shape[0] is not None:
                raise UnsupportedModelError(
                    f"{source}: input {spec} takes exactly {spec.shape[0]} examples at once; "
                    "export the model with a batch of None"
                )
        self._view = GraphView(inline(function))
        self.outputs = {name: tensor(t.name) for name, t in zip(outputs, outputs_of(function), strict=True)}
        self._captures = {tensor(internal.name): external for external, internal in function.graph.captures}
        self._keep = (function, keep)  # a SavedModel's signature holds its variables weakly
        self._cuts: dict[Any, BoundGraph] = {}

    def bind(self, inputs: str | Sequence[str] | None = None, output: str | None = None) -> BoundGraph:
        """This model, entered and left at the given places; the same answer for the same question."""
        asked = None if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(inputs)
        key = (asked, output)
        if key not in self._cuts:
            names = None if asked is None or "embedding" in asked else asked
            self._cuts[key] = BoundGraph(
                self, make_cut(self._view, self.inputs, self.outputs, self._layers, asked, output), names
            )
        return self._cuts[key]

    def run(self, fetches: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
        """Place the part of the graph between feeds and fetches into the function that is being traced."""
        graph = tf.compat.v1.get_default_graph()
        feeds = dict(feeds)
        for name in self._view.placeholders(fetches, feeds):
            if tensor(name) not in feeds:
                feeds[tensor(name)] = graph.capture(self._captures[tensor(name)])
        direct = {f: feeds[f] for f in fetches if f in feeds}
        wanted = [f for f in dict.fromkeys(fetches) if f not in direct]
        if wanted:
            graph_def = self._view.subgraph(wanted, feeds)
            used = {tensor(i) for node in graph_def.node for i in node.input}
            found = tf.graph_util.import_graph_def(
                graph_def, {k: v for k, v in feeds.items() if k in used}, return_elements=wanted, name="model"
            )
            direct |= dict(zip(wanted, found, strict=True))
        return [direct[f] for f in fetches]

    def __repr__(self) -> str:
        return f"ModelGraph({self.source}: {'; '.join(map(str, self.inputs))} -> {', '.join(self.outputs)})"


class BoundGraph:
    """A ModelGraph with its entries and its output chosen; each part is traced once for each rank of input."""

    def __init__(self, graph: ModelGraph, cut: Cut, names: Sequence[str] | None) -> None:
        self.graph, self.cut = graph, cut
        self.entry_names = tuple(names) if names is not None else tuple(cut.names)
        self.enter = tf.function(self._enter, autograph=False, reduce_retracing=True)
        self.tokens = tf.function(self._tokens, autograph=False, reduce_retracing=True)
        self.predict = tf.function(self._predict, autograph=False, reduce_retracing=True)

    def _feeds(self, raw: Sequence[Any]) -> dict[str, Any]:
        cast = [tf.cast(x, spec.dtype) if spec.is_float else x for spec, x in zip(self.graph.inputs, raw, strict=True)]
        return {tensor(spec.node): x for spec, x in zip(self.graph.inputs, cast, strict=True)}

    def _enter(self, raw: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Model inputs → (entries, context), each with the batch first."""
        found = self.graph.run([*self.cut.entries, *self.cut.context], self._feeds(raw))
        return found[: len(self.cut.entries)], found[len(self.cut.entries) :]

    def _tokens(self, raw: Sequence[Any]) -> list[Any]:
        """Model inputs → the token ids that are looked up, one tensor for each embedding."""
        return self.graph.run([lookup.indices for lookup in self.cut.lookups if lookup], self._feeds(raw))

    def _predict(self, raw: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Model inputs → (what is explained, the model's own output, token ids or an empty tensor)."""
        lookup = next((lookup for lookup in self.cut.lookups if lookup), None)
        fetches = [self.cut.output, self.cut.final, *([lookup.indices] if lookup else [])]
        found = self.graph.run(fetches, self._feeds(raw))
        return found[0], found[1], found[2] if lookup else tf.zeros([tf.shape(raw[0])[0], 0], tf.int64)

    def leave(self, entries: Sequence[Any], context: Sequence[Any]) -> Any:
        """Entries and context → output; to be called while a function is being traced."""
        feeds = dict(zip([*self.cut.entries, *self.cut.context], [*entries, *context], strict=True))
        output = self.graph.run([self.cut.output], feeds)[0]
        if not output.shape.rank:
            shape = "one number for all examples" if output.shape.rank == 0 else "of unknown rank"
            raise UnsupportedModelError(
                f"the output {self.cut.output!r} is {shape}; it needs the batch as its first axis: choose another output"
            )
        if not output.dtype.is_floating:
            raise UnsupportedModelError(
                f"the output {self.cut.output!r} holds {output.dtype.name} values, perhaps of an argmax; explain the real "
                "numbers before it, with output=..."
            )
        return output
