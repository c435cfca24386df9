"""Where to enter and leave a model: plain analysis of an inlined GraphDef, nothing runs here.

Names of tensors are normalised as `node:index`. Control edges are never followed: they order side
effects (assertions, counters) that an explanation must not repeat.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tb_deepexplain.errors import ParameterError, UnsupportedModelError

# Ops whose output says nothing about the values of their input.
SHAPE_OPS = frozenset(
    {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorListReserve", "TensorListLength"}
)
_PASS_THROUGH = frozenset({"Identity", "Cast", "StopGradient", "PreventGradient", "CheckNumerics"})
_LOOKUPS = {"GatherV2": "Tparams", "Gather": "Tparams", "ResourceGather": "dtype"}
FLOATS = frozenset({1, 2, 14, 19})  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
_INTEGERS = frozenset({3, 9})  # DT_INT32, DT_INT64
_SQUASHES = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_RESHAPES = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze"})
_COMPARISONS = frozenset({"Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"})


@dataclasses.dataclass(frozen=True)
class Lookup:
    """An embedding look-up: rows of a table taken by integers that come from an input."""

    table: str
    indices: str
    output: str


@dataclasses.dataclass(frozen=True)
class Cut:
    """Entries are explained, context is needed beside them, output is what is explained."""

    entries: tuple[str, ...]
    names: tuple[str, ...]  # of the entries, as a person would call them
    context: tuple[str, ...]
    output: str
    final: str
    lookups: tuple[Lookup | None, ...]  # one for each entry; None where it is not an embedding
    reads: tuple[Lookup, ...]  # every one between the inputs and the output
    stepped_back: bool


class GraphView:
    """A GraphDef with its edges both ways."""

    def __init__(self, graph_def: Any) -> None:
        self.nodes = {node.name: node for node in graph_def.node}
        self.library = graph_def.library
        self.versions = graph_def.versions
        self.inputs: dict[str, list[str]] = {}
        self.consumers: dict[str, list[str]] = {}
        self.readers: dict[str, list[str]] = {}
        for name in self.nodes:
            self._connect(name)

    def ancestors(
        self, tensors: Iterable[str], stop: Collection[str] = (), through: Callable[[Any], bool] | None = None
    ) -> set[str]:
        """Nodes that compute `tensors`, not looking behind the tensors in `stop`."""
        found: set[str] = set()
        stack = [t for t in tensors if t not in stop]
        while stack:
            name = node_of(stack.pop())
            if name not in found and (through is None or through(self.nodes[name])):
                found.add(name)
                stack += [i for i in self.inputs[name] if i not in stop]
        return found

    def value_descendants(self, sources: Iterable[str], stop: Collection[str] = ()) -> set[str]:
        """Nodes whose values depend on the values (not only the shapes) of the source nodes."""
        found, stack = set(sources), list(sources)
        while stack:
            for name in self.readers.get(stack.pop(), ()):
                if name not in found and name not in stop:
                    found.add(name)
                    stack.append(name)
        return found

    def subgraph(self, fetches: Sequence[str], feeds: Collection[str]) -> Any:
        """The GraphDef between fed and fetched tensors, without control edges and without placeholders."""
        kept = self.ancestors(fetches, stop=feeds)
        placeholders = {n for n in kept if self.nodes[n].op == "Placeholder"}
        graph_def = type(self._template())()
        graph_def.versions.CopyFrom(self.versions)
        functions = {function.signature.name for function in self.library.function}
        used = [self.nodes[n] for n in kept] if functions else []
        if any(n.op in functions or any(map(_names_functions, n.attr.values())) for n in used):
            graph_def.library.CopyFrom(self.library)
        for name, node in self.nodes.items():
            if name in kept and name not in placeholders:
                copy = graph_def.node.add()
                copy.CopyFrom(node)
                del copy.input[:]
                copy.input.extend(i for i in node.input if not i.startswith("^"))
                copy.attr.pop("_class", None)  # colocation with nodes that are no longer there
                copy.device = ""
        return graph_def

    def add_copy(self, name: str, new: str, first: str) -> str:
        """The output of a copy of a node, under a new name, that reads `first` as its first input."""
        if new not in self.nodes:
            copy = type(self.nodes[name])()
            copy.CopyFrom(self.nodes[name])
            copy.name, copy.input[0] = new, first
            self.nodes[new] = copy
            self._connect(new)
        return f"{new}:0"

    def _connect(self, name: str) -> None:
        self.inputs[name] = [tensor(i) for i in self.nodes[name].input if not i.startswith("^")]
        for i in self.inputs[name]:
            self.consumers.setdefault(i, []).append(name)
            readers = self.readers.setdefault(node_of(i), [])  # those whose values depend on a node's
            if self.nodes[name].op not in SHAPE_OPS:
                readers.append(name)

    def placeholders(self, fetches: Sequence[str], feeds: Collection[str]) -> set[str]:
        kept = self.ancestors(fetches, stop=feeds)
        return {n for n in kept if self.nodes[n].op == "Placeholder"}

    def _template(self) -> Any:
        from tensorflow.core.framework import graph_pb2

        return graph_pb2.GraphDef()


def _names_functions(attribute: Any) -> bool:
    return attribute.HasField("func") or bool(attribute.list.func)


def tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def node_of(name: str) -> str:
    return name.lstrip("^").split(":")[0]


def last_squash(view: GraphView, output: str) -> str | None:
    """The node of the softmax or sigmoid that `output` ends with, whatever its values' order and shape; or None."""
    return _behind(view, output)[0]


