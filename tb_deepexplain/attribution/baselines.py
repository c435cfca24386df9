"""Baselines as people write them (a number, a token id, "mask", a raw category, a statistic) → values of the entry tensors."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.array_likes import has_axes, missing
from tb_deepexplain.attribution.containers import read_baseline
from tb_deepexplain.attribution.inputs import as_dtypes, read_array
from tb_deepexplain.attribution.pictures import is_picture, read_pictures
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.embedding_lookups import EmbeddingLookup
from tb_deepexplain.graph.entries import ExplainedInput
from tb_deepexplain.graph.graph_view import tensor_name
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.submodel import Submodel

STATISTICS = ("most_frequent", "median", "mean")
_SPECIAL_TOKENS = {
    "pad": ("[PAD]", "<pad>", "<PAD>", "[pad]", "<|pad|>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<MASK>", "[mask]", "<|mask|>"),
}


UNREADABLE = "give baseline= values that the model reads (without it, strings are empty and numbers zero)"


@dataclasses.dataclass(frozen=True)
class _Raw:
    """A value of an input of the model, not of its entries; None: blank, or that of the background."""

    value: Any = None


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Resolves the baselines of one explainer.

    `background` are the model's inputs `[N, ...]` of examples whose statistics stand for missing features; `vocabulary` are
    the words of the token ids.
    """

    background: Sequence[np.ndarray] | None = None
    vocabulary: Sequence[str] | None = None

    def as_specs(self, specs: Sequence[InputSpec]) -> Baselines:
        """The same for a model whose inputs have the dtypes of these specs."""
        return Baselines(None if self.background is None else as_dtypes(self.background, specs), self.vocabulary)

    def resolve(self, submodel: Submodel, baseline: Any) -> Any:
        """A baseline for each entry tensor, as Score.baseline takes it: one value, or a list if there are several entries.

        `baseline` is a value for all explained inputs, a list or dict with one for each, or a frame of one row. ParameterError if
        it does not fit.
        """
        baseline = read_baseline(submodel.graph.inputs, baseline)
        explained, statistic = submodel.cut.explained, "most_frequent"
        if isinstance(baseline, str) and baseline in STATISTICS:
            if self.background is None:
                raise ParameterError(
                    f"baseline={baseline!r} is a statistic of examples: give them with background= (--baseline_examples)"
                )
            statistic, baseline = baseline, None
        values = by_input(baseline, submodel.cut.names)
        values = [self._read(submodel, *pair) for pair in zip(explained, values, strict=True)]
        has_raw = [isinstance(value, _Raw) for value in values]
        of_entries: list[Any] = [None] * len(submodel.cut.entries)
        if any(has_raw):
            raw = self._raw_example(submodel, explained, values, statistic)
            try:
                raw_entries, _ = submodel.compute_entries(raw)
            except InputError as error:  # which is of xs
                raise ParameterError(f"baseline: {str(error).removeprefix('xs: ')}; {UNREADABLE}") from error
        for explained_input, value, is_raw in zip(explained, values, has_raw, strict=True):
            for i in explained_input.entries:
                of_entries[i] = raw_entries[i][0].numpy() if is_raw else value
        if all(value is None for value in of_entries):  # zeros, for which methods may have a cheaper way
            return None
        return of_entries if len(of_entries) > 1 else of_entries[0]

    def _read(self, submodel: Submodel, explained: ExplainedInput, value: Any) -> Any:
        """The value of the entry of one explained input, None for zeros; or a value of the model's input, as _Raw."""
        entry, i = submodel.cut.entries[explained.entries[0]], _input_number(submodel.graph, explained)
        if i is not None and submodel.graph.inputs[i].is_sparse:
            return _Raw(_of_column(submodel.graph.inputs[i], value))
        if i is not None and submodel.graph.inputs[i].dtype == "string" and not entry.lookup:
            if isinstance(value, str | bytes):
                return _Raw(value)
            if not has_axes(value):  # a number for all inputs means nothing to one of strings
                value = None
        if value is None:
            return None if self.background is None and not explained.is_encoded else _Raw()
        if entry.lookup and (ids := self._token_ids(submodel, entry.lookup, value)) is not None:
            return submodel.embed(entry.lookup, ids)
        if is_picture(value):
            value = read_pictures(submodel.entry_specs[explained.entries[0]].shape[1:], [value], "baseline")[0]
        if explained.is_encoded and i is None:
            raise ParameterError(
                f"baseline={value!r}: the model computes {explained.name} from its inputs; leave the baseline out, which then "
                "is what it computes from blank inputs"
            )
        return _Raw(value) if explained.is_encoded else value

    def _raw_example(
        self, submodel: Submodel, explained: Sequence[ExplainedInput], values: Sequence[Any], statistic: str
    ) -> list[Any]:
        """The model's inputs `[1, ...]`: these values, and where there are none those of the background, or blank."""
        graph = submodel.graph
        blank = [_blank(spec) for spec in graph.inputs]
        raw = blank if self.background is None else _example(graph, self.background, statistic)
        for explained_input, value in zip(explained, values, strict=True):
            i = _input_number(graph, explained_input)
            if isinstance(value, _Raw) and value.value is not None and i is not None:
                raw[i] = value.value if graph.inputs[i].is_sparse else _fill(graph.inputs[i], raw[i].shape, value.value)
        return [tf.constant(array[None]) for array in raw]

    def _token_ids(self, submodel: Submodel, lookup: EmbeddingLookup, value: Any) -> Any:
        """The token ids that a baseline names; None if it holds numbers of the embedding."""
        if isinstance(value, str | bytes):
            return self._token_id(submodel, lookup, value.decode() if isinstance(value, bytes) else value)
        array = np.asarray(value)
        return array if array.dtype.kind in "iu" else None

    def _token_id(self, submodel: Submodel, lookup: EmbeddingLookup, word: str) -> int:
        vocabulary = {w: i for i, w in enumerate(self.vocabulary)} if self.vocabulary else submodel.vocabulary(lookup)
        for candidate in (word, *_SPECIAL_TOKENS.get(word, ())):
            if candidate in vocabulary:
                return vocabulary[candidate]
        padding = submodel.graph.padding_id(lookup.indices) if word == "pad" else None
        if padding is not None:
            return padding
        known = f"the vocabulary has no {word!r}" if vocabulary else "the model holds no vocabulary"
        raise ParameterError(f"baseline={word!r}: {known}; give a token id, or the words of the ids with vocabulary=")


