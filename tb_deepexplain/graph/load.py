"""Keras object, .keras file, SavedModel or tf.function → ModelGraph."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.inline import outputs_of
from tb_deepexplain.graph.model import ModelGraph


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


def _output_names(function: Any, source: str, names: Sequence[str] = ()) -> list[str]:
    count = len(outputs_of(function))
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
