"""Entries: the tensors at which methods enter a model, and the input whose map their attributions make.

Methods that use gradients enter at real values: a real-valued input, what an input of integers or booleans is cast to, the
encoding of a category, the embedding of a token. Methods that replace values enter at a category itself. Plain analysis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.embedding_lookups import EmbeddingLookup, find_pooled
from tb_deepexplain.graph.encodings import EncodingAnalysis, Encodings, is_real
from tb_deepexplain.graph.graph_view import GraphView, list_names, node_name, tensor_name
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.tensor_names import find_tensor
from tb_deepexplain.lazy_tensorflow import tf

Access = Literal["gradient", "replacement"]  # how a method enters a model
Shape = tuple[int | None, ...]  # batch included
StaticShapes = Callable[[Sequence[str], Mapping[str, Shape]], list[Shape | None]]  # tensors, other shapes of inputs


_MOST_STEPS = 8  # from an encoding to one without open axes


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor at which a method enters the model."""

    tensor: str
    copies: tuple[str, ...] = ()  # other tensors of the same values: further casts of one input
    lookup: EmbeddingLookup | None = None  # if it is the embedding of tokens
    is_whole: bool = False  # the last axis is one feature: an embedding, or the values of one category


@dataclasses.dataclass(frozen=True)
class ExplainedInput:
    """An input, as people know it, and the entries whose attributions are added up to its map."""

    name: str
    entries: tuple[int, ...]  # positions in the cut's entries
    shares: tuple[
        float, ...
    ]  # of an entry's attributions that belong to this input: 1/2 for the cross of two categories
    shape: Shape | None = None  # of the map, to which attributions are summed; None: that of the only entry
    source: str | None = None  # the node of the model's input; None if the entry is an inner tensor
    is_encoded: bool = False  # the entries are encodings of the input's values


class Entries(NamedTuple):
    """The entry tensors of a cut."""

    entries: tuple[Entry, ...]
    explained: tuple[ExplainedInput, ...]
    not_explained: tuple[str, ...]  # what acts on the output and is not explained, in words
    notes: tuple[str, ...]  # what a reader of the maps must know


class _Part(NamedTuple):
    """An input that will be explained, with entries of its own."""

    name: str
    entries: list[Entry]
    shape: Shape | None = None
    source: str | None = None
    is_encoded: bool = False
    note: str = ""  # what a reader of its map must know


