"""Where backward rules apply: the elementwise regions of a submodel. Plain analysis of its graph; nothing runs.

A region computes y = f(z), feature by feature, of one tensor z: a ReLU, but also a GELU or a softplus that the exporter
wrote as ten small ops. Affine ops at its edges (biases, scales) are not part of it.

The algorithm: every elementwise node belongs to the *group* of its source, the last tensor before it that is not
computed elementwise. Inside a group, the *dominator* of a tensor is the nearest tensor through which every path from the
source to it leads. The chain of dominators from the source to a tensor that other groups read is divided into affine
steps, which stay outside, and regions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

from tb_deepexplain.graph.cut import Cut
from tb_deepexplain.graph.graph_view import REPLACED, GraphView, list_names, node_name
from tb_deepexplain.graph.logits import final_activation_node
from tb_deepexplain.graph.op_classes import (
    ACTIVATIONS,
    BOOLEAN_OPS,
    ELEMENTWISE_OPS,
    MAXIMA,
    is_affine,
    is_complex,
    unsupported_reason,
)


@dataclasses.dataclass(frozen=True)
class Region:
    """y = f(z), elementwise; names of tensors."""

    z: str
    y: str
    op: str = ""  # if the region is a single op


@dataclasses.dataclass(frozen=True)
class RegionAnalysis:
    """What a backward rule meets between the entry tensors and the output."""

    regions: tuple[Region, ...]  # in the order of computation
    unsupported: tuple[str, ...]  # steps that no rule supports, in words
    unsupported_nodes: frozenset[str]  # the same, by name
    explains_softmax: bool  # the output is itself a softmax
    maxima: str  # in words, the nodes that choose among tensors or features


def find_regions(view: GraphView, cut: Cut) -> RegionAnalysis:
    """The elementwise regions between the cut's entry tensors and its output."""
    return _Analysis(view, cut).result()


