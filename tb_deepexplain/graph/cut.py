"""Where a model is cut: at the entry tensors, which are explained, and at the logits or another output."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.embedding_lookups import EmbeddingLookup, find_lookups, find_pooled, holds_token_ids
from tb_deepexplain.graph.graph_view import SHAPE_OPS, GraphView, node_name, tensor_name
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.logits import find_logits
from tb_deepexplain.graph.tensor_names import find_tensor


@dataclasses.dataclass(frozen=True)
class Cut:
    """The tensors at which a model is cut, by name."""

    entries: tuple[str, ...]  # the entry tensors
    entry_names: tuple[str, ...]  # their names for people
    entry_lookups: tuple[EmbeddingLookup | None, ...]  # of each entry tensor; None if it is not an embedding
    context: tuple[str, ...]  # what the output depends on besides the entry tensors
    output: str  # what is explained
    model_output: str  # the model's output; different from `output` if the logits are explained
    all_lookups: tuple[EmbeddingLookup, ...]  # every look-up between the inputs and the output

    @property
    def explains_logits(self) -> bool:
        return self.output != self.model_output

    @property
    def embedded(self) -> list[bool]:
        """For each entry tensor, whether it is an embedding."""
        return [lookup is not None for lookup in self.entry_lookups]


def make_cut(
    view: GraphView,
    specs: Sequence[InputSpec],
    outputs: Mapping[str, str],
    layers: Mapping[str, str],
    inputs: Sequence[str] | None,
    output: str | None,
    logits: bool | None = None,
) -> Cut:
    """The cut for the options `inputs`, `output` and `logits` of an Explainer.

    `specs`, `outputs` and `layers` are the model's inputs, its output tensors and the known output tensors of layers.
    """
    model_output = _find_output(view, outputs, layers, output)
    asked = logits
    if logits is None:  # a name means exactly that tensor, unless it is that of an output
        logits = output is None or (model_output in outputs.values() and not _is_output_itself(outputs, output))
    before = find_logits(view, model_output) if logits else None
    if asked and before is None:
        raise ParameterError(
            f"logits=True: the output {output or model_output!r} ends in no softmax or sigmoid; leave it out"
        )
    explained = before or model_output
    ids = [spec.node for spec in specs if not spec.is_float or holds_token_ids(view, spec.node)]
    lookups = {lookup.output: lookup for lookup in find_lookups(view, ids, explained)}
    if inputs is None or "embedding" in inputs:
        _check_pooling(view, lookups.values())
    if inputs is None:
        entries = _default_entries(view, specs, lookups, ids)
    else:
        entries = _named_entries(view, inputs, specs, lookups, layers, explained)
    names = _name_entries(view, entries, lookups, specs) if inputs is None or "embedding" in inputs else list(inputs)
    return Cut(
        entries=tuple(entries),
        entry_names=tuple(names),
        entry_lookups=tuple(lookups.get(entry) for entry in entries),
        context=_find_context(view, entries, lookups, specs, explained),
        output=explained,
        model_output=model_output,
        all_lookups=tuple(lookups.values()),
    )


def _find_output(view: GraphView, outputs: Mapping[str, str], layers: Mapping[str, str], output: str | None) -> str:
    """The tensor that the option `output` names; by default the model's only output."""
    if output in outputs:
        return outputs[str(output)]
    if output is None or output == "output":
        if len(outputs) > 1:
            raise ParameterError(f"the model has several outputs; choose one with output=...: {', '.join(outputs)}")
        return next(iter(outputs.values()))
    named = find_tensor(view, layers, output)
    of_layer = (
        [tensor for tensor in outputs.values() if view.skip_identities(tensor) == named] if output in layers else []
    )
    return of_layer[0] if of_layer else named


def _is_output_itself(outputs: Mapping[str, str], output: str | None) -> bool:
    """Whether `output="output"` asks for the only output as it is."""
    return output == "output" and len(outputs) == 1


def _check_pooling(view: GraphView, lookups: Iterable[EmbeddingLookup]) -> None:
    pooled = [t for lookup in lookups for t in find_pooled(view, lookup)]
    if pooled:
        raise UnsupportedModelError(
            "the embedding is looked up once for each distinct id of a batch, so it has no row for each example; explain "
            f"the tensors that it is pooled into: inputs={pooled}"
        )


