"""Whether a model gives the same answer to the same question: nothing is drawn at random, nothing written before it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.cut import SHAPE_OPS, GraphView, node_of

_RANDOM = frozenset(
    """RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal Multinomial
    RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle RandomCrop RngReadAndSkip StatefulUniform StatefulUniformInt
    StatefulUniformFullInt StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal
    StatefulRandomBinomial UniformCandidateSampler LogUniformCandidateSampler""".split()
)
_STEERING = frozenset("StatelessIf StatelessWhile StatelessCase".split())  # the other ops of that name draw numbers
_READS = frozenset("ReadVariableOp ResourceGather ResourceGatherNd".split())
_WRITES = re.compile("Assign.*VariableOp|Resource(Scatter|Apply|SparseApply|StridedSliceAssign)")
_SCALINGS = frozenset("Mul Add AddV2 Sub Identity Cast".split())


def check_constancy(view: GraphView, outputs: Sequence[str]) -> None:
    """UnsupportedModelError where one of the outputs depends on chance, or on what the model itself writes before."""
    off = _switched_off(view)
    needed = view.ancestors(outputs, through=lambda node: node.op not in SHAPE_OPS and node.name not in off)
    ordered = [n for n in view.nodes if n in needed]
    if drawn := [f"{n} ({op})" for n in ordered for op in dict.fromkeys(_drawn(view, n))]:
        raise UnsupportedModelError(
            f"the output depends on random numbers: {_first(drawn)}. A map would be one of that draw: export the model with "
            "training=False, or without its noise"
        )
    if written := [f"{n} (after {w})" for n in ordered if view.nodes[n].op in _READS for w in _writes(view, n)]:
        raise UnsupportedModelError(
            f"the output depends on a variable that the model writes before it reads it: {_first(written)}. Explaining runs "
            "it again and again: give a function that does not change its variables"
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _drawn(view: GraphView, name: str) -> Iterator[str]:
    """The random ops that a node is, or that the functions which it runs hold."""
    if _is_random(view.nodes[name]) and _value(view, f"{name}:0") is None and not _is_idle(view, name):
        yield view.nodes[name].op
    yield from (inner.op for inner in _inside(view, name) if _is_random(inner))


def _writes(view: GraphView, name: str) -> Iterator[str]:
    """The nodes that write the variable which a node reads, and come before it."""
    variable, seen, stack = _variable(view, view.inputs[name][0]), {name}, [name]
    while stack:
        before = {node_of(i) for i in view.nodes[stack.pop()].input} - seen  # control edges too
        seen |= before
        stack += before
        for n in sorted(before):
            writes = any(_WRITES.match(node.op) for node in (view.nodes[n], *_inside(view, n)))
            if writes and variable in {_variable(view, i) for i in view.inputs[n]}:
                yield n


def _variable(view: GraphView, handle: str) -> str:
    while view.nodes[node_of(handle)].op == "Identity":
        handle = view.inputs[node_of(handle)][0]
    return handle


def _inside(view: GraphView, name: str) -> Iterator[Any]:
    """The nodes of the functions that a node runs."""
    stack, seen = _branch(view, name) or _functions(view.nodes[name]), set[str]()
    bodies = {f.signature.name: f.node_def for f in view.library.function} if stack else {}
    while stack:
        if (body := stack.pop()) in bodies and body not in seen:
            seen.add(body)
            yield from bodies[body]
            stack += [f for inner in bodies[body] for f in (inner.op, *_functions(inner))]


def _is_random(node: Any) -> bool:
    return node.op in _RANDOM or (node.op.startswith("Stateless") and node.op not in _STEERING)


def _functions(node: Any) -> list[str]:
    return [f.name for a in node.attr.values() for f in ([a.func] if a.HasField("func") else a.list.func)]


def _branch(view: GraphView, name: str) -> list[str]:
    """Of a condition that is settled, the branch that is taken."""
    node = view.nodes[name]
    settled = _value(view, view.inputs[name][0]) if node.op in ("If", "StatelessIf") else None
    return [] if settled is None else [node.attr["then_branch" if settled else "else_branch"].func.name]


def _switched_off(view: GraphView) -> set[str]:
    """Nodes of TensorFlow 1's conditions that never run: dropout, where the phase is not training."""
    switches = [(n, _value(view, view.inputs[n][1])) for n, node in view.nodes.items() if node.op == "Switch"]
    merges = {n for n, node in view.nodes.items() if node.op == "Merge"}
    dead = [n for s, on in switches if on is not None for n in view.consumers.get(f"{s}:{0 if on else 1}", ())]
    return view.value_descendants(set(dead) - merges, stop=merges)


def _is_idle(view: GraphView, name: str) -> bool:
    """Whether whatever is drawn in [0, 1) says the same: a dropout of rate 0, as TensorFlow 1 exported them."""
    end, kind = name, view.nodes[name].attr["dtype"].type
    while end == name or view.nodes[end].op in _SCALINGS:
        readers = view.readers.get(end, [])
        if view.nodes[name].op != "RandomUniform" or len(readers) != 1:
            return False
        end = readers[0]
    low, high = [_value(view, f"{end}:0", {f"{name}:0": tf.constant(u, kind)}) for u in (0.0, 1 - 2**-24)]
    return low is not None and bool(low == high)


def _value(view: GraphView, name: str, drawn: dict[str, Any] | None = None) -> Any:
    """What a tensor always holds, where these are drawn; None where it depends on an input or a variable."""
    drawn = drawn or {}
    needed = [view.nodes[n] for n in view.ancestors([name], stop=drawn)]
    if any(n.op in ("Placeholder", "VarHandleOp") or n.op in _RANDOM or _functions(n) for n in needed):
        return None

    def value() -> Any:
        fed = {n: tf.identity(v) for n, v in drawn.items()}
        return tf.graph_util.import_graph_def(view.subgraph([name], fed), fed, [name], name="")

    return tf.function(value, autograph=False).get_concrete_function()()[0].numpy()
