"""Encodings: the first real-valued tensors that a model computes from an input of integers, booleans or strings.

They are casts, one-hot and multi-hot vectors, bags of words, decoded pictures and rows of an embedding. Gradient methods
enter the model there. Plain analysis of a graph; nothing runs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from typing import Any

from tb_deepexplain.graph.embedding_lookups import (
    EmbeddingLookup,
    constant_value,
    find_pooled,
    holds_token_ids,
    is_pooling,
)
from tb_deepexplain.graph.graph_view import FLOAT_TYPES, NARROW, RESHAPING_OPS, SHAPE_OPS, GraphView, node_name
from tb_deepexplain.graph.input_spec import COLUMN_SCOPE
from tb_deepexplain.graph.op_classes import BOOLEAN_OPS, ELEMENTWISE_OPS
from tb_deepexplain.graph.tensor_types import output_types

# Ops that turn the values of sparse columns into tensors with a row for each example.
_DENSIFYING_OPS = re.compile(
    "SparseToDense|SparseTensorDenseMatMul|ScatterNd|TensorScatter|RaggedTensorToTensor|SegmentM|SegmentS|SegmentProd|SparseReduce|"
    "(Dense|Sparse|Ragged)Bincount"
)
# The numbers of the inputs that an op reads as a shape or a position.
_SHAPE_ARGUMENTS = {
    "Reshape": (1,),
    "BroadcastTo": (1,),
    "Tile": (1,),
    "Fill": (0,),
    "Slice": (1, 2),
    "StridedSlice": (1, 2, 3),
}

# An integer that passes one of these stands for a category, and not for a number.
_CATEGORISING_OPS = frozenset(
    """Bucketize LowerBound UpperBound OneHot Bincount DenseBincount RaggedBincount SparseBincount LookupTableFind
    LookupTableFindV2 AsString GatherV2 Gather ResourceGather""".split()
)
_DIVIDING_OPS = re.compile("Split|Tokeniz|Unicode|Decode|ParseTensor|Substr")  # they change the shape of an input
_SLICING_OPS = frozenset("Slice StridedSlice Split SplitV Unpack".split())
_PARTS_OPS = _SLICING_OPS | {"Gather", "GatherV2"}  # of a real-valued tensor
# After these the value at a position is not computed from that at this position of the input alone.
_REARRANGING_OPS = frozenset(
    """Reverse ReverseV2 ReverseSequence Roll Transpose Concat ConcatV2 Pad PadV2 MirrorPad Cumsum Cumprod TopKV2 RandomShuffle MatMul
    BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum""".split()
)
_NARROWING_OPS = _SLICING_OPS | frozenset("Max Min Sum Prod Mean All Any ArgMax ArgMin".split())


@dataclasses.dataclass(frozen=True)
class Encodings:
    """The real-valued tensors that are computed from one input; names of tensors."""

    casts: tuple[str, ...]  # of the input itself, perhaps reshaped
    lookups: tuple[EmbeddingLookup, ...]
    others: tuple[str, ...]
    is_divided: bool  # text that is split, or a picture that is decoded: the encodings have a shape of their own
    is_sliced: bool  # an encoding may hold only a part of the input
    blocked: tuple[str, ...]  # nodes that mix the input with other real values, where no gradient reaches it
    rearranged: tuple[str, ...] = ()  # nodes before the encodings that move values to other positions, or mix them
    besides: tuple[str, ...] = ()  # nodes at which masks of the input change something else than its encodings

    @property
    def tensors(self) -> tuple[str, ...]:
        return (*self.casts, *(lookup.output for lookup in self.lookups), *self.others)


class EncodingAnalysis:
    """Finds encodings between the inputs (names of nodes) and the explained output of a graph."""

    def __init__(self, view: GraphView, inputs: Sequence[str], output: str, lookups: Sequence[EmbeddingLookup]) -> None:
        self._view = view
        self._needed, self._output = view.ancestors([output]), node_name(output)
        self._inputs = set(inputs)
        self._varying = view.value_descendants(inputs)
        self._lookups = {node_name(lookup.output): lookup for lookup in lookups}
        self._of_sparse: set[str] = set()  # nodes that hold values of sparse columns, one row for each value

    def of_values(self, source: str) -> Encodings:
        """The encodings of a tensor of integers, booleans or strings.

        Comparisons make masks (of padding, say), which are no encodings unless there is nothing else.
        """
        nodes, passed = self._walk(source, through_comparisons=False)
        if not nodes:
            nodes, passed = self._walk(source, through_comparisons=True)
        return self._classify(source, nodes, passed)

    def of_sparse(self, source: str) -> Encodings:
        """The encodings of a sparse column, or of texts that become one: the first real-valued tensors with a row for each example."""
        sparse, densified, beside = self._walk_sparse(source)
        self._of_sparse |= {*sparse, *densified}
        nodes, passed = dict[str, None](), set(sparse)
        for name in densified:
            if is_real(self._view.nodes[name]):
                nodes[name] = None
            else:
                reached, between = self._walk(f"{name}:0", through_comparisons=False)
                nodes |= dict.fromkeys(reached)
                passed |= {name, *between}
        encodings = self._classify(source, list(nodes), passed)
        masked, besides = self._with_masks(encodings.tensors, [*densified, *beside])
        others = dataclasses.replace(encodings, casts=(), lookups=(), others=masked, besides=besides)
        return self._with_buckets_of_others(others)

    def is_pooled(self, source: str, encodings: Encodings) -> bool:
        """Whether the encodings of a tensor, or what they are pooled to, have one row for each example, without positions."""
        nodes = list(map(node_name, encodings.tensors))
        if not encodings.lookups and any(is_pooling(self._view.nodes[name]) for name in nodes):
            return True
        return encodings.is_divided and not set(self._walk_sparse(source)[0]).isdisjoint(nodes)

    def joined_column(self, source: str) -> str:
        """The tensor `[B]` in which the values of a sparse column are one string (see graph/loading/example_signatures.py)."""
        stack = [source]
        while stack:
            for name in self._readers(stack.pop(0)):
                if self._view.nodes[name].op == "ReduceJoin":
                    return f"{name}:0"
                stack += self._outputs(name)
        raise AssertionError(f"{source} is no sparse column")

    def _walk_sparse(self, source: str) -> tuple[list[str], list[str], list[str]]:
        """The nodes after a sparse column: (those with a row for each value, the first with a row for each example, others).

        The others lead to none with a row for each example: masks of examples without a value, say.
        """
        densified = self._densified(source)
        reached, stack = dict[str, None](), [source]
        while stack:
            for name in self.value_readers(stack.pop()):
                if name not in densified and name not in reached:
                    reached[name] = None
                    stack += self._outputs(name)
        sparse = self._view.ancestors([f"{name}:0" for name in densified]) & reached.keys()
        readers = {
            n for name in (node_name(source), *sparse) for t in self._outputs(name) for n in self.value_readers(t)
        }
        return (
            [name for name in reached if name in sparse],
            densified,
            [name for name in reached if name in readers and name not in sparse],
        )

    def _densified(self, source: str) -> list[str]:
        """The nodes after which a sparse column has a row for each example, and not again one for each value (weights, say)."""
        visited, stack = dict[str, None](), [source]
        while stack:
            for name in self.value_readers(stack.pop()):
                if name not in visited:
                    visited[name] = None
                    stack += self._outputs(name)

        def is_densifying(name: str) -> bool:
            op = self._view.nodes[name].op
            forms = (op, op.removeprefix("Sparse").removeprefix("Unsorted"))
            return any(map(_DENSIFYING_OPS.match, forms)) and not name.startswith(COLUMN_SCOPE)

        inputs = {name: self.sources_of(f"{name}:0") for name in visited if is_densifying(name)}
        before = {name: self._view.ancestors(self._view.inputs[name]) for name in inputs}
        return [n for n in inputs if not any(n in before[other] and inputs[n] == inputs[other] for other in inputs)]

    def _with_masks(self, encodings: Sequence[str], starts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The encodings of a column, or what masks of the column make of them; and nodes in which masks change something else.

        A mask may also be an encoding itself: whether there is a value. `starts` are the nodes from which masks come.
        """
        chosen, besides = dict.fromkeys(encodings), dict[str, None]()
        reached = dict.fromkeys(name for name in starts if is_real(self._view.nodes[name]))
        for name in starts:
            if name not in reached:
                for output in self._outputs(name):
                    reached |= dict.fromkeys(self._walk(output, through_comparisons=True)[0])
        for name in self._view.nodes:  # in graph order
            if name not in reached or f"{name}:0" in chosen:
                continue
            inputs = [i for i in self._view.inputs[name] if node_name(i) in self._varying - self._of_sparse]
            real = [i for i in inputs if is_real(self._view.nodes[node_name(i)])]
            of_masks = {s for i in inputs if i not in real for s in self.sources_of(i)}
            if all(self.sources_of(i) <= of_masks for i in real):
                chosen[f"{name}:0"] = None
            else:
                besides[name] = None
        return tuple(t for t in chosen if self._reaches_output(t, chosen)), tuple(besides)

    def _reaches_output(self, source: str, stops: Collection[str]) -> bool:
        """Whether the values of a tensor act on the output other than through `stops`."""
        visited, stack = {source}, [source]
        while stack:
            tensor = stack.pop()
            if node_name(tensor) == self._output:
                return True
            for name in self.value_readers(tensor):
                new = [t for t in self._outputs(name) if t not in visited and t not in stops]
                visited |= set(new)
                stack += new
        return False

    def _with_buckets_of_others(self, encodings: Encodings) -> Encodings:
        """The encodings, with those of the buckets that are chosen by real-valued ones; without those from which no gradient comes."""
        tensors = dict[str, None]()
        blocked = dict.fromkeys(encodings.blocked)
        for tensor in encodings.others:
            buckets = self.of_numbers([tensor])
            if self.has_gradient_path(tensor) or not (buckets.tensors or buckets.blocked):
                tensors[tensor] = None
            tensors |= dict.fromkeys(buckets.tensors)
            blocked |= dict.fromkeys(buckets.blocked)
        return dataclasses.replace(encodings, others=tuple(tensors), blocked=tuple(blocked))

    def of_numbers(self, sources: Sequence[str]) -> Encodings:
        """The encodings of real-valued tensors of the same values: what is computed from their buckets or categories.

        Those of its parts (a column that holds numbers of categories, say) are `blocked`: their positions in the tensors are unknown.
        """
        nodes: dict[str, None] = {}
        of_parts: dict[str, None] = {}
        passed: set[str] = set()
        for name, is_part in self._conversions(sources).items():
            reached, between = self._walk(f"{name}:0", through_comparisons=False)
            between |= {name}
            categorising = {n for n in (*between, *reached) if self._view.nodes[n].op in _CATEGORISING_OPS}
            if categorising and is_part:
                of_parts |= dict.fromkeys(reached)
            elif categorising:
                nodes |= dict.fromkeys(reached)
                passed |= between
        return dataclasses.replace(self._classify(sources[0], list(nodes), passed), blocked=tuple(of_parts))

    def with_buckets(self, encodings: Encodings) -> Encodings:
        """The encodings, in which casts that choose buckets or categories are replaced by the encodings of these.

        A cast from which real values also lead to the output is kept beside them.
        """
        of_casts = self.of_numbers(encodings.casts) if encodings.casts else None
        if of_casts is None or not (of_casts.tensors or of_casts.blocked):
            return encodings
        return dataclasses.replace(
            encodings,
            casts=tuple(filter(self.has_gradient_path, encodings.casts)),
            others=(*encodings.others, *of_casts.tensors),
            is_sliced=encodings.is_sliced or of_casts.is_sliced,
            blocked=(*encodings.blocked, *of_casts.blocked),
        )

    def with_masks(self, source: str, encodings: Encodings) -> Encodings:
        """The encodings of a tensor with one value for each example, and what comparisons of the value make of them, or beside them."""
        chosen, besides = self._with_masks(encodings.tensors, self.value_readers(source))
        casts = tuple(t for t in encodings.casts if t in chosen)
        lookups = tuple(lookup for lookup in encodings.lookups if lookup.output in chosen)
        others = tuple(t for t in chosen if t not in casts and t not in [lookup.output for lookup in lookups])
        return dataclasses.replace(encodings, casts=casts, lookups=lookups, others=others, besides=besides)

    def sources_of(self, tensor: str) -> set[str]:
        """The inputs that the values of a tensor depend on."""
        return self._value_ancestors([tensor]) & self._inputs

    def has_gradient_path(self, source: str) -> bool:
        """Whether real values lead all the way from a tensor to the output."""
        visited, stack = {node_name(source)}, [source]
        while stack:
            for name in self._readers(stack.pop()):
                if name not in visited and is_real(self._view.nodes[name]):
                    visited.add(name)
                    stack += self._outputs(name)
        return self._output in visited

    def _outputs(self, name: str) -> list[str]:
        return [f"{name}:{i}" for i in range(max(1, len(output_types(self._view.nodes[name]))))]

    def _readers(self, tensor: str) -> list[str]:
        return self._view.value_consumers_within(tensor, self._needed)

    def value_readers(self, tensor: str) -> list[str]:
        """The nodes that read a tensor, and not only as a shape."""

        def reads_values(name: str) -> bool:
            shapes = _SHAPE_ARGUMENTS.get(self._view.nodes[name].op, ())
            return any(i == tensor and n not in shapes for n, i in enumerate(self._view.inputs[name]))

        return [name for name in self._readers(tensor) if reads_values(name)]

    def _walk(self, source: str, through_comparisons: bool) -> tuple[list[str], set[str]]:
        """(the first nodes after a tensor that compute real values, the nodes before them)."""
        reached: dict[str, None] = {}
        passed, stack = set[str](), [source]
        while stack:
            for name in self.value_readers(stack.pop()):
                node = self._view.nodes[name]
                if name in passed or name in reached or (node.op in BOOLEAN_OPS and not through_comparisons):
                    continue
                returns = node.op == "Cast" or node.op in RESHAPING_OPS  # to integers, perhaps
                if is_real(node) and not (returns and holds_token_ids(self._view, name)):
                    reached[name] = None
                else:
                    passed.add(name)
                    stack += self._outputs(name)
        return list(reached), passed

    def _conversions(self, sources: Sequence[str]) -> dict[str, bool]:
        """The nodes that turn real-valued tensors, feature by feature, into integers or strings: whether they read a part of one."""
        conversions: dict[str, bool] = {}
        visited, stack = set[str](), [(source, False) for source in sources]
        while stack:
            tensor, is_part = stack.pop()
            for name in self._readers(tensor):
                node = self._view.nodes[name]
                if name in visited or node.op in BOOLEAN_OPS:
                    continue
                visited.add(name)
                if not is_real(node):
                    conversions[name] = is_part
                elif node.op in ELEMENTWISE_OPS or node.op in RESHAPING_OPS or node.op in _PARTS_OPS:
                    stack += [(output, is_part or node.op in _PARTS_OPS) for output in self._outputs(name)]
        return conversions

    def _classify(self, source: str, nodes: Sequence[str], passed: Collection[str]) -> Encodings:
        casts, lookups, others, blocked = list[str](), list[EmbeddingLookup](), list[str](), list[str]()
        for name in nodes:
            op = self._view.nodes[name].op
            if self._reads_real_values(name):
                blocked.append(name)
            elif name in self._lookups:
                pooled = find_pooled(self._view, self._lookups[name])
                others += [t for t in pooled if node_name(t) in self._needed]
                lookups += [] if pooled else [self._lookups[name]]
            elif op == "Cast" and self._skip_reshaping(self._view.inputs[name][0]) == source:
                casts.append(f"{name}:0")
            else:
                others.append(f"{name}:0")
        ops = {op for n in (*passed, *nodes) for op in self._view.ops_of(n)}
        divided = any(_DIVIDING_OPS.search(op) for op in ops if op not in _SLICING_OPS)
        return Encodings(
            tuple(casts),
            tuple(lookups),
            tuple(others),
            divided,
            bool(ops & _SLICING_OPS),
            tuple(blocked),
            self._rearranging(source, passed),
        )

    def _rearranging(self, source: str, passed: Collection[str]) -> tuple[str, ...]:
        """The nodes among those between a tensor and its encodings that move its values to other positions, or mix them."""
        view, values = self._view, {node_name(source), *passed}
        is_narrowed = any(view.nodes[name].op in _NARROWING_OPS for name in passed)

        def rearranges(name: str) -> bool:
            op, inputs = view.nodes[name].op, view.inputs[name]
            if op in ("Gather", "GatherV2"):
                return node_name(inputs[0]) in values
            strides = constant_value(view, inputs[3]) if op == "StridedSlice" else None
            is_reversed = strides is not None and bool((strides < 0).any())
            combines = is_narrowed and sum(node_name(i) in values for i in inputs) > 1
            return op in _REARRANGING_OPS or is_reversed or combines

        return tuple(name for name in view.nodes if name in passed and rearranges(name))

    def _reads_real_values(self, name: str) -> bool:
        """Whether a node also reads real values that depend on an input, or a category that computed real values choose."""
        varying = self._varying - self._of_sparse
        if any(node_name(i) in varying and is_real(self._view.nodes[node_name(i)]) for i in self._view.inputs[name]):
            return True
        before = (self._view.nodes[n] for n in self._value_ancestors(self._view.inputs[name]) & varying)
        return any(
            is_real(node) and node.name not in self._inputs and node.op not in ELEMENTWISE_OPS | RESHAPING_OPS
            for node in before
        )

    def _value_ancestors(self, tensors: Sequence[str]) -> set[str]:
        return self._view.ancestors(tensors, through=lambda node: node.op not in SHAPE_OPS)

    def _skip_reshaping(self, tensor: str) -> str:
        while self._view.nodes[node_name(tensor)].op in RESHAPING_OPS:
            tensor = self._view.inputs[node_name(tensor)][0]
        return tensor


def is_real(node: Any) -> bool:
    """Whether a node computes real values, which are not only widened after it."""
    return NARROW not in node.attr and any(t in FLOAT_TYPES for t in output_types(node))