def _default_entries(
    view: GraphView, specs: Sequence[InputSpec], lookups: Mapping[str, EmbeddingLookup], ids: Sequence[str]
) -> list[str]:
    """Real-valued inputs, and embeddings of the others, in the order of the model's inputs.

    A real-valued input that the output ignores is included: its map is zero, and the result has the model's structure.
    `ids` are the nodes of the inputs that may hold token ids.
    """
    order = [spec.node for spec in specs]
    looked_up = view.ancestors([lookup.indices for lookup in lookups.values()]) & set(ids)
    sources = {tensor_name(spec.node): spec.node for spec in specs if spec.is_float and spec.node not in looked_up}
    for entry, lookup in lookups.items():
        sources[entry] = min(view.ancestors([lookup.indices]) & set(order), key=order.index)
    if not sources:
        raise UnsupportedModelError(
            f"no input of this model can be explained: {', '.join(map(str, specs))}, and there is no embedding look-up "
            "between an integer or string input and the output. Name the tensor or layer to explain with inputs=..."
        )
    return sorted(sources, key=lambda entry: order.index(sources[entry]))


def _named_entries(
    view: GraphView,
    names: Sequence[str],
    specs: Sequence[InputSpec],
    lookups: Mapping[str, EmbeddingLookup],
    layers: Mapping[str, str],
    output: str,
) -> list[str]:
    """The entry tensors that the option `inputs` names; none of them may depend on another."""
    entries = [entry for name in names for entry in _find_entries(view, name, specs, lookups, layers, output)]
    if duplicate := next((e for e in entries if entries.count(e) > 1), None):
        raise ParameterError(f"inputs={list(names)}: {duplicate!r} is named twice; name each tensor once")
    for entry in entries:
        if upstream := [e for e in entries if e != entry and node_name(e) in view.ancestors([entry])]:
            raise UnsupportedModelError(
                f"{upstream[0]!r} acts on the output through {entry!r}, which is explained too; explain one of them"
            )
    return entries


def _find_entries(
    view: GraphView,
    name: str,
    specs: Sequence[InputSpec],
    lookups: Mapping[str, EmbeddingLookup],
    layers: Mapping[str, str],
    output: str,
) -> list[str]:
    """The entry tensors for one name: of an input, layer or tensor, or "embedding" for all embeddings."""
    if name == "embedding":
        if not lookups:
            raise UnsupportedModelError("inputs='embedding': there is no embedding look-up before the output")
        return list(lookups)
    spec = next((s for s in specs if s.name == name), None)
    entry = tensor_name(spec.node) if spec else find_tensor(view, layers, name)
    spec = spec or next((s for s in specs if tensor_name(s.node) == entry), None)
    if spec is not None and not spec.is_float:
        raise UnsupportedModelError(f"input {spec} holds no real numbers and has no gradient; use inputs='embedding'")
    if node_name(entry) not in view.ancestors([output]):
        raise UnsupportedModelError(
            f"the output {output!r} does not depend on {name!r}; choose another input or output"
        )
    return [entry]


def _name_entries(
    view: GraphView, entries: Sequence[str], lookups: Mapping[str, EmbeddingLookup], specs: Sequence[InputSpec]
) -> list[str]:
    """For each entry tensor the input that it is, or whose embedding it is; its tensor name if that is not unique."""
    names = []
    for entry in entries:
        nodes = view.ancestors([lookups[entry].indices]) if entry in lookups else {node_name(entry)}
        sources = [spec.name for spec in specs if spec.node in nodes]
        names.append(sources[0] if len(sources) == 1 else entry)
    return [entry if names.count(name) > 1 else name for entry, name in zip(entries, names, strict=True)]


def _find_context(
    view: GraphView,
    entries: Sequence[str],
    lookups: Mapping[str, EmbeddingLookup],
    specs: Sequence[InputSpec],
    output: str,
) -> tuple[str, ...]:
    """The tensors on which the output depends besides the entry tensors.

    These are the inputs that are not explained and, for a text model, the token ids in the form in which the rest of the
    graph reads them (for a mask, say): never the raw strings, whose padding depends on the other examples of a batch.
    """
    tail = view.ancestors([output], stop=entries)
    sources = {spec.node for spec in specs}
    varying = view.value_descendants(sources)
    indices = [lookups[e].indices for e in entries if e in lookups]
    head = view.ancestors(indices, through=lambda node: node.op not in SHAPE_OPS) & varying | sources
    context = {i for name in tail - head for i in view.inputs[name] if node_name(i) in head and i not in entries}
    if node_name(output) in head:
        context.add(output)
    return tuple(sorted(context))
