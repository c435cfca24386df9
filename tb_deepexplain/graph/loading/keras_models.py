"""keras.Model and tf_keras.Model objects → ModelGraph."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError, first_line
from tb_deepexplain.graph.loading.functions import output_names, written
from tb_deepexplain.graph.model_graph import ModelGraph

KERAS = {"keras": "Keras 3", "tf_keras": "Keras 2"}


def keras_of(model: Any) -> str | None:
    """ "keras" or "tf_keras", whichever this object is a Model of."""
    for name in KERAS:
        module = sys.modules.get(name)  # where a model came from was imported
        if module is not None and isinstance(model, module.Model):
            return name
    return None


def from_keras(model: Any, source: str = "") -> ModelGraph:
    """A model with inputs of its own, or a subclassed one that was called."""
    keras = sys.modules[str(keras_of(model))]
    source = source or f"{KERAS[keras.__name__]} model {model.name!r}"
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"{source} runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        return from_call(model, _built_for(model, source), source)
    if not all(map(_is_dense, inputs)):
        raise UnsupportedModelError(
            f"{source} takes sparse or ragged tensors: wrap it in a tf.function that makes them of dense ones"
        )
    structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in inputs]
    return _trace(model, _with_layers(model, keras), structure, specs, [t.name for t in inputs], source)


def from_call(model: Any, specs: Any, source: str = "") -> ModelGraph:
    """A model whose one argument is like `specs`: a TensorSpec, or a list or dict of them."""
    flat = tf.nest.flatten(specs)
    if not flat or not all(isinstance(s, tf.TensorSpec) for s in flat):
        raise UnsupportedModelError(
            f"cannot explain ({type(model).__name__}, {type(specs).__name__}): "
            "give (model, tf.TensorSpec([None, ...], dtype)), or a list or dict of TensorSpecs"
        )
    names = sorted(specs) if isinstance(specs, dict) else []
    if len(names) != len(flat):
        names = [s.name or (f"input_{i}" if len(flat) > 1 else "input") for i, s in enumerate(flat)]
    source = source or f"{KERAS[str(keras_of(model))]} model {model.name!r}"
    return _trace(model, lambda x: (model(x, training=False), {}), specs, flat, names, source)


def _trace(
    model: Any, call: Callable[[Any], Any], structure: Any, specs: Sequence[Any], names: Sequence[str], source: str
) -> ModelGraph:
    layers = dict[str, str]()

    @tf.function(input_signature=specs, autograph=False)
    def traced(*flat: Any) -> Any:
        outputs, inner = call(tf.nest.pack_sequence_as(structure, flat))
        layers.update({name: t.name for name, t in inner.items()})
        return outputs

    try:
        function = traced.get_concrete_function()
    except Exception as error:  # layers run the user's own code
        raise UnsupportedModelError(f"{source} cannot be called with {written(specs)}: {first_line(error)}") from error
    outputs = output_names(function, source, getattr(model, "output_names", None) or ())
    return ModelGraph(function, names, outputs, source, keep=(model, call), layers=layers)


def _is_dense(symbolic: Any) -> bool:
    spec = getattr(symbolic, "type_spec", None)  # Keras 2
    odd = getattr(symbolic, "sparse", False) or getattr(symbolic, "ragged", False)
    return not odd if spec is None else isinstance(spec, tf.TensorSpec)


def _built_for(model: Any, source: str) -> Any:
    """TensorSpecs of what a subclassed model was called with, any number of examples at once."""
    found = None
    with contextlib.suppress(Exception):  # what a model says of itself may be the user's own code
        if hasattr(model, "save_spec"):  # Keras 2
            args, named = model.save_spec(dynamic_batch=True)
            found = args[0] if len(args) == 1 and not named else None
        else:  # Keras 3 keeps no dtypes: float, as in its own export
            found = _specs(model.get_build_config()["input_shape"])
    if found is None:
        raise UnsupportedModelError(
            f"{source} does not say what it reads (a subclassed model that was not called yet?): "
            "give (model, tf.TensorSpec([None, ...], dtype))"
        )
    return found


def _specs(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _specs(s) for name, s in shape.items()}
    if all(n is None or isinstance(n, int) for n in shape):
        return tf.TensorSpec([None, *shape[1:]], tf.float32)
    return [_specs(s) for s in shape]


def _with_layers(model: Any, keras: Any) -> Callable[[Any], Any]:
    """inputs → (the model's outputs, layer name → its output), the latter where Keras knows it: TensorFlow's name
    scopes do not tell layer `dense_1` from a second scope of layer `dense`."""
    own: Any = next((c for c in type(model).__mro__ if c is keras.Sequential or _is_functional(c, keras)), None)
    if own is None or (type(model).call, type(model).__call__) != (own.call, own.__call__):
        return lambda x: (model(x, training=False), {})  # a user's call() may do more than the layers do
    known: dict[str, list[Any]] = {}
    # A layer's own `output` may be of another graph, if the layer is a model itself.
    for nodes in (getattr(model, "_functional", None) or model)._nodes_by_depth.values():  # noqa: SLF001
        for node in nodes:
            layer = getattr(node, "operation", None) or node.layer  # Keras 3, Keras 2
            known.setdefault(layer.name, []).extend(tf.nest.flatten(node.outputs))
    once = {name: outputs[0] for name, outputs in known.items() if len(outputs) == 1}  # called once, with one output
    sequential = isinstance(model, keras.Sequential)
    ends = (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    both = keras.Model(ends[0], [ends[1], once])
    return lambda x: both(x, training=False)


def _is_functional(kind: type, keras: Any) -> bool:
    return kind.__name__ == "Functional" and kind.__module__.startswith(f"{keras.__name__}.")
