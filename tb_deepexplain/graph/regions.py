"""Where backward rules apply: the elementwise regions of a model, and what no rule can treat. Plain graph analysis.

An elementwise region computes y = f(z), feature by feature, of one tensor z: a ReLU, but also a GELU or a
softplus that the exporter wrote as ten small ops. Affine ops at its edges (biases, scales) are not part of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from tensorflow.python.framework import ops  # which ops have a gradient is not said in public

from tb_deepexplain.graph.cut import FLOATS, SHAPE_OPS, Cut, GraphView, last_squash, node_of

ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "Tanh", "Sigmoid"}
)  # complete by themselves: a chain is cut at them
_PRIMITIVES = frozenset(
    """Exp Expm1 Log Log1p Sqrt Rsqrt Square Abs Sign Reciprocal Inv Erf Erfc Erfinv Ndtri Sin Cos Tan Asin Acos Atan
    Sinh Cosh Asinh Acosh Atanh Floor Ceil Round Rint Digamma Lgamma LogicalNot Cast IsNan IsInf IsFinite Maximum Minimum
    Pow SquaredDifference Atan2 FloorMod FloorDiv Mod Select SelectV2 Greater GreaterEqual Less LessEqual Equal
    NotEqual LogicalAnd LogicalOr Xlogy Xlog1py ClipByValue""".split()
)
_PASS = frozenset({"Identity", "IdentityN", "Neg", "PreventGradient", "CheckNumerics", "Snapshot"})
_SUMS = frozenset({"Add", "AddV2", "Sub", "AddN", "BiasAdd"})
_PRODUCTS = frozenset({"Mul", "MulNoNan"})
_QUOTIENTS = frozenset({"RealDiv", "Div", "DivNoNan", "Xdivy"})
_ELEMENTWISE = ACTIVATIONS | _PRIMITIVES | _PASS | _SUMS | _PRODUCTS | _QUOTIENTS
_BOOLEAN = frozenset(
    "Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot IsNan IsInf IsFinite".split()
)
_LINEAR = frozenset(
    """Reshape Transpose Squeeze ExpandDims Pad PadV2 MirrorPad Slice StridedSlice Split SplitV Unpack Pack ConcatV2 Concat
    Gather GatherV2 GatherNd Tile BroadcastTo Sum Mean Cumsum ReverseV2 Reverse ReverseSequence SpaceToBatchND
    BatchToSpaceND SpaceToDepth DepthToSpace AvgPool AvgPool3D ResizeBilinear ResizeNearestNeighbor ResizeBicubic
    ResizeArea MatrixDiagPart MatrixDiagPartV3 MatrixBandPart Roll ScatterNd TensorScatterAdd TensorScatterUpdate
    UnsortedSegmentSum SegmentSum SegmentMean StopGradient EnsureShape DynamicStitch ParallelConcat
    TensorListFromTensor TensorListStack TensorListConcatV2""".split()
)
_BILINEAR = frozenset(
    """MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv2D Conv3D Conv DepthwiseConv2dNative Einsum Conv2DBackpropInput
    Conv3DBackpropInputV2 Cross SparseTensorDenseMatMul""".split()
)
_LARGEST = frozenset("MaxPool MaxPoolV2 MaxPool3D MaxPoolWithArgmax Max Min Maximum Minimum TopKV2 SegmentMax".split())
_FLAT = frozenset(
    "Floor Ceil Round Rint Sign StopGradient ArgMax ArgMin OneHot Bincount DenseBincount Where Bucketize".split()
)  # with a gradient that is zero or none
_LOOPS = frozenset("While StatelessWhile If StatelessIf Case StatelessCase".split())
_CALLS = frozenset("PartitionedCall StatefulPartitionedCall".split())


@dataclasses.dataclass(frozen=True)
class Region:
    """y = f(z), elementwise; names of tensors."""

    z: str
    y: str
    op: str = ""  # where it is a single one


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a backward rule finds between the entries and the output of a model."""

    regions: tuple[Region, ...]  # in the order of computation
    untreated: tuple[str, ...]  # steps that no rule can treat, in words
    softmax: bool  # the output is itself a softmax


def find_regions(view: GraphView, cut: Cut) -> Plan:
    """The elementwise regions on the way from the cut's entries to its output."""
    return _Analysis(view, cut).plan()


