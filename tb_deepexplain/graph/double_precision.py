"""Double precision: the graph of a model that computes in float32 or less → the same graph in float64.

Every tensor of real numbers becomes float64, under its name, also in the bodies of loops and conditions. What stays narrow is
cast behind the node: a variable where it is read, so that explanations still use the current weights; rows that are looked up
in a variable; the values of an op without a float64 kernel. Such a node gets another name, and its name goes to the cast.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework import kernels, op_def_registry  # there is no public way to list an op's kernels

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.determinism import is_random
from tb_deepexplain.graph.double_kernels import is_opaque, replacement
from tb_deepexplain.graph.function_library import function_names, reachable_functions
from tb_deepexplain.graph.graph_view import FLOAT_TYPES, NARROW, REPLACED, VARIABLE_READS, node_name, tensor_name
from tb_deepexplain.graph.input_spec import COLUMN_SCOPE
from tb_deepexplain.graph.tensor_types import input_types, output_positions, output_types

_FLOAT, _DOUBLE = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE
_WIDE = {
    _FLOAT: _DOUBLE,
    types_pb2.DT_HALF: _DOUBLE,
    types_pb2.DT_BFLOAT16: _DOUBLE,
    types_pb2.DT_COMPLEX64: types_pb2.DT_COMPLEX128,
}
_SINGLE = {types_pb2.DT_HALF: _FLOAT, types_pb2.DT_BFLOAT16: _FLOAT}
_SUFFIX = "_in_float32"
# Ops whose result depends on the bytes or the decimal digits of their input, or whose types are fixed by code that is no graph.
_KEPT = frozenset(
    """AsString Bitcast PyFunc PyFuncStateless EagerPyFunc XlaCallModule ParseTensor SerializeTensor StringFormat DecodeRaw
    DecodePaddedRaw Fingerprint""".split()
)
_LOOKUPS = frozenset({"Gather", "GatherV2"})
_LARGEST_GRAPH = 2**31 - 1  # bytes that protocol buffers can hold
_DIGITS = 17  # that tell every float64 from its neighbours


class DoubleGraph(NamedTuple):
    """A graph in float64."""

    graph_def: Any
    limited: dict[str, str]  # node → op, where real numbers are still computed from others in float32
    renamed: dict[str, str]  # captured tensors, which keep their name and type → the same in float64


def to_double(graph_def: Any, captured: Collection[str] = ()) -> DoubleGraph:
    """The graph in float64, with the functions that it runs; `captured` are the placeholders of values that stay as they are.

    Raises UnsupportedModelError for an op that TensorFlow does not know and for constants that do not fit into a graph.
    """
    bodies = {f.signature.name: f for f in graph_def.library.function}
    main = _Rewriting(graph_def.node, bodies, captured)
    doubled = graph_pb2.GraphDef(versions=graph_def.versions, node=main.nodes)
    limited = dict(main.limited)
    for name in reachable_functions(graph_def.node, bodies):
        body = _Rewriting(bodies[name].node_def, bodies, is_function=True)
        doubled.library.function.append(_function(bodies[name], body))
        limited |= body.limited
    if doubled.ByteSize() > _LARGEST_GRAPH:
        raise UnsupportedModelError(
            "the constants of the model are too large for a graph in float64 (2 GB): give the model with its weights as variables"
        )
    return DoubleGraph(doubled, limited, main.renamed)


def wide(dtype: int) -> int:
    """The type of a tensor in the graph in float64."""
    return _WIDE.get(dtype, dtype)


def _function(function: Any, body: _Rewriting) -> Any:
    """A FunctionDef with the nodes of a rewritten body."""
    doubled = type(function)()
    doubled.CopyFrom(function)
    for argument in (*doubled.signature.input_arg, *doubled.signature.output_arg):
        if argument.type == types_pb2.DT_VARIANT:
            for handle in argument.handle_data:
                handle.dtype = wide(handle.dtype)
        argument.type = wide(argument.type)
        argument.ClearField("experimental_full_type")
    del doubled.node_def[:]
    doubled.node_def.extend(body.nodes)
    for name, tensor in doubled.ret.items():
        doubled.ret[name] = body.renamed.get(tensor, tensor)
    return doubled


class _Rewriting:
    """The nodes of a graph, or of a function, in float64."""

    def __init__(
        self, nodes: Sequence[Any], bodies: Collection[str], captured: Collection[str] = (), is_function: bool = False
    ) -> None:
        self._before = {node.name: node for node in nodes}
        self._bodies, self._captured, self._is_function = bodies, captured, is_function
        self.nodes: list[Any] = []
        self.renamed: dict[str, str] = {}  # how nodes refer to a tensor, before and now
        self.limited: dict[str, str] = {}
        for node in nodes:
            self._rewrite(node)
        for node in self.nodes:
            inputs = [
                i if node.name == node_name(self.renamed.get(i, "")) else self.renamed.get(i, i) for i in node.input
            ]
            del node.input[:]
            node.input.extend(inputs)

    def _rewrite(self, node: Any) -> None:
        copy = NodeDef()
        copy.CopyFrom(node)
        copy.ClearField("experimental_type")
        if node.op in self._bodies:  # a call whose op is the name of the function
            self.nodes.append(copy)
        elif op_def_registry.get(node.op) is None:
            raise UnsupportedModelError(f"TensorFlow does not know the op {node.op} of the step {node.name!r}")
        elif tensor_name(node.name) in self._captured:
            self._rewrite_capture(copy)
        elif not any(t in _WIDE for t in (*input_types(node), *output_types(node), *_type_attributes(node).values())):
            self.nodes.append(copy)
        elif any(t in _WIDE for t in output_types(node)) and (function := replacement(node)):
            self._replace(copy, function)
        else:
            self._widen(copy, node)

    def _rewrite_capture(self, copy: Any) -> None:
        """A placeholder keeps its name, by which it is fed; its readers get the cast."""
        self.nodes.append(copy)
        dtype = copy.attr["dtype"].type
        if dtype in _WIDE:
            cast = self._cast(f"{copy.name}_in_float64", copy.name, dtype, _WIDE[dtype])
            self.renamed |= dict.fromkeys((copy.name, f"{copy.name}:0"), cast)

    def _widen(self, copy: Any, node: Any) -> None:
        """A node in float64 where its op has a kernel, else with casts before and after it."""
        table = self._narrow_table(node)
        if table is not None:
            copy.input[0] = table
        elif not _keeps_types(node):
            _widen_types(copy, node)
        if node.op == "Const":
            copy.attr["value"].tensor.CopyFrom(_wide_constant(node.attr["value"].tensor))
        if _is_of_column(node):
            copy.attr["precision"].i = _DIGITS - 1
        self._cast_inputs(copy, node, first=0 if table is None else 1)
        self._cast_outputs(copy, node)

    def _narrow_table(self, node: Any) -> str | None:
        """How to refer to the variable as it is read, for a look-up of its rows; None for any other node."""
        if node.op not in _LOOKUPS:
            return None
        table = node.input[0]
        while (read := self._before.get(node_name(table))) is not None and read.op == "Identity":
            table = read.input[0]
        if read is None or read.op not in VARIABLE_READS or read.attr["dtype"].type not in _WIDE:
            return None
        return table.replace(read.name, self._narrow_name(read.name), 1)

    def _cast_inputs(self, copy: Any, node: Any, first: int) -> None:
        """Cast what the node reads, from input number `first` on, to the types that it takes."""
        for i, (old, new) in enumerate(zip(input_types(node), input_types(copy), strict=True)):
            if i >= first and wide(old) != new:
                copy.input[i] = self._cast(f"{node.name}/input_{i}{_SUFFIX}", copy.input[i], wide(old), new)

    def _cast_outputs(self, copy: Any, node: Any) -> None:
        """Add the node, and under its name what widens its outputs."""
        self.nodes.append(copy)
        narrow, types = output_types(copy), [wide(t) for t in output_types(node)]
        if narrow == types:
            return
        copy.name = self._narrow_name(node.name)
        if node.op in _LOOKUPS or _is_source(node) or not any(t in FLOAT_TYPES for t in input_types(node)):
            copy.attr[NARROW].b = True
        elif not node.op.startswith("TensorArray"):
            self.limited[node.name] = node.op
        positions = output_positions(copy)
        tensors = [self._reference(copy.name, i, *position) for i, position in enumerate(positions)]
        if len(tensors) == 1:
            self._cast(node.name, tensors[0], narrow[0], types[0])
            self._rename(node, "y")
            return
        casts = [
            tensor if a == b else self._cast(f"{copy.name}/output_{i}", tensor, a, b)
            for i, (tensor, a, b) in enumerate(zip(tensors, narrow, types, strict=True))
        ]
        self._add_identities(node.name, casts, types)
        self._rename(node, "output")

    def _replace(self, copy: Any, function: Any) -> None:
        """Add other ops in place of the node."""
        types = [wide(t) for t in output_types(copy)]
        specs = [tf.TensorSpec(None, tf.as_dtype(wide(t))) for t in input_types(copy)]
        concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
        scope = self._free_name(f"{copy.name}/in_float64")
        if self._is_function:
            definition = concrete.function_def
            arguments, nodes = [a.name for a in definition.signature.input_arg], definition.node_def
            results = [definition.ret[a.name] for a in definition.signature.output_arg]
        else:
            arguments, nodes = [t.op.name for t in concrete.inputs], concrete.graph.as_graph_def().node
            results = [t.name for t in concrete.outputs]
        fed = dict(zip(arguments, copy.input, strict=False))

        def rename(tensor: str) -> str:
            name = node_name(tensor)
            return fed.get(name) or tensor.replace(name, f"{scope}/{name}", 1)

        for inner in nodes:
            if inner.name not in fed:
                added = NodeDef()
                added.CopyFrom(inner)
                added.name = f"{scope}/{inner.name}"
                added.input[:] = map(rename, inner.input)
                if is_opaque(copy):
                    added.attr[REPLACED].list.s.extend([copy.op.encode(), copy.name.encode()])
                self.nodes.append(added)
        self._add_identities(copy.name, list(map(rename, results)), types)
        self._rename(copy, "output")

    def _cast(self, name: str, tensor: str, source: int, target: int) -> str:
        """Add a cast; how to refer to its output."""
        cast = NodeDef(name=name, op="Cast", input=[tensor])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = source, target
        self.nodes.append(cast)
        return self._reference(name, 0, "y", 0)

    def _add_identities(self, name: str, tensors: Sequence[str], types: Sequence[int]) -> None:
        if len(tensors) == 1:
            identities = NodeDef(name=name, op="Identity", input=tensors)
            identities.attr["T"].type = types[0]
        else:
            identities = NodeDef(name=name, op="IdentityN", input=tensors)
            identities.attr["T"].list.type.extend(types)
        self.nodes.append(identities)

    def _reference(self, name: str, index: int, argument: str, number: int) -> str:
        """How a node refers to the output number `index` of another, which is the number `number` of an argument of its op."""
        return f"{name}:{argument}:{number}" if self._is_function else f"{name}:{index}"

    def _rename(self, node: Any, argument: str) -> None:
        """The outputs of a node are now those of another one of its name, whose op calls them `argument`."""
        if self._is_function:
            for i, (before, number) in enumerate(output_positions(node)):
                self.renamed[f"{node.name}:{before}:{number}"] = f"{node.name}:{argument}:{i}"

    def _narrow_name(self, name: str) -> str:
        return self._free_name(f"{name}{_SUFFIX}")

    def _free_name(self, name: str) -> str:
        while name in self._before:
            name += "_"
        return name


def _keeps_types(node: Any) -> bool:
    """Whether a node computes with the types it has, because it holds or reads variables or tables, or depends on single bits."""
    if node.op.startswith("TensorArray") or (node.op not in _KEPT and function_names(node)):
        return False
    return _has_resource(node) or is_random(node) or (node.op in _KEPT and not _is_of_column(node))


def _is_source(node: Any) -> bool:
    """Whether a node returns numbers as they are stored; its own real inputs are defaults."""
    return node.op.startswith(("Parse", "Decode")) or (_has_resource(node) and not node.op.startswith("TensorArray"))


def _has_resource(node: Any) -> bool:
    op = op_def_registry.get(node.op)
    return any(a.type == types_pb2.DT_RESOURCE for a in (*op.input_arg, *op.output_arg))


def _is_of_column(node: Any) -> bool:
    """Whether a node writes the values of a sparse column as decimals, to be read again."""
    return bool(node.op == "AsString" and node.name.startswith(COLUMN_SCOPE))


def _type_attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node that hold a type (name → the type), and those that hold several (name and number → the type)."""
    types = dict[str, Any]()
    for attribute in op_def_registry.get(node.op).attr:
        value = node.attr.get(attribute.name, attribute.default_value)
        if attribute.type == "type":
            types[attribute.name] = value.type
        elif attribute.type == "list(type)":
            types |= {f"{attribute.name}:{i}": t for i, t in enumerate(value.list.type)}
    return types


