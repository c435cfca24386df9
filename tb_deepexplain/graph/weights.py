"""Where a model's weights are read, and in which order the layers stand that read them: plain analysis of a GraphDef."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tb_deepexplain.graph.cut import FLOATS, GraphView, node_of, tensor

_READS = {"ReadVariableOp": "dtype", "ResourceGather": "dtype"}


def variable_reads(view: GraphView, name: str) -> list[tuple[str, int]]:
    """The steps that read the variable behind a tensor, and the type of its values."""
    found, stack = [], [name]
    while stack:
        for reader in view.consumers.get(stack.pop(), ()):
            node = view.nodes[reader]
            if node.op in _READS:
                found.append((reader, node.attr[_READS[node.op]].type))
            elif node.op == "Identity":  # of a SavedModel's signature
                stack.append(tensor(reader))
    return found


def layers_of(view: GraphView, output: str, variables: Collection[str]) -> list[tuple[str, list[str]]]:
    """Layers, that nearest to the output first, each with the tensors of its weights: captured variables, or constants."""
    depths = _depths(view, output)
    readers: dict[str, list[str]] = {}
    for name in variables:
        readers[name] = [reader for reader, kind in variable_reads(view, name) if kind in FLOATS and reader in depths]
    for name, node in view.nodes.items():
        if node.op == "Const" and name in depths and _is_weight(node):
            readers[tensor(name)] = [reader for reader in view.consumers.get(tensor(name), ()) if reader in depths]
    layers: dict[str, dict[str, int]] = {}
    for name, found in readers.items():
        if found:
            nearest = min(found, key=lambda reader: depths[reader])
            layers.setdefault(_layer(name, nearest), {})[name] = depths[nearest]
    ordered = sorted(layers.items(), key=lambda layer: min(layer[1].values()))
    return [(name, list(weights)) for name, weights in ordered]


def _depths(view: GraphView, output: str) -> dict[str, int]:
    """How many steps at most lie between each node before the output and the output."""
    nodes = view.ancestors([output])
    waiting = dict.fromkeys(nodes, 0)
    for name in nodes:
        for before in {node_of(i) for i in view.inputs[name]}:
            waiting[before] += 1
    depths, ready = {node_of(output): 0}, [node_of(output)]
    while ready:
        name = ready.pop()
        for before in {node_of(i) for i in view.inputs[name]}:
            depths[before] = max(depths.get(before, 0), depths[name] + 1)
            waiting[before] -= 1
            if not waiting[before]:
                ready.append(before)
    return depths


def _is_weight(node: Any) -> bool:
    """Whether a constant has been a weight: real numbers, and more than one."""
    value = node.attr["value"].tensor
    size = 1
    for dim in value.tensor_shape.dim:
        size *= dim.size
    return value.dtype in FLOATS and size > 1


def _layer(weight: str, reader: str) -> str:
    """The scope that the steps of one layer share, as far as their names tell."""
    parts = reader.split("/")
    if parts[-1].startswith("ReadVariableOp"):
        parts = parts[:-1]  # .../dense/MatMul/ReadVariableOp
    return "/".join(parts[:-1]) or node_of(weight)
