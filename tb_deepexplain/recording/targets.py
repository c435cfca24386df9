"""Targets: from a rule such as `predicted` or `top:3` to the class that is explained of each example."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tb_deepexplain.attribution.targets import predicted_classes
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError

_TINY = float(np.finfo(np.float32).tiny)  # the least probability, so that a loss is finite
ScoreArguments: TypeAlias = dict[str, Any]  # `target` or `ys` of Explainer.run


@dataclasses.dataclass(frozen=True)
class Target:
    """`predicted`, `label`, `top:K`, a class number, or `sum` (all units of the output at once)."""

    rule: str  # "predicted", "label", "top", "class" or "sum"
    number: int = 0  # of "top" and "class"

    @classmethod
    def parse(cls, text: str) -> Target:
        """ParameterError unless the text is one of the five forms."""
        match = re.fullmatch(r"(predicted|label|sum)|top:(\d+)|(\d+)", text.strip())
        if match is None or match[2] == "0":
            raise ParameterError(
                f"target {text}: expected predicted, label, top:K with K of at least 1, a class number, or sum"
            )
        word, top, number = match.groups()
        return cls(word) if word else cls("top", int(top)) if top else cls("class", int(number))

    def __str__(self) -> str:
        return f"top:{self.number}" if self.rule == "top" else str(self.number) if self.rule == "class" else self.rule


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a model, and its outputs for N examples.

    A single unit with a sigmoid stands for two classes: its output is the logit of class 1, the negative output that of class 0.
    Any other single unit is a quantity, without classes.
    """

    outputs: np.ndarray  # [N, units]
    probabilities: np.ndarray | None  # [N, units]
    count: int
    shape: tuple[int, ...]  # of the model's output, [N] or [N, units]

    @classmethod
    def of(cls, predictions: Any, labels: Sequence[str] | None) -> Classes:
        """From `Explainer.predict`. UnsupportedModelError or ParameterError if outputs or labels do not fit."""
        outputs, probabilities = predictions.outputs, predictions.probabilities
        if outputs.ndim > 2:
            raise UnsupportedModelError(
                f"the model's output is {list(outputs.shape[1:])} for each example; expected one row of units, or a single one"
            )
        shape = outputs.shape
        outputs = outputs.reshape(len(outputs), -1)
        units = outputs.shape[1]
        count = 2 if units == 1 and probabilities is not None else units
        if units == 1 and probabilities is None and len(labels or ()) == 2:
            raise ParameterError(
                "got 2 class names, but the model's single output has no sigmoid after it and may be a logit or a "
                "probability; export the model with a sigmoid at its end, or give no names"
            )
        if labels is not None and len(labels) != count:
            classes = f"{count} class{'es' if count != 1 else ''}"
            raise ParameterError(f"got {len(labels)} class names, but the model has {classes}; give one for each")
        return cls(outputs, None if probabilities is None else probabilities.reshape(len(outputs), -1), count, shape)

    @property
    def binary(self) -> bool:
        return self.count == 2 and self.outputs.shape[1] == 1

    @property
    def predicted(self) -> np.ndarray | None:
        """[N]; None for a quantity."""
        return predicted_classes(self.outputs, self.probabilities)

    def check(self, target: Target) -> None:
        """ParameterError if the model has no such class."""
        if target.rule == "class" and target.number >= self.count:
            raise ParameterError(f"target {target}: the model has {self.count} classes, numbered from 0")
        if target.rule == "top" and target.number > self.count:
            raise ParameterError(f"target {target}: the model has only {self.count} classes")
        if target.rule == "label" and self.count == 1:
            raise ParameterError("target label: the model's output is a single quantity, not classes; use predicted")

    def choose(self, target: Target, labels: Sequence[int | None]) -> list[np.ndarray | None]:
        """For each map of an example, the class of every example [N]; None stands for the sum of all units."""
        n = len(self.outputs)
        if target.rule == "sum":
            return [None]
        if target.rule == "class" or self.count == 1:
            return [np.full(n, target.number if self.count > 1 else 0)]
        if target.rule == "label":
            return [np.array([self._checked_label(label) for label in labels], np.int64)]
        if target.rule == "predicted":
            return [np.asarray(self.predicted)]
        scores = np.concatenate([-self.outputs, self.outputs], 1) if self.binary else self.outputs
        order = np.argsort(-scores, axis=1, kind="stable")
        return [order[:, k] for k in range(target.number)]

    def score_arguments(self, classes: np.ndarray | None) -> ScoreArguments:
        """The argument of `Explainer.run` for these classes: their numbers, or the sign of the only unit."""
        if self.binary and classes is not None:
            return {"ys": np.where(classes == 1, 1.0, -1.0).astype(np.float32).reshape(self.shape)}
        return {"target": classes}

    def probability(self, i: int, target: int | None) -> float | None:
        """The probability of class `target` for example i; None without classes or without probabilities."""
        if self.probabilities is None or target is None or self.count == 1:
            return None
        if self.binary:
            of_class_1 = float(self.probabilities[i, 0])
            return of_class_1 if target == 1 else 1.0 - of_class_1
        return float(self.probabilities[i, target])

    def margin(self, i: int) -> float | None:
        """The probability of the predicted class less that of the second, for example i."""
        return None if self._margins is None else float(self._margins[i])

    def loss(self, i: int, label: int | None) -> float | None:
        """Cross-entropy of the label, for example i."""
        if label is None or not 0 <= label < self.count:
            return None
        probability = self.probability(i, label)
        return None if probability is None else -math.log(max(probability, _TINY))

    @functools.cached_property
    def _margins(self) -> np.ndarray | None:
        """[N]"""
        if self.probabilities is None or self.count == 1:
            return None
        probabilities = self.probabilities.astype(np.float64)
        if self.binary:
            return np.abs(2 * probabilities[:, 0] - 1)
        largest = np.partition(probabilities, -2, 1)
        return largest[:, -1] - largest[:, -2]

    def _checked_label(self, label: int | None) -> int:
        if label is None:
            raise InputError(
                "it has no label, which target label needs; add the feature (see --label_feature) or use target predicted"
            )
        if not 0 <= label < self.count:
            raise InputError(f"its label {label} is none of the model's {self.count} classes, numbered from 0")
        return label