def background_baseline(
    graph: ModelGraph, arrays: Mapping[str, np.ndarray], statistic: str, inputs: Sequence[str] | None = None
) -> dict[str, Any]:
    """A baseline by name for the explained `inputs` of a model (None: all): a statistic of its inputs `[N, ...]`; None for a text.

    ParameterError for an inner tensor or layer, of which the examples hold no values.
    """
    cut = graph.submodel(inputs, access="replacement").cut
    for explained, lookup in zip(cut.explained, cut.explained_lookups, strict=True):
        if explained.source is None and not lookup:
            raise ParameterError(
                f"the examples (--baseline_examples) hold no values of {explained.name}, which the model computes; explain its "
                "inputs, or leave the examples out"
            )
    values = _example(graph, [arrays[spec.name] for spec in graph.inputs], statistic)
    example = {
        spec.node: value[~spec.is_missing(value)] if spec.is_sparse else value
        for spec, value in zip(graph.inputs, values, strict=True)
    }
    return {
        explained.name: None if lookup else example[str(explained.source)]
        for explained, lookup in zip(cut.explained, cut.explained_lookups, strict=True)
    }


def _example(graph: ModelGraph, arrays: Sequence[np.ndarray], statistic: str) -> list[np.ndarray]:
    """One example of the model's inputs: a statistic of numbers, and the most frequent values of categories and token ids."""
    cut = graph.submodel(access="replacement").cut
    raw = {entry.tensor for entry in cut.entries}
    texts = {e.source for e, lookup in zip(cut.explained, cut.explained_lookups, strict=True) if lookup}
    return [
        _statistic_of_column(spec, array, statistic)
        if spec.is_sparse
        else _statistic(array, "most_frequent" if is_category or spec.node in texts else statistic)
        for spec, array in zip(graph.inputs, arrays, strict=True)
        for is_category in [not spec.is_float and tensor_name(spec.node) in raw]
    ]


