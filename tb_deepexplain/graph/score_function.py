"""A score function of a model's outputs, as further nodes of the model's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.graph.double_precision import to_double
from tb_deepexplain.graph.graph_view import GraphView, tensor_name
from tb_deepexplain.graph.inlining import inline

ScoreFunction = Callable[[Any], Any]  # the model's outputs [N, ...], a tensor or a dict by name → scores [N]
_SCOPE = "score"


def describe_score(function: ScoreFunction) -> str:
    """The name of a score function, for messages."""
    return str(getattr(function, "__name__", type(function).__name__))


def trace_score(function: ScoreFunction, specs: Mapping[str, Any]) -> Any:
    """The function as a ConcreteFunction of one TensorSpec `[None, ...]` for each output. Raises ParameterError."""
    name = describe_score(function)
    if not callable(function):
        raise ParameterError(f"score: got {type(function).__name__}; expected a function of the model's outputs")
    takes = next(iter(specs.values())) if len(specs) == 1 else dict(specs)
    listed = "; ".join(
        f"{n}: {s.dtype.name} {[None if s.shape.rank is None else s.shape.as_list()][0]}" for n, s in specs.items()
    )
    try:
        traced = tf.function(function, autograph=False).get_concrete_function(takes)
    except Exception as error:  # a function may raise anything
        raise ParameterError(
            f"score: {name} fails on the model's outputs ({listed}): {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        ) from error
    result = traced.structured_outputs
    if not isinstance(result, tf.Tensor | tf.TensorSpec):
        raise ParameterError(f"score: {name} returns a {type(result).__name__}; expected one tensor of numbers [N]")
    if not result.dtype.is_floating:
        raise ParameterError(
            f"score: {name} returns {result.dtype.name} values, which have no gradient; expected real numbers"
        )
    if result.shape.rank != 1 or result.shape[0] is not None:
        shape = "unknown shape" if result.shape.rank is None else f"shape {result.shape.as_list()}"
        raise ParameterError(
            f"score: {name} returns a tensor of {shape} for outputs {listed}; expected one number for each example, [None]"
        )
    return traced


def add_score(
    view: GraphView, outputs: Mapping[str, str], traced: Any, in_float64: bool
) -> tuple[GraphView, str, dict[str, Any]]:
    """The graph with the nodes of a traced score after the `outputs`: (graph, tensor of the score, captured tensors by name).

    `in_float64`: the graph computes in float64, and so must the score.
    """
    graph_def = inline(traced)
    score = tensor_name(traced.outputs[0].name)
    if in_float64:
        graph_def, _, renamed = to_double(graph_def, {tensor_name(inner.name) for _, inner in traced.graph.captures})
        score = renamed.get(score, score)
    count = len(traced.inputs) - len(traced.graph.captures)
    # A dict of specs is flattened in the order of its sorted names.
    names = sorted(outputs) if len(outputs) > 1 else list(outputs)
    fed = {tensor_name(t.name): outputs[name] for t, name in zip(traced.inputs[:count], names, strict=True)}
    scope = _SCOPE
    while any(name.startswith(f"{scope}/") for name in view.nodes):
        scope += "_"

    def rename(tensor: str) -> str:
        if tensor.startswith("^"):
            return f"^{scope}/{tensor[1:]}"
        return fed.get(tensor_name(tensor)) or f"{scope}/{tensor}"

    nodes = []
    for node in graph_def.node:
        if tensor_name(node.name) not in fed:
            inputs = [rename(i) for i in node.input if not (i.startswith("^") and tensor_name(i[1:]) in fed)]
            node.name = f"{scope}/{node.name}"
            del node.input[:]
            node.input.extend(inputs)
            nodes.append(node)
    captures = {f"{scope}/{tensor_name(inner.name)}": outer for outer, inner in traced.graph.captures}
    return view.extended(nodes, graph_def.library), rename(score), captures
