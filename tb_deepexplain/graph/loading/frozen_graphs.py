"""Frozen graphs (GraphDef files, .pb and .pbtxt) → ModelGraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.graph_view import GraphView, tensor_name
from tb_deepexplain.graph.loading.functions import from_concrete
from tb_deepexplain.graph.model_graph import ModelGraph

SUFFIXES = (".pb", ".pbtxt")
_LARGE_CONSTANT = 1 << 16  # bytes; larger constants are shared by all functions that use the graph
_NEVER_OUTPUTS = ("Placeholder", "Const", "NoOp", "Assert", "SaveV2", "MergeV2Checkpoints")


def from_file(path: Path) -> ModelGraph:
    """A GraphDef file: its placeholders are the inputs, the tensors that nothing reads the outputs."""
    graph_def = _read(path)
    constants = _extract_large_constants(graph_def)
    inputs, outputs = _find_inputs_and_outputs(graph_def, constants, path)
    rest = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    rest.node.extend(node for node in graph_def.node if node.name not in inputs and node.name not in constants)

    @tf.function(input_signature=list(inputs.values()), autograph=False)
    def call(*values: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        feeds = {tensor_name(name): t for name, t in zip(inputs, values, strict=True)}
        feeds |= {tensor_name(name): graph.capture(t) for name, t in constants.items()}
        tensors = tf.graph_util.import_graph_def(rest, feeds, list(outputs.values()), name="")
        return dict(zip(outputs, tensors, strict=True))

    try:
        function = call.get_concrete_function()
    except Exception as error:
        raise _import_error(path, error) from error
    return from_concrete(function, str(path), keep=call, names=list(inputs))


def _import_error(path: Path, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(f"TensorFlow cannot import {path}: {model_error_text(error)}")


def _read(path: Path) -> Any:
    graph_def = tf.compat.v1.GraphDef()
    try:
        if path.suffix == ".pbtxt":
            text_format.Parse(path.read_text(encoding="utf-8"), graph_def)
        else:
            graph_def.ParseFromString(path.read_bytes())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise UnsupportedModelError(f"{path} holds no GraphDef: {model_error_text(error)}") from error
    if not graph_def.node:
        raise UnsupportedModelError(f"{path} holds a GraphDef without nodes; give a frozen graph")
    return graph_def


def _extract_large_constants(graph_def: Any) -> dict[str, Any]:
    """Replace the large constants by placeholders; returns their values."""
    constants = {}
    for node in graph_def.node:
        if node.op == "Const" and node.attr["dtype"].type != tf.string and node.ByteSize() > _LARGE_CONSTANT:
            constants[node.name] = value = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
            node.op = "Placeholder"
            del node.attr["value"]
            node.attr["shape"].shape.CopyFrom(value.shape.as_proto())
    return constants


def _find_inputs_and_outputs(
    graph_def: Any, constants: dict[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """({placeholder: its TensorSpec}, {output: its tensor}), of the outputs that depend on a placeholder."""
    with tf.Graph().as_default() as graph:
        try:
            tf.graph_util.import_graph_def(graph_def, name="")
        except ValueError as error:
            raise _import_error(path, error) from error
        unread = [
            t
            for op in graph.get_operations()
            if op.type not in _NEVER_OUTPUTS and not any(t.consumers() for t in op.outputs)
            for t in op.outputs
        ]
        placeholders = {
            op.name: tf.TensorSpec(op.outputs[0].shape, op.outputs[0].dtype)
            for op in graph.get_operations()
            if op.type == "Placeholder" and op.name not in constants
        }
    view = GraphView(graph_def)
    ancestors = {t.name: view.ancestors([t.name]) for t in unread}
    dependent = [t for t in unread if ancestors[t.name] & set(placeholders)]
    # Nothing reads the flag that chooses a branch either: real numbers are preferred.
    dependent = [t for t in dependent if t.dtype.is_floating] or dependent
    if not dependent:
        raise UnsupportedModelError(
            f"{path}: nothing in this graph depends on a placeholder; give a frozen graph with its inputs"
        )
    needed = set().union(*(ancestors[t.name] for t in dependent))
    inputs = {name: spec for name, spec in placeholders.items() if name in needed}
    return inputs, {t.name.removesuffix(":0"): t.name for t in dependent}
