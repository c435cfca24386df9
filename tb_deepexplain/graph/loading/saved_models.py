"""SavedModels and frozen graphs → ModelGraph."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tb_deepexplain.errors import UnsupportedModelError, first_line
from tb_deepexplain.graph.cut import GraphView, tensor
from tb_deepexplain.graph.loading.functions import from_concrete, from_module
from tb_deepexplain.graph.loading.serving_signatures import behind_parsing
from tb_deepexplain.graph.model_graph import ModelGraph

_SHARED = 1 << 16  # constants of more bytes than this are kept once, not once in each function that uses the graph
_NO_OUTPUT = ("Placeholder", "Const", "NoOp", "Assert", "SaveV2", "MergeV2Checkpoints")


def from_directory(path: Path, signature: str | None) -> ModelGraph:
    """A SavedModel directory."""
    if not any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise UnsupportedModelError(f"{path} holds no saved_model.pb; give the directory that model.export() wrote")
    try:
        loaded = _load(path)
    except Exception as error:
        raise UnsupportedModelError(f"TensorFlow cannot load {path}: {first_line(error)}") from error
    return from_loaded(loaded, signature, str(path))


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(path)
    except (RuntimeError, ValueError, KeyError):
        with contextlib.suppress(Exception):  # TensorFlow 1 wrote several graphs, told apart by tags
            return tf.saved_model.load(path, tags=["serve"])
        raise


def from_loaded(loaded: Any, signature: str | None, source: str) -> ModelGraph:
    """What tf.saved_model.load gave: one of its signatures, or its function where it has no signature.

    A signature that takes serialized tf.Examples is entered behind their parsing.
    """
    signatures = dict(loaded.signatures)
    if not signatures and signature is None:
        return from_module(loaded, source)
    chosen = signature or ("serving_default" if "serving_default" in signatures else next(iter(signatures), ""))
    if chosen not in signatures or (signature is None and chosen != "serving_default" and len(signatures) > 1):
        names = ", ".join(map(repr, signatures)) or "none"
        asked = f"no signature {signature!r}" if signature else "no serving_default signature"
        raise UnsupportedModelError(f"{source} has {asked}; it has {names}; choose one with signature=...")
    return behind_parsing(from_concrete(signatures[chosen], source, keep=loaded))


def from_frozen(path: Path) -> ModelGraph:
    """A GraphDef file: its placeholders are the inputs, the tensors that nothing reads the outputs."""
    graph_def = _read(path)
    shared = _share_constants(graph_def)
    inputs, outputs = _ends(graph_def, shared, path)
    kept = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    kept.node.extend(node for node in graph_def.node if node.name not in inputs and node.name not in shared)

    @tf.function(input_signature=list(inputs.values()), autograph=False)
    def call(*given: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        fed = {tensor(name): t for name, t in zip(inputs, given, strict=True)}
        fed |= {tensor(name): graph.capture(t) for name, t in shared.items()}
        return dict(
            zip(outputs, tf.graph_util.import_graph_def(kept, fed, list(outputs.values()), name=""), strict=True)
        )

    try:
        function = call.get_concrete_function()
    except Exception as error:
        raise UnsupportedModelError(f"TensorFlow cannot import {path}: {first_line(error)}") from error
    return from_concrete(function, str(path), keep=call, names=list(inputs))


def _read(path: Path) -> Any:
    graph_def = tf.compat.v1.GraphDef()
    try:
        if path.suffix == ".pbtxt":
            text_format.Parse(path.read_text(encoding="utf-8"), graph_def)
        else:
            graph_def.ParseFromString(path.read_bytes())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise UnsupportedModelError(f"{path} holds no GraphDef: {first_line(error)}") from error
    if not graph_def.node:
        raise UnsupportedModelError(f"{path} holds a GraphDef without nodes; give a frozen graph")
    return graph_def


def _share_constants(graph_def: Any) -> dict[str, Any]:
    """Make the large constants placeholders; their values."""
    found = {}
    for node in graph_def.node:
        if node.op == "Const" and node.attr["dtype"].type != tf.string and node.ByteSize() > _SHARED:
            found[node.name] = value = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
            node.op = "Placeholder"
            del node.attr["value"]
            node.attr["shape"].shape.CopyFrom(value.shape.as_proto())
    return found


def _ends(graph_def: Any, shared: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with tf.Graph().as_default() as graph:
        try:
            tf.graph_util.import_graph_def(graph_def, name="")
        except ValueError as error:
            raise UnsupportedModelError(f"TensorFlow cannot import {path}: {first_line(error)}") from error
        last = [
            t
            for op in graph.get_operations()
            if op.type not in _NO_OUTPUT and not any(t.consumers() for t in op.outputs)
            for t in op.outputs
        ]
        given = {
            op.name: tf.TensorSpec(op.outputs[0].shape, op.outputs[0].dtype)
            for op in graph.get_operations()
            if op.type == "Placeholder" and op.name not in shared
        }
    view = GraphView(graph_def)
    read = {t.name: view.ancestors([t.name]) for t in last}
    last = [t for t in last if read[t.name] & set(given)]
    last = [t for t in last if t.dtype.is_floating] or last  # flags that steered a branch end nowhere too
    outputs = {t.name.removesuffix(":0"): t.name for t in last}
    if not outputs:
        raise UnsupportedModelError(
            f"{path}: nothing in this graph depends on a placeholder; give a frozen graph with its inputs"
        )
    return {n: s for n, s in given.items() if any(n in read[t] for t in outputs.values())}, outputs
