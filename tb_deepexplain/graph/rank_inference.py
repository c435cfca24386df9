"""Ranks that TensorFlow cannot infer statically, measured by running the model on zeros once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.graph.graph_view import GraphView, tensor_name

# Tried for unknown dimensions; some windows do not fit into 3, some columns hold a single value.
_UNKNOWN_SIZES = (3, 32, 1)
# Ops whose shape only Python knows (Keras' StringLookup sets it): a GraphDef does not hold it.
_OPS_WITHOUT_SHAPE = frozenset({"LookupTableFind", "LookupTableFindV2", "PyFunc", "PyFuncStateless", "EagerPyFunc"})


def annotate_ranks(graph_def: Any, function: Any, outputs: Sequence[Any]) -> None:
    """Write the rank of every float tensor whose rank is unknown into the inlined GraphDef of `function`.

    `outputs` are those of the function. Changes nothing if the model cannot be run on zeros.
    """
    if all(t.shape.rank is not None for t in outputs) and all(n.op not in _OPS_WITHOUT_SHAPE for n in graph_def.node):
        return
    captures = {internal.name: external for external, internal in function.graph.captures}
    inputs = [t for t in function.inputs if t.name not in captures]
    if any(t.shape.rank is None for t in inputs) or any(n.op == "ParseExampleV2" for n in graph_def.node):
        return  # an empty text is no tf.Example; the graph is traced again behind the parser, without it
    view = GraphView(graph_def)
    needed = view.ancestors([t.name for t in outputs])
    feeds = {tensor_name(t.op.name) for t in function.inputs}
    inner = [n for n in view.nodes if n in needed and tensor_name(n) not in feeds]
    has_unknown_rank: dict[str, list[bool]] = {}  # node → for each of its outputs

    @tf.function(autograph=False)
    def ranks(values: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        fed = dict(zip((t.name for t in inputs), values, strict=True))
        fed |= {name: graph.capture(external) for name, external in captures.items()}
        read = {i for n in needed for i in view.inputs[n]}
        operations = tf.graph_util.import_graph_def(
            view.subgraph([tensor_name(n) for n in inner], feeds), {n: t for n, t in fed.items() if n in read}, inner
        )
        unknown = []
        for name, operation in zip(inner, operations, strict=True):
            has_unknown_rank[name] = [t.shape.rank is None and t.dtype.is_floating for t in operation.outputs]
            unknown += [t for t, flag in zip(operation.outputs, has_unknown_rank[name], strict=True) if flag]
        return [tf.rank(t) for t in unknown]

    specs = [tf.TensorSpec(t.shape, t.dtype) for t in inputs]
    if not ranks.get_concrete_function(specs).structured_outputs:
        return
    for size in _UNKNOWN_SIZES:
        with contextlib.suppress(tf.errors.OpError, ValueError):
            zeros = [tf.zeros([size if n is None else n for n in t.shape], t.dtype) for t in inputs]
            measured = iter(ranks(zeros))
            for name in (n for n in inner if any(has_unknown_rank[n])):
                shapes = [tf.TensorShape([None] * int(next(measured)) if u else None) for u in has_unknown_rank[name]]
                view.nodes[name].attr["_output_shapes"].list.shape.extend(s.as_proto() for s in shapes)
            return