def find_ends(view: GraphView, cut: Cut, entry: str) -> str:
    """Where the gradient ends between an entry and the output, in words; "" where the output does not depend on it."""
    tail = view.ancestors([cut.output], stop=cut.entries)
    readers = [n for n in view.consumers.get(entry, ()) if n in tail and view.nodes[n].op not in SHAPE_OPS]
    if node_of(cut.output) not in view.value_descendants(readers):
        return ""
    found: dict[str, None] = {}
    reached, stack = set(readers), list(readers)
    while stack:
        name = stack.pop()
        if _ends(view.nodes[name]):
            found[f"{name} ({view.nodes[name].op})"] = None
            continue
        new = {n for n in view.readers.get(name, ()) if n in tail} - reached
        reached |= new
        stack += sorted(new)
    return ", ".join(list(found)[:3]) or "an unknown step"


def _ends(node: Any) -> bool:
    """Whether a node passes no gradient on."""
    if node.op in _FLAT or (node.op == "Cast" and node.attr["DstT"].type not in FLOATS):
        return True
    try:
        return ops.gradient_registry.lookup(node.op) is None
    except LookupError:
        return True


class _Analysis:
    def __init__(self, view: GraphView, cut: Cut) -> None:
        self.view, self.cut = view, cut
        tail = view.ancestors([cut.output], stop=cut.entries)
        by_value: set[str] = set()
        for entry in cut.entries:
            readers = [n for n in view.consumers.get(entry, ()) if n in tail and view.nodes[n].op not in SHAPE_OPS]
            by_value |= view.value_descendants(readers) & tail
        self.outputs: dict[str, list[str]] = {}  # the tensors of each node that something reads
        for name in [*view.consumers, cut.output]:
            self.outputs.setdefault(node_of(name), []).append(name)
        self.nodes = [n for n in _ordered(view, tail) if n in by_value]
        self.varying = set(cut.entries)  # tensors that depend on the entries
        self.source: dict[str, str] = {entry: entry for entry in cut.entries}
        self.dominator: dict[str, str] = {}  # within a source's group: what every way from the source passes last
        self.affine: dict[str, bool] = {}
        self.foreign: dict[str, list[str]] = {}  # why a node cannot be treated -> the nodes
        for name in self.nodes:
            self._read(name)

    def plan(self) -> Plan:
        regions: dict[Region, None] = {}
        place = {name: i for i, name in enumerate(self.nodes)}
        for exit_ in self._exits():
            for region in self._split(exit_):
                regions[region] = None
        final = self._last_softmax()
        foreign = {why: [n for n in names if n != final] for why, names in self.foreign.items()}
        return Plan(
            tuple(sorted(regions, key=lambda r: place[node_of(r.y)])),
            tuple(_in_words(why, names) for why, names in foreign.items() if names),
            final is not None,
        )

    def _inputs(self, name: str) -> list[str]:
        """A node's inputs that depend on the entries."""
        return [i for i in self.view.inputs[name] if i in self.varying]

    def _read(self, name: str) -> None:
        """Learn what one node does; those before it are known."""
        op, inputs = self.view.nodes[name].op, self._inputs(name)
        if op == "IdentityN":
            for i, given in enumerate(self.view.inputs[name]):
                if given in self.varying:
                    self._add(f"{name}:{i}", [given], affine=True)
            return
        if not inputs:
            return
        if op in _ELEMENTWISE and len({self.source[i] for i in inputs}) == 1:
            self._add(f"{name}:0", inputs, affine=self._is_affine(name, op, inputs))
            return
        for tensor in self.outputs[name]:
            self.varying.add(tensor)
            self.source[tensor] = tensor
        if why := self._why_not(name, op, inputs):
            self.foreign.setdefault(why, []).append(name)

    def _add(self, tensor: str, inputs: Sequence[str], affine: bool) -> None:
        self.varying.add(tensor)
        self.source[tensor] = self.source[inputs[0]]
        self.dominator[tensor] = self._common(inputs)
        self.affine[tensor] = affine

    def _common(self, tensors: Sequence[str]) -> str:
        """The nearest tensor through which every way to all of these goes."""
        first = self._chain(tensors[0])
        others = [set(self._chain(t)) for t in tensors[1:]]
        return next(t for t in first if all(t in o for o in others))

    def _chain(self, tensor: str) -> list[str]:
        """The tensor, its dominator, that one's, ... up to the source."""
        chain = [tensor]
        while chain[-1] in self.dominator:
            chain.append(self.dominator[chain[-1]])
        return chain

    def _is_affine(self, name: str, op: str, inputs: Sequence[str]) -> bool:
        if op in _PASS or op in _SUMS:
            return True
        if op in _PRODUCTS:
            return len(inputs) == 1
        if op in _QUOTIENTS:
            return len(inputs) == 1 and self.view.inputs[name][0] in self.varying
        if op in ("Select", "SelectV2"):
            return self.view.inputs[name][0] not in self.varying
        return op == "Cast" and all(self.view.nodes[name].attr[a].type in FLOATS for a in ("SrcT", "DstT"))

    def _why_not(self, name: str, op: str, inputs: Sequence[str]) -> str | None:
        """Why the plain gradient of this node, which no region holds, is not right under a rule; None if it is."""
        if op in _LINEAR or op in _SUMS or op in _LARGEST:
            return None
        one = len(inputs) == 1
        if (op in _BILINEAR or op in _PRODUCTS) and one:
            return None
        if op in _QUOTIENTS and one and self.view.inputs[name][0] in self.varying:
            return None
        if op in ("Select", "SelectV2") and self.view.inputs[name][0] not in self.varying:
            return None
        if op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"):
            inference = not self.view.nodes[name].attr["is_training"].b
            return (
                None
                if inference and inputs == self.view.inputs[name][:1]
                else "normalisation by the batch's statistics"
            )
        if op in _BILINEAR or op in _PRODUCTS or op in _QUOTIENTS or (op in ("SquaredDifference", "Pow") and not one):
            return "product of two tensors that both depend on the input"
        if op in ("Softmax", "LogSoftmax"):
            return "softmax inside the network"
        if op in _LOOPS:
            return "loop or condition (LSTM, GRU, ...)"
        return "call that cannot be looked into" if op in _CALLS else f"{op}, for which there is no rule"

    def _last_softmax(self) -> str | None:
        """The node of the softmax that is itself explained."""
        name = last_squash(self.view, self.cut.output)
        return name if name in self.nodes and self.view.nodes[name].op != "Sigmoid" else None

    def _exits(self) -> list[str]:
        """Tensors inside groups that something outside of their group reads."""
        found = []
        inner = set(self.nodes)
        for tensor in self.dominator:
            op = self.view.nodes[node_of(tensor)].op
            if op in _BOOLEAN:
                continue
            outer = [
                n
                for n in self.view.consumers.get(tensor, ())
                if n in inner and not self._inside(n, self.source[tensor])
            ]
            if outer or tensor == self.cut.output:
                found.append(tensor)
        return found

    def _inside(self, name: str, source: str) -> bool:
        """Whether a node belongs to a source's group."""
        return any(self.source[t] == source and t != source for t in self.outputs.get(name, ()) if t in self.source)

    def _split(self, exit_: str) -> list[Region]:
        """The regions on the way from the source to an exit."""
        chain = self._chain(exit_)[::-1]
        found: list[Region] = []
        run: list[tuple[str, str]] = []  # nonlinear steps that only affine ones lie between
        for before, after in itertools.pairwise(chain):
            kind = self._step(before, after)
            if kind == "primitive":
                run.append((before, after))
            elif kind == "activation":
                found += [self._region(run[0][0], run[-1][1])] if run else []
                run = []
                found.append(self._region(before, after))
        return found + ([self._region(run[0][0], run[-1][1])] if run else [])

    def _region(self, z: str, y: str) -> Region:
        single = self._inputs(node_of(y)) == [z]
        return Region(z, y, self.view.nodes[node_of(y)].op if single else "")

    def _step(self, before: str, after: str) -> str:
        """What stands between a tensor and its dominator: affine, primitive, or a whole activation."""
        inputs = self._inputs(node_of(after))
        if self.view.nodes[node_of(after)].op == "IdentityN" or set(inputs) == {before}:
            if self.affine[after]:
                return "affine"
            return "activation" if self.view.nodes[node_of(after)].op in ACTIVATIONS else "primitive"
        inside, stack = {after}, list(inputs)
        while stack:
            tensor = stack.pop()
            if tensor != before and tensor not in inside:
                inside.add(tensor)
                name = node_of(tensor)
                stack += (
                    [self.view.inputs[name][int(tensor.split(":")[1])]]
                    if self.view.nodes[name].op == "IdentityN"
                    else self._inputs(name)
                )
        return "affine" if all(self.affine[t] for t in inside) else "activation"


def _ordered(view: GraphView, names: set[str]) -> list[str]:
    """The nodes in an order of computation."""
    done: dict[str, None] = {}
    for start in view.nodes:  # graph order first, so that the answer is stable
        if start not in names:
            continue
        stack = [(start, False)]
        while stack:
            name, seen = stack.pop()
            if seen:
                done[name] = None
            elif name not in done:
                stack.append((name, True))
                stack += [
                    (node_of(i), False) for i in view.inputs[name] if node_of(i) in names and node_of(i) not in done
                ]
    return list(done)


def _in_words(why: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{why} ({shown})"