def _behind(view: GraphView, output: str) -> tuple[str | None, list[str]]:
    """The last softmax or sigmoid, and the nodes behind it, the last first."""
    behind = []
    while (op := view.nodes[name := node_of(output)].op) in _PASS_THROUGH | _RESHAPES | {"Transpose"}:
        behind.append(name)
        output = view.inputs[name][0]
    return (name if op in _SQUASHES else None), behind


def step_back(view: GraphView, output: str) -> str | None:
    """The logits behind the softmax or sigmoid that `output` ends with, or None; in the shape and order of the output."""
    squash, behind = _behind(view, output)
    if squash is None:
        return None
    logits = view.inputs[squash][0]
    if any(view.nodes[name].op not in _PASS_THROUGH for name in behind):
        for name in reversed(behind):
            logits = view.add_copy(name, f"{name}/of_logits", logits)
    return logits


def find_lookups(view: GraphView, sources: Collection[str], output: str) -> list[Lookup]:
    """Embedding look-ups on the way from integer or string inputs (`sources`, node names) to `output`."""
    gathers = {
        n for n, node in view.nodes.items() if node.op in _LOOKUPS and node.attr[_LOOKUPS[node.op]].type in FLOATS
    }
    needed = view.ancestors([output])
    tainted = view.value_descendants(sources, stop=gathers)
    found = []
    for name in view.nodes:  # graph order, so that the answer is stable
        if name in gathers and name in needed:
            table, indices = view.inputs[name][:2]
            if node_of(indices) in tainted and not view.ancestors([table]) & tainted:
                found.append(Lookup(table, indices, f"{name}:0"))
    return found


def _holds_ids(view: GraphView, node: str) -> bool:
    """Whether an input is only cast to integers and compared (with padding, say): Keras 2 has token ids in floats."""
    cast, stack = False, [node]
    while stack:
        for name in view.consumers.get(f"{stack.pop()}:0", ()):
            op = view.nodes[name]
            if op.op == "Cast" and op.attr["DstT"].type in _INTEGERS:
                cast = True
            elif op.op in _RESHAPES:
                stack.append(name)
            elif op.op not in _COMPARISONS and op.op not in SHAPE_OPS:
                return False
    return cast


