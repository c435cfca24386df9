"""Submodel: the part of a model from its entry tensors to the explained output, as TensorFlow functions."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorflow as tf

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import InputError, UnsupportedModelError
from tb_deepexplain.graph.backward_rules import Rule, apply_rule
from tb_deepexplain.graph.custom_gradients import all_custom_gradients, lost_custom_gradients
from tb_deepexplain.graph.cut import Cut
from tb_deepexplain.graph.differentiation import WITHOUT_GRADIENT
from tb_deepexplain.graph.embedding_lookups import EmbeddingLookup, find_word_tables
from tb_deepexplain.graph.gradient_blocks import find_gradient_block
from tb_deepexplain.graph.graph_view import list_names, node_name, tensor_name
from tb_deepexplain.graph.imported_graph import ImportedGraph
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.logits import final_activation
from tb_deepexplain.graph.regions import RegionAnalysis, find_regions
from tb_deepexplain.graph.weights import weights_by_layer

if TYPE_CHECKING:
    from tb_deepexplain.graph.model_graph import ModelGraph

_Compiled = TypeVar("_Compiled")

_MOST_COMPILED = 64  # functions that a submodel keeps


class Submodel:
    """A model graph, cut at its entry tensors and at the explained output.

    `inputs` are always values of the model's inputs; `entries` are values of the entry tensors, and `context` of the
    other tensors that the output needs. Functions of `inputs` are traced once, for any number of examples.
    """

    def __init__(self, graph: ModelGraph, cut: Cut) -> None:
        self.graph, self.cut = graph, cut
        self._compiled: dict[Any, Any] = {}  # functions of `compile_once`, the last ones used at the end
        self._compiling = threading.RLock()
        self._activation_ratio: float | None = None

    def compile_once(self, key: Any, compile_function: Callable[[], _Compiled]) -> _Compiled:
        """What `compile_function()` returned for this key, for all explainers and threads; those not used for long are forgotten."""
        with self._compiling:
            compiled: _Compiled = self._compiled.pop(key) if key in self._compiled else compile_function()
            self._compiled[key] = compiled
            while len(self._compiled) > _MOST_COMPILED:
                self._compiled.pop(next(iter(self._compiled)))
        return compiled

    def compile_once_for_shapes(
        self, key: Any, choices: Sequence[Any], compile_function: Callable[[Any], _Compiled]
    ) -> _Compiled:
        """As compile_once, for the first of the shapes for which `compile_function(shapes)` succeeds."""
        *general, exact = choices
        for shapes in general:

            def compile_if_possible(shapes: Any = shapes) -> _Compiled | None:
                # A step may need to know sizes; any other error is raised again for the exact shapes.
                with contextlib.suppress(Exception):
                    return compile_function(shapes)
                return None

            compiled = self.compile_once((*key, shapes), compile_if_possible)
            if compiled is not None:
                return compiled
        return self.compile_once((*key, exact), lambda: compile_function(exact))

    def compute_entries(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """(entries, context), each `[B, ...]`; InputError for token ids out of range."""
        return self._run(self._entry_function, inputs)

    def predict(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        """(the explained output, the model's output as probabilities, token ids or an empty tensor)."""
        return self._run(self._prediction_function, inputs)

    def token_ids(self, inputs: Sequence[Any]) -> list[Any]:
        """The token ids that are looked up, one tensor for each embedding look-up."""
        return [ids for ids, _ in self._lookup_function(inputs)]

    def explained_token_ids(self, inputs: Sequence[Any]) -> list[Any]:
        """The token ids of each explained input; None for one that is no text."""
        ids = self.token_ids(inputs)
        return [
            None if lookup is None else ids[self.cut.all_lookups.index(lookup)] for lookup in self.cut.explained_lookups
        ]

    def looked_up(self, inputs: Sequence[Any]) -> dict[str, tuple[Any, int]]:
        """By the name of each explained text: its token ids as an array `[B, T]`, and how many rows its embedding has."""
        ids_and_rows = self._lookup_function(inputs)
        by_lookup = {
            lookup: (ids.numpy(), int(rows))
            for lookup, (ids, rows) in zip(self.cut.all_lookups, ids_and_rows, strict=True)
        }
        return {
            name: by_lookup[lookup]
            for name, lookup in zip(self.cut.names, self.cut.explained_lookups, strict=True)
            if lookup is not None
        }

    def sum_to_inputs(self, attributions: Sequence[Any], has_chosen_axes: bool = False) -> list[Any]:
        """A map `[B, ...]` for each explained input from attributions of the entry tensors; only inside a traced function.

        `has_chosen_axes`: the method has a parameter for the axes of its maps; each input then has one entry, which has its axes.
        """
        return [
            attributions[explained.entries[0]]
            if explained.shape is None or has_chosen_axes
            else tf.add_n(
                [
                    share * _sum_to_shape(attributions[i], explained.shape)
                    for i, share in zip(explained.entries, explained.shares, strict=True)
                ]
            )
            for explained in self.cut.explained
        ]

    def embed(self, lookup: EmbeddingLookup, ids: Any) -> Any:
        """The rows of an embedding at these token ids: `[D]` for one id, `[T, D]` for the ids of an example."""

        def rows(ids: Any) -> Any:
            return self.graph.import_graph({lookup.indices: ids}).fetch([lookup.output])[0]

        view, gather = self.graph.view, node_name(lookup.output)
        if view.nodes[gather].op == "Cast":  # the rows are widened in a graph in float64
            gather = node_name(view.inputs[gather][0])
        dtype = view.nodes[gather].attr["Tindices"].type
        count = tf.function(lambda: _table_rows(self.graph.import_graph({}), lookup), autograph=False)()
        low, high = int(np.min(ids)), int(np.max(ids))
        if low < 0 or high >= count:
            raise InputError(
                f"got token ids from {low} to {high}; the embedding has {int(count)} rows, numbered from 0"
            )
        return tf.function(rows, autograph=False)(tf.constant(np.asarray(ids), dtype)).numpy()

    def vocabulary(self, lookup: EmbeddingLookup) -> dict[str, int]:
        """The words of the tables that turn words into the token ids of a look-up; empty if there are none."""
        view, words = self.graph.view, dict[str, int]()
        for name in find_word_tables(view, lookup):
            attributes = view.nodes[name].attr
            types = (tf.as_dtype(attributes["Tin"].type), tf.as_dtype(attributes["Tout"].type))
            keys, values = self._export_table(view.inputs[name][0], *types)
            words |= dict(zip([key.decode(errors="replace") for key in keys.tolist()], values.tolist(), strict=True))
        return words

    def _export_table(self, handle: str, key_type: Any, value_type: Any) -> tuple[np.ndarray, np.ndarray]:
        def export() -> Any:
            (table,) = self.graph.import_graph({}).fetch([handle])
            return tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key_type, Tvalues=value_type)

        keys, values = tf.function(export, autograph=False)()
        return keys.numpy(), values.numpy()

    def compute_output(self, entries: Sequence[Any], context: Sequence[Any], rule: Rule | None = None) -> Any:
        """The explained output `[B, ...]`, whose gradient follows `rule`; only inside a function that is being traced."""
        imported = self.import_graph(entries, context, custom_gradients=rule is None)
        if rule is not None:
            apply_rule(rule, self.region_analysis, imported, self.import_graph, entries, context, self.cut.output)
        output = imported.fetch([self.cut.output])[0]
        self._count_activations(imported, entries)
        if not output.shape.rank:
            shape = "one number for all examples" if output.shape.rank == 0 else "of unknown rank"
            raise UnsupportedModelError(
                f"the output {self.cut.output!r} is {shape}; it needs the batch as its first axis: choose another output"
            )
        if output.dtype.is_complex:
            raise UnsupportedModelError(
                f"the output {self.cut.output!r} holds complex numbers; explain a real number of them with score=, such as tf.abs"
            )
        if not output.dtype.is_floating:
            raise UnsupportedModelError(
                f"the output {self.cut.output!r} holds {output.dtype.name} values, perhaps of an argmax; explain the real "
                "numbers before it, with output=..."
            )
        return output

    def import_graph(
        self, entries: Sequence[Any], context: Sequence[Any], custom_gradients: bool = True
    ) -> ImportedGraph:
        """The submodel imported into the function that is being traced."""
        feeds = dict(zip(self.cut.context, context, strict=True))
        for entry, values in zip(self.cut.entries, entries, strict=True):
            feeds[entry.tensor] = values
            feeds |= {name: _like(values, self._copy_specs[name]) for name in entry.copies}
        return self.graph.import_graph(feeds, custom_gradients)

    @cached_property
    def _copy_specs(self) -> dict[str, tf.TensorSpec]:
        """Shapes and dtypes of the copies of the entry tensors."""
        names = [name for entry in self.cut.entries for name in entry.copies]
        return dict(zip(names, self.graph.static_specs(names, {}), strict=True)) if names else {}

    @property
    def entry_shapes(self) -> list[tf.TensorShape]:
        """The shapes of the entry tensors, batch included, for inputs of any size that the model takes."""
        entries, _ = self._entry_function.structured_outputs
        return [entry.shape for entry in entries]

    @cached_property
    def entry_specs(self) -> tuple[InputSpec, ...]:
        """The entry tensors as InputSpecs, for callers that have their values instead of the model's inputs."""
        entries, _ = self._entry_function.structured_outputs
        return tuple(
            InputSpec(name, e.dtype.name, tuple(e.shape), node_name(tensor))
            for name, e, tensor in zip(self.entry_names, entries, self.cut.entry_tensors, strict=True)
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
    def entry_names(self) -> list[str]:
        """The name of each entry tensor for people: that of its input, if the input has no other entry."""
        names = {
            explained.entries[0]: explained.name for explained in self.cut.explained if len(explained.entries) == 1
        }
        return [names.get(i, entry.tensor) for i, entry in enumerate(self.cut.entries)]

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

    def ignored_custom_gradients(self, family: str) -> list[str]:
        """The nodes between entry tensors and output whose custom gradient a method of this family ignores.

        Raises UnsupportedModelError where that would be no gradient at all.
        """
        view, tail = self.graph.view, self.graph.view.ancestors([self.cut.output], stop=self.cut.fed)
        if family == "backprop rule":
            return all_custom_gradients(view, tail)
        lost, flat = lost_custom_gradients(view, tail) if family == "gradient" else ([], [])
        if flat:
            raise UnsupportedModelError(
                f"the custom gradient of {list_names(flat)} is not in the graph, and the step that it stands for is flat (a "
                "rounding, say): give the Keras model or the function itself, save it with tf.saved_model.SaveOptions("
                f"experimental_custom_gradients=True), or use {WITHOUT_GRADIENT}"
            )
        return lost

    def gradient_block(self, entry: int) -> str:
        """Where the gradient of the entry of this number is blocked, in words; empty if it is truly zero."""
        specs = tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), self._entry_function.structured_outputs
        )
        return find_gradient_block(self.graph.view, self.cut, self.cut.entries[entry].tensor, specs, self.import_graph)

    def weights_by_layer(self) -> list[tuple[str, list[str]]]:
        """(layer, names of its weights) before the explained output, the layer nearest to it first."""
        return weights_by_layer(self.graph.view, self.cut.output, self.graph.captured_names)

    @property
    def has_counted_activations(self) -> bool:
        """Whether `activation_ratio` is known, because the submodel was traced for examples of one shape."""
        return self._activation_ratio is not None

    def trace_prediction(self) -> None:
        """Trace `predict`."""
        _ = self._prediction_function

    def activation_ratio(self, entries: Sequence[Any], context: Sequence[Any]) -> float:
        """How many numbers the submodel computes for each number of `entries`; by the shapes of its first trace."""
        if self._activation_ratio is None:  # a text of any length: traced again, for this one
            specs = [[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in tensors] for tensors in (entries, context)]
            tf.function(self.compute_output, autograph=False).get_concrete_function(*specs)
        return self._activation_ratio or 0.0

    def _count_activations(self, imported: ImportedGraph, entries: Sequence[Any]) -> None:
        """Set `activation_ratio` if it is not known and the entries have known shapes."""
        if self._activation_ratio is None and all(e.shape.rank and None not in e.shape[1:] for e in entries):
            values = sum(math.prod(e.shape[1:]) for e in entries)
            self._activation_ratio = imported.values_per_example() / max(1, values)

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
            tf.TensorSpec(
                spec.traced_shape, "float32" if spec.dtype == "bfloat16" else spec.dtype
            )  # NumPy has no bfloat16
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
            if any(spec.dtype == "string" for spec in self.graph.inputs):  # a picture that cannot be decoded, say
                raise InputError(f"xs: the model cannot read these examples: {model_error_text(error)}") from error
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
        tensors = imported.fetch([*self.cut.entry_tensors, *self.cut.context])
        return tensors[: len(self.cut.entries)], tensors[len(self.cut.entries) :]

    def _import_prediction(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        lookup = next((lookup for lookup in self.cut.explained_lookups if lookup), None)
        imported = self._import_head(inputs)
        output, model_output, *ids = imported.fetch(
            [self.cut.output, self.cut.model_output, *([lookup.indices] if lookup else [])]
        )
        self._count_activations(imported, imported.fetch(self.cut.entry_tensors))
        if final_activation(self.graph.view, self.cut.model_output) == "LogSoftmax":
            model_output = tf.exp(model_output)
        return output, model_output, ids[0] if ids else tf.zeros([tf.shape(inputs[0])[0], 0], tf.int64)

    def _import_lookups(self, imported: ImportedGraph) -> list[tuple[Any, Any]]:
        """(token ids, number of rows of the table) of each embedding look-up."""
        lookups = []
        for lookup in self.cut.all_lookups:
            (ids,) = imported.fetch([lookup.indices])
            lookups.append((ids, tf.cast(_table_rows(imported, lookup), ids.dtype)))
        return lookups


def _like(values: Any, spec: tf.TensorSpec) -> Any:
    """The values in the dtype and shape of another cast of the same input."""
    values = tf.cast(values, spec.dtype)
    if spec.shape.rank is None or spec.shape.is_compatible_with(values.shape):
        return values
    sizes = [-1 if n is None else n for n in spec.shape]
    return tf.reshape(values, sizes) if sizes.count(-1) < 2 else values


def _table_rows(imported: ImportedGraph, lookup: EmbeddingLookup) -> Any:
    """The number of rows of an embedding."""
    (table,) = imported.fetch([lookup.table])
    return tf.raw_ops.VariableShape(input=table)[0] if table.dtype == tf.resource else tf.shape(table)[0]


def _sum_to_shape(attributions: Any, shape: Sequence[int | None]) -> Any:
    """Attributions `[B, ...]` of an encoding, summed to a map of this shape, batch included.

    The encoding has the axes of the map before its own, or the map has one value for each example.
    """
    rank, sizes = len(shape), attributions.shape.as_list()
    if len(sizes) >= rank and all(n is None or n == size for n, size in zip(shape[1:], sizes[1:rank], strict=False)):
        return tf.reduce_sum(attributions, axis=list(range(rank, len(sizes))))
    total = tf.reshape(attributions, tf.concat([tf.shape(attributions)[:1], [-1]], 0))
    if all(n == 1 for n in shape[1:]):
        total = tf.reduce_sum(total, 1)
    return tf.reshape(total, [-1, *(-1 if n is None else n for n in shape[1:])])