def _widen_types(copy: Any, node: Any) -> None:
    """Set the types of a node to float64 where its op has a kernel for it, else to float32."""
    for wider in (_WIDE, _SINGLE, {}):
        for attribute in op_def_registry.get(node.op).attr:
            allowed = attribute.allowed_values.list.type
            value = node.attr.get(attribute.name, attribute.default_value)

            def widen(dtype: int, wider: Any = wider, allowed: Any = allowed) -> int:
                choices = (wider.get(dtype, dtype), _SINGLE.get(dtype, dtype), dtype)
                return next((t for t in choices if not allowed or t in allowed), dtype)

            if attribute.type == "type":
                copy.attr[attribute.name].type = widen(value.type)
            elif attribute.type == "list(type)":
                copy.attr[attribute.name].list.type[:] = map(widen, value.list.type)
        is_wide = wider is not _WIDE or [wide(t) for t in output_types(node)] == output_types(copy)
        if is_wide and _has_kernel(node.op, tuple(_type_attributes(copy).items())):
            return


@functools.cache
def _has_kernel(op: str, types: tuple[tuple[str, int], ...]) -> bool:
    """Whether a CPU runs an op with these types; a GPU leaves to it what it cannot run itself."""
    of_cpu = [k for k in kernels.get_registered_kernels_for_op(op).kernel if k.device_type == "CPU"]

    def fits(kernel: Any) -> bool:
        allowed = {c.name: c.allowed_values.list.type for c in kernel.constraint}
        return all(t in allowed[name.split(":")[0]] for name, t in types if name.split(":")[0] in allowed)

    return not of_cpu or any(map(fits, of_cpu))


def _wide_constant(value: Any) -> Any:
    """The value of a constant in float64; one that is stored as a single number for all stays so."""
    dtype = tf.as_dtype(value.dtype).as_numpy_dtype
    if value.dtype not in _WIDE:
        return value
    widened = type(value)(dtype=_WIDE[value.dtype], tensor_shape=value.tensor_shape)
    if value.tensor_content:
        numbers = np.frombuffer(value.tensor_content, dtype)
        widened.tensor_content = numbers.astype(tf.as_dtype(widened.dtype).as_numpy_dtype).tobytes()
        return widened
    widened.double_val.extend(value.float_val)
    widened.double_val.extend(np.array(value.half_val, np.uint16).view(dtype).astype(np.float64))
    widened.dcomplex_val.extend(value.scomplex_val)
    return widened
