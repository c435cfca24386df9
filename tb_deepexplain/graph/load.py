"""Keras object, .keras file, SavedModel or tf.function → ModelGraph, the one form in which a model is explained.

A ModelGraph is an inlined TensorFlow function graph whose variables are captured, not copied: a model is in
memory once, and training it further shows in the next explanation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.eager import context
from tensorflow.python.grappler import tf_optimizer  # no public way to inline functions exists

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.cut import Cut, GraphView, make_cut, node_of, tensor


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
        self._view = GraphView(_inline(function))
        self.outputs = {name: tensor(t.name) for name, t in zip(outputs, _outputs(function), strict=True)}
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
        self.predict = tf.function(self._predict, autograph=False, reduce_retracing=True)

    def _feeds(self, raw: Sequence[Any]) -> dict[str, Any]:
        cast = [tf.cast(x, spec.dtype) if spec.is_float else x for spec, x in zip(self.graph.inputs, raw, strict=True)]
        return {tensor(spec.node): x for spec, x in zip(self.graph.inputs, cast, strict=True)}

    def _enter(self, raw: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Model inputs → (entries, context), each with the batch first."""
        found = self.graph.run([*self.cut.entries, *self.cut.context], self._feeds(raw))
        return found[: len(self.cut.entries)], found[len(self.cut.entries) :]

    def _predict(self, raw: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Model inputs → (what is explained, the model's own output, token ids or an empty tensor)."""
        lookup = next((lookup for lookup in self.cut.lookups if lookup), None)
        fetches = [self.cut.output, self.cut.final, *([lookup.indices] if lookup else [])]
        found = self.graph.run(fetches, self._feeds(raw))
        return found[0], found[1], found[2] if lookup else tf.zeros([0, 0], tf.int64)

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


def load_model(model: Any, *, signature: str | None = None) -> ModelGraph:
    """The ModelGraph of a keras.Model, a `.keras` file, a SavedModel directory, a tf.function with an input
    signature, a ConcreteFunction, or a ModelGraph (returned as it is).

    `signature` chooses among a SavedModel's signatures; `serving_default`, or the only one, is the default.
    Raises UnsupportedModelError when the model cannot be read.
    """
    if isinstance(model, ModelGraph):
        return model
    if isinstance(model, str | os.PathLike):
        return _from_path(Path(model), signature)
    if signature is not None:
        raise UnsupportedModelError(
            "signature=... chooses a signature of a SavedModel directory; this model is an object"
        )
    if isinstance(model, tf.keras.Model):
        return _from_keras(model, f"Keras model {model.name!r}")
    if hasattr(model, "get_concrete_function") and getattr(model, "input_signature", None) is not None:
        model = model.get_concrete_function()
    if hasattr(model, "structured_input_signature") and hasattr(model, "graph"):
        return _from_concrete(model, "function")
    raise UnsupportedModelError(
        f"cannot explain a {type(model).__name__}: give a keras.Model, a path to a .keras file or a SavedModel directory, "
        "or a tf.function with an input_signature"
    )


def _from_path(path: Path, signature: str | None) -> ModelGraph:
    if not path.exists():
        raise UnsupportedModelError(f"no model at {path}: give a SavedModel directory or a .keras file")
    if path.is_dir():
        return _from_saved_model(path, signature)
    if path.suffix != ".keras":
        raise UnsupportedModelError(
            f"{path} is neither a SavedModel directory nor a .keras file; export it with model.export()"
        )
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise
        raise UnsupportedModelError(f"Keras cannot load {path}: {_first_line(error)}") from error
    return _from_keras(model, str(path))


def _from_saved_model(path: Path, signature: str | None) -> ModelGraph:
    if not any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise UnsupportedModelError(f"{path} holds no saved_model.pb; give the directory that model.export() wrote")
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:
        raise UnsupportedModelError(f"TensorFlow cannot load {path}: {_first_line(error)}") from error
    signatures = dict(loaded.signatures)
    chosen = signature or ("serving_default" if "serving_default" in signatures else next(iter(signatures), ""))
    if chosen not in signatures or (signature is None and chosen != "serving_default" and len(signatures) > 1):
        names = ", ".join(map(repr, signatures)) or "none"
        asked = f"no signature {signature!r}" if signature else "no serving_default signature"
        raise UnsupportedModelError(f"{path} has {asked}; it has {names}; choose one with signature=...")
    return _from_concrete(signatures[chosen], str(path), keep=loaded)


def _from_concrete(function: Any, source: str, keep: Any = None) -> ModelGraph:
    captured = {internal.name for _, internal in function.graph.captures}
    inputs = [t for t in function.inputs if t.name not in captured]
    names = [
        t.op.get_attr("_user_specified_name").decode() if "_user_specified_name" in t.op.node_def.attr else t.op.name
        for t in inputs
    ]
    names = [t.op.name if names.count(name) > 1 else name for t, name in zip(inputs, names, strict=True)]
    # A signature takes its inputs by keyword: the order in which they stand here is TensorFlow's, not the caller's.
    ordered = not function.structured_input_signature[1]
    return ModelGraph(function, names, _output_names(function, source), source, keep=keep, ordered=ordered)


def _outputs(function: Any) -> list[Any]:
    """A function's outputs, without the intermediate values that TensorFlow appends once it was differentiated."""
    return list(function.outputs[: len(tf.nest.flatten(function.structured_outputs))])


def _output_names(function: Any, source: str, names: Sequence[str] = ()) -> list[str]:
    count = len(_outputs(function))
    if isinstance(function.structured_outputs, dict):
        names = sorted(function.structured_outputs)  # the order in which TensorFlow flattens a dict
        if len(names) != count:
            raise UnsupportedModelError(
                f"{source}: its outputs are nested; give a function that returns a tensor or a flat dict"
            )
    return list(names) if len(names) == count else [f"output_{i}" for i in range(count)]


def _from_keras(model: Any, source: str) -> ModelGraph:
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        raise UnsupportedModelError(
            f"{source} has no fixed inputs (a subclassed model?): wrap it as tf.function(model, input_signature=[tf.TensorSpec(...)])"
        )
    structure = inputs[0] if isinstance(model, tf.keras.Sequential) else model.input
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in inputs]
    traced, layers = _with_layers(model), dict[str, str]()

    @tf.function(input_signature=specs, autograph=False)
    def call(*flat: Any) -> Any:
        outputs, inner = traced(tf.nest.pack_sequence_as(structure, flat))
        layers.update({name: t.name for name, t in inner.items()})
        return outputs

    function = call.get_concrete_function()
    outputs = _output_names(function, source, getattr(model, "output_names", ()))
    return ModelGraph(function, [t.name for t in inputs], outputs, source, keep=(model, traced), layers=layers)


def _with_layers(model: Any) -> Any:
    """inputs → (the model's outputs, layer name → its output), the latter where Keras knows it: TensorFlow's name
    scopes do not tell layer `dense_1` from a second scope of layer `dense`."""
    if not isinstance(model, tf.keras.Sequential) and type(model).__name__ != "Functional":
        return lambda x: (model(x, training=False), {})
    known = {}
    for layer in model.layers:
        with contextlib.suppress(AttributeError, ValueError):  # called several times, or never
            if isinstance(layer.output, tf.keras.KerasTensor):
                known[layer.name] = layer.output
    outputs = model.outputs[0] if isinstance(model, tf.keras.Sequential) else model.output
    both = tf.keras.Model(model.inputs[0] if isinstance(model, tf.keras.Sequential) else model.input, [outputs, known])
    return lambda x: both(x, training=False)


def _inline(function: Any) -> Any:
    """The function's GraphDef with every call inlined; While and If stay functional, so that they keep a gradient."""
    graph_def = function.graph.as_graph_def()
    for node in _all_nodes(graph_def):
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False
        node.attr.pop("_XlaMustCompile", None)  # such calls would not be inlined
        # The gradient that a library or user wrote for some function (Keras' silu has one) refers to tensors of the
        # original graph; what the function computes has its own derivative.
        if node.op == "IdentityN" and "_gradient_op_type" in node.attr:
            node.attr.pop("_gradient_op_type")
    for inner in graph_def.library.function:
        inner.attr.pop("api_implements", None)  # marks GPU twins of Keras 2 recurrent layers; it prevents inlining
        inner.attr.pop("_XlaMustCompile", None)
    meta_graph: meta_graph_pb2.MetaGraphDef = tf.compat.v1.train.export_meta_graph(
        graph_def=graph_def, graph=function.graph
    )
    for name in ("variables", "trainable_variables", "model_variables", "local_variables"):
        meta_graph.collection_def.pop(name, None)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend(t.name for t in [*function.inputs, *_outputs(function)])
    meta_graph.collection_def["train_op"].CopyFrom(fetches)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs too
    config.graph_options.rewrite_options.optimizers.append("function")
    return _renamed(tf_optimizer.OptimizeGraph(config, meta_graph))


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


_COPIES = itertools.count()


def _renamed(graph_def: Any) -> Any:
    """The inlined bodies of loops under names of their own: TensorFlow knows the old names with the old bodies."""
    suffix = f"_inlined_{next(_COPIES)}"
    names = {f.signature.name: f.signature.name + suffix for f in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name = names[function.signature.name]
    for node in _all_nodes(graph_def):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            kind = attribute.WhichOneof("value")
            for func in [attribute.func] if kind == "func" else attribute.list.func if kind == "list" else ():
                func.name = names.get(func.name, func.name)
    for gradient in graph_def.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    for function in graph_def.library.function:
        context.context().add_function_def(function)  # the runtime looks loop bodies up by name
    return graph_def


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


__all__ = ["BoundGraph", "InputSpec", "ModelGraph", "load_model", "node_of"]
