"""The functions of a graph: bodies of loops and conditions, and what is called."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorflow.python.eager import context

_COPIES = itertools.count()


def rename_functions(graph_def: Any) -> Any:
    """Give the functions of a graph (bodies of loops) names that are new to this process, and register them.

    TensorFlow still has the old bodies under the old names; and where it differentiates one loop twice it makes two
    functions of the same name.
    """
    suffix = f"_copy_{next(_COPIES)}"
    names = {f.signature.name: f.signature.name + suffix for f in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name = names[function.signature.name]
    for node in all_nodes(graph_def):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            field = attribute.WhichOneof("value")
            for func in [attribute.func] if field == "func" else attribute.list.func if field == "list" else ():
                func.name = names.get(func.name, func.name)
    for gradient in graph_def.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    for function in graph_def.library.function:
        context.context().add_function_def(function)  # the runtime looks loop bodies up by name
    return graph_def


def all_nodes(graph_def: Any) -> Iterator[Any]:
    """The nodes of a graph and of all its functions."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def reachable_functions(nodes: Sequence[Any], bodies: Mapping[str, Any]) -> list[str]:
    """The names of the functions that nodes run, and of those that these run."""
    reached, stack = dict[str, None](), [nodes]
    while stack:
        for name in [name for node in stack.pop() for name in (node.op, *function_names(node))]:
            if name in bodies and name not in reached:
                reached[name] = None
                stack.append(bodies[name].node_def)
    return list(reached)


def function_names(node: Any) -> list[str]:
    """The names of the functions in a node's attributes."""
    return [f.name for a in node.attr.values() for f in ([a.func] if a.HasField("func") else a.list.func)]
