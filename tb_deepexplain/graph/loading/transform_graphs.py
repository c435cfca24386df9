"""The graph that TFX's Transform writes, in front of a model that takes transformed features."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.loading.example_signatures import enter_at_features
from tb_deepexplain.graph.loading.functions import from_concrete
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.origin import Origin


def with_transform(graph: ModelGraph, directory: str | os.PathLike[str]) -> ModelGraph:
    """The model `graph` behind the graph that Transform wrote to `directory`; its inputs are the raw features, by name.

    A model that reads serialized tf.Examples, or none of the transformed features, has that graph inside, or needs none: it is
    returned unchanged. ParameterError if the directory holds no such graph, or TensorFlow Transform is missing;
    UnsupportedModelError if the model takes features that the graph does not make.
    """
    try:
        import tensorflow_transform as tft
    except ImportError as error:
        raise ParameterError(
            f"transform_graph={directory}: reading it needs TensorFlow Transform ({error}): pip install tensorflow-transform"
        ) from error
    try:
        output = tft.TFTransformOutput(str(directory))
        raw_spec, layer = output.raw_feature_spec(), output.transform_features_layer()
        transformed = output.transformed_feature_spec()
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ParameterError(
            f"transform_graph={directory}: not what Transform writes ({error}); give the folder with transform_fn and metadata"
        ) from error
    if graph.origin.parse is not None or not any(spec.name in transformed for spec in graph.inputs):
        return graph
    if missing := [str(spec) for spec in graph.inputs if spec.name not in transformed]:
        raise UnsupportedModelError(
            f"{graph.source} takes {'; '.join(missing)}, which the graph of Transform does not make: it makes {', '.join(transformed)}"
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def call(examples: Any) -> dict[str, Any]:
        features = layer(tf.io.parse_example(examples, raw_spec))
        feeds = {f"{spec.node}:0": _as_input(features[spec.name], spec) for spec in graph.inputs}
        return dict(zip(graph.outputs, graph.import_graph(feeds).fetch(list(graph.outputs.values())), strict=True))

    traced = call.get_concrete_function()

    def call_model(inputs: Any) -> list[Any]:
        features = layer(tf.io.parse_example(inputs[0], raw_spec))
        values = [_as_input(features[spec.name], spec) for spec in graph.inputs]
        return list((graph.call_model(values) or {}).values())

    origin = Origin(None if graph.origin.call is None else call_model)
    composed = from_concrete(traced, graph.source, keep=(graph, layer), names=["examples"], origin=origin)
    return enter_at_features(composed)


def _as_input(feature: Any, spec: Any) -> Any:
    """A transformed feature as the model's input takes it: dense, with or without a last axis of one."""
    dense = tf.sparse.to_dense(feature) if isinstance(feature, tf.SparseTensor) else feature
    if dense.shape.rank == len(spec.shape) - 1:
        return tf.expand_dims(dense, -1)
    if dense.shape.rank == len(spec.shape) + 1 and dense.shape[-1] == 1:
        return tf.squeeze(dense, -1)
    return dense
