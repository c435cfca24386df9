"""Embedding look-ups: where a model turns integers that come from an input into rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from tb_deepexplain.graph.graph_view import FLOAT_TYPES, NARROW, RESHAPING_OPS, SHAPE_OPS, GraphView, node_name
from tb_deepexplain.lazy_tensorflow import tf

_LOOKUP_OPS = {"GatherV2": "Tparams", "Gather": "Tparams", "ResourceGather": "dtype"}  # attribute: type of the table
_INTEGER_TYPES = frozenset({3, 9})  # DT_INT32, DT_INT64
# Ops that move values without changing them.
_MOVING_OPS = RESHAPING_OPS | frozenset(
    "Cast SelectV2 Select RaggedTensorToTensor Pad PadV2 Slice StridedSlice ConcatV2 Pack Transpose".split()
)
_POOLING_OPS = ("SparseSegment", "SegmentSum", "SegmentMean", "UnsortedSegmentSum")
_COMPARISONS = frozenset({"Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"})


@dataclasses.dataclass(frozen=True)
class EmbeddingLookup:
    """`output` holds the rows of `table` at `indices`; names of tensors."""

    table: str
    indices: str
    output: str


def find_lookups(view: GraphView, sources: Collection[str], output: str) -> list[EmbeddingLookup]:
    """The look-ups between the inputs `sources` (names of integer or string nodes) and the tensor `output`."""
    gathers = {
        n
        for n, node in view.nodes.items()
        if node.op in _LOOKUP_OPS and node.attr[_LOOKUP_OPS[node.op]].type in FLOAT_TYPES
    }
    needed = view.ancestors([output])
    from_inputs = view.value_descendants(sources, stop=gathers)
    lookups = []
    for name in view.nodes:  # in graph order, so that the result is stable
        if name in gathers and name in needed:
            table, indices = view.inputs[name][:2]
            if node_name(indices) in from_inputs and not view.ancestors([table]) & from_inputs:
                rows = f"{name}:0"
                if NARROW in view.nodes[name].attr:
                    rows = f"{view.consumers[rows][0]}:0"
                lookups.append(EmbeddingLookup(table, indices, rows))
    return lookups


def holds_token_ids(view: GraphView, node: str) -> bool:
    """Whether an input is only cast to integers and compared (with padding, say): Keras 2 keeps token ids in floats."""
    is_cast, stack = False, [node]
    while stack:
        for name in view.consumers.get(f"{stack.pop()}:0", ()):
            consumer = view.nodes[name]
            if consumer.op == "Cast" and consumer.attr["DstT"].type in _INTEGER_TYPES:
                is_cast = True
            elif consumer.op in RESHAPING_OPS:
                stack.append(name)
            elif consumer.op not in _COMPARISONS and consumer.op not in SHAPE_OPS:
                return False
    return is_cast


def find_padding_id(view: GraphView, ids: str) -> int | None:
    """The id that fills up texts, for a tensor of token ids: 0 if the model pads strings itself, else the only number with which
    it compares the ids (to make a mask); None if there is no such number, or several."""
    nodes = view.ancestors([ids])
    if any(view.nodes[name].op == "RaggedTensorToTensor" for name in nodes):
        return 0
    numbers, stack = set[int](), list(nodes)
    while stack:
        for name in view.consumers.get(f"{stack.pop()}:0", ()):
            op = view.nodes[name].op
            if (op == "Cast" or op in RESHAPING_OPS) and name not in nodes:
                nodes.add(name)
                stack.append(name)
            elif op in ("NotEqual", "Equal"):
                constants = [constant_value(view, i) for i in view.inputs[name]]
                numbers |= {int(c.item()) for c in constants if c is not None and c.dtype.kind in "iuf" and c.size == 1}
    return numbers.pop() if len(numbers) == 1 else None


def find_word_tables(view: GraphView, lookup: EmbeddingLookup) -> list[str]:
    """The nodes that turn words into the token ids of a look-up; none where the model computes other ids from theirs."""
    tables: list[str] = []
    visited, stack = set[str](), [node_name(lookup.indices)]
    while stack:
        name = stack.pop()
        node = view.nodes[name]
        if name in visited:
            continue
        visited.add(name)
        if node.op == "LookupTableFindV2" and node.attr["Tin"].type == tf.string.as_datatype_enum:
            tables.append(name)
        elif node.op in _MOVING_OPS:
            stack += map(node_name, view.inputs[name])
    return tables


def constant_value(view: GraphView, tensor: str) -> Any:
    """The value of a constant, perhaps cast; None if the tensor is none."""
    while (node := view.nodes[node_name(tensor)]).op in ("Identity", "Cast"):
        tensor = view.inputs[node.name][0]
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None


def find_pooled(view: GraphView, lookup: EmbeddingLookup) -> list[str]:
    """The tensors that pool the look-up of a sparse column into one row for each example; empty for any other look-up.

    The look-up of a sparse column has a row for each distinct id of a batch, so its rows do not belong to examples.
    """
    ids = node_name(view.skip_identities(lookup.indices))
    if view.nodes[ids].op not in ("Unique", "UniqueV2"):
        return []
    descendants = view.value_descendants([node_name(lookup.output)])
    return [f"{n}:0" for n in view.nodes if n in descendants and is_pooling(view.nodes[n])]


def is_pooling(node: Any) -> bool:
    """Whether a node pools rows of a table, or weighted ones, into one row for each example."""
    return bool(node.op.startswith(_POOLING_OPS))
