"""Ranks that TensorFlow cannot infer, found by running a small example once."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf

from tb_deepexplain.graph.cut import GraphView, tensor

_SIZES = (3, 32)  # of dimensions that are not fixed: the second for what a small window does not fit into


def fill_in(graph_def: Any, function: Any) -> None:
    """Note in the graph the rank of what the outputs of unknown rank are computed from."""
    captures = {internal.name: external for external, internal in function.graph.captures}
    inputs = [t for t in function.inputs if t.name not in captures]
    if any(t.shape.rank is None for t in inputs):
        return
    view = GraphView(graph_def)
    needed = view.ancestors([t.name for t in function.outputs if t.shape.rank is None])
    feeds = {tensor(t.op.name) for t in function.inputs}
    inner = [n for n in view.nodes if n in needed and tensor(n) not in feeds]
    unknown: dict[str, list[bool]] = {}  # of each node, which of its outputs

    @tf.function(autograph=False)
    def ranks(given: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        fed = dict(zip((t.name for t in inputs), given, strict=True))
        fed |= {name: graph.capture(external) for name, external in captures.items()}
        used = {i for n in needed for i in view.inputs[n]}
        ops = tf.graph_util.import_graph_def(
            view.subgraph([tensor(n) for n in inner], feeds), {n: t for n, t in fed.items() if n in used}, inner
        )
        for name, op in zip(inner, ops, strict=True):
            unknown[name] = [t.shape.rank is None and t.dtype.is_floating for t in op.outputs]
        return [
            tf.rank(t)
            for name, op in zip(inner, ops, strict=True)
            for t, u in zip(op.outputs, unknown[name], strict=True)
            if u
        ]

    for size in _SIZES:
        with contextlib.suppress(tf.errors.OpError, ValueError):
            found = iter(ranks([tf.zeros([size if n is None else n for n in t.shape], t.dtype) for t in inputs]))
            for name in (n for n in inner if any(unknown[n])):
                shapes = [tf.TensorShape([None] * int(next(found)) if u else None) for u in unknown[name]]
                view.nodes[name].attr["_output_shapes"].list.shape.extend(s.as_proto() for s in shapes)
            return
