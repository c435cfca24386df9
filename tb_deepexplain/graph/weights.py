"""Where a model reads its weights, and the order of the layers that do. Plain analysis of a graph; nothing runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tb_deepexplain.graph.graph_view import FLOAT_TYPES, VARIABLE_READS, GraphView, node_name, tensor_name


def variable_reads(view: GraphView, name: str) -> list[tuple[str, int]]:
    """(node, type of the values) for every node that reads the variable with this handle."""
    reads, stack = [], [name]
    while stack:
        for consumer in view.consumers.get(stack.pop(), ()):
            node = view.nodes[consumer]
            if node.op in VARIABLE_READS:
                reads.append((consumer, node.attr["dtype"].type))
            elif node.op == "Identity":  # in the signature of a SavedModel
                stack.append(tensor_name(consumer))
    return reads


def weights_by_layer(view: GraphView, output: str, variables: Collection[str]) -> list[tuple[str, list[str]]]:
    """(layer, tensors of its weights) before `output`, the layer nearest to it first.

    Weights are captured `variables` and constants.
    """
    depths = _depths(view, output)
    readers: dict[str, list[str]] = {}
    for name in variables:
        reads = variable_reads(view, name)
        readers[name] = [reader for reader, dtype in reads if dtype in FLOAT_TYPES and reader in depths]
    for name, node in view.nodes.items():
        if node.op == "Const" and name in depths and _is_weight(node):
            consumers = view.consumers.get(tensor_name(name), ())
            readers[tensor_name(name)] = [consumer for consumer in consumers if consumer in depths]
    layers: dict[str, dict[str, int]] = {}  # layer → weight → depth
    for name, nodes in readers.items():
        if nodes:
            nearest = min(nodes, key=lambda node: depths[node])
            layers.setdefault(_layer_name(name, nearest), {})[name] = depths[nearest]
    nearest_first = sorted(layers.items(), key=lambda layer: min(layer[1].values()))
    return [(name, list(weights)) for name, weights in nearest_first]


def _depths(view: GraphView, output: str) -> dict[str, int]:
    """The length of the longest path from each node before `output` to it."""
    nodes = view.ancestors([output])
    unvisited_consumers = dict.fromkeys(nodes, 0)
    for name in nodes:
        for previous in {node_name(i) for i in view.inputs[name]}:
            unvisited_consumers[previous] += 1
    depths, ready = {node_name(output): 0}, [node_name(output)]
    while ready:
        name = ready.pop()
        for previous in {node_name(i) for i in view.inputs[name]}:
            depths[previous] = max(depths.get(previous, 0), depths[name] + 1)
            unvisited_consumers[previous] -= 1
            if not unvisited_consumers[previous]:
                ready.append(previous)
    return depths


def _is_weight(node: Any) -> bool:
    """Whether a constant was a weight: more than one real number."""
    value = node.attr["value"].tensor
    size = 1
    for dim in value.tensor_shape.dim:
        size *= dim.size
    return value.dtype in FLOAT_TYPES and size > 1


def _layer_name(weight: str, reader: str) -> str:
    """The name scope of the node that reads a weight, without a scope for the reading alone."""
    parts = reader.split("/")
    if parts[-1].startswith("ReadVariableOp"):
        parts = parts[:-1]  # .../dense/MatMul/ReadVariableOp
    return "/".join(parts[:-1]) or node_name(weight)
