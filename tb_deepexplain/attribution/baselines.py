"""Baselines as people write them (a number, a token id, "mask", a raw category, a statistic) → values of the entry tensors."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.containers import read_baseline
from tb_deepexplain.errors import ParameterError
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


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Resolves the baselines of one explainer.

    `background` are the model's inputs `[N, ...]` of examples whose statistics stand for missing features; `vocabulary` are
    the words of the token ids.
    """

    background: Sequence[np.ndarray] | None = None
    vocabulary: Sequence[str] | None = None

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
        example = None if self.background is None else _example(submodel.graph, self.background, statistic)
        resolved: list[Any] = [None] * len(submodel.cut.entries)
        for explained_input, value in zip(explained, values, strict=True):
            for i, of_entry in self._of_input(submodel, explained_input, value, example).items():
                resolved[i] = of_entry
        if all(value is None for value in resolved):  # zeros, for which methods may have a cheaper way
            return None
        return resolved if len(resolved) > 1 else resolved[0]

    def _of_input(
        self, submodel: Submodel, explained: ExplainedInput, value: Any, example: Sequence[np.ndarray] | None
    ) -> dict[int, Any]:
        """Values of the entries of one explained input, by position."""
        if value is None and example is None and not explained.is_encoded:
            return {}
        position, entry = explained.entries[0], submodel.cut.entries[explained.entries[0]]
        if value is not None and entry.lookup and (ids := self._token_ids(submodel, entry.lookup, value)) is not None:
            return {position: submodel.embed(entry.lookup, ids)}
        specs = submodel.graph.inputs
        number = next((i for i, spec in enumerate(specs) if spec.node == explained.source), None)
        is_text = number is not None and specs[number].dtype == "string"
        if (
            is_text
            and value is not None
            and not isinstance(value, str | bytes)
            and np.ndim(value) == 0
            and not entry.lookup
        ):
            return {}  # a number for all inputs means nothing to one of strings
        if (
            value is not None
            and not explained.is_encoded
            and not (is_text and isinstance(value, str) and not entry.lookup)
        ):
            return {position: value}
        raw = [_blank(spec) for spec in specs] if example is None else list(example)
        if value is not None:
            assert number is not None
            raw[number] = _fill(specs[number], raw[number].shape, value)
        entries, _ = submodel.compute_entries([tf.constant(array[None]) for array in raw])
        return {i: entries[i][0].numpy() for i in explained.entries}

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
        padding = submodel.padding_id(lookup) if word == "pad" else None
        if padding is not None:
            return padding
        known = f"the vocabulary has no {word!r}" if vocabulary else "the model holds no vocabulary"
        raise ParameterError(f"baseline={word!r}: {known}; give a token id, or the words of the ids with vocabulary=")


def background_baseline(graph: ModelGraph, arrays: Mapping[str, np.ndarray], statistic: str) -> dict[str, Any]:
    """A baseline by name for the explained inputs of a model: a statistic of its inputs `[N, ...]`; None for a text."""
    cut = graph.submodel(access="replacement").cut
    example = dict(
        zip(
            [s.node for s in graph.inputs],
            _example(graph, [arrays[s.name] for s in graph.inputs], statistic),
            strict=True,
        )
    )
    return {
        explained.name: None if lookup else example[str(explained.source)]
        for explained, lookup in zip(cut.explained, cut.explained_lookups, strict=True)
    }


def _example(graph: ModelGraph, arrays: Sequence[np.ndarray], statistic: str) -> list[np.ndarray]:
    """One example of the model's inputs: a statistic of numbers, and the most frequent values of categories."""
    cut = graph.submodel(access="replacement").cut
    raw = {entry.tensor for entry in cut.entries}
    return [
        _statistic(array, statistic if spec.is_float or tensor_name(spec.node) not in raw else "most_frequent")
        for spec, array in zip(graph.inputs, arrays, strict=True)
    ]


def _blank(spec: InputSpec) -> np.ndarray:
    """One example of zeros or empty strings; open axes have length 1."""
    shape = [1 if n is None else n for n in spec.shape[1:]]
    return np.full(shape, "", object) if spec.dtype == "string" else np.zeros(shape, spec.dtype)


def _fill(spec: InputSpec, shape: Sequence[int], value: Any) -> np.ndarray:
    """A value of one input, broadcast to an example; ParameterError if it does not fit."""
    array = np.asarray(value, object if spec.dtype == "string" else None)
    try:
        return np.array(np.broadcast_to(array, shape)).astype(object if spec.dtype == "string" else spec.dtype)
    except ValueError as error:
        raise ParameterError(f"baseline: {value!r} does not fit the input {spec}: {error}") from None


def _statistic(array: np.ndarray, statistic: str) -> np.ndarray:
    """One example from examples `[N, ...]`: the mean or median of real numbers and integers, else the most frequent value."""
    if statistic != "most_frequent" and array.dtype.kind in "fiu":
        value = np.median(array, 0) if statistic == "median" else np.mean(array, 0, dtype=np.float64)
        return np.asarray(value if array.dtype.kind == "f" else np.rint(value)).astype(array.dtype)
    columns = array.reshape(len(array), -1)
    modes = [collections.Counter(column.tolist()).most_common(1)[0][0] for column in columns.T]
    filled = np.empty(len(modes), array.dtype)
    filled[:] = modes
    return filled.reshape(array.shape[1:])


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
    if np.ndim(baseline):
        raise ParameterError(
            f"baseline: {len(names)} inputs are explained; give one number or a list of {len(names)} arrays"
        )
    return [baseline] * len(names)
