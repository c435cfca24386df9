"""Custom gradients (tf.custom_gradient): what a model says about the derivative of a step.

TensorFlow holds a custom gradient as a Python function that refers to tensors of the graph in which the model was traced.
`keep_custom_gradients` traces that function on its own and adds the tensors that it refers to to the inputs of its node, so
that the node can be inlined and imported. Gradient methods use it, as TensorFlow's own gradient of the model does. Backward
rules do not: they refer to what a step computes.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops  # TensorFlow does not say in public which gradient an op has

from tb_deepexplain.graph.double_precision import to_double, wide
from tb_deepexplain.graph.function_library import rename_functions
from tb_deepexplain.graph.graph_view import GraphView, node_name
from tb_deepexplain.graph.op_classes import is_flat

CUSTOM_GRADIENT = "_custom_gradient"  # attribute of nodes that have one: its number, or LOST
LOST = -1
_GRADIENT_OP_TYPE = "TbDeepExplainCustomGradient"
_NUMBERS = itertools.count()
_KEPT: weakref.WeakValueDictionary[int, _CustomGradient] = weakref.WeakValueDictionary()


class _CustomGradient:
    """The custom gradient of one node, traced as a function of the gradients of its outputs."""

    def __init__(self, op: Any, gradient: Callable[..., Any]) -> None:
        real = [i for i, t in enumerate(op.outputs) if t.dtype.is_floating or t.dtype.is_complex]
        positions = list[int]()

        def trace(*upstream: Any) -> list[Any]:
            of_output = dict(zip(real, upstream, strict=True))
            values = gradient(op, *(of_output.get(i) for i in range(len(op.outputs))))
            positions[:] = [i for i, value in enumerate(values) if value is not None]
            return [tf.convert_to_tensor(values[i]) for i in positions]

        specs = [tf.TensorSpec(op.outputs[i].shape, op.outputs[i].dtype) for i in real]
        with op.graph.as_default():
            self._function = tf.function(trace, autograph=False).get_concrete_function(*specs)
        self._real, self._positions, self._inputs = real, positions, len(op.inputs)
        captures = self._function.captured_inputs
        self.captured = [t for t in captures if _is_symbolic(t)]
        self._constants = [None if _is_symbolic(t) else t for t in captures]
        if any(t.graph is not op.graph for t in self.captured):
            raise ValueError("the gradient refers to tensors of another graph")

    def __call__(self, op: Any, upstream: Sequence[Any]) -> list[Any]:
        captured = iter(op.inputs[self._inputs :])
        values = [*(upstream[i] for i in self._real), *(next(captured) if c is None else c for c in self._constants)]
        graph, here = self._function.graph, tf.compat.v1.get_default_graph()
        values = [here.capture(value) for value in values]
        graph_def = graph.as_graph_def()
        if any(value.dtype.size > t.dtype.size for t, value in zip(graph.inputs, values, strict=True)):
            values = [v if v.dtype == tf.resource else tf.cast(v, wide(v.dtype.as_datatype_enum)) for v in values]
            graph_def = rename_functions(to_double(graph_def).graph_def)
        feeds = {t.name: value for t, value in zip(graph.inputs, values, strict=True)}
        gradients: list[Any] = [None] * len(op.inputs)
        outputs = [t.name for t in graph.outputs]
        imported = tf.graph_util.import_graph_def(graph_def, feeds, outputs, name="custom_gradient")
        for position, value in zip(self._positions, imported, strict=True):
            gradients[position] = value
        return gradients


def _is_symbolic(tensor: Any) -> bool:
    return not hasattr(tensor, "numpy")


@ops.RegisterGradient(_GRADIENT_OP_TYPE)
def _apply(op: Any, *upstream: Any) -> list[Any]:
    return _KEPT[op.get_attr(CUSTOM_GRADIENT)](op, upstream)


def keep_custom_gradients(graph_def: Any, graph: Any) -> None:
    """Mark the nodes with a custom gradient in the GraphDef of a FuncGraph and its functions, before they are inlined.

    The custom gradients that can be kept last as long as the FuncGraph.
    """
    kept = graph.tb_deepexplain_custom_gradients = list[object]()
    graphs = _functions(graph)
    for function in (None, *graph_def.library.function):
        nodes = {n.name: n for n in (function.node_def if function else graph_def.node)}
        of_nodes = graphs.get(function.signature.name) if function else graph
        operations = dict[str, Any]()
        for node in nodes.values():
            if node.op != "IdentityN" or "_gradient_op_type" not in node.attr:
                continue
            name = node.attr.pop("_gradient_op_type").s.decode()
            is_silu = _is_silu(node, nodes)
            if not is_silu:
                node.attr[CUSTOM_GRADIENT].i = LOST
            try:
                operations = operations or _operations(function, of_nodes)
                op = operations[node.name]
                gradient = _find_gradient(name, op)
                if is_silu and not _is_written_by_user(gradient):
                    continue
                custom = _CustomGradient(op, gradient)
            except Exception:  # noqa: S112 - the model's own code; what is lost is refused or a warning
                continue
            kept.append(custom)
            node.attr["_gradient_op_type"].s = _GRADIENT_OP_TYPE.encode()
            node.attr[CUSTOM_GRADIENT].i = number = next(_NUMBERS)
            _KEPT[number] = custom
            node.input.extend(_reference(t, function, operations) for t in custom.captured)
            node.attr["T"].list.type.extend(t.dtype.as_datatype_enum for t in custom.captured)


def _functions(graph: Any) -> dict[str, Any]:
    """The FuncGraphs of the functions that a FuncGraph calls, and of those that they call."""
    graphs, stack = dict[str, Any](), [graph]
    while stack:
        for name, function in stack.pop()._functions.items():  # noqa: SLF001 - there is no public way to list them
            if name not in graphs and (inner := getattr(function, "_cached_graph", None)) is not None:
                graphs[name] = inner
                stack.append(inner)
    return graphs


def _is_silu(node: Any, nodes: Mapping[str, Any]) -> bool:
    """x · sigmoid(βx): TensorFlow's custom gradient only saves memory and equals the derivative."""
    product = nodes.get(node_name(node.input[0]))
    factors = [] if product is None or product.op != "Mul" else [nodes.get(node_name(i)) for i in product.input]
    return any(factor is not None and factor.op == "Sigmoid" for factor in factors)


