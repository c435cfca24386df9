"""The types of the tensors that a node reads and returns, from the definition of its op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow.python.framework import op_def_registry  # TensorFlow does not say in public what types an op takes


def input_types(node: Any) -> list[int]:
    """The types of the tensors that a node reads, as numbers of `DataType`; empty if the op is unknown."""
    op = op_def_registry.get(node.op)
    return [] if op is None else _types(node, op, op.input_arg)


def output_types(node: Any) -> list[int]:
    """The types of a node's output tensors, as numbers of `DataType`; empty if the op is unknown."""
    op = op_def_registry.get(node.op)
    return [] if op is None else _types(node, op, op.output_arg)


def output_positions(node: Any) -> list[tuple[str, int]]:
    """The name and the number by which a function refers to each output tensor of a node: `node:name:number`."""
    op = op_def_registry.get(node.op)
    return [] if op is None else [(a.name, i) for a in op.output_arg for i in range(len(_types(node, op, [a])))]


def _types(node: Any, op: Any, arguments: Sequence[Any]) -> list[int]:
    defaults = {a.name: a.default_value for a in op.attr}
    types: list[int] = []

    def attribute(name: str) -> Any:
        return node.attr[name] if name in node.attr else defaults[name]

    for argument in arguments:
        if argument.type_list_attr:
            types += attribute(argument.type_list_attr).list.type
            continue
        count = attribute(argument.number_attr).i if argument.number_attr else 1
        types += [argument.type or attribute(argument.type_attr).type] * count
    return types
