"""What a model does besides computing its output from its input: chance, writes, gradients of its own. Plain graph analysis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.cut import GraphView, node_of

OWN_GRADIENT = "_own_gradient"  # marks the nodes whose gradient somebody wrote
_RANDOM = re.compile(
    r"Random(?!Dataset)|Multinomial|TruncatedNormal|^Stateful(StandardNormal|Uniform)|^RngReadAndSkip|^StatelessShuffle"
)
_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd"})
_WRITE = re.compile(r"^Assign(Add|Sub)?VariableOp$|^Resource(Scatter|StridedSliceAssign)")
_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})  # of which one may never be taken


def refuse_effects(view: GraphView, output: str) -> None:
    """UnsupportedModelError where `output` depends on random numbers or on variables that the model writes first."""
    behind = view.ancestors([output])
    needed = [name for name in view.nodes if name in behind]  # in graph order, so that the answer is stable
    random = [name for name in needed if _RANDOM.search(view.nodes[name].op) or _draws(view, view.nodes[name])]
    if random:
        raise UnsupportedModelError(
            f"the output {output!r} depends on random numbers ({_few(random)}), and so would every map: export the model "
            "with training=False, or without its noise"
        )
    written = {_resource(view, name): name for name, node in view.nodes.items() if _WRITE.search(node.op)}
    reads = [name for name in needed if view.nodes[name].op in _READS and _resource(view, name) in written]
    early = [name for name in reads if written[_resource(view, name)] in _before(view, name)]
    if early:
        raise UnsupportedModelError(
            f"the model writes the variable {_resource(view, early[0])!r} before it reads it, and an explanation evaluates "
            "the model many times: export it without the assignment"
        )


def own_gradients(view: GraphView, output: str) -> list[str]:
    """The nodes on the way to `output` whose gradient somebody wrote, and which therefore is not that of what they compute."""
    needed = view.ancestors([output])
    return [n for n in view.nodes if n in needed and OWN_GRADIENT in view.nodes[n].attr and not _is_silu(view, n)]


def _is_silu(view: GraphView, name: str) -> bool:
    """x · sigmoid(βx), whose gradient TensorFlow wrote to save memory: it is the right one."""
    product = node_of(view.inputs[name][0])
    factors = [view.nodes[node_of(i)].op for i in view.inputs[product]]
    return view.nodes[product].op == "Mul" and "Sigmoid" in factors


def _draws(view: GraphView, node: Any) -> bool:
    """Whether random numbers are drawn in a function that the node runs, a loop's body, say."""
    functions = {f.signature.name: f for f in view.library.function}
    names, seen = list(_functions_of(node)), set[str]()
    while names:
        name = names.pop()
        if name in functions and name not in seen:
            seen.add(name)
            for inner in functions[name].node_def:
                if _RANDOM.search(inner.op):
                    return True
                names += [inner.op, *_functions_of(inner)]
    return False


def _functions_of(node: Any) -> Iterator[str]:
    if node.op not in _BRANCHES:
        for attribute in node.attr.values():
            yield from (f.name for f in ([attribute.func] if attribute.HasField("func") else attribute.list.func))


def _resource(view: GraphView, name: str) -> str:
    name = node_of(view.inputs[name][0])
    while view.nodes[name].op == "Identity":
        name = node_of(view.inputs[name][0])
    return name


def _before(view: GraphView, name: str) -> set[str]:
    """The nodes that run before this one, by control edges too."""
    found, stack = set[str](), [name]
    while stack:
        for i in map(node_of, view.nodes[stack.pop()].input):
            if i not in found:
                found.add(i)
                stack.append(i)
    return found


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