def _find_gradient(name: str, op: Any) -> Callable[..., Any]:
    """The gradient registered under a name, if it is that of this op: a name from another process may mean another one here."""
    gradient = ops.gradient_registry.lookup(name)
    written = inspect.getclosurevars(gradient).nonlocals
    if "tape_grad_fn" in written:  # tf.custom_gradient
        result = tf.nest.flatten(inspect.getclosurevars(written["tape_grad_fn"]).nonlocals["result"])
        if any(t.graph is not op.graph for t in result):
            raise LookupError(name)
    elif "func" not in written:  # of a SavedModel
        raise LookupError(name)
    return gradient


def _is_written_by_user(gradient: Callable[..., Any]) -> bool:
    """Whether a registered gradient is known to be no function of TensorFlow."""
    written = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    function = written and inspect.getclosurevars(written).nonlocals.get("grad_fn")
    return function is not None and not function.__module__.startswith("tensorflow.")


def _operations(function: Any, graph: Any) -> dict[str, Any]:
    """The operation of each node of a FunctionDef, or of a graph; TensorFlow gives some of a function's nodes new names."""
    inputs = {t.op for t in graph.inputs} if function else ()
    operations = [op for op in graph.get_operations() if op not in inputs]
    if function is None:
        return {op.name: op for op in operations}
    by_name = dict(
        zip((n.name for n in function.node_def), operations, strict=False)
    )  # later operations are of gradients
    if any(by_name[n.name].type != n.op for n in function.node_def):
        raise LookupError("the function was not made of this graph")
    return by_name


def _reference(tensor: Any, function: Any, operations: Mapping[str, Any]) -> str:
    """The name of a tensor in a GraphDef, or in a FunctionDef."""
    if function is None:
        return str(tensor.name)
    for argument, t in zip(
        function.signature.input_arg, tensor.graph.inputs, strict=False
    ):  # TensorFlow may append some
        if t is tensor:
            return str(argument.name)
    start = 0
    for output in tensor.op.op_def.output_arg:
        count = tensor.op.get_attr(output.number_attr) if output.number_attr else 1
        count = len(tensor.op.get_attr(output.type_list_attr)) if output.type_list_attr else count
        if tensor.value_index < start + count:
            break
        start += count
    name = next(name for name, op in operations.items() if op is tensor.op)
    return f"{name}:{output.name}:{tensor.value_index - start}"


def lost_custom_gradients(view: GraphView, names: Collection[str]) -> tuple[list[str], list[str]]:
    """Those of the nodes whose custom gradient could not be kept: (all, those whose computation is itself flat)."""
    lost, flat = list[str](), list[str]()
    bodies = {f.signature.name: f.node_def for f in view.library.function}
    for name, node in view.nodes.items():
        if name not in names:
            continue
        if _is_lost(node):
            lost.append(name)
            flat += [name] if _is_flat(view, name) else []
        for body in _bodies(node, bodies):
            inner = [n for n in body if _is_lost(n)]
            lost += [name] if inner else []
            flat += [name] if inner and any(map(is_flat, body)) else []
    return lost, flat


def all_custom_gradients(view: GraphView, names: Collection[str]) -> list[str]:
    """Those of the nodes that have a custom gradient, kept or lost."""
    return [n for n in view.nodes if n in names and CUSTOM_GRADIENT in view.nodes[n].attr]


def _is_lost(node: Any) -> bool:
    return CUSTOM_GRADIENT in node.attr and node.attr[CUSTOM_GRADIENT].i == LOST


def _bodies(node: Any, bodies: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes of the functions that a loop or condition runs."""
    for attribute in node.attr.values():
        for f in [attribute.func] if attribute.HasField("func") else attribute.list.func:
            if f.name in bodies:
                yield bodies[f.name]


def _is_flat(view: GraphView, name: str) -> bool:
    """Whether a step that passes no gradient lies between the arguments and the results of a node's custom gradient."""
    inputs = view.inputs[name]
    for i, result in enumerate(inputs):
        arguments = [*inputs[:i], *inputs[i + 1 :]]
        before = view.ancestors([result], stop=arguments)
        between = view.value_descendants(n for t in arguments for n in view.value_consumers_within(t, before)) & before
        if any(is_flat(view.nodes[n]) for n in between):
            return True
    return False
