"""Any form of TensorFlow model → ModelGraph."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading import functions, keras_files, keras_models, saved_models
from tb_deepexplain.graph.model_graph import ModelGraph

_TAKEN = (
    "a keras.Model, a path to a SavedModel directory, a .keras, .h5 or frozen .pb file, a tf.function, a tf.Module, or "
    "(function, tf.TensorSpec([None, ...], dtype))"
)


def load_model(model: Any, *, signature: str | None = None) -> ModelGraph:
    """The ModelGraph of any of:

    - a keras.Model or tf_keras.Model, a subclassed one once it was called;
    - a path to a SavedModel directory, a `.keras`, `.h5` or `.hdf5` file of either Keras, or a frozen graph
      (`.pb`, `.pbtxt`), whose inputs are its placeholders and whose outputs the tensors that nothing reads;
    - a ConcreteFunction; a tf.function with an input_signature, or traced for one signature only;
    - a tf.Module, or what tf.saved_model.load gave, by its `__call__` or its only such function;
    - any callable with an attribute `input_signature`, or `(callable, specs)`: a tf.TensorSpec, a list of them for
      several arguments, a dict for arguments by name. A Keras model takes them as its one argument;
    - a ModelGraph, which is returned as it is.

    `signature` chooses among a SavedModel's signatures; `serving_default`, or the only one, is the default.
    Raises UnsupportedModelError when the model cannot be read.
    """
    if isinstance(model, ModelGraph):
        return model
    if isinstance(model, str | os.PathLike):
        return _from_path(Path(model), signature)
    if hasattr(model, "signatures") and keras_models.keras_of(model) is None:
        return saved_models.from_loaded(model, signature, "the SavedModel")
    if signature is not None:
        raise UnsupportedModelError("signature=... chooses a signature of a SavedModel; this model is no SavedModel")
    return _from_object(model)


def _from_object(model: Any) -> ModelGraph:
    if isinstance(model, tuple) and len(model) == 2:
        function, specs = model
        if keras_models.keras_of(function):
            return keras_models.from_call(function, specs)
        return functions.from_callable(function, specs, _named(function))
    if keras_models.keras_of(model):
        return keras_models.from_keras(model)
    if functions.is_function(model):
        return functions.from_function(model, _named(model))
    if isinstance(model, tf.Module):
        return functions.from_module(model, f"{type(model).__name__} {model.name!r}")
    if callable(model) and getattr(model, "input_signature", None) is not None:
        return functions.from_callable(model, model.input_signature, _named(model))
    raise UnsupportedModelError(f"cannot explain a {type(model).__name__}: give {_TAKEN}")


def _named(function: Any) -> str:
    return (
        f"function {getattr(function, '__name__', None) or getattr(function, 'name', None) or type(function).__name__}"
    )


def _from_path(path: Path, signature: str | None) -> ModelGraph:
    if path.name in ("saved_model.pb", "saved_model.pbtxt"):
        path = path.parent
    if not path.exists():
        raise UnsupportedModelError(f"no model at {path}: give a SavedModel directory or a .keras, .h5 or .pb file")
    if path.is_dir():
        return saved_models.from_directory(path, signature)
    if signature is not None:
        raise UnsupportedModelError(f"signature=... chooses a signature of a SavedModel; {path} is a file")
    if path.suffix in keras_files.SUFFIXES:
        return keras_files.from_file(path)
    if path.suffix in (".pb", ".pbtxt"):
        return saved_models.from_frozen(path)
    raise UnsupportedModelError(
        f"{path} is neither a SavedModel directory nor a .keras, .h5 or .pb file; export it with model.export()"
    )