def _pooled(view: GraphView, lookup: Lookup) -> list[str]:
    """Where a look-up of the ids that occur in a batch, each once (a sparse column's), becomes one row an example."""
    ids = node_of(lookup.indices)
    while view.nodes[ids].op == "Identity":
        ids = node_of(view.inputs[ids][0])
    if view.nodes[ids].op not in ("Unique", "UniqueV2"):
        return []
    behind = view.value_descendants([node_of(lookup.output)])
    return [f"{n}:0" for n in view.nodes if n in behind and view.nodes[n].op.startswith("SparseSegment")]


def resolve(view: GraphView, layers: Mapping[str, str], name: str) -> str:
    """The tensor that a person means by a tensor, node or layer name; `layers` are those known for certain."""
    if name in layers:
        return layers[name]
    if node_of(name) in view.nodes:
        return tensor(name)
    # TensorFlow numbers scopes that were used before: `dense_1` may be a layer of that name, or another run of `dense`.
    scopes = {m.group(0) for n in view.nodes if (m := re.match(rf"(?:.*/)?{re.escape(name)}(?:_\d+)?(?=/)", n))}
    outputs = [t for scope in sorted(scopes) for t in _scope_outputs(view, scope)]
    if len(outputs) == 1:
        return outputs[0]
    if outputs:
        raise ParameterError(f"{name!r} may mean any of {', '.join(outputs[:6])}; give one of these tensor names")
    known = sorted(layers) or sorted({part for n in view.nodes for part in n.split("/")[:-1]})
    raise ParameterError(
        f"the model has no tensor or layer {name!r}; its layers include {', '.join(known[:40]) or 'none'}"
    )


def _scope_outputs(view: GraphView, scope: str) -> list[str]:
    """Value-carrying float tensors made inside a name scope and used outside it."""
    found = []
    for name, node in view.nodes.items():
        if name.startswith(scope + "/") and node.op not in (*SHAPE_OPS, "Const", "ReadVariableOp", "NoOp"):
            consumers = view.consumers.get(f"{name}:0", ["(end)"])
            if any(
                not c.startswith(scope + "/") and (c not in view.nodes or view.nodes[c].op not in SHAPE_OPS)
                for c in consumers
            ):
                found.append(f"{name}:0")
    return found


def make_cut(
    view: GraphView,
    specs: Sequence[Any],  # InputSpec
    outputs: dict[str, str],
    layers: Mapping[str, str],
    inputs: Sequence[str] | None,
    output: str | None,
) -> Cut:
    final = _final(view, outputs, layers, output)
    logits = step_back(view, final) if output is None else None  # a name means exactly that tensor
    target = logits or final
    discrete = [spec.node for spec in specs if not spec.is_float or _holds_ids(view, spec.node)]
    lookups = {lookup.output: lookup for lookup in find_lookups(view, discrete, target)}
    looked_up = view.ancestors([lookup.indices for lookup in lookups.values()]) & set(discrete)
    pooled = [t for lookup in lookups.values() for t in _pooled(view, lookup)]
    if pooled and (inputs is None or "embedding" in inputs):
        raise UnsupportedModelError(
            "the embedding is looked up once for each id that occurs in a batch, so it has no row for each example; explain "
            f"what it is pooled into: inputs={pooled}"
        )
    if inputs is None:
        # A real-valued input that the output ignores stays: its map is zero, and the result keeps the model's structure.
        order = [spec.node for spec in specs]
        own = {tensor(spec.node): spec.node for spec in specs if spec.is_float and spec.node not in looked_up}
        own |= {
            out: min(view.ancestors([lookup.indices]) & set(order), key=order.index) for out, lookup in lookups.items()
        }
        entries = sorted(own, key=lambda entry: order.index(own[entry]))
        if not entries:
            raise UnsupportedModelError(
                f"no input of this model can be explained: {', '.join(map(str, specs))}, and no embedding look-up was "
                "found between an integer or string input and the output. Name the tensor or layer to explain "
                "with inputs=..."
            )
    else:
        entries = [entry for name in inputs for entry in _entries(view, name, specs, lookups, layers, target)]
        if twice := next((e for e in entries if entries.count(e) > 1), None):
            raise ParameterError(f"inputs={list(inputs)}: {twice!r} is named twice; name what is explained once")
        for entry in entries:
            if behind := [e for e in entries if e != entry and node_of(e) in view.ancestors([entry])]:
                raise UnsupportedModelError(
                    f"{behind[0]!r} acts on the output through {entry!r}, which is explained too; explain one of them"
                )
    names = [_name(view, entry, lookups.get(entry), specs) for entry in entries]
    return Cut(
        entries=tuple(entries),
        names=tuple(entry if names.count(name) > 1 else name for entry, name in zip(entries, names, strict=True)),
        context=_context(view, entries, lookups, specs, target),
        output=target,
        final=final,
        lookups=tuple(lookups.get(entry) for entry in entries),
        reads=tuple(lookups.values()),
        stepped_back=logits is not None,
    )


