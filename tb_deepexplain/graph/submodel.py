"""Submodel: the part of a model from its entry tensors to the explained output, as TensorFlow functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tb_deepexplain.errors import InputError, UnsupportedModelError
from tb_deepexplain.graph.backward_rules import Rule, apply_rule
from tb_deepexplain.graph.custom_gradients import custom_gradients
from tb_deepexplain.graph.cut import Cut
from tb_deepexplain.graph.gradient_blocks import find_gradient_block
from tb_deepexplain.graph.graph_view import node_name, tensor_name
from tb_deepexplain.graph.imported_graph import ImportedGraph
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.logits import final_activation
from tb_deepexplain.graph.regions import RegionAnalysis, find_regions
from tb_deepexplain.graph.weights import weights_by_layer

if TYPE_CHECKING:
    from tb_deepexplain.graph.model_graph import ModelGraph


class Submodel:
    """A model graph, cut at its entry tensors and at the explained output.

    `inputs` are always values of the model's inputs; `entries` are values of the entry tensors, and `context` of the
    other tensors that the output needs. Functions of `inputs` are traced once, for any number of examples.
    """

    def __init__(self, graph: ModelGraph, cut: Cut) -> None:
        self.graph, self.cut = graph, cut
        self._activation_ratio: float | None = None

    def compute_entries(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """(entries, context), each `[B, ...]`; InputError for token ids out of range."""
        return self._run(self._entry_function, inputs)

    def predict(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        """(the explained output, the model's output as probabilities, token ids or an empty tensor)."""
        return self._run(self._prediction_function, inputs)

    def token_ids(self, inputs: Sequence[Any]) -> list[Any]:
        """The token ids that are looked up, one tensor for each embedding look-up."""
        return [ids for ids, _ in self._lookup_function(inputs)]

    def entry_token_ids(self, inputs: Sequence[Any]) -> list[Any]:
        """The token ids of each entry tensor; None for one that is not an embedding."""
        ids = self.token_ids(inputs)
        return [
            None if lookup is None else ids[self.cut.all_lookups.index(lookup)] for lookup in self.cut.entry_lookups
        ]

    def compute_output(self, entries: Sequence[Any], context: Sequence[Any], rule: Rule | None = None) -> Any:
        """The explained output `[B, ...]`, whose gradient follows `rule`; only inside a function that is being traced."""
        imported = self.import_graph(entries, context)
        if rule is not None:
            apply_rule(rule, self.region_analysis, imported, self.import_graph, entries, context, self.cut.output)
        output = imported.fetch([self.cut.output])[0]
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

    def import_graph(self, entries: Sequence[Any], context: Sequence[Any]) -> ImportedGraph:
        """The submodel imported into the function that is being traced."""
        names = [*self.cut.entries, *self.cut.context]
        return self.graph.import_graph(dict(zip(names, [*entries, *context], strict=True)))

    @cached_property
    def entry_specs(self) -> tuple[InputSpec, ...]:
        """The entry tensors as InputSpecs, for callers that have their values instead of the model's inputs."""
        entries, _ = self._entry_function.structured_outputs
        return tuple(
            InputSpec(name, e.dtype.name, tuple(e.shape), node_name(entry))
            for name, e, entry in zip(self.cut.entry_names, entries, self.cut.entries, strict=True)
        )

    @property
    def explains_model_output(self) -> bool:
        """Whether one of the model's outputs is explained, or its logits; not another tensor."""
        return self.cut.model_output in self.graph.output_specs

    @cached_property
    def output_shape(self) -> tuple[int | None, ...] | None:
        """The shape of the explained output, with the batch; None: its rank is unknown."""
        spec = self.graph.output_specs.get(self.cut.model_output)
        shape = (spec or self._prediction_function.structured_outputs[0]).shape
        return None if shape.rank is None else tuple(shape)

    @property
    def explains_two_classes(self) -> bool:
        """Whether the model's output is a single unit with a sigmoid (at each position), of which class 1 or 0 is explained."""
        return self._ends_in_sigmoids and self.output_shape is not None and self.output_shape[1:][-1:] in ((), (1,))

    @property
    def explains_several_labels(self) -> bool:
        """Whether the model's output is a row of units, each with a sigmoid of its own."""
        return (
            self._ends_in_sigmoids
            and self.output_shape is not None
            and len(self.output_shape) == 2
            and self.output_shape[1] != 1
        )

    @property
    def _ends_in_sigmoids(self) -> bool:
        return self.explains_model_output and final_activation(self.graph.view, self.cut.model_output) == "Sigmoid"

    @property
    def explains_softmax(self) -> bool:
        """Whether the explained output is itself a softmax, or the logarithm of one."""
        return final_activation(self.graph.view, self.cut.output) in ("Softmax", "LogSoftmax")

    @property
    def to_probabilities(self) -> Callable[[Any], Any] | None:
        """The function that turns the explained output into probabilities; None if the model does not end in any."""
        activation = final_activation(self.graph.view, self.cut.model_output)
        if activation is None:
            return None
        if self.cut.explains_logits:
            return tf.sigmoid if activation == "Sigmoid" else tf.nn.softmax
        return tf.exp if activation == "LogSoftmax" else tf.identity

    @cached_property
    def region_analysis(self) -> RegionAnalysis:
        """The regions that a backward rule changes, and the steps that no rule supports."""
        return find_regions(self.graph.view, self.cut)

    @property
    def custom_gradients(self) -> list[str]:
        """The nodes before the explained output that have a custom gradient, which is ignored."""
        return custom_gradients(self.graph.view, self.cut.output)

    def gradient_block(self, entry: int) -> str:
        """Where the gradient of the entry of this number is blocked, in words; empty if it is truly zero."""
        return find_gradient_block(self.graph.view, self.cut, self.cut.entries[entry])

    def weights_by_layer(self) -> list[tuple[str, list[str]]]:
        """(layer, names of its weights) before the explained output, the layer nearest to it first."""
        return weights_by_layer(self.graph.view, self.cut.output, self.graph.captured_names)

    def activation_ratio(self, entries: Sequence[Any], context: Sequence[Any]) -> float:
        """How many numbers the submodel computes for each number of `entries`; by the shapes of the first call."""
        if self._activation_ratio is None:
            specs = [[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in tensors] for tensors in (entries, context)]
            graph = tf.function(self.compute_output, autograph=False).get_concrete_function(*specs).graph
            shapes = [
                t.shape[1:] for op in graph.get_operations() for t in op.outputs if t.shape.rank and t.shape[0] is None
            ]
            computed = sum(shape.num_elements() or 0 for shape in shapes)
            self._activation_ratio = computed / max(1, sum(math.prod(e.shape[1:]) for e in entries))
        return self._activation_ratio

    @cached_property
    def _entry_function(self) -> Any:
        return self._trace(self._import_entries)

    @cached_property
    def _prediction_function(self) -> Any:
        return self._trace(self._import_prediction)

    @cached_property
    def _lookup_function(self) -> Any:
        return self._trace(lambda inputs: self._import_lookups(self._import_head(inputs)))

    def _trace(self, function: Callable[..., Any]) -> Any:
        """A function of the model's inputs as one graph for any number of examples."""
        specs = [
            tf.TensorSpec(spec.shape, "float32" if spec.dtype == "bfloat16" else spec.dtype)  # NumPy has no bfloat16
            for spec in self.graph.inputs
        ]
        return tf.function(function, autograph=False).get_concrete_function(specs)

    def _run(self, function: Any, inputs: Sequence[Any]) -> Any:
        """`function(inputs)`; InputError if it fails because token ids are out of range."""
        try:
            return function(inputs)
        except tf.errors.InvalidArgumentError as error:
            for ids, rows in self._lookup_function(inputs):
                low, high = int(tf.reduce_min(ids)), int(tf.reduce_max(ids))
                if low < 0 or high >= int(rows):
                    raise InputError(
                        f"xs: got token ids from {low} to {high}; the embedding has {int(rows)} rows, numbered from 0"
                    ) from error
            raise

    def _import_head(self, inputs: Sequence[Any]) -> ImportedGraph:
        """The part of the model before the entry tensors."""
        feeds = {
            tensor_name(spec.node): tf.cast(x, spec.dtype) if spec.is_float else x
            for spec, x in zip(self.graph.inputs, inputs, strict=True)
        }
        return self.graph.import_graph(feeds)

    def _import_entries(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        imported = self._import_head(inputs)
        for ids, rows in self._import_lookups(imported):
            # A GPU would silently read zeros for an id out of range.
            tf.debugging.Assert(tf.reduce_all((ids >= 0) & (ids < rows)), [ids])
        tensors = imported.fetch([*self.cut.entries, *self.cut.context])
        return tensors[: len(self.cut.entries)], tensors[len(self.cut.entries) :]

    def _import_prediction(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        lookup = next((lookup for lookup in self.cut.entry_lookups if lookup), None)
        output, model_output, *ids = self._import_head(inputs).fetch(
            [self.cut.output, self.cut.model_output, *([lookup.indices] if lookup else [])]
        )
        if final_activation(self.graph.view, self.cut.model_output) == "LogSoftmax":
            model_output = tf.exp(model_output)
        return output, model_output, ids[0] if ids else tf.zeros([tf.shape(inputs[0])[0], 0], tf.int64)

    def _import_lookups(self, imported: ImportedGraph) -> list[tuple[Any, Any]]:
        """(token ids, number of rows of the table) of each embedding look-up."""
        lookups = []
        for lookup in self.cut.all_lookups:
            table, ids = imported.fetch([lookup.table, lookup.indices])
            rows = tf.raw_ops.VariableShape(input=table)[0] if table.dtype == tf.resource else tf.shape(table)[0]
            lookups.append((ids, tf.cast(rows, ids.dtype)))
        return lookups
