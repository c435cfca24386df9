"""Whether a model is deterministic: its output depends neither on random numbers nor on variables that it writes itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.function_library import function_names
from tb_deepexplain.graph.graph_view import SHAPE_OPS, VARIABLE_READS, GraphView, list_names, node_name

_RANDOM_OPS = frozenset(
    """RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal Multinomial
    RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle RandomCrop RngReadAndSkip StatefulUniform StatefulUniformInt
    StatefulUniformFullInt StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal
    StatefulRandomBinomial UniformCandidateSampler LogUniformCandidateSampler""".split()
)
# All other Stateless ops are random.
_STATELESS_CONTROL_FLOW = frozenset("StatelessIf StatelessWhile StatelessCase".split())
_VARIABLE_WRITES = re.compile("Assign.*VariableOp|Resource(Scatter|Apply|SparseApply|StridedSliceAssign)")
_SCALING_OPS = frozenset("Mul Add AddV2 Sub Identity Cast".split())


def writes_variables(graph_def: Any) -> bool:
    """Whether a graph, or a function that it may call, writes a variable: to call such a model changes it."""
    functions = (function.node_def for function in graph_def.library.function)
    return any(_VARIABLE_WRITES.match(node.op) for nodes in (graph_def.node, *functions) for node in nodes)


def check_determinism(view: GraphView, outputs: Sequence[str]) -> None:
    """UnsupportedModelError if an output depends on random numbers, or on a variable that the model writes before."""
    inactive = _inactive_nodes(view)
    needed = view.ancestors(outputs, through=lambda node: node.op not in SHAPE_OPS and node.name not in inactive)
    nodes = [n for n in view.nodes if n in needed]
    if random := [f"{n} ({op})" for n in nodes for op in dict.fromkeys(_random_ops(view, n))]:
        raise UnsupportedModelError(
            f"the output depends on random numbers: {list_names(random)}. A map would hold for one draw only: build the model "
            "without this noise (a layer that was called with training=True keeps it in every export)"
        )
    reads = [n for n in nodes if view.nodes[n].op in VARIABLE_READS]
    if written := [f"{n} (after {writer})" for n in reads for writer in _earlier_writers(view, n)]:
        raise UnsupportedModelError(
            f"the output depends on a variable that the model writes before it reads it: {list_names(written)}. An "
            "explanation runs the model many times: give a function that does not change its variables"
        )


def _random_ops(view: GraphView, name: str) -> Iterator[str]:
    """The random ops that a node is, or that the functions it runs contain."""
    if is_random(view.nodes[name]) and _constant_value(view, f"{name}:0") is None and not _has_no_effect(view, name):
        yield view.nodes[name].op
    yield from (inner.op for inner in _inner_nodes(view, name) if is_random(inner))


def _earlier_writers(view: GraphView, name: str) -> Iterator[str]:
    """The nodes that run before `name` and write the variable that it reads."""
    variable, visited, stack = view.skip_identities(view.inputs[name][0]), {name}, [name]
    while stack:
        previous = {node_name(i) for i in view.nodes[stack.pop()].input} - visited  # control edges included
        visited |= previous
        stack += previous
        for n in sorted(previous):
            is_writer = any(_VARIABLE_WRITES.match(node.op) for node in (view.nodes[n], *_inner_nodes(view, n)))
            if is_writer and variable in {view.skip_identities(i) for i in view.inputs[n]}:
                yield n


def _inner_nodes(view: GraphView, name: str) -> Iterator[Any]:
    """The nodes of the functions that a node runs."""
    stack, visited = _taken_branch(view, name) or function_names(view.nodes[name]), set[str]()
    bodies = {f.signature.name: f.node_def for f in view.library.function} if stack else {}
    while stack:
        function = stack.pop()
        if function in bodies and function not in visited:
            visited.add(function)
            yield from bodies[function]
            stack += [f for inner in bodies[function] for f in (inner.op, *function_names(inner))]


def is_random(node: Any) -> bool:
    """Whether a node draws random numbers."""
    return node.op in _RANDOM_OPS or (node.op.startswith("Stateless") and node.op not in _STATELESS_CONTROL_FLOW)


def _taken_branch(view: GraphView, name: str) -> list[str]:
    """The branch that an If with a constant condition takes; empty for any other node."""
    node = view.nodes[name]
    condition = _constant_value(view, view.inputs[name][0]) if node.op in ("If", "StatelessIf") else None
    return [] if condition is None else [node.attr["then_branch" if condition else "else_branch"].func.name]


def _inactive_nodes(view: GraphView) -> set[str]:
    """Nodes of TensorFlow 1's conditions that never run: dropout outside the training phase."""
    switches = {n: _constant_value(view, view.inputs[n][1]) for n, node in view.nodes.items() if node.op == "Switch"}
    merges = {n for n, node in view.nodes.items() if node.op == "Merge"}
    dead = [
        n
        for switch, condition in switches.items()
        if condition is not None
        for n in view.consumers.get(f"{switch}:{0 if condition else 1}", ())
    ]
    return view.value_descendants(set(dead) - merges, stop=merges)


def _has_no_effect(view: GraphView, name: str) -> bool:
    """Whether any number in [0, 1) from this node gives the same result: dropout with rate 0, as TensorFlow 1 exports it."""
    last, dtype = name, view.nodes[name].attr["dtype"].type
    while last == name or view.nodes[last].op in _SCALING_OPS:
        consumers = view.value_consumers.get(last, [])
        if view.nodes[name].op != "RandomUniform" or len(consumers) != 1:
            return False
        last = consumers[0]
    low, high = [_constant_value(view, f"{last}:0", {f"{name}:0": tf.constant(u, dtype)}) for u in (0.0, 1 - 2**-24)]
    return low is not None and bool(low == high)


def _constant_value(view: GraphView, name: str, feeds: dict[str, Any] | None = None) -> Any:
    """The value of a tensor with these feeds; None if it depends on an input, a variable or random numbers."""
    feeds = feeds or {}
    needed = [view.nodes[n] for n in view.ancestors([name], stop=feeds)]
    if any(n.op in ("Placeholder", "VarHandleOp") or n.op in _RANDOM_OPS or function_names(n) for n in needed):
        return None

    def value() -> Any:
        tensors = {n: tf.identity(v) for n, v in feeds.items()}
        return tf.graph_util.import_graph_def(view.subgraph([name], tensors), tensors, [name], name="")

    return tf.function(value, autograph=False).get_concrete_function()()[0].numpy()