def _entries(
    view: GraphView,
    name: str,
    specs: Sequence[Any],
    lookups: dict[str, Lookup],
    layers: Mapping[str, str],
    target: str,
) -> list[str]:
    """The tensors that a person means by the name of an input, layer or tensor, or by "embedding"."""
    if name == "embedding":
        if not lookups:
            raise UnsupportedModelError("inputs='embedding': no embedding look-up was found on the way to the output")
        return list(lookups)
    spec = next((s for s in specs if s.name == name), None)
    entry = tensor(spec.node) if spec else resolve(view, layers, name)
    spec = spec or next((s for s in specs if tensor(s.node) == entry), None)
    if spec is not None and not spec.is_float:
        raise UnsupportedModelError(f"input {spec} holds no real numbers and has no gradient; use inputs='embedding'")
    if node_of(entry) not in view.ancestors([target]):
        raise UnsupportedModelError(
            f"the output {target!r} does not depend on {name!r}; choose another input or output"
        )
    return [entry]


def _final(view: GraphView, outputs: dict[str, str], layers: Mapping[str, str], output: str | None) -> str:
    if output in outputs:
        return outputs[str(output)]
    if output is None or output == "output":
        if len(outputs) > 1:
            raise ParameterError(f"the model has several outputs; choose one with output=...: {', '.join(outputs)}")
        return next(iter(outputs.values()))
    return resolve(view, layers, output)


def _name(view: GraphView, entry: str, lookup: Lookup | None, specs: Sequence[Any]) -> str:
    """The model input that an entry is, or whose embedding it is; else the tensor's own name."""
    behind = view.ancestors([lookup.indices]) if lookup else {node_of(entry)}
    sources = [spec.name for spec in specs if spec.node in behind]
    return sources[0] if len(sources) == 1 else entry


def _context(
    view: GraphView, entries: Sequence[str], lookups: dict[str, Lookup], specs: Sequence[Any], target: str
) -> tuple[str, ...]:
    """Tensors that the way from the entries to the output needs besides them.

    These are the inputs that are not explained, and for a text model the token ids in the form in which
    the rest of the graph reads them (a mask, say): never the raw strings, whose padding depends on what
    else is in the batch.
    """
    tail = view.ancestors([target], stop=entries)
    sources = {spec.node for spec in specs}
    varying = view.value_descendants(sources)
    indices = [lookups[e].indices for e in entries if e in lookups]
    head = view.ancestors(indices, through=lambda node: node.op not in SHAPE_OPS) & varying | sources
    crossing = {i for name in tail - head for i in view.inputs[name] if node_of(i) in head and i not in entries}
    if node_of(target) in head:
        crossing.add(target)
    return tuple(sorted(crossing))
