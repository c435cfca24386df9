"""keras.Model and tf_keras.Model objects → ModelGraph."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.functions import READS_VALUES, call_error, flat_outputs, keys_of, output_names
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.origin import ExampleShapes, Origin, trace_model

KERAS = {"keras": "Keras 3", "tf_keras": "Keras 2"}  # package → name for people
_MODEL_WITH_SPECS = "(model, tf.TensorSpec([None, ...], dtype))"


def keras_package(model: Any) -> str | None:
    """The package of a Keras model, "keras" or "tf_keras"; None for any other object."""
    for name in KERAS:
        package = sys.modules.get(name)  # the package of an existing model is imported
        if package is not None and isinstance(model, package.Model):
            return name
    return None


def from_keras(model: Any, source: str = "") -> ModelGraph:
    """A model with symbolic inputs, or a subclassed one that was called."""
    keras = sys.modules[str(keras_package(model))]
    source = source or _describe(model)
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"{source} runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow before importing Keras"
        )
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        return from_specs(model, _recorded_specs(model, source), source, any_size=True)
    if not all(map(_is_dense, inputs)):
        raise UnsupportedModelError(
            f"{source} takes sparse or ragged tensors: wrap it in a tf.function that makes them from dense ones"
        )
    structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in inputs]
    return _trace(model, _with_layer_outputs(model, keras), structure, specs, [t.name for t in inputs], source)


def from_specs(model: Any, specs: Any, source: str = "", any_size: bool = False) -> ModelGraph:
    """A model and what its one argument is like: a TensorSpec, or a list or dict of them.

    `any_size`: the model may take other sizes too.
    """
    flat = tf.nest.flatten(specs)
    if not flat or not all(isinstance(s, tf.TensorSpec) and s.shape.rank for s in flat):
        raise UnsupportedModelError(
            f"cannot explain ({type(model).__name__}, {type(specs).__name__}): "
            f"give {_MODEL_WITH_SPECS}, or a list or dict of TensorSpecs"
        )
    names = [key or s.name or "" for key, s in zip(keys_of(specs), flat, strict=True)]
    if len(flat) == 1:
        names = [names[0] or "input"]
    names = [name if name and names.count(name) == 1 else f"input_{i}" for i, name in enumerate(names)]
    graph = _trace(model, _without_layer_outputs(model), specs, flat, names, source or _describe(model))
    return graph.with_input_shapes(tuple(tuple(s.shape[1:]) for s in flat), any_size=any_size)


def _describe(model: Any) -> str:
    return f"{KERAS[str(keras_package(model))]} model {model.name!r}"


def _trace(
    model: Any,
    call: Callable[[Any], tuple[Any, dict[str, Any]]],
    structure: Any,
    specs: Sequence[Any],
    names: Sequence[str],
    source: str,
) -> ModelGraph:
    """The graph of `call(inputs) -> (outputs, outputs of layers)`; `structure` is that of the inputs."""

    def trace(shapes: ExampleShapes) -> ModelGraph:
        layers = dict[str, str]()
        sized = [tf.TensorSpec([s.shape[0], *shape], s.dtype, s.name) for s, shape in zip(specs, shapes, strict=True)]

        @tf.function(input_signature=sized, autograph=False)
        def traced(*flat: Any) -> Any:
            outputs, layer_outputs = call(tf.nest.pack_sequence_as(structure, flat))
            layers.update({name: t.name for name, t in layer_outputs.items() if isinstance(t, tf.Tensor)})
            return outputs

        try:
            function = traced.get_concrete_function()
        except Exception as error:  # layers run the user's own code
            raise call_error(source, sized, error) from error
        outputs = output_names(function, source, getattr(model, "output_names", None) or ())
        origin = Origin(call_model, trace)
        return ModelGraph(
            function,
            names,
            outputs,
            source,
            keep=(model, call),
            layers=layers,
            has_ordered_inputs=not any(keys_of(tf.nest.pack_sequence_as(structure, sized))),
            origin=origin,
        )

    def call_model(inputs: Sequence[Any]) -> list[Any]:
        return flat_outputs(model(tf.nest.pack_sequence_as(structure, inputs), training=False))

    return trace_model(trace, specs)


def _is_dense(symbolic: Any) -> bool:
    spec = getattr(symbolic, "type_spec", None)  # Keras 2
    if spec is not None:
        return isinstance(spec, tf.TensorSpec)
    return not (getattr(symbolic, "sparse", False) or getattr(symbolic, "ragged", False))


def _recorded_specs(model: Any, source: str) -> Any:
    """TensorSpecs of the inputs that a subclassed model was called with, for any number of examples."""
    specs, arguments = None, 0
    with contextlib.suppress(Exception):  # these methods may be the user's own code
        if hasattr(model, "save_spec"):  # Keras 2
            args, kwargs = model.save_spec(dynamic_batch=True)
            arguments = len(args) + len(kwargs)
            specs = args[0] if arguments == 1 and args else None
        else:  # Keras 3 records no dtypes: float32, as in its own export
            specs = _float_specs(model.get_build_config()["input_shape"])
    if specs is not None:
        return specs
    if not getattr(model, "built", False):
        raise UnsupportedModelError(
            f"{source} was never called, and does not say what it reads: give {_MODEL_WITH_SPECS}"
        )
    if arguments > 1:
        raise UnsupportedModelError(
            f"{source} was called with {arguments} arguments: give a function of one dict that calls it, as (function, {{name: "
            "tf.TensorSpec([None, ...], dtype), ...})"
        )
    raise UnsupportedModelError(
        f"{source} was called, but Keras could not trace it, and so does not know what it reads: perhaps {READS_VALUES}; or give "
        f"{_MODEL_WITH_SPECS}"
    )


def _float_specs(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _float_specs(s) for name, s in shape.items()}
    if all(n is None or isinstance(n, int) for n in shape):
        return tf.TensorSpec([None, *shape[1:]], tf.float32)
    return [_float_specs(s) for s in shape]


def _without_layer_outputs(model: Any) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    return lambda x: (model(x, training=False), {})


def _with_layer_outputs(model: Any, keras: Any) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    """inputs → (the model's outputs, layer name → its output), as far as Keras knows the layers' outputs.

    TensorFlow's name scopes do not distinguish layer `dense_1` from a second scope of layer `dense`.
    """
    keras_type: Any = next((c for c in type(model).__mro__ if c is keras.Sequential or _is_functional(c, keras)), None)
    if keras_type is None or (type(model).call, type(model).__call__) != (keras_type.call, keras_type.__call__):
        return _without_layer_outputs(model)  # a user's call() may do more than its layers
    outputs: dict[str, list[Any]] = {}
    # A layer's attribute `output` may belong to another graph, if the layer is a model itself.
    for nodes in (getattr(model, "_functional", None) or model)._nodes_by_depth.values():  # noqa: SLF001
        for node in nodes:
            layer = getattr(node, "operation", None) or node.layer  # Keras 3, Keras 2
            outputs.setdefault(layer.name, []).extend(tf.nest.flatten(node.outputs))
    single = {name: tensors[0] for name, tensors in outputs.items() if len(tensors) == 1}
    is_sequential = isinstance(model, keras.Sequential)
    start, end = (model.inputs[0], model.outputs[0]) if is_sequential else (model.input, model.output)
    with_layers = keras.Model(start, [end, single])
    return lambda x: with_layers(x, training=False)


def _is_functional(model_type: type, keras: Any) -> bool:
    return model_type.__name__ == "Functional" and model_type.__module__.startswith(f"{keras.__name__}.")
