"""ModelGraph, the one form in which a model is explained, and BoundGraph, the same with its ends chosen.

A ModelGraph is an inlined TensorFlow function graph whose variables are captured, not copied: a model is in
memory once, and training it further shows in the next explanation.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.graph.backward_rules import Rule, apply
from tb_deepexplain.graph.custom_gradients import own_gradients
from tb_deepexplain.graph.cut import Cut, GraphView, last_squash, make_cut, node_of, step_back, tensor
from tb_deepexplain.graph.determinism import check_constancy
from tb_deepexplain.graph.inlining import inline, outputs_of
from tb_deepexplain.graph.placement import Placement
from tb_deepexplain.graph.regions import Plan, find_ends, find_regions
from tb_deepexplain.graph.weights import layers_of, variable_reads


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of a model: its name, dtype ("float32", "int64", "string", ...) and shape, batch included."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    node: str = dataclasses.field(repr=False)
    default: Any = dataclasses.field(default=None, repr=False, compare=False)  # of an example that lacks it, or None

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
                    "export the model with a batch of None, or give (function, tf.TensorSpec([None, ...])) for a function"
                )
        self._view = GraphView(inline(function))
        self.outputs = {name: tensor(t.name) for name, t in zip(outputs, outputs_of(function), strict=True)}
        self._captures = {tensor(internal.name): external for external, internal in function.graph.captures}
        self._keep = (function, keep)  # a SavedModel's signature holds its variables weakly
        self._feeds: dict[str, Any] = {}  # constants that others stand for
        self._cuts: dict[Any, BoundGraph] = {}

    @property
    def view(self) -> GraphView:
        """The graph itself, to be read only."""
        return self._view

    def with_defaults(self, values: Mapping[str, np.ndarray]) -> ModelGraph:
        """The same model; what these inputs are of an example that lacks them is known."""
        other = copy.copy(self)
        inputs = tuple(dataclasses.replace(spec, default=values.get(spec.name)) for spec in self.inputs)
        vars(other).update(inputs=inputs, _cuts={})
        return other

    def of_output(self, name: str) -> ModelGraph:
        """The same model with this one of its outputs; ParameterError if it has none of that name."""
        if name not in self.outputs:
            raise ParameterError(f"the model has no output {name!r}; it has {', '.join(self.outputs)}")
        other = copy.copy(self)
        vars(other).update(outputs={name: self.outputs[name]}, _cuts={})
        return other

    def bind(self, inputs: str | Sequence[str] | None = None, output: str | None = None) -> BoundGraph:
        """This model, entered and left at the given places; the same answer for the same question."""
        asked = None if inputs is None else tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
        for given, option in (*((name, "inputs") for name in asked or ()), (output, "output")):
            if given is not None and not isinstance(given, str):
                hint = f"; its name is {given.name!r}" if isinstance(getattr(given, "name", None), str) else ""
                raise ParameterError(
                    f"{option}: got a {type(given).__name__}; give the name of a layer or tensor{hint}"
                )
        key = (asked, output)
        if key not in self._cuts:
            names = None if asked is None or "embedding" in asked else asked
            cut = make_cut(self._view, self.inputs, self.outputs, self._layers, asked, output)
            check_constancy(self._view, [cut.output, cut.final])
            self._cuts[key] = BoundGraph(self, cut, names)
        return self._cuts[key]

    def place(self, feeds: dict[str, Any]) -> Placement:
        """The model in the function that is being traced, with other tensors in place of some of its own."""
        constants = {name: tf.constant(value) for name, value in self._feeds.items()}
        return Placement(self._view, self._captures, constants | feeds)

    @property
    def identity(self) -> tuple[int, ...]:
        """Equal for graphs of one model in this process: those that read the same variables, or are one object."""
        return tuple(sorted(map(id, self._captures.values()))) or (id(self),)

    def regions(self, cut: Cut) -> Plan:
        return find_regions(self._view, cut)

    def squash(self, name: str) -> str | None:
        """Softmax, LogSoftmax or Sigmoid, if a tensor comes straight from one; else None."""
        found = last_squash(self._view, name)
        return None if found is None else str(self._view.nodes[found].op)

    def is_softmax(self, name: str) -> bool:
        """Whether a tensor comes straight from a softmax, or the logarithm of one."""
        return self.squash(name) in ("Softmax", "LogSoftmax")

    def logits_behind(self, name: str) -> str | None:
        """How the logits behind a softmax are asked for: None for those of a model's only output, else their tensor."""
        return None if list(self.outputs.values()) == [name] else step_back(self._view, name)

    def ends(self, cut: Cut, entry: str) -> str:
        """Where the gradient of an entry ends on its way to the output, in words; "" where the output ignores it."""
        return find_ends(self._view, cut, entry)

    def own_gradients(self, cut: Cut) -> list[str]:
        """The steps before the output whose gradient somebody wrote: not used, what they compute has its own."""
        return own_gradients(self._view, cut.output)

    def is_logarithm(self, name: str) -> bool:
        """Whether a tensor is the logarithm of a softmax."""
        return self.squash(name) == "LogSoftmax"

    def layer_of(self, name: str) -> str:
        """The Keras layer whose output a tensor is; where that is not known, the scope in which it is computed."""
        known = next((layer for layer, t in self._layers.items() if t == name), None)
        *scopes, last = node_of(name).split("/")
        return (
            f"layer {known!r}" if known else f"{'/'.join(scopes[-2:]) or last!r} ({self._view.nodes[node_of(name)].op})"
        )

    def weights(self) -> Iterator[tuple[str, Any]]:
        """The variables that the model reads: the scope of the step that reads each, and its values."""
        for name in self._captures:
            for reader, kind in variable_reads(self._view, name):
                yield reader.rsplit("/", 1)[0], self._read(name, kind)

    def layers(self, cut: Cut) -> list[tuple[str, list[str]]]:
        """The weights on the way to what is explained, by layer, that nearest to the output first; `weight` reads them."""
        return layers_of(self._view, cut.output, self._captures)

    def weight(self, name: str) -> np.ndarray:
        """The values of one of `layers`."""
        if name in self._captures:
            return self._read(name, variable_reads(self._view, name)[0][1]).numpy()
        return tf.make_ndarray(self._view.nodes[node_of(name)].attr["value"].tensor)

    def with_weights(self, values: Mapping[str, np.ndarray]) -> ModelGraph:
        """The same model with these values for some of its weights; this one is left alone."""
        variables = {name: tf.Variable(value) for name, value in values.items() if name in self._captures}
        other = copy.copy(self)
        vars(other).update(
            _captures=self._captures | {name: variable.handle for name, variable in variables.items()},
            _feeds=self._feeds | {name: value for name, value in values.items() if name not in self._captures},
            _keep=(self._keep, variables),
            _cuts={},
        )
        return other

    def _read(self, name: str, kind: int) -> Any:
        return tf.raw_ops.ReadVariableOp(resource=self._captures[name], dtype=kind)

    def __repr__(self) -> str:
        return f"ModelGraph({self.source}: {'; '.join(map(str, self.inputs))} -> {', '.join(self.outputs)})"