def _input_number(graph: ModelGraph, explained: ExplainedInput) -> int | None:
    """The number of the model's input; None if an inner tensor is explained."""
    return next((i for i, spec in enumerate(graph.inputs) if spec.node == explained.source), None)


def _blank(spec: InputSpec) -> np.ndarray:
    """One example: the model's default, else zeros or empty strings; open axes have length 1."""
    if spec.default is not None:
        return np.asarray(spec.default, object if spec.dtype == "string" else spec.dtype)
    shape = [1 if n is None else n for n in spec.shape[1:]]
    return np.full(shape, "", object) if spec.dtype == "string" else np.zeros(shape, spec.dtype)


def _fill(spec: InputSpec, shape: Sequence[int], value: Any) -> np.ndarray:
    """A value of one input, broadcast to an example; ParameterError if it does not fit."""
    array = np.asarray(value, object if spec.dtype == "string" else None)
    try:
        return np.array(np.broadcast_to(array, shape)).astype(object if spec.dtype == "string" else spec.dtype)
    except ValueError as error:
        raise ParameterError(f"baseline: {value!r} does not fit the input {spec}: {error}") from None


def _of_column(spec: InputSpec, value: Any) -> np.ndarray | None:
    """The values `[T]` of a sparse column that a baseline names; None if it names none, or is a number for a column of strings."""
    if value is None or (spec.dtype == "string" and not has_axes(value) and not isinstance(value, str | bytes)):
        return None
    try:
        array, _ = read_array(spec, [np.ravel(value).tolist()])
    except InputError as error:
        raise ParameterError(f"baseline: {str(error).removeprefix('xs for ')}") from error
    return array[0]


def _statistic(array: np.ndarray, statistic: str) -> np.ndarray:
    """One example from examples `[N, ...]`: the mean or median of real numbers and integers, else the most frequent value.

    Missing values (NaN) do not count; ParameterError if a feature has no other.
    """
    gone = missing(array)
    if empty := gone.all(0).sum():
        raise ParameterError(f"background: {empty} features have no value in any example; give examples that have one")
    if statistic != "most_frequent" and array.dtype.kind in "fiu":
        value = np.nanmedian(array, 0) if statistic == "median" else np.nanmean(array, 0, dtype=np.float64)
        return np.asarray(value if array.dtype.kind == "f" else np.rint(value)).astype(array.dtype)
    columns, present = array.reshape(len(array), -1), ~gone.reshape(len(array), -1)
    modes = [
        collections.Counter(column[counts].tolist()).most_common(1)[0][0]
        for column, counts in zip(columns.T, present.T, strict=True)
    ]
    filled = np.empty(len(modes), array.dtype)
    filled[:] = modes
    return filled.reshape(array.shape[1:])


def _statistic_of_column(spec: InputSpec, array: np.ndarray, statistic: str) -> np.ndarray:
    """One example `[T]` of a sparse column from examples `[N, T]`: the statistic of single values, else the most frequent values.

    Examples without a value do not count; if none has one, the statistic is no value.
    """
    rows = array[~spec.is_missing(array).all(1)]
    if not len(rows):
        return array[0, :1]
    counts = (~spec.is_missing(rows)).sum(1)
    if spec.dtype != "string" and counts.max() == 1:
        return _statistic(rows[~spec.is_missing(rows)][:, None], statistic)
    most_frequent, _ = collections.Counter(map(tuple, rows.tolist())).most_common(1)[0]
    return np.array(most_frequent, array.dtype)


def by_input(baseline: Any, names: Sequence[str]) -> list[Any]:
    """A baseline for each of the explained inputs of these names; ParameterError if their number or names differ."""
    if isinstance(baseline, Mapping):
        if set(baseline) != set(names):
            raise ParameterError(
                f"baseline: got {', '.join(map(str, baseline))}; expected the explained inputs {', '.join(names)}"
            )
        return [baseline[name] for name in names]
    if len(names) == 1:
        return [baseline]
    if isinstance(baseline, list | tuple) and len(baseline) == len(names):
        return list(baseline)
    if has_axes(baseline):
        raise ParameterError(
            f"baseline: {len(names)} inputs are explained; give one number or a list of {len(names)} arrays"
        )
    return [baseline] * len(names)