class _Analysis:
    def __init__(self, view: GraphView, cut: Cut) -> None:
        self.view, self.cut = view, cut
        tail = view.ancestors([cut.output], stop=cut.fed)
        dependent: set[str] = set()
        for entry in cut.fed:
            dependent |= view.value_descendants(view.value_consumers_within(entry, tail)) & tail
        self.outputs: dict[str, list[str]] = {}  # node → those of its tensors that something reads
        for tensor in [*view.consumers, cut.output]:
            self.outputs.setdefault(node_name(tensor), []).append(tensor)
        self.nodes = [n for n in _in_order_of_computation(view, tail) if n in dependent]
        self.varying = set(cut.fed)  # tensors that depend on the entry tensors
        self.source: dict[str, str] = {entry: entry for entry in cut.fed}  # tensor → source of its group
        self.dominator: dict[str, str] = {}  # of every tensor of a group but its source
        self.affine: dict[str, bool] = {}  # whether the node of a tensor is affine
        self.unsupported: dict[str, list[str]] = {}  # reason → nodes
        for name in self.nodes:
            self._add_node(name)

    def result(self) -> RegionAnalysis:
        regions: dict[Region, None] = {}
        for tensor in self._group_outputs():
            regions |= dict.fromkeys(self._regions_before(tensor))
        position = {name: i for i, name in enumerate(self.nodes)}
        softmax = self._explained_softmax()
        unsupported = {reason: [n for n in nodes if n != softmax] for reason, nodes in self.unsupported.items()}
        return RegionAnalysis(
            tuple(sorted(regions, key=lambda region: position[node_name(region.y)])),
            tuple(f"{reason} ({list_names(nodes)})" for reason, nodes in unsupported.items() if nodes),
            frozenset(name for nodes in unsupported.values() for name in nodes),
            softmax is not None,
            list_names([n for n in self.nodes if self.view.nodes[n].op in MAXIMA and self._is_choice(n)]),
        )

    def _is_choice(self, name: str) -> bool:
        """Whether a node is not part of a group."""
        return all(self.source[t] == t for t in self.outputs.get(name, ()) if t in self.source)

    def _varying_inputs(self, name: str) -> list[str]:
        return [i for i in self.view.inputs[name] if i in self.varying]

    def _add_node(self, name: str) -> None:
        """Classify a node; the nodes before it are classified."""
        op, inputs = self.view.nodes[name].op, self._varying_inputs(name)
        if op == "IdentityN":
            for i, tensor in enumerate(self.view.inputs[name]):
                if tensor in self.varying:
                    self._add_to_group(f"{name}:{i}", [tensor], affine=True)
        elif inputs and op in ELEMENTWISE_OPS and len({self.source[i] for i in inputs}) == 1 and self._has_rule(name):
            self._add_to_group(f"{name}:0", inputs, affine=is_affine(self.view, name, self.varying))
        elif inputs:
            reason = unsupported_reason(self.view, name, self.varying)
            for tensor in self.outputs[name]:
                self.varying.add(tensor)
                self.source[tensor] = tensor
            replaced = self.view.nodes[name].attr[REPLACED].list.s if REPLACED in self.view.nodes[name].attr else ()
            step = replaced[1].decode() if replaced else name
            if reason and step not in self.unsupported.setdefault(reason, []):
                self.unsupported[reason].append(step)

    def _has_rule(self, name: str) -> bool:
        """Whether a rule's multiplier is a number for this elementwise node."""
        node = self.view.nodes[name]
        return REPLACED not in node.attr and (not is_complex(node) or is_affine(self.view, name, self.varying))

    def _add_to_group(self, tensor: str, inputs: Sequence[str], affine: bool) -> None:
        self.varying.add(tensor)
        self.source[tensor] = self.source[inputs[0]]
        self.dominator[tensor] = self._common_dominator(inputs)
        self.affine[tensor] = affine

    def _common_dominator(self, tensors: Sequence[str]) -> str:
        """The nearest tensor through which every path to all of these leads; possibly one of them."""
        others = [set(self._dominator_chain(tensor)) for tensor in tensors[1:]]
        return next(t for t in self._dominator_chain(tensors[0]) if all(t in chain for chain in others))

    def _dominator_chain(self, tensor: str) -> list[str]:
        """The tensor, its dominator, the dominator of that, ... up to the source."""
        chain = [tensor]
        while chain[-1] in self.dominator:
            chain.append(self.dominator[chain[-1]])
        return chain

    def _explained_softmax(self) -> str | None:
        """The node of the softmax that is itself explained, if there is one."""
        name = final_activation_node(self.view, self.cut.output)
        return name if name in self.nodes and self.view.nodes[name].op != "Sigmoid" else None

    def _group_outputs(self) -> list[str]:
        """The tensors of groups that nodes outside their group read."""
        dependent, outputs = set(self.nodes), []
        for tensor in self.dominator:
            if self.view.nodes[node_name(tensor)].op in BOOLEAN_OPS:
                continue
            consumers = [n for n in self.view.consumers.get(tensor, ()) if n in dependent]
            if tensor == self.cut.output or any(not self._is_in_group(n, self.source[tensor]) for n in consumers):
                outputs.append(tensor)
        return outputs

    def _is_in_group(self, name: str, source: str) -> bool:
        return any(self.source.get(t) == source and t != source for t in self.outputs.get(name, ()))

    def _regions_before(self, tensor: str) -> list[Region]:
        """The regions between the source of a group and one of its tensors."""
        regions: list[Region] = []
        primitives: list[tuple[str, str]] = []  # with only affine steps between them
        for step in itertools.pairwise(self._dominator_chain(tensor)[::-1]):
            step_type = self._step_type(*step)
            if step_type == "primitive":
                primitives.append(step)
            elif step_type == "activation":
                regions += [*self._joined(primitives), self._region(*step)]
                primitives = []
        return [*regions, *self._joined(primitives)]

    def _joined(self, steps: Sequence[tuple[str, str]]) -> list[Region]:
        """One region for all these steps, if there are any."""
        return [self._region(steps[0][0], steps[-1][1])] if steps else []

    def _region(self, z: str, y: str) -> Region:
        is_single = self._varying_inputs(node_name(y)) == [z]
        return Region(z, y, self.view.nodes[node_name(y)].op if is_single else "")

    def _step_type(self, dominator: str, tensor: str) -> Literal["affine", "primitive", "activation"]:
        """What is computed between a tensor's dominator and the tensor."""
        name = node_name(tensor)
        op = self.view.nodes[name].op
        if op == "IdentityN" or set(self._varying_inputs(name)) == {dominator}:
            if self.affine[tensor]:
                return "affine"
            return "activation" if op in ACTIVATIONS else "primitive"
        between, stack = {tensor}, self._varying_inputs(name)
        while stack:
            inner = stack.pop()
            if inner != dominator and inner not in between:
                between.add(inner)
                stack += self._group_inputs(inner)
        return "affine" if all(self.affine[t] for t in between) else "activation"

    def _group_inputs(self, tensor: str) -> list[str]:
        """The varying tensors that a tensor of a group is computed from."""
        name, _, index = tensor.partition(":")
        if self.view.nodes[name].op == "IdentityN":
            return [self.view.inputs[name][int(index)]]
        return self._varying_inputs(name)


def _in_order_of_computation(view: GraphView, names: set[str]) -> list[str]:
    """The nodes, each after the nodes that it reads; the same order in every run."""
    ordered: dict[str, None] = {}
    for start in view.nodes:
        stack = [(start, False)] if start in names else []
        while stack:
            name, inputs_are_done = stack.pop()
            if inputs_are_done:
                ordered[name] = None
            elif name not in ordered:
                inputs = [node_name(i) for i in view.inputs[name]]
                stack.append((name, True))
                stack += [(i, False) for i in inputs if i in names and i not in ordered]
    return list(ordered)
