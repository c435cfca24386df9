"""Targets: from a rule such as `predicted` or `top:3` to the classes that are explained of each example."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.attribution.targets import Explained, class_outputs, class_sums, explain_classes
from tb_deepexplain.errors import InputError, ParameterError

_TINY = float(np.finfo(np.float32).tiny)  # the least probability, so that a loss is finite
Label: TypeAlias = int | Sequence[int] | float | None  # the true class of an example, its true classes, or a quantity


@dataclasses.dataclass(frozen=True)
class Target:
    """`predicted`, `label`, `top:K`, a class by number or name, a position such as `2,5`, or `sum` (all units of the output at once)."""

    rule: str  # "predicted", "label", "top", "class", "position" or "sum"
    number: int = 0  # of "top" and "class"
    position: tuple[int, ...] = ()  # of "position"

    @classmethod
    def parse(cls, text: str, class_names: Sequence[str] | None = None) -> Target:
        """ParameterError unless the text is one of the six forms, or one of the `class_names`."""
        match = re.fullmatch(r"(predicted|label|sum)|top:(\d+)|(\d+)|(\d+(?:,\d+)+)", re.sub(r"[\s()]", "", text))
        if match is None and class_names and text in class_names:
            return cls("class", list(class_names).index(text))
        if match is None or match[2] == "0":
            named = (
                f"or one of the classes {', '.join(class_names[:10])}"
                if class_names
                else "or a class name (with `labels`)"
            )
            raise ParameterError(
                f"target {text}: expected predicted, label, top:K with K of at least 1, a class number, a position such as "
                f"2,5, sum, {named}"
            )
        word, top, number, position = match.groups()
        if position:
            return cls("position", position=tuple(map(int, position.split(","))))
        return cls(word) if word else cls("top", int(top)) if top else cls("class", int(number))

    def __str__(self) -> str:
        if self.rule == "position":
            return ",".join(map(str, self.position))
        return f"top:{self.number}" if self.rule == "top" else str(self.number) if self.rule == "class" else self.rule


@dataclasses.dataclass(frozen=True, eq=False)
class MapTarget:
    """What one map explains, of each example that has it."""

    explained: Explained  # of `rows`
    rows: np.ndarray  # the numbers of the examples


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a model, and its outputs for N examples.

    A single unit with a sigmoid stands for two classes: its output is the logit of class 1, the negative output that of class 0.
    Any other single unit is a quantity, without classes. Several units with a sigmoid each are labels: an example has any number
    of them. With axes before that of the classes, an example's outputs are the sums over the positions where the class is the
    largest.
    """

    predictions: Predictions
    outputs: np.ndarray  # [N, classes]
    probabilities: np.ndarray | None  # [N, classes]; None with axes before that of the classes
    sum_of_two: float | None  # as in Predictions

    @classmethod
    def of(cls, predictions: Predictions, labels: Sequence[str] | None) -> Classes:
        """From `Explainer.predict`. ParameterError if the class names do not fit."""
        outputs, probabilities, sum_of_two = predictions.outputs, predictions.probabilities, predictions.sum_of_two
        units = 1 if outputs.ndim == 1 else outputs.shape[-1]
        if sum_of_two is None and units == 1 and probabilities is not None:
            sum_of_two = 0.0
        by_class = class_outputs(outputs, sum_of_two)
        count = by_class.shape[-1]
        if count == 1 and len(labels or ()) == 2:
            raise ParameterError(
                "got 2 class names, but the model's single output has no sigmoid after it and may be a logit or a "
                "probability; export the model with a sigmoid at its end, or give no names"
            )
        if labels is not None and len(labels) != count:
            classes = f"{count} class{'es' if count != 1 else ''}"
            raise ParameterError(f"got {len(labels)} class names, but the model has {classes}; give one for each")
        if by_class.ndim > 2:
            return cls(predictions, class_sums(by_class, predictions.output_lengths), None, sum_of_two)
        if probabilities is not None:
            probabilities = class_outputs(probabilities, None if sum_of_two is None else 1.0)
        elif sum_of_two == 1.0 or predictions.label_threshold == 0.5:  # the output itself is the probability
            probabilities = by_class
        return cls(predictions, by_class, probabilities, sum_of_two)

    @property
    def count(self) -> int:
        return self.outputs.shape[1]

    @functools.cached_property
    def predicted(self) -> np.ndarray | None:
        """[N]; None for a quantity."""
        return None if self.count == 1 else self.outputs.argmax(1)

    @property
    def labels(self) -> list[np.ndarray] | None:
        """As `Predictions.labels`."""
        return self.predictions.labels

    def check(self, target: Target) -> None:
        """ParameterError if the model has no such class."""
        if target.rule == "class" and target.number >= self.count:
            raise ParameterError(f"target {target}: the model has {self.count} classes, numbered from 0")
        if target.rule == "top" and target.number > self.count:
            raise ParameterError(f"target {target}: the model has only {self.count} classes")
        if target.rule == "label" and self.count == 1:
            raise ParameterError("target label: the model's output is a single quantity, not classes; use predicted")
        shape = self.predictions.outputs.shape[1:]
        inside = len(target.position) == len(shape) and all(i < n for i, n in zip(target.position, shape, strict=True))
        if target.rule == "position" and not inside:
            raise ParameterError(
                f"target {target}: the output of an example has shape {shape}, without such a position"
            )

    def fit_labels(self, labels: Sequence[Label]) -> list[Label]:
        """The labels as this output has them: quantities, where it has no classes; a negative class number stands for no label, as
        in test sets of TensorFlow Datasets. InputError for a label that does not fit, such as the number of no class."""
        for label in labels:
            if isinstance(label, float) and self.count > 1:
                raise InputError(f"its label is {label:g}; expected a class number")
            if label is not None and not isinstance(label, int | float) and self.labels is None:
                reason = "the model's output is a single quantity"
                if self.count > 1:
                    reason = "the model's classes exclude each other (they have no sigmoid each)"
                raise InputError(f"its label is {list(label)}, a list of classes; {reason}")
        if self.count > 1:
            fitted = [None if isinstance(label, int) and label < 0 else label for label in labels]
            for label in fitted:
                classes = () if label is None else (label,) if isinstance(label, int | float) else label
                if wrong := [number for number in classes if not 0 <= number < self.count]:
                    raise InputError(f"its label is {wrong[0]}; the model has {self.count} classes, numbered from 0")
            return fitted
        return [float(label) if isinstance(label, int) else label for label in labels]

    def choose(self, target: Target, labels: Sequence[Label]) -> list[MapTarget]:
        """What is explained, for each map of an example; an example need not have all of them. `labels` of `fit_labels`."""
        n, outputs = len(self.outputs), self.predictions.outputs
        everything = np.arange(n)
        if target.rule == "sum":
            return [MapTarget(Explained(), everything)]
        if target.rule == "position":
            positions = np.broadcast_to(target.position, (n, len(target.position))).astype(np.int64)
            return [MapTarget(Explained(positions, target=positions), everything)]
        maps = []
        for of_examples in self._choose_classes(target, labels):
            rows = np.flatnonzero(of_examples >= 0)
            classes = of_examples[rows]
            lengths = self.predictions.output_lengths
            lengths = None if lengths is None else lengths[rows]
            explained = explain_classes(classes, outputs.shape, outputs[rows], self.sum_of_two, lengths)
            maps.append(MapTarget(explained, rows))
        return maps

    def _choose_classes(self, target: Target, labels: Sequence[Label]) -> list[np.ndarray]:
        """For each map the class of every example [N]; −1: the example has no such map."""
        n = len(self.outputs)
        if target.rule == "class" or self.count == 1:
            return [np.full(n, target.number if self.count > 1 else 0)]
        if target.rule == "label":
            return _in_columns([self._checked_labels(label) for label in labels])
        if target.rule == "predicted" and self.labels is not None:  # at least the most probable one
            return _in_columns([of if len(of) else best for of, best in zip(self.labels, self._order(1), strict=True)])
        order = self._order(target.number if target.rule == "top" else 1)
        return [order[:, k] for k in range(order.shape[1])]

    def _order(self, count: int) -> np.ndarray:
        """`[N, count]` the classes with the largest outputs."""
        return np.argsort(-self.outputs, axis=1, kind="stable")[:, :count]

    def predicted_class(self, i: int, position: Sequence[int] | None) -> int | None:
        """The predicted class of example i where `position`, perhaps a class alone, is explained; None for a quantity. Where an
        example may have several classes: the one explained if it is predicted, else the most probable that is."""
        if self.count == 1:
            return None
        if self.labels is not None:
            explained = [] if position is None else [number for number in self.labels[i] if number == position[-1]]
            return next((int(number) for number in (*explained, *self.labels[i])), None)
        if position is not None and len(position) > 1:
            return int(
                class_outputs(self.predictions.outputs[i][None], self.sum_of_two)[0][tuple(position[:-1])].argmax()
            )
        assert self.predicted is not None
        return int(self.predicted[i])

    def probability(self, i: int, position: Sequence[int] | None) -> float | None:
        """The probability of the class or position for example i; None without classes or without probabilities."""
        if position is None or self.count == 1:
            return None
        if len(position) > 1:
            probabilities = self.predictions.probabilities
            return None if probabilities is None else float(probabilities[i][tuple(position)])
        return None if self.probabilities is None else float(self.probabilities[i, position[0]])

    def describe_labels(self, i: int, target: int | None, label: Label) -> dict[str, str] | None:
        """What a row of the store holds of example i, whose true classes are `label`, if it may have several classes."""
        if self.labels is None:
            return None
        predictions = self.labels[i].tolist()
        described = {"predictions": _list_numbers(predictions)}
        if label is not None:
            true = np.atleast_1d(np.asarray(label, np.int64)).tolist()
            described["labels"] = _list_numbers(true)
            if target is not None:
                is_right = (target in predictions) == (target in true)
                described["outcome"] = (
                    f"{'true' if is_right else 'false'} {'positive' if target in predictions else 'negative'}"
                )
        return described

    def margin(self, i: int) -> float | None:
        """The probability of the predicted class less that of the second, for example i; None where classes do not exclude each
        other."""
        return None if self._margins is None else float(self._margins[i])

    def loss(self, i: int, label: Label) -> float | None:
        """Cross-entropy of the label, for example i; the mean of that of each class, where an example may have several."""
        if label is None or self.probabilities is None or self.count == 1:
            return None
        if self.labels is not None:
            true = np.isin(np.arange(self.count), label)
            of_truth = np.where(true, self.probabilities[i], 1 - self.probabilities[i].astype(np.float64))
            return float(-np.log(np.maximum(of_truth, _TINY)).mean())
        (number,) = (label,) if isinstance(label, int | float) else label
        probability = self.probability(i, [int(number)])
        return None if probability is None else -math.log(max(probability, _TINY))

    @functools.cached_property
    def _margins(self) -> np.ndarray | None:
        """[N]"""
        if self.probabilities is None or self.count == 1 or self.labels is not None:
            return None
        largest = np.partition(self.probabilities.astype(np.float64), -2, 1)
        return largest[:, -1] - largest[:, -2]

    def _checked_labels(self, label: Label) -> np.ndarray:
        if label is not None and not np.size(label):
            raise InputError(
                "none of the classes is true of it, so target label explains nothing; use target predicted"
            )
        if label is None:
            raise InputError(
                "it has no label, which target label needs; add the feature (see `label_feature`) or use target predicted"
            )
        return np.atleast_1d(label)


def _list_numbers(numbers: Sequence[int]) -> str:
    return ",".join(map(str, sorted(set(numbers))))


def _in_columns(rows: Sequence[Any]) -> list[np.ndarray]:
    """Lists of classes, one for each example, as columns `[N]`; −1 where a list has ended."""
    columns = np.full((max(map(len, rows), default=0), len(rows)), -1)
    for i, row in enumerate(rows):
        columns[: len(row), i] = row
    return list(columns)