class BoundGraph:
    """A ModelGraph with its entries and its output chosen; each part is traced once for each rank of input."""

    def __init__(self, graph: ModelGraph, cut: Cut, names: Sequence[str] | None) -> None:
        self.graph, self.cut = graph, cut
        self.entry_names = tuple(names) if names is not None else tuple(cut.names)
        self._growth: float | None = None

    def _traced(self, function: Callable[..., Any]) -> Any:
        """A function of the model's inputs, once for any number of examples."""
        kinds = ["float32" if spec.dtype == "bfloat16" else spec.dtype for spec in self.graph.inputs]  # as NumPy has it
        specs = [tf.TensorSpec(spec.shape, kind) for spec, kind in zip(self.graph.inputs, kinds, strict=True)]
        return tf.function(function, autograph=False).get_concrete_function(specs)

    @cached_property
    def _entering(self) -> Any:
        return self._traced(self._enter)

    @cached_property
    def _predicting(self) -> Any:
        return self._traced(self._predict)

    @cached_property
    def _looking_up(self) -> Any:
        return self._traced(lambda raw: self._look_up(self._place(raw)))

    def enter(self, raw: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Model inputs → (entries, context), each with the batch first; InputError for token ids out of range."""
        return self._within(self._entering, raw)

    def predict(self, raw: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Model inputs → (what is explained, the model's own output as probabilities, token ids or an empty tensor)."""
        return self._within(self._predicting, raw)

    def tokens(self, raw: Sequence[Any]) -> list[Any]:
        """Model inputs → the token ids that are looked up, one tensor for each embedding."""
        return [ids for ids, _ in self._looking_up(raw)]

    def tokens_of_entries(self, raw: Sequence[Any]) -> list[Any]:
        """As `tokens`, one for each entry; None for what is not looked up."""
        ids = self.tokens(raw)
        return [None if lookup is None else ids[self.cut.reads.index(lookup)] for lookup in self.cut.lookups]

    def _within(self, function: Any, raw: Sequence[Any]) -> Any:
        try:
            return function(raw)
        except tf.errors.InvalidArgumentError as error:
            for ids, rows in self._looking_up(raw):
                low, high = int(tf.reduce_min(ids)), int(tf.reduce_max(ids))
                if low < 0 or high >= int(rows):
                    raise InputError(
                        f"xs: token ids from {low} to {high} came; the embedding has {int(rows)} rows, numbered from 0"
                    ) from error
            raise

    def _look_up(self, place: Placement) -> list[tuple[Any, Any]]:
        """The token ids and the number of rows of each embedding."""
        found = []
        for lookup in self.cut.reads:
            table, ids = place.fetch([lookup.table, lookup.indices])
            rows = tf.raw_ops.VariableShape(input=table)[0] if table.dtype == tf.resource else tf.shape(table)[0]
            found.append((ids, tf.cast(rows, ids.dtype)))
        return found

    def _place(self, raw: Sequence[Any]) -> Placement:
        cast = [tf.cast(x, spec.dtype) if spec.is_float else x for spec, x in zip(self.graph.inputs, raw, strict=True)]
        return self.graph.place({tensor(spec.node): x for spec, x in zip(self.graph.inputs, cast, strict=True)})

    def _enter(self, raw: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        place = self._place(raw)
        for ids, rows in self._look_up(place):
            # A GPU would read zeros there and say nothing.
            tf.debugging.Assert(tf.reduce_all((ids >= 0) & (ids < rows)), [ids])
        found = place.fetch([*self.cut.entries, *self.cut.context])
        return found[: len(self.cut.entries)], found[len(self.cut.entries) :]

    def _predict(self, raw: Sequence[Any]) -> tuple[Any, Any, Any]:
        lookup = next((lookup for lookup in self.cut.lookups if lookup), None)
        fetches = [self.cut.output, self.cut.final, *([lookup.indices] if lookup else [])]
        found = self._place(raw).fetch(fetches)
        final = tf.exp(found[1]) if self.graph.is_logarithm(self.cut.final) else found[1]
        return found[0], final, found[2] if lookup else tf.zeros([tf.shape(raw[0])[0], 0], tf.int64)

    @cached_property
    def entry_specs(self) -> tuple[InputSpec, ...]:
        """What is explained, for those who give its values and not the model's inputs."""
        entries, _ = self._entering.structured_outputs
        return tuple(
            InputSpec(name, e.dtype.name, tuple(e.shape), node_of(t))
            for name, e, t in zip(self.entry_names, entries, self.cut.entries, strict=True)
        )

    @cached_property
    def plan(self) -> Plan:
        """What a backward rule finds on the way."""
        return self.graph.regions(self.cut)

    def place(self, entries: Sequence[Any], context: Sequence[Any]) -> Placement:
        """The model behind its entries, in the function that is being traced."""
        ends = [*self.cut.entries, *self.cut.context]
        return self.graph.place(dict(zip(ends, [*entries, *context], strict=True)))

    def ends(self, entry: int) -> str:
        """Where the gradient of the entry of this number ends, in words; "" where the output ignores it."""
        return self.graph.ends(self.cut, self.cut.entries[entry])

    @property
    def link(self) -> Callable[[Any], Any] | None:
        """What makes probabilities of the output; None where the model ends in neither a softmax nor a sigmoid."""
        squash = self.graph.squash(self.cut.final)
        if squash is None or not (self.cut.stepped_back or self.cut.output == self.cut.final):
            return None
        if self.cut.stepped_back:
            return tf.sigmoid if squash == "Sigmoid" else tf.nn.softmax
        return tf.exp if squash == "LogSoftmax" else tf.identity

    def growth(self, entries: Sequence[Any], context: Sequence[Any]) -> float:
        """How many numbers the model computes on its way to the output for each number that enters it; by the first asked."""
        if self._growth is None:
            specs = [[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in ends] for ends in (entries, context)]
            graph = tf.function(self.leave, autograph=False).get_concrete_function(*specs).graph
            shapes = [
                t.shape[1:] for op in graph.get_operations() for t in op.outputs if t.shape.rank and t.shape[0] is None
            ]
            computed = sum(shape.num_elements() or 0 for shape in shapes)
            self._growth = computed / max(1, sum(math.prod(e.shape[1:]) for e in entries))
        return self._growth

    def leave(self, entries: Sequence[Any], context: Sequence[Any], rule: Rule | None = None) -> Any:
        """Entries and context → output, its gradient changed by the rule; to be called while a function is traced."""
        place = self.place(entries, context)
        if rule is not None:
            apply(rule, self.plan, place, self.place, entries, context, self.cut.output)
        output = place.fetch([self.cut.output])[0]
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
