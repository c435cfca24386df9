"""Where a model is cut: at the entry tensors, which are explained, and at the logits or another output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.graph.embedding_lookups import EmbeddingLookup, find_lookups, holds_token_ids
from tb_deepexplain.graph.encodings import EncodingAnalysis
from tb_deepexplain.graph.entries import Access, Entry, EntryChooser, ExplainedInput, StaticShapes
from tb_deepexplain.graph.graph_view import SHAPE_OPS, GraphView, node_name
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.logits import find_logits
from tb_deepexplain.graph.tensor_names import find_tensor


@dataclasses.dataclass(frozen=True)
class Cut:
    """The tensors at which a model is cut, by name."""

    entries: tuple[Entry, ...]
    explained: tuple[ExplainedInput, ...]  # the inputs whose maps are computed
    context: tuple[str, ...]  # what the output depends on besides the entry tensors
    output: str  # what is explained
    model_output: str  # the model's output; different from `output` if the logits are explained
    all_lookups: tuple[EmbeddingLookup, ...]  # every look-up between the inputs and the output
    not_explained: tuple[str, ...] = ()  # what acts on the output and is not explained, in words
    notes: tuple[str, ...] = ()  # what a reader of the maps must know

    @property
    def explains_logits(self) -> bool:
        return self.output != self.model_output

    @property
    def entry_tensors(self) -> list[str]:
        return [entry.tensor for entry in self.entries]

    @property
    def fed(self) -> list[str]:
        """The entry tensors and their copies."""
        return [tensor for entry in self.entries for tensor in (entry.tensor, *entry.copies)]

    @property
    def whole(self) -> list[bool]:
        """For each entry tensor, whether its last axis is one feature."""
        return [entry.is_whole for entry in self.entries]

    @property
    def names(self) -> list[str]:
        """The names of the explained inputs."""
        return [explained.name for explained in self.explained]

    @property
    def explained_lookups(self) -> list[EmbeddingLookup | None]:
        """For each explained input, the look-up of its tokens; None if it is no text."""
        return [self.entries[explained.entries[0]].lookup for explained in self.explained]


def make_cut(
    view: GraphView,
    specs: Sequence[InputSpec],
    outputs: Mapping[str, str],
    layers: Mapping[str, str],
    inputs: Sequence[str] | None,
    output: str | None,
    logits: bool | None,
    access: Access,
    static_shapes: StaticShapes,
) -> Cut:
    """The cut for the options `inputs`, `output` and `logits` of an Explainer whose method has this access to the model.

    `specs`, `outputs` and `layers` are the model's inputs, its output tensors and the known output tensors of layers.
    """
    model_output = _find_output(view, outputs, layers, output)
    needs_logits = logits
    if logits is None:  # a name means exactly that tensor, unless it is that of an output
        logits = output is None or (model_output in outputs.values() and not _is_output_itself(outputs, output))
    before = find_logits(view, model_output) if logits else None
    if needs_logits and before is None:
        raise ParameterError(
            f"logits=True: the output {output or model_output!r} ends in no softmax or sigmoid; leave it out"
        )
    explained = before or model_output
    ids = [spec.node for spec in specs if not spec.is_float or holds_token_ids(view, spec.node)]
    lookups = {lookup.output: lookup for lookup in find_lookups(view, ids, explained)}
    analysis = EncodingAnalysis(view, [spec.node for spec in specs], explained, list(lookups.values()))
    chooser = EntryChooser(view, specs, lookups, ids, layers, explained, access, static_shapes, analysis)
    entries, inputs_of_maps, not_explained, notes = chooser.choose(inputs)
    return Cut(
        entries=entries,
        explained=inputs_of_maps,
        context=_find_context(view, entries, specs, explained),
        output=explained,
        model_output=model_output,
        all_lookups=tuple(lookups.values()),
        not_explained=not_explained,
        notes=notes,
    )


def _find_output(view: GraphView, outputs: Mapping[str, str], layers: Mapping[str, str], output: str | None) -> str:
    """The tensor that the option `output` names; by default the model's only output."""
    if output in outputs:
        return outputs[str(output)]
    if output is None or output == "output":
        if len(outputs) > 1:
            raise ParameterError(f"the model has several outputs; name one as output: {', '.join(outputs)}")
        return next(iter(outputs.values()))
    named = find_tensor(view, layers, output, outputs)
    of_layer = (
        [tensor for tensor in outputs.values() if view.skip_identities(tensor) == named] if output in layers else []
    )
    return of_layer[0] if of_layer else named


def _is_output_itself(outputs: Mapping[str, str], output: str | None) -> bool:
    """Whether `output="output"` asks for the only output as it is."""
    return output == "output" and len(outputs) == 1


def _find_context(
    view: GraphView, entries: Sequence[Entry], specs: Sequence[InputSpec], output: str
) -> tuple[str, ...]:
    """The tensors on which the output depends besides the entry tensors.

    These are the inputs that are not explained and, for a text model, the token ids in the form in which the rest of the
    graph reads them (for a mask, say): never the raw strings, whose padding depends on the other examples of a batch.
    """
    fed = {t for entry in entries for t in (entry.tensor, *entry.copies)}
    tail = view.ancestors([output], stop=fed)
    sources = {spec.node for spec in specs}
    varying = view.value_descendants(sources)
    indices = [entry.lookup.indices for entry in entries if entry.lookup]
    head = view.ancestors(indices, through=lambda node: node.op not in SHAPE_OPS) & varying | sources
    context = {i for name in tail - head for i in view.inputs[name] if node_name(i) in head and i not in fed}
    if node_name(output) in head:
        context.add(output)
    return tuple(sorted(context))