@dataclasses.dataclass(frozen=True)
class EntryChooser:
    """Chooses the entries of one model for the option `inputs` of an Explainer.

    `ids` are the nodes of the inputs that may hold token ids; `static_shapes` as in ModelGraph.
    """

    view: GraphView
    specs: Sequence[InputSpec]
    lookups: Mapping[str, EmbeddingLookup]  # by output tensor
    ids: Sequence[str]
    layers: Mapping[str, str]
    output: str
    access: Access
    static_shapes: StaticShapes
    analysis: EncodingAnalysis

    def choose(self, names: Sequence[str] | None) -> Entries:
        """The entries for these names of inputs, layers or tensors, or "embedding"; by default for all inputs of the model."""
        not_explained: list[str] = []
        parts = self._default_parts(not_explained) if names is None else self._named_parts(names, not_explained)
        _check_independent(self.view, names, parts)
        entries: dict[str, Entry] = {}
        for part in parts:
            entries |= {entry.tensor: entry for entry in part.entries}
        tensors = [entry.tensor for part in parts for entry in part.entries]
        position = {tensor: i for i, tensor in enumerate(entries)}
        explained = [
            ExplainedInput(
                name,
                tuple(position[e.tensor] for e in part.entries),
                tuple(1 / tensors.count(e.tensor) for e in part.entries),
                part.shape,
                part.source,
                part.is_encoded,
            )
            for name, part in zip(self._names(parts), parts, strict=True)
        ]
        notes = tuple(dict.fromkeys(part.note for part in parts if part.note))
        return Entries(tuple(entries.values()), tuple(explained), tuple(not_explained), notes)

    def _default_parts(self, not_explained: list[str]) -> list[_Part]:
        """All inputs of the model. A real-valued input that the output ignores is included: its map is zero."""
        encodings_by_node = {
            spec.node: self.analysis.of_values(tensor_name(spec.node))
            for spec in self.specs
            if self._is_value(spec) and not spec.is_sparse
        }
        has_tokens = any(
            _holds_tokens(spec.shape, encodings_by_node[spec.node])
            for spec in self.specs
            if spec.node in encodings_by_node
        )
        parts: list[_Part] = []
        for spec in self.specs:
            encodings = encodings_by_node.get(spec.node)
            if spec.is_sparse:
                parts += self._sparse_parts(spec, not_explained)
            elif encodings is None:
                parts.append(self._real_part(spec.name, [tensor_name(spec.node)], spec.shape, spec.node, not_explained))
            elif has_tokens and not encodings.lookups and not encodings.is_divided and _has_positions(spec.shape):
                if encodings.tensors or encodings.blocked:
                    not_explained.append(f"{spec.name} (it goes with the tokens: a mask, say)")
            else:
                parts += self._value_parts(
                    spec.name, tensor_name(spec.node), spec.shape, spec.dtype, encodings, not_explained
                )
        if not parts:
            takes, reasons = ", ".join(map(str, self.specs)), "; ".join(not_explained)
            advice = (
                ": use occlusion or shapley_sampling, which replace values"
                if self.access == "gradient" and reasons
                else ""
            )
            raise UnsupportedModelError(
                f"no input of this model can be explained ({takes}): "
                f"{reasons or 'the output depends on none of them'}{advice}, or name the tensor or layer to explain with inputs=..."
            )
        return parts

    def _named_parts(self, names: Sequence[str], not_explained: list[str]) -> list[_Part]:
        parts: list[_Part] = []
        for name in names:
            reasons, count = list[str](), len(parts)
            if name == "embedding":
                parts += self._embedding_parts()
                continue
            spec, tensor = self._find_named(name)
            if spec is None and is_real(self.view.nodes[node_name(tensor)]):
                lookup = self.lookups.get(tensor)
                parts.append(_Part(name, [Entry(tensor, lookup=lookup, is_whole=lookup is not None)]))
            elif spec is not None and spec.is_sparse:
                parts += self._sparse_parts(spec, reasons)
            elif spec is not None and not self._is_value(spec):
                parts.append(self._real_part(name, [tensor], spec.shape, spec.node, not_explained))
            else:
                shape = spec.shape if spec else self.static_shapes([tensor], {})[0]
                dtype = spec.dtype if spec else "int64"
                encodings = self.analysis.of_values(tensor)
                parts += self._value_parts(name, tensor, shape, dtype, encodings, reasons)
            _refuse(reasons)
            if len(parts) == count:
                raise UnsupportedModelError(
                    f"the output {self.output!r} does not depend on the values of {name!r}; choose another input or output"
                )
        return parts

    def _find_named(self, name: str) -> tuple[InputSpec | None, str]:
        """The input of the model, if it is one, and the tensor that a name means."""
        spec = next((s for s in self.specs if s.name == name), None)
        tensor = tensor_name(spec.node) if spec else find_tensor(self.view, self.layers, name)
        spec = spec or next((s for s in self.specs if tensor_name(s.node) == tensor), None)
        if node_name(tensor) not in self.view.ancestors([self.output]):
            raise UnsupportedModelError(
                f"the output {self.output!r} does not depend on {name!r}; choose another input or output"
            )
        if node_name(tensor) not in self.view.value_descendants([s.node for s in self.specs]):
            raise UnsupportedModelError(
                f"{name!r} is a weight, a table or a size, the same for all examples; name an input, layer or tensor that depends "
                "on the examples"
            )
        return spec, tensor

    def _is_value(self, spec: InputSpec) -> bool:
        """Whether an input holds integers, booleans or strings, perhaps as token ids in real numbers."""
        return not spec.is_float or spec.node in self.ids

    def _embedding_parts(self) -> list[_Part]:
        if not self.lookups:
            raise UnsupportedModelError("inputs='embedding': there is no embedding look-up before the output")
        looked_up = {t for spec in self.specs if self._is_value(spec) for t in self._lookups_of(tensor_name(spec.node))}
        parts = []
        for tensor, lookup in self.lookups.items():
            pooled = find_pooled(self.view, lookup)
            if looked_up and tensor not in looked_up and not pooled:  # positions that are counted from the ids, say
                continue
            entries = [Entry(t) for t in pooled] or [Entry(tensor, lookup=lookup, is_whole=True)]
            parts += [_Part(self._source_name(entry), [entry]) for entry in entries]
        return parts

    def _lookups_of(self, tensor: str) -> list[str]:
        return [lookup.output for lookup in self.analysis.of_values(tensor).lookups]

    def _real_part(
        self, name: str, tensors: Sequence[str], shape: Shape | None, source: str | None, not_explained: list[str]
    ) -> _Part:
        """A real-valued input, or the casts of one; methods that use gradients also enter at the encodings of its buckets."""
        entry = Entry(tensors[0], copies=tuple(tensors[1:]))
        is_cast = source is None or tensors[0] != tensor_name(source)
        # The map of an input may have fewer axes, as the method says.
        plain = _Part(name, [entry], shape if is_cast else None, source)
        encodings = self.analysis.of_numbers(tensors) if self.access == "gradient" else None
        if encodings is None or not (encodings.tensors or encodings.blocked):
            return plain
        shape = shape or (None,)
        _, is_separable = self._positions(source, shape, encodings)
        of_columns = (*encodings.blocked, *(() if is_separable else encodings.tensors))
        if of_columns:
            not_explained.append(
                f"columns of {name} that choose categories or buckets ({list_names(of_columns)}), which only occlusion and "
                "shapley_sampling explain"
            )
        if not encodings.tensors or not is_separable:
            return plain
        direct = [entry] if any(map(self.analysis.has_gradient_path, tensors)) else []
        return _Part(name, [*direct, *map(Entry, encodings.tensors)], shape, source, is_encoded=True)

    def _sparse_parts(self, spec: InputSpec, not_explained: list[str]) -> list[_Part]:
        """A sparse column, whose values are one feature; none if the output ignores it."""
        if spec.node not in self.analysis.sources_of(self.output):
            return []
        if self.access == "replacement":
            joined = self.analysis.joined_column(tensor_name(spec.node))
            return [_Part(spec.name, [Entry(joined)], (None,), spec.node, is_encoded=True)]
        return self._pooled_parts(spec.name, tensor_name(spec.node), (None,), spec.node, not_explained)

    def _pooled_parts(
        self, name: str, tensor: str, shape: Shape, source: str | None, not_explained: list[str]
    ) -> list[_Part]:
        """The encodings of a sparse column, or of texts that become one, summed to a map of this shape; none if no gradient passes."""
        encodings = self.analysis.of_sparse(tensor)
        if encodings.blocked or not encodings.tensors:
            ends = encodings.blocked or encodings.besides
            not_explained.append(f"{name} (no gradient passes {list_names(ends) or 'its look-ups'})")
            return []
        entries = [
            *map(Entry, dict.fromkeys(t for tensor in encodings.tensors for t in self._without_open_axes(tensor)))
        ]
        return [_Part(name, entries, shape, source, is_encoded=True, note=_note_on_masks(name, encodings))]

    def _without_open_axes(self, tensor: str) -> list[str]:
        """An encoding, or what is computed of it alone if it has an axis for the values of a sparse column: their sum, say.

        Such an axis is as long as the longest example of a batch, and a baseline has another length.
        """
        tensors, sources = [tensor], self.analysis.sources_of(tensor)
        for _ in range(_MOST_STEPS):
            shapes = self.static_shapes(tensors, {})
            is_open = {t: s is None or None in s[1:] for t, s in zip(tensors, shapes, strict=True)}
            if not any(is_open.values()):
                return tensors
            readers = [n for t in tensors if is_open[t] for n in self.analysis.value_readers(t)]
            if not readers or not all(
                is_real(self.view.nodes[n]) and n != node_name(self.output) and self.analysis.sources_of(n) <= sources
                for n in readers
            ):
                break
            tensors = [t for t in tensors if not is_open[t]] + [f"{n}:0" for n in dict.fromkeys(readers)]
        return [tensor]

    def _input_node(self, tensor: str) -> str | None:
        return next((spec.node for spec in self.specs if tensor_name(spec.node) == tensor), None)

    def _value_parts(
        self, name: str, tensor: str, shape: Shape | None, dtype: str, encodings: Encodings, not_explained: list[str]
    ) -> list[_Part]:
        """A tensor of integers, booleans or strings; of unknown rank if its shape is None."""
        map_shape, shape = shape, shape or (None,)
        source = self._input_node(tensor)
        if self.analysis.is_pooled(tensor, encodings):
            is_whole = _has_positions(shape)
            if self.access == "replacement":
                return [_Part(name, [Entry(tensor, is_whole=is_whole)], (None,) if is_whole else None, source)]
            return self._pooled_parts(name, tensor, (None,) if is_whole else shape, source, not_explained)
        if encodings.is_divided or _holds_tokens(shape, encodings):
            one_value = (None, None) if encodings.is_divided and dtype == "string" else None  # for each token
            parts = [
                _Part(
                    name,
                    [Entry(lookup.output, lookup=lookup, is_whole=True)],
                    one_value,
                    source,
                    note="" if encodings.is_divided else self._note_on_positions(name, lookup, encodings),
                )
                for lookup in encodings.lookups
            ]
            rest = (*encodings.casts, *encodings.others)
            if encodings.is_divided:
                return parts + [_Part(name, [Entry(t)], None, source) for t in rest]
            if rest := (*rest, *encodings.blocked):
                not_explained.append(f"what {name} does besides its embedding ({list_names(rest)})")
            return parts
        if self.access == "gradient" and not _has_positions(shape) and not encodings.blocked:
            encodings = self.analysis.with_masks(tensor, encodings)
        note = _note_on_masks(name, encodings)
        if encodings.casts and len(encodings.tensors) == len(encodings.casts) and not encodings.blocked:
            return [self._real_part(name, encodings.casts, map_shape, source, not_explained)._replace(note=note)]
        if not encodings.tensors and not encodings.blocked:
            return []
        if self.access == "gradient":
            encodings = self.analysis.with_buckets(encodings)
        is_whole, is_separable = self._positions(source, shape, encodings)
        if self.access == "replacement":
            return [_Part(name, [Entry(tensor, is_whole=is_whole)], (None,) if is_whole else None, source)]
        if encodings.blocked:
            not_explained.append(f"{name} (no gradient passes {list_names(encodings.blocked)})")
            return []
        if not is_separable:
            reason = (
                f"its values are moved or mixed ({list_names(encodings.rearranged)}) before they are encoded"
                if encodings.rearranged
                else "its columns are encoded one by one"
            )
            not_explained.append(f"{name} ({reason}: name the encodings with inputs={list(encodings.tensors)})")
            return []
        entries = [*map(Entry, encodings.tensors)]
        return [_Part(name, entries, (None,) if is_whole else shape, source, is_encoded=True, note=note)]

    def _positions(self, source: str | None, shape: Shape, encodings: Encodings) -> tuple[bool, bool]:
        """(whether all values of an example are one feature, whether encodings can be summed to features)."""
        if not _has_positions(shape) or not encodings.tensors:
            return False, True
        if self._keeps_positions(source, shape, encodings):
            return False, not encodings.rearranged
        is_one_column = len(shape) == 2 and not encodings.is_sliced
        return is_one_column, is_one_column

    def _keeps_positions(self, source: str | None, shape: Shape, encodings: Encodings) -> bool:
        """Whether the encodings have the axes of the input before their own; the values may have moved along them."""

        def have_axes(shapes: Sequence[Shape | None], axes: Shape) -> bool:
            return all(s is not None and s[1 : len(shape)] == axes for s in shapes)

        shapes, axes = self.static_shapes(encodings.tensors, {}), shape[1:]
        if not have_axes(shapes, axes) or source is None or len(axes) != 1 or axes == (None,):
            return have_axes(shapes, axes)
        if all(s is not None and len(s) > len(shape) for s in shapes):
            return True
        # By chance, an encoding without positions may have as many values: then it does not follow another length.
        longer = (axes[0] or 0) + 1
        try:
            return have_axes(self.static_shapes(encodings.tensors, {source: (None, longer)}), (longer,))
        except (ValueError, TypeError, tf.errors.InvalidArgumentError):  # the model has a constant for each position
            return True

    def _note_on_positions(self, name: str, lookup: EmbeddingLookup, encodings: Encodings) -> str:
        """A note where the embedding does not have the positions of the input; empty elsewhere."""
        before = self.view.ancestors([lookup.indices])
        moved = [node for node in encodings.rearranged if node in before]
        return (
            f"{name}: the model moves its values ({list_names(moved)}) before it looks them up; the map has the positions of the embedding"
            if moved
            else ""
        )

    def _source_name(self, entry: Entry) -> str:
        nodes = self.analysis.sources_of(entry.lookup.indices if entry.lookup else entry.tensor)
        sources = [spec.name for spec in self.specs if spec.node in nodes]
        return sources[0] if len(sources) == 1 else entry.tensor

    def _names(self, parts: Sequence[_Part]) -> list[str]:
        """The names of the parts; parts of one input are named by their layer, or by their tensor."""
        names = [part.name for part in parts]
        layers = {tensor: layer for layer, tensor in self.layers.items()}
        return [
            layers.get(part.entries[0].tensor, part.entries[0].tensor) if names.count(part.name) > 1 else part.name
            for part in parts
        ]


