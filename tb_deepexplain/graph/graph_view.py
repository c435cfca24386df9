"""GraphView: a GraphDef that can be walked in both directions. Every analysis of a model starts from it; nothing runs.

Tensors are named `node:index`. Control edges are not followed: they order side effects (assertions, counters) that an
explanation must not repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tensorflow.core.framework import graph_pb2

# Ops whose output does not depend on the values of their input.
SHAPE_OPS = frozenset(
    {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorListReserve", "TensorListLength"}
)
RESHAPING_OPS = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze"})
# Ops that read a variable; attribute "dtype" is the type of its values.
VARIABLE_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd"})
FLOAT_TYPES = frozenset({1, 2, 14, 19})  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
REPLACED = "_replaced"  # attribute of nodes in the place of another that backward rules must not look into: its op and its name
NARROW = (
    "_narrow"  # attribute of nodes whose float32 values a cast of their name makes float64 (see double_precision.py)
)


class GraphView:
    """A GraphDef with its edges in both directions."""

    def __init__(self, graph_def: Any) -> None:
        self.nodes = {node.name: node for node in graph_def.node}
        self.library = graph_def.library
        self.versions = graph_def.versions
        self.inputs: dict[str, list[str]] = {}  # node → the tensors it reads
        self.consumers: dict[str, list[str]] = {}  # tensor → the nodes that read it
        self.value_consumers: dict[str, list[str]] = {}  # node → the nodes whose values depend on its values
        for name in self.nodes:
            self._connect(name)

    def ancestors(
        self, tensors: Iterable[str], stop: Collection[str] = (), through: Callable[[Any], bool] | None = None
    ) -> set[str]:
        """The nodes that compute `tensors`, up to the tensors in `stop`; only those for which `through(node)` is true."""
        ancestors: set[str] = set()
        stack = [t for t in tensors if t not in stop]
        while stack:
            name = node_name(stack.pop())
            if name not in ancestors and (through is None or through(self.nodes[name])):
                ancestors.add(name)
                stack += [i for i in self.inputs[name] if i not in stop]
        return ancestors

    def value_descendants(self, sources: Iterable[str], stop: Collection[str] = ()) -> set[str]:
        """The nodes whose values depend on the values (not only the shapes) of the source nodes; these included."""
        descendants, stack = set(sources), list(sources)
        while stack:
            for name in self.value_consumers.get(stack.pop(), ()):
                if name not in descendants and name not in stop:
                    descendants.add(name)
                    stack.append(name)
        return descendants

    def value_consumers_within(self, tensor: str, nodes: Collection[str]) -> list[str]:
        """Those of `nodes` that read the values (not only the shape) of a tensor."""
        return [n for n in self.consumers.get(tensor, ()) if n in nodes and self.nodes[n].op not in SHAPE_OPS]

    def ops_of(self, name: str) -> set[str]:
        """The op of a node, and the ops of the functions that it runs: the body of a loop, say."""
        ops, stack, visited = set[str](), [self.nodes[name]], set[str]()
        bodies = {f.signature.name: f.node_def for f in self.library.function} if _runs_functions(stack[0]) else {}
        while stack:
            node = stack.pop()
            ops.add(node.op)
            functions = {f.name for a in node.attr.values() for f in ([a.func] if a.HasField("func") else a.list.func)}
            for function in (functions | {node.op}) & bodies.keys() - visited:
                visited.add(function)
                stack += bodies[function]
        return ops

    def skip_identities(self, tensor: str) -> str:
        """The tensor that a chain of Identity nodes passes on."""
        while self.nodes[node_name(tensor)].op == "Identity":
            tensor = self.inputs[node_name(tensor)][0]
        return tensor

    def placeholders(self, fetches: Sequence[str], feeds: Collection[str]) -> set[str]:
        """The placeholder nodes that `fetches` depend on, up to the tensors in `feeds`."""
        return {n for n in self.ancestors(fetches, stop=feeds) if self.nodes[n].op == "Placeholder"}

    def subgraph(self, fetches: Sequence[str], feeds: Collection[str]) -> Any:
        """The GraphDef between fed and fetched tensors, without control edges and without placeholders."""
        kept = self.ancestors(fetches, stop=feeds)
        graph_def = graph_pb2.GraphDef()
        graph_def.versions.CopyFrom(self.versions)
        functions = {function.signature.name for function in self.library.function}
        callers = [self.nodes[n] for n in kept] if functions else []
        if any(n.op in functions or _runs_functions(n) for n in callers):
            graph_def.library.CopyFrom(self.library)
        for name, node in self.nodes.items():
            if name in kept and node.op != "Placeholder":
                copy = graph_def.node.add()
                copy.CopyFrom(node)
                del copy.input[:]
                copy.input.extend(i for i in node.input if not i.startswith("^"))
                copy.attr.pop("_class", None)  # colocation with nodes that are no longer there
                copy.device = ""
        return graph_def

    def graph_def(self) -> Any:
        """The whole graph; it shares no node with this view."""
        graph_def = graph_pb2.GraphDef(versions=self.versions, library=self.library)
        graph_def.node.extend(self.nodes.values())
        return graph_def

    def extended(self, nodes: Iterable[Any], library: Any) -> GraphView:
        """Another view, of this graph with these nodes and functions added."""
        graph_def = graph_pb2.GraphDef()
        graph_def.versions.CopyFrom(self.versions)
        graph_def.library.CopyFrom(self.library)
        graph_def.library.MergeFrom(library)
        other = GraphView(graph_def)
        other.nodes = self.nodes | {node.name: node for node in nodes}
        for name in other.nodes:
            other._connect(name)
        return other

    def add_copy(self, name: str, new_name: str, first_input: str) -> str:
        """Add a copy of a node that reads `first_input` as its first input; its output tensor."""
        if new_name not in self.nodes:
            copy = type(self.nodes[name])()
            copy.CopyFrom(self.nodes[name])
            copy.name, copy.input[0] = new_name, first_input
            self.nodes[new_name] = copy
            self._connect(new_name)
        return f"{new_name}:0"

    def _connect(self, name: str) -> None:
        self.inputs[name] = [tensor_name(i) for i in self.nodes[name].input if not i.startswith("^")]
        for i in self.inputs[name]:
            self.consumers.setdefault(i, []).append(name)
            value_consumers = self.value_consumers.setdefault(node_name(i), [])
            if self.nodes[name].op not in SHAPE_OPS:
                value_consumers.append(name)


def _runs_functions(node: Any) -> bool:
    return any(a.HasField("func") or a.list.func for a in node.attr.values())


def tensor_name(name: str) -> str:
    """`node:index` for the name of a tensor or of a node, which stands for its first output."""
    return name if ":" in name else f"{name}:0"


def node_name(tensor: str) -> str:
    """The node that computes a tensor."""
    return tensor.lstrip("^").split(":")[0]


def list_names(names: Sequence[str]) -> str:
    """The first three names and the number of the others, for messages."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
