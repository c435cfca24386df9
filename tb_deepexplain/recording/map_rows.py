"""From the results of an explainer to the rows of its maps: a map for each shown input, and the numbers beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tb_deepexplain.attribution.compiled_method import EncodedMaps
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.modality import ShownInput
from tb_deepexplain.recording.request import Request
from tb_deepexplain.recording.targets import Classes, Label
from tb_deepexplain.stats.rank_correlation import disagreement
from tb_deepexplain.store.columns import Columns
from tb_deepexplain.store.map_encoding import floats_or_none
from tb_deepexplain.store.records import REGION, Attribution, Part, split_map

_NO_MEASURES: dict[str, Any] = {}


def maps_of_inputs(
    explainer: Explainer,
    result: Result,
    shown: Sequence[ShownInput],
    example: Example,
    lengths: Sequence[int] | None,
) -> dict[str, Sequence[np.ndarray]]:
    """For each shown input a map of every example: [H, W, C], sums for tokens [T], or of the input's shape; NaN where the method
    cannot explain the input, which its warnings say.

    `example` is one of them. `lengths` cut the maps of a text that is the only input.
    """
    cut = explainer.submodel.cut
    texts = [name for name, lookup in zip(cut.names, cut.explained_lookups, strict=True) if lookup]
    tokens = result.tokens if isinstance(result.tokens, list) else [result.tokens]
    of_texts = dict(zip(texts, tokens, strict=True)) if texts else {}
    maps: dict[str, Sequence[np.ndarray]] = {}
    for one in shown:
        if one.name in of_texts:
            values = of_texts[one.name]
            if lengths is not None:
                values = [row[:length] for row, length in zip(values, lengths, strict=True)]
        elif one.name in cut.names:
            values = np.asarray(result.attributions[one.name])
        else:
            assert one.spec
            shape = () if one.is_one_value else np.shape(example.inputs[one.spec.name])
            values = np.full((len(result.score), *shape), np.nan, np.float32)
        maps[one.name] = values
    return maps


class RowMaps(NamedTuple):
    """The maps of N examples as rows hold them, one for each example."""

    values: list[Any]  # arrays, or EncodedMap
    parts: Sequence[list[Part] | None]
    finite: np.ndarray  # [N] whether an example's score and every value of its map are finite


def row_maps(maps: Mapping[str, Sequence[np.ndarray]], score: np.ndarray, explained: Collection[str]) -> RowMaps:
    """The maps of each shown input, joined where there are several. `explained`: as of `finite_maps`."""
    finite = finite_maps(maps, score, explained)
    if len(maps) == 1:
        return RowMaps(list(next(iter(maps.values()))), [None] * len(score), finite)
    values = [np.concatenate(list(map(np.ravel, of_inputs))) for of_inputs in zip(*maps.values(), strict=True)]
    return RowMaps(values, _describe_parts(maps, len(score)), finite)


def encoded_row_maps(encoded: EncodedMaps, score: np.ndarray, names: Sequence[str]) -> RowMaps:
    """Maps that `encode_on_device` encoded, of inputs of these names."""
    parts: list[Part] = [{"input": name, "shape": list(of)} for name, of in zip(names, encoded.shapes, strict=True)]
    finite = np.isfinite(score) & encoded.is_finite
    return RowMaps(list(encoded.rows), [parts if len(parts) > 1 else None] * len(score), finite)


def make_rows(
    request: Request,
    method: str,
    examples: Sequence[Example],
    maps: RowMaps,
    result: Result,
    measures: Mapping[int, Mapping[str, Any]],
    classes: Classes,
    numbers: Sequence[int],
) -> Columns[Attribution]:
    """The rows of a result: one for each of its examples, which have these `numbers` in the batch of the `classes`.

    `measures` are by the position of the example.
    """
    n = len(examples)
    is_region = result.positions is not None
    positions = [None] * n if result.target is None else result.target.reshape(n, -1).tolist()
    targets = [None if position is None else position[-1] for position in positions]
    labels, pairs = [example.label for example in examples], list(zip(numbers, positions, strict=True))
    columns: dict[str, list[Any]] = {
        "example_id": [example.id for example in examples],
        "method": [method] * n,
        "values": maps.values,
        "target": targets,
        "target_label": [_class_name(request, target) for target in targets],
        "target_index": [None] * n if is_region else positions,
        "score_function": [REGION if is_region else request.score] * n,
        "label": [example.single_label for example in examples],
        "label_name": [_label_name(request, label) for label in labels],
        "predicted": [classes.predicted_class(i, position) for i, position in pairs],
        "score": floats_or_none(result.score),
        "probability": [classes.probability(i, position) for i, position in pairs],
        "baseline_score": floats_or_none(result.baseline_score),
        "gap": floats_or_none(result.gap),
        "margin": [classes.margin(i) for i in numbers],
        "loss": [classes.loss(i, label) for i, label in zip(numbers, labels, strict=True)],
        "disagreement": [None] * n,
        "evaluations": result.evaluations.tolist(),
        "step": [request.step] * n,
        "warnings": result.warnings,
        "measures": [measures.get(k, _NO_MEASURES) for k in range(n)],
        "parts": list(maps.parts),
        "extras": [
            classes.describe_labels(i, target, label) for i, target, label in zip(numbers, targets, labels, strict=True)
        ],
    }
    return Columns(Attribution, columns)


def _describe_parts(maps: Mapping[str, Sequence[np.ndarray]], n: int) -> list[list[Part]]:
    """The parts of each of n maps of several inputs."""
    return [[{"input": name, "shape": list(values[k].shape)} for name, values in maps.items()] for k in range(n)]


def with_disagreement(rows: list[Attribution], words: Mapping[str, Sequence[str]]) -> list[Attribution]:
    """The rows of one example and target by several methods, with the disagreement of their maps; a single row unchanged."""
    if len(rows) < 2:
        return rows
    value = find_disagreement(rows, words)
    return [dataclasses.replace(row, disagreement=value) for row in rows]


def find_disagreement(rows: Sequence[Attribution], words: Mapping[str, Sequence[str]]) -> float | None:
    """The disagreement of the maps of one example and target by several methods; None if it is unknown.

    `words` are those of each text, "" for padding. Inputs that a method cannot explain, which are NaN, are left out.
    """
    maps = [split_map(row.values, row.parts) if row.parts else {"": row.values} for row in rows]
    names = [name for name in maps[0] if not any(np.isnan(by_input[name]).all() for by_input in maps)]
    is_word = {name: np.array([word != "" for word in words[name]]) for name in names if name in words}
    compared = [[one[name][is_word[name]] if name in is_word else one[name] for name in names] for one in maps]
    return disagreement(compared) if names else None


def finite_maps(
    maps: Mapping[str, Sequence[np.ndarray]], score: np.ndarray, explained: Collection[str] = ()
) -> np.ndarray:
    """`[N]` whether an example's score and every value of its map are finite; of maps of several inputs, those that are `explained`."""
    finite = np.isfinite(score)
    for name, values in maps.items():
        if len(maps) == 1 or name in explained:
            if isinstance(values, np.ndarray):
                finite = finite & np.isfinite(values.reshape(len(values), -1)).all(1)
            else:  # texts of any lengths
                finite = finite & [bool(np.isfinite(one).all()) for one in values]
    return finite


def _label_name(request: Request, label: Label) -> str | None:
    """The name of the true class, the names of several, or a quantity as text."""
    if isinstance(label, float):
        return f"{label:.6g}"
    if label is None or isinstance(label, int):
        return _class_name(request, label)
    return ", ".join(_class_name(request, number) or str(number) for number in label) or None


def _class_name(request: Request, number: int | None) -> str | None:
    labels = request.labels
    return labels[number] if labels and number is not None and 0 <= number < len(labels) else None