def _refuse(reasons: Sequence[str]) -> None:
    """UnsupportedModelError if there are reasons why a named input has no gradient."""
    if reasons:
        raise UnsupportedModelError(f"no gradient reaches {'; '.join(reasons)}; use occlusion or shapley_sampling")


def _note_on_masks(name: str, encodings: Encodings) -> str:
    return (
        f"not explained: what {name} does besides its encodings ({list_names(encodings.besides)})"
        if encodings.besides
        else ""
    )


def _has_positions(shape: Shape) -> bool:
    """Whether an example may hold more than one value."""
    return any(length != 1 for length in shape[1:])


def _holds_tokens(shape: Shape, encodings: Encodings) -> bool:
    return bool(encodings.lookups) and (encodings.is_divided or _has_positions(shape))


def _check_independent(view: GraphView, names: Sequence[str] | None, parts: Sequence[_Part]) -> None:
    """Raise an error if a tensor is named twice, or acts on the output through another one."""
    if names is None:
        return
    tensors = [e.tensor for part in parts for e in part.entries]
    if duplicate := next((t for t in tensors if tensors.count(t) > 1), None):
        raise ParameterError(f"inputs={list(names)}: {duplicate!r} is named twice; name each tensor once")
    for part in parts:
        tensors_of_part = {e.tensor for e in part.entries}
        for entry in part.entries:
            upstream = [
                t for t in tensors if t not in tensors_of_part and node_name(t) in view.ancestors([entry.tensor])
            ]
            if upstream:
                raise UnsupportedModelError(
                    f"{upstream[0]!r} acts on the output through {entry.tensor!r}, which is explained too; explain one of them"
                )
