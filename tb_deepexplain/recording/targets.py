"""What a target asks for, and which class of which example that is."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError

_TINY = float(np.finfo(np.float32).tiny)  # a loss is finite


@dataclasses.dataclass(frozen=True)
class Target:
    """`predicted`, `label`, `top:K`, a class number, or `sum` (all units of the output at once)."""

    kind: str
    number: int = 0

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
        return f"top:{self.number}" if self.kind == "top" else str(self.number) if self.kind == "class" else self.kind


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes among which a model chooses, and what it says of N examples.

    A single unit with a sigmoid behind it stands for two classes: its output is the logit
    of class 1, and its negative that of class 0. A single unit otherwise is a quantity, without classes.
    """

    outputs: np.ndarray  # [N, units]
    probabilities: np.ndarray | None  # [N, units]
    count: int
    shape: tuple[int, ...]  # of the model's output, [N] or [N, units]

    @classmethod
    def of(cls, predictions: Any, labels: Sequence[str] | None) -> Classes:
        """From what `Explainer.predict` found; UnsupportedModelError or ParameterError where outputs or labels do not fit."""
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
                "2 class names were given, but the model's single output has no sigmoid behind it and may be a logit or a "
                "probability; export the model with a sigmoid at its end, or give no names"
            )
        if labels is not None and len(labels) != count:
            classes = f"{count} class{'es' if count != 1 else ''}"
            raise ParameterError(f"{len(labels)} class names were given but the model has {classes}; give one for each")
        return cls(outputs, None if probabilities is None else probabilities.reshape(len(outputs), -1), count, shape)

    @property
    def binary(self) -> bool:
        return self.count == 2 and self.outputs.shape[1] == 1

    @property
    def predicted(self) -> np.ndarray | None:
        """[N]; None for a quantity."""
        if self.count == 1:
            return None
        return (self.outputs[:, 0] > 0).astype(np.int64) if self.binary else self.outputs.argmax(1)

    def check(self, target: Target) -> None:
        """ParameterError if the model has no such class."""
        if target.kind == "class" and target.number >= self.count:
            raise ParameterError(f"target {target}: the model has {self.count} classes, numbered from 0")
        if target.kind == "top" and target.number > self.count:
            raise ParameterError(f"target {target}: the model has only {self.count} classes")
        if target.kind == "label" and self.count == 1:
            raise ParameterError("target label: the model's output is a single quantity, not classes; use predicted")

    def choose(self, target: Target, labels: Sequence[int | None]) -> list[np.ndarray | None]:
        """The class of each example [N], once for each map that is asked for; None is the sum of all units."""
        n = len(self.outputs)
        if target.kind == "sum":
            return [None]
        if target.kind == "class" or self.count == 1:
            return [np.full(n, target.number if self.count > 1 else 0)]
        if target.kind == "label":
            return [np.array([self._checked_label(label) for label in labels], np.int64)]
        if target.kind == "predicted":
            return [np.asarray(self.predicted)]
        scores = np.concatenate([-self.outputs, self.outputs], 1) if self.binary else self.outputs
        order = np.argsort(-scores, axis=1, kind="stable")
        return [order[:, k] for k in range(target.number)]

    def weights(self, classes: np.ndarray | None) -> dict[str, Any]:
        """How `Explainer.run` is asked for these classes: by target, or by the sign of the only unit."""
        if self.binary and classes is not None:
            return {"ys": np.where(classes == 1, 1.0, -1.0).astype(np.float32).reshape(self.shape)}
        return {"target": classes}

    def probability(self, i: int, chosen: int | None) -> float | None:
        """That of class `chosen` for example i."""
        if self.probabilities is None or chosen is None or self.count == 1:
            return None
        if self.binary:
            positive = float(self.probabilities[i, 0])
            return positive if chosen == 1 else 1.0 - positive
        return float(self.probabilities[i, chosen])

    def margin(self, i: int) -> float | None:
        """How much more probable the class predicted is than the next, for example i."""
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
        own = self.probabilities.astype(np.float64)
        if self.binary:
            return np.abs(2 * own[:, 0] - 1)
        largest = np.partition(own, -2, 1)
        return largest[:, -1] - largest[:, -2]

    def _checked_label(self, label: int | None) -> int:
        if label is None:
            raise InputError(
                "it has no label, which target label explains; add the feature (see --label_feature) or use target predicted"
            )
        if not 0 <= label < self.count:
            raise InputError(f"its label {label} is none of the model's {self.count} classes, numbered from 0")
        return label
