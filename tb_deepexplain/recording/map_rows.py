"""From the results of an explainer to the rows of its maps: a map for each shown input, and the numbers beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.modality import ShownInput
from tb_deepexplain.recording.request import Request
from tb_deepexplain.recording.targets import Classes, Label
from tb_deepexplain.stats.intervals import finite_or_none
from tb_deepexplain.stats.rank_correlation import disagreement
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


def make_row(
    request: Request,
    method: str,
    example: Example,
    maps: Mapping[str, np.ndarray],
    result: Result,
    k: int,
    classes: Classes,
    i: int,
) -> Attribution:
    """The row of map k of a result, for example i of the batch, from the map of each shown input."""
    parts: list[Part] = [{"input": name, "shape": list(values.shape)} for name, values in maps.items()]
    has_parts = len(parts) > 1
    position = None if result.target is None else np.atleast_1d(result.target[k]).tolist()
    target = None if position is None else int(position[-1])
    is_region = result.positions is not None
    return Attribution(
        example_id=example.id,
        method=method,
        values=np.concatenate([np.ravel(values) for values in maps.values()])
        if has_parts
        else next(iter(maps.values())),
        target=target,
        target_label=_class_name(request, target),
        target_index=None if is_region else position,
        score_function=REGION if is_region else request.score,
        label=example.single_label,
        label_name=_label_name(request, example.label),
        predicted=classes.predicted_class(i, position),
        score=finite_or_none(result.score[k]),
        probability=classes.probability(i, position),
        baseline_score=finite_or_none(result.baseline_score[k]),
        gap=finite_or_none(result.gap[k]),
        margin=classes.margin(i),
        loss=classes.loss(i, example.label),
        evaluations=int(result.evaluations[k]),
        step=request.step,
        warnings=result.warnings[k],
        parts=parts if has_parts else None,
        extras=classes.describe_labels(i, target, example.label),
    )


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


def is_finite(row: Attribution, explained: Collection[str] = ()) -> bool:
    """Whether a row's score and every value of its map are finite; of a map of several inputs, of those that are `explained`."""
    if row.score is None or not math.isfinite(row.score):
        return False
    if row.parts is None:
        return bool(np.isfinite(row.values).all())
    return all(
        np.isfinite(values).all() for name, values in split_map(row.values, row.parts).items() if name in explained
    )


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
