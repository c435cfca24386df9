"""Lowering: ops that a CPU cannot run or differentiate everywhere → calls of functions of ops that it can.

Keras compiles grouped and channels-first convolutions with XLA for a CPU; a graph that is cut and differentiated is not
compiled. TensorFlow's other kernels for them (oneDNN's) exist for some precisions and processors only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import ops  # TensorFlow does not say in public which gradient an op has

from tb_deepexplain.graph.function_library import all_nodes

_CHANNELS_FIRST = {b"NCHW": b"NHWC", b"NCDHW": b"NDHWC"}
# Ops that a CPU has with the channels last only.
_SPATIAL_OPS = frozenset(
    """Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 MaxPool AvgPool MaxPool3D AvgPool3D
    SpaceToDepth DepthToSpace""".split()
)
_TRANSPOSED_CONVOLUTIONS = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})
_COMPILED = "_XlaMustCompile"
_GROUPED_GRADIENT = "TbDeepExplainConv2D"


def lower(graph_def: Any) -> None:
    """Replace the ops of a graph and of its functions, before its calls are inlined. Nodes keep their names."""
    functions: dict[bytes, Any] = {}
    is_compiled = any(_COMPILED in f.attr for f in [*graph_def.library.function, *all_nodes(graph_def)])
    compiled_functions = {f.signature.name for f in graph_def.library.function if _COMPILED in f.attr}
    bodies = {f.signature.name: f.node_def for f in graph_def.library.function}
    for name, nodes in [("", graph_def.node), *bodies.items()]:
        for node in list(nodes):
            if node.op == "Conv2D" and "_gradient_op_type" not in node.attr:
                node.attr["_gradient_op_type"].s = _GROUPED_GRADIENT.encode()
            is_channels_first = node.op in _SPATIAL_OPS and node.attr["data_format"].s in _CHANNELS_FIRST
            if node.op == "Conv2D" and name in compiled_functions and not is_channels_first:
                _keep_from_fusion(node, nodes)
            if is_channels_first or (node.op == "Conv3D" and is_compiled):
                call = _call(node, functions)
                nodes.append(call)
                output = call.name if nodes is graph_def.node else f"{call.name}:output:0"
                node.CopyFrom(type(node)(name=node.name, op="Identity", input=[output]))
                node.attr["T"].type = call.attr["Tout"].list.type[0]
    graph_def.library.function.extend(f.function_def for f in functions.values())


def _keep_from_fusion(node: Any, nodes: Any) -> None:
    """Part a convolution in the body of a function from the bias after it.

    TensorFlow fuses the two, and without oneDNN its fused kernel refuses groups.
    """
    convolution = nodes.add()
    convolution.CopyFrom(node)
    convolution.name = f"{node.name}/convolution"
    data_type = node.attr["T"].type
    node.CopyFrom(type(node)(name=node.name, op="EnsureShape", input=[f"{convolution.name}:output:0"]))
    node.attr["T"].type = data_type
    node.attr["shape"].shape.CopyFrom(tf.TensorShape([None] * 4).as_proto())


def _call(node: Any, functions: dict[bytes, Any]) -> Any:
    """The call of a function in place of a node; `functions` are those of the graph so far."""
    op = type(node)()
    op.CopyFrom(node)
    op.name, op.device = "op", ""
    del op.input[:]
    op.attr.pop("_output_shapes", None)
    key = op.SerializeToString(deterministic=True)
    if key not in functions:
        functions[key] = _function_of(op, sum(not i.startswith("^") for i in node.input))
    call = type(node)(name=f"{node.name}/lowered", op="PartitionedCall", input=node.input)
    call.attr["Tin"].list.type.extend(t.dtype.as_datatype_enum for t in functions[key].inputs)
    call.attr["Tout"].list.type.append(op.attr["T"].type)
    call.attr["f"].func.name = functions[key].function_def.signature.name
    return call


def _function_of(op: Any, inputs: int) -> Any:
    """The ConcreteFunction of an op with its channels last, between transpositions if it had them first."""
    dtypes = [tf.as_dtype(op.attr["T"].type)] * inputs
    to_last = to_first = list[int]()
    if data_format := _CHANNELS_FIRST.get(op.attr["data_format"].s):
        rank = len(data_format)
        to_last, to_first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        op.attr["data_format"].s = data_format
        for name in ("strides", "ksize", "dilations"):
            _permute(op.attr, name, to_last, 1)
        _permute(op.attr, "explicit_paddings", to_last, 2)
    is_transposed = op.op in _TRANSPOSED_CONVOLUTIONS
    if is_transposed:
        dtypes[0] = tf.as_dtype(op.attr["Tshape"].type) if "Tshape" in op.attr else tf.int32
    op.input.extend(f"input_{i}" for i in range(inputs))
    graph_def = graph_pb2.GraphDef(node=[op])

    @tf.function(input_signature=[tf.TensorSpec(None, dtype) for dtype in dtypes], autograph=False)
    def function(*tensors: Any) -> Any:
        values = list(tensors)
        if to_last:
            of_values = 2 if is_transposed else 0
            values[of_values] = tf.transpose(values[of_values], to_last)
            if is_transposed:
                values[0] = tf.gather(values[0], to_last)
        if op.op == "Conv3D":
            values[1] = _without_groups(values[1], tf.shape(values[0])[-1])
        feeds = dict(zip(op.input, values, strict=True))
        (output,) = tf.graph_util.import_graph_def(graph_def, feeds, return_elements=["op:0"])
        return tf.transpose(output, to_first) if to_last else output

    return function.get_concrete_function()


def _permute(attributes: Any, name: str, order: Sequence[int], size: int) -> None:
    """Reorder an attribute that has `size` numbers for each axis."""
    if name in attributes and (numbers := list(attributes[name].list.i)):
        del attributes[name].list.i[:]
        attributes[name].list.i.extend(itertools.chain(*(numbers[size * a : size * (a + 1)] for a in order)))


def _without_groups(kernel: Any, channels: Any) -> Any:
    """The kernel `[..., channels / groups, filters]` of a grouped convolution as one of all channels, zero between groups."""
    per_group, filters = tf.shape(kernel)[-2], tf.shape(kernel)[-1]
    groups = channels // per_group
    of_channel, of_filter = tf.range(channels) // per_group, tf.range(filters) // (filters // groups)
    ones = [1] * (3 if kernel.shape.rank is None else kernel.shape.rank - 2)
    return tf.tile(kernel, [*ones, groups, 1]) * tf.cast(of_channel[:, None] == of_filter, kernel.dtype)


@ops.RegisterGradient(_GROUPED_GRADIENT)
def _convolution_gradient(op: Any, upstream: Any) -> Any:
    """The gradient of a Conv2D with its channels last; of a grouped one by convolutions without groups."""
    x, kernel = op.inputs
    channels, per_group = x.shape[-1:], kernel.shape[-2:-1]
    if not channels.is_fully_defined() or not per_group.is_fully_defined() or channels == per_group:
        return ops.gradient_registry.lookup("Conv2D")(op, upstream)
    groups, filters = channels[0] // per_group[0], kernel.shape[-1]
    padding = op.get_attr("padding").decode()
    _, height, width, _ = op.get_attr("strides")
    options = {
        "strides": op.get_attr("strides"),
        "padding": padding if padding != "EXPLICIT" else _pairs(op.get_attr("explicit_paddings")),
    }
    dilations = op.get_attr("dilations")[1:3]
    if per_group == [1] and height == width and padding != "EXPLICIT" and (height == 1 or dilations == [1, 1]):
        by_channel = tf.reshape(kernel, [*kernel.shape[:2], channels[0], filters // channels[0]])
        y = tf.nn.depthwise_conv2d(x, by_channel, dilations=dilations, **options)
    else:
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        y = tf.concat([tf.nn.conv2d(a, b, dilations=dilations, **options) for a, b in parts], -1)
    return tf.gradients(y, [x, kernel], upstream)


def _pairs(numbers: Sequence[int]) -> list[list[int]]:
    return [list(numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
