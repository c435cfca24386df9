"""From the results of an explainer to the rows of its maps: a map for each shown input, and the numbers beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.modality import ShownInput
from tb_deepexplain.recording.request import Request
from tb_deepexplain.recording.targets import Classes, Label
from tb_deepexplain.stats.rank_correlation import disagreement
from tb_deepexplain.store.map_encoding import floats_or_none
from tb_deepexplain.store.records import REGION, Attribution, Part, split_map


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


def make_rows(
    request: Request,
    method: str,
    examples: Sequence[Example],
    maps: Mapping[str, Sequence[np.ndarray]],
    result: Result,
    measures: Mapping[int, Mapping[str, Any]],
    classes: Classes,
    numbers: Sequence[int],
) -> list[Attribution]:
    """The rows of a result: one for each of its examples, which have these `numbers` in the batch of the `classes`.

    `maps` are those of each shown input; `measures` are by the position of the example.
    """
    n = len(examples)
    is_region = result.positions is not None
    positions = [None] * n if result.target is None else result.target.reshape(n, -1).tolist()
    scores, starts, gaps = map(floats_or_none, (result.score, result.baseline_score, result.gap))
    evaluations, all_parts = result.evaluations.tolist(), _describe_parts(maps, n)
    score_function = REGION if is_region else request.score
    rows = []
    for k, (example, i, position) in enumerate(zip(examples, numbers, positions, strict=True)):
        target = None if position is None else position[-1]
        rows.append(
            Attribution(
                example_id=example.id,
                method=method,
                values=np.concatenate([np.ravel(values[k]) for values in maps.values()])
                if all_parts
                else next(iter(maps.values()))[k],
                target=target,
                target_label=_class_name(request, target),
                target_index=None if is_region else position,
                score_function=score_function,
                label=example.single_label,
                label_name=_label_name(request, example.label),
                predicted=classes.predicted_class(i, position),
                score=scores[k],
                probability=classes.probability(i, position),
                baseline_score=starts[k],
                gap=gaps[k],
                margin=classes.margin(i),
                loss=classes.loss(i, example.label),
                evaluations=evaluations[k],
                step=request.step,
                warnings=result.warnings[k],
                measures=measures.get(k, {}),
                parts=all_parts[k] if all_parts else None,
                extras=classes.describe_labels(i, target, example.label),
            )
        )
    return rows


def _describe_parts(maps: Mapping[str, Sequence[np.ndarray]], n: int) -> list[list[Part]]:
    """The parts of each of n maps of several inputs; empty if there is one input."""
    if len(maps) < 2:
        return []
    return [[{"input": name, "shape": list(values[k].shape)} for name, values in maps.items()] for k in range(n)]


def with_disagreement(rows: list[Attribution], words: Mapping[str, Sequence[str]]) -> list[Attribution]:
    """The rows of one example and target by several methods, with the disagreement of their maps; a single row unchanged.

    `words` are those of each text, "" for padding. Inputs that a method cannot explain, which are NaN, are left out.
    """
    if len(rows) < 2:
        return rows
    maps = [split_map(row.values, row.parts) if row.parts else {"": row.values} for row in rows]
    names = [name for name in maps[0] if not any(np.isnan(by_input[name]).all() for by_input in maps)]
    is_word = {name: np.array([word != "" for word in words[name]]) for name in names if name in words}
    compared = [[one[name][is_word[name]] if name in is_word else one[name] for name in names] for one in maps]
    value = disagreement(compared) if names else None
    return [dataclasses.replace(row, disagreement=value) for row in rows]


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
