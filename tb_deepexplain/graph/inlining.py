"""Inlining: a function with all the functions that it calls becomes one flat GraphDef, to be cut and differentiated."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.grappler import tf_optimizer  # there is no public way to inline functions

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.custom_gradients import keep_custom_gradients
from tb_deepexplain.graph.function_library import all_nodes, rename_functions
from tb_deepexplain.graph.lowering import lower
from tb_deepexplain.graph.rank_inference import annotate_ranks


def inline(function: Any) -> Any:
    """The GraphDef of a ConcreteFunction with every call inlined; the function must live as long as the GraphDef is used.

    While and If stay functional, so that they keep a gradient. Raises UnsupportedModelError for loops of TensorFlow 1.
    """
    graph_def = function.graph.as_graph_def()
    keep_custom_gradients(graph_def, function.graph)
    lower(graph_def)
    _prepare(graph_def, {t.op.name for t in function.inputs})
    inlined = rename_functions(_run_inliner(graph_def, [t.name for t in [*function.inputs, *outputs_of(function)]]))
    loops = [node.name for node in inlined.node if node.op == "Enter"]
    if loops:
        raise UnsupportedModelError(
            f"the model contains a loop of TensorFlow 1, {loops[0]!r}, which TensorFlow 2 cannot differentiate: call "
            "tf.compat.v1.enable_control_flow_v2() before building the model, and export the model again"
        )
    annotate_ranks(inlined, function, outputs_of(function))
    return inlined


def _prepare(graph_def: Any, inputs: Collection[str]) -> None:
    """Change what would stop inlining, differentiation or XLA; `inputs` are the nodes of the function's inputs."""
    for node in all_nodes(graph_def):
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False
        node.attr.pop("_XlaMustCompile", None)  # TensorFlow does not inline such calls
        if node.op == "PlaceholderWithDefault" and node.name not in inputs:  # XLA cannot compile placeholders
            node.op = "Identity"
            node.attr["T"].CopyFrom(node.attr["dtype"])
            del node.attr["dtype"], node.attr["shape"]
    for inner in graph_def.library.function:
        # api_implements marks GPU twins of Keras 2 recurrent layers; TensorFlow marks what XLA compiles _noinline.
        for attribute in ("api_implements", "_XlaMustCompile", "_noinline"):
            inner.attr.pop(attribute, None)
        _add_control_outputs(inner)


def _add_control_outputs(function: Any) -> None:
    """Make each stateful node a control output: TensorFlow inlines no function that has another.

    The graph of TFX's Transform is such a function: it looks words up in tables.
    """
    for node in function.node_def:
        op = op_def_registry.get(node.op)
        if (op is None or op.is_stateful) and node.name not in function.control_ret.values():
            function.signature.control_output.append(node.name)
            function.control_ret[node.name] = node.name


def _run_inliner(graph_def: Any, fetches: Sequence[str]) -> Any:
    # The graph's collections are left out: those of a TensorFlow 1 model name nodes that no longer exist.
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    collection = meta_graph_pb2.CollectionDef()
    collection.node_list.value.extend(fetches)
    meta_graph.collection_def["train_op"].CopyFrom(collection)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # inline small graphs too
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def outputs_of(function: Any) -> list[Any]:
    """The outputs of a ConcreteFunction, without the intermediate values that TensorFlow appends on differentiation."""
    return list(function.outputs[: sum(t is not None for t in tf.nest.flatten(function.structured_outputs))])
