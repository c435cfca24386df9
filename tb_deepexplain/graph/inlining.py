"""A function's graph with every call inlined, so that there is one flat graph to cut and to differentiate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.eager import context
from tensorflow.python.grappler import tf_optimizer  # no public way to inline functions exists

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph import rank_inference
from tb_deepexplain.graph.custom_gradients import OWN_GRADIENT


def inline(function: Any) -> Any:
    """The function's GraphDef with every call inlined; While and If stay functional, so that they keep a gradient."""
    graph_def = function.graph.as_graph_def()
    fed = {t.op.name for t in function.inputs}
    for node in _all_nodes(graph_def):
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False
        node.attr.pop("_XlaMustCompile", None)  # such calls would not be inlined
        if node.op == "PlaceholderWithDefault" and node.name not in fed:  # XLA compiles no placeholder
            node.op = "Identity"
            node.attr["T"].CopyFrom(node.attr["dtype"])
            del node.attr["dtype"], node.attr["shape"]
        # The gradient that a library or user wrote for some function (Keras' silu has one) refers to tensors of the
        # original graph; what the function computes has its own derivative.
        if node.op == "IdentityN" and "_gradient_op_type" in node.attr:
            node.attr[OWN_GRADIENT].CopyFrom(node.attr.pop("_gradient_op_type"))
    for inner in graph_def.library.function:
        # api_implements marks GPU twins of Keras 2 recurrent layers; TensorFlow marks what XLA compiles _noinline.
        for attribute in ("api_implements", "_XlaMustCompile", "_noinline"):
            inner.attr.pop(attribute, None)
    # Without the graph's collections: of a TensorFlow 1 model they name nodes that are no longer there.
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend(t.name for t in [*function.inputs, *outputs_of(function)])
    meta_graph.collection_def["train_op"].CopyFrom(fetches)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs too
    config.graph_options.rewrite_options.optimizers.append("function")
    inlined = renamed(tf_optimizer.OptimizeGraph(config, meta_graph))
    loops = [node.name for node in inlined.node if node.op == "Enter"]
    if loops:
        raise UnsupportedModelError(
            f"the model holds a loop of TensorFlow 1, {loops[0]!r}, which TensorFlow 2 cannot differentiate: export the "
            "model again, with tf.compat.v1.enable_control_flow_v2() before it is built"
        )
    if any(t.shape.rank is None for t in outputs_of(function)):
        rank_inference.fill_in(inlined, function)
    return inlined


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


_COPIES = itertools.count()


def renamed(graph_def: Any) -> Any:
    """The graph with its functions (bodies of loops) under names of their own.

    TensorFlow knows the old names with the old bodies, and where it differentiates one loop twice it makes two
    functions of one name.
    """
    suffix = f"_copy_{next(_COPIES)}"
    names = {f.signature.name: f.signature.name + suffix for f in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name = names[function.signature.name]
    for node in _all_nodes(graph_def):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            kind = attribute.WhichOneof("value")
            for func in [attribute.func] if kind == "func" else attribute.list.func if kind == "list" else ():
                func.name = names.get(func.name, func.name)
    for gradient in graph_def.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    for function in graph_def.library.function:
        context.context().add_function_def(function)  # the runtime looks loop bodies up by name
    return graph_def


def outputs_of(function: Any) -> list[Any]:
    """A function's outputs, without the intermediate values that TensorFlow appends once it was differentiated."""
    return list(function.outputs[: sum(t is not None for t in tf.nest.flatten(function.structured_outputs))])
