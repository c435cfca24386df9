"""The Keras model of a training as a model graph, and what tells two models or two states of one apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.training.training_examples import sample_inputs

_FIRST_VALUES = 64


def load_trained_model(model: Any, examples: Any) -> ModelGraph:
    """The model in memory: every explanation reads the present values of its variables.

    A model that Keras would build for its first batch is built for the examples.
    """
    if model.built and getattr(model, "inputs", None):
        return load_model(model)
    xs = sample_inputs(model, examples)
    arrays = tf.nest.map_structure(np.asarray, xs)
    if isinstance(model, keras.Sequential) and isinstance(arrays, np.ndarray):
        model.build((None, *arrays.shape[1:]))
        return load_model(model)
    specs = tf.nest.map_structure(_tensor_spec, arrays)
    if not model.built:
        model(tf.nest.map_structure(lambda x, spec: tf.constant(x[:1], spec.dtype), arrays, specs), training=False)
    return load_model((model, specs))


def digest_architecture(model: Any, graph: ModelGraph) -> str:
    """A digest of the types and shapes of inputs and weights; not of names, which Keras numbers afresh in each process."""
    shapes = [(spec.dtype, spec.shape) for spec in graph.inputs] + [(w.dtype, tuple(w.shape)) for w in model.weights]
    return hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest()


def digest_weights(model: Any) -> str:
    """A digest of the first values of each weight: cheap, and other weights have another one."""
    firsts = [
        tf.reshape(tf.cast(w.value, tf.float64), [-1])[:_FIRST_VALUES] for w in model.weights if w.dtype != "string"
    ]
    return hashlib.blake2b(tf.concat(firsts, 0).numpy().tobytes() if firsts else b"", digest_size=8).hexdigest()


def identify_callable(function: Callable[..., Any]) -> str:
    """A function by its name and, where it has some, a digest of its code: the same in every process."""
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
    code = getattr(function, "__code__", None)
    if code is None:
        return name
    constants = [constant for constant in code.co_consts if not hasattr(constant, "co_code")]
    return f"{name} {hashlib.blake2b(code.co_code + repr(constants).encode(), digest_size=8).hexdigest()}"


def trained_batches(model: Any) -> int:
    """The number of batches that the model's optimizer has trained on, in earlier trainings, too."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(optimizer.iterations.numpy()) * (getattr(optimizer, "gradient_accumulation_steps", None) or 1)


def _tensor_spec(array: np.ndarray) -> Any:
    """The type to which Keras casts an array."""
    if array.dtype.kind == "f":
        dtype: Any = keras.config.floatx()
    else:
        dtype = "string" if array.dtype.kind in "OSU" else array.dtype
    return tf.TensorSpec([None, *array.shape[1:]], dtype)
