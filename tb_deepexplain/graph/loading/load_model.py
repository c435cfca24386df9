"""load_model: any form of TensorFlow model → ModelGraph."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading import frozen_graphs, functions, keras_files, keras_models, saved_models
from tb_deepexplain.graph.loading.transform_graphs import with_transform
from tb_deepexplain.graph.model_graph import ModelGraph

_PATHS = "a SavedModel directory or a .keras, .h5 or .pb file"
_MODELS = (
    "a keras.Model, a path to a SavedModel directory, a .keras, .h5 or frozen .pb file, a tf.function, a tf.Module, or "
    f"{functions.FUNCTION_WITH_SPECS}"
)


def load_model(
    model: Any, *, signature: str | None = None, transform_graph: str | os.PathLike[str] | None = None
) -> ModelGraph:
    """The ModelGraph of any of:

    - a keras.Model or tf_keras.Model; a subclassed one must have been called once;
    - a path to a SavedModel directory, a `.keras`, `.h5` or `.hdf5` file of either Keras, or a frozen graph
      (`.pb`, `.pbtxt`), whose inputs are its placeholders and whose outputs the tensors that nothing reads;
    - a ConcreteFunction; a tf.function with an input_signature, or traced for one signature only;
    - a tf.Module, or the result of tf.saved_model.load: its `__call__` or its only such function is explained;
    - a callable with an attribute `input_signature`, or `(callable, specs)`: a tf.TensorSpec, a list of them for
      several arguments, or a dict for arguments by name. A Keras model takes the specs as its one argument;
    - a ModelGraph, which is returned unchanged.

    `signature` chooses among a SavedModel's signatures; the default is `serving_default`, or the only one.
    `transform_graph`: the folder that TFX's Transform wrote; a model of transformed features is then explained from the raw ones.
    Raises UnsupportedModelError if the model cannot be read.
    """
    if transform_graph is not None:
        return with_transform(load_model(model, signature=signature), transform_graph)
    if isinstance(model, ModelGraph):
        return model
    if isinstance(model, str | os.PathLike):
        return _from_path(Path(model), signature)
    if hasattr(model, "signatures") and keras_models.keras_package(model) is None:
        return saved_models.from_loaded(model, signature, "the SavedModel")
    _check_no_signature(signature, "this model")
    return _from_object(model)


def is_model(value: Any) -> bool:
    """Whether `load_model` takes a value of this kind; of a text, whether there is such a path."""
    if isinstance(value, str | os.PathLike):
        return os.path.exists(value)
    if isinstance(value, tuple) and len(value) == 2:
        return callable(value[0])
    is_function = functions.is_function(value) or (callable(value) and hasattr(value, "input_signature"))
    return (
        isinstance(value, ModelGraph | tf.Module)
        or keras_models.keras_package(value) is not None
        or hasattr(value, "signatures")
        or is_function
    )


def _from_object(model: Any) -> ModelGraph:
    if isinstance(model, tuple) and len(model) == 2:
        function, specs = model
        if keras_models.keras_package(function):
            return keras_models.from_specs(function, specs)
        return functions.from_callable(function, specs, _describe(function))
    if keras_models.keras_package(model):
        return keras_models.from_keras(model)
    if functions.is_function(model):
        return functions.from_function(model, _describe(model))
    if isinstance(model, tf.Module):
        return functions.from_module(model, f"{type(model).__name__} {model.name!r}")
    if callable(model) and getattr(model, "input_signature", None) is not None:
        return functions.from_callable(model, model.input_signature, _describe(model))
    raise UnsupportedModelError(f"cannot explain a {type(model).__name__}: give {_MODELS}")


def _describe(function: Any) -> str:
    name = getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__
    return f"function {name}"


def _from_path(path: Path, signature: str | None) -> ModelGraph:
    if path.name in ("saved_model.pb", "saved_model.pbtxt"):
        path = path.parent
    if not path.exists():
        raise UnsupportedModelError(f"no model at {path}: give {_PATHS}")
    if path.is_dir():
        return saved_models.from_directory(path, signature)
    _check_no_signature(signature, str(path))
    if path.suffix in keras_files.SUFFIXES:
        return keras_files.from_file(path)
    if path.suffix in frozen_graphs.SUFFIXES:
        return frozen_graphs.from_file(path)
    raise UnsupportedModelError(f"{path} is not {_PATHS}; export the model with model.export()")


def _check_no_signature(signature: str | None, model: str) -> None:
    if signature is not None:
        raise UnsupportedModelError(f"signature=... chooses a signature of a SavedModel; {model} is not a SavedModel")
