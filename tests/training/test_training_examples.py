"""The examples and labels of a training, from what `fit` takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.training.training_examples import make_examples, take_examples
from tests import models
from tests.training.trainings import NUMBERS, numeric

LABELS = np.array([2, 0, 1, 0, 2])
X = NUMBERS[:5]
NAMES = ["cat", "dog", "fox"]


@functools.cache
def _graph() -> dx.ModelGraph:
    return dx.load_model(numeric())


def _labels(examples: Any, labels: Any = None) -> list[int | None]:
    xs, targets = take_examples(examples, 5)
    made = make_examples(_graph(), xs, labels, None, 5, targets=targets, class_names=NAMES)
    np.testing.assert_array_equal([next(iter(example.inputs.values())) for example in made], X)
    return [example.label for example in made]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(float)[:, None],
        np.eye(3)[LABELS],
        [NAMES[i] for i in LABELS],
        pd.Series(LABELS, dtype="Int64"),
    ],
)
def test_labels_in_any_form(labels: Any) -> None:
    assert _labels(X, labels) == _labels(pd.DataFrame(X), labels) == _labels((X, labels)) == list(LABELS)


@pytest.mark.parametrize("targets", [LABELS, LABELS[:, None].astype(np.float32), np.eye(3)[LABELS]])
@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(2),
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, y, np.ones(5))).batch(2).repeat(),
        lambda x, y: ((x[i : i + 2], y[i : i + 2]) for i in (0, 2, 4)),
    ],
)
def test_targets_of_datasets_and_generators_are_labels(make: Callable[[Any, Any], Any], targets: np.ndarray) -> None:
    assert _labels(make(X, targets)) == list(LABELS)


@pytest.mark.parametrize(
    "targets", [np.linspace(0, 1, 5), np.ones((5, 3)), np.eye(4)[LABELS], LABELS + 1, np.ones((5, 2, 2))]
)
def test_targets_that_are_not_one_class_each_are_no_labels(targets: np.ndarray) -> None:
    assert _labels(tf.data.Dataset.from_tensor_slices((X, targets)).batch(2)) == [None] * 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.linspace(0, 1, 5), "labels: holds 0.25; the model has 3 classes"),
        (np.ones((5, 3)), "labels: expected one class for each of 5 examples"),
        (["cow"] * 5, "labels: no class is named 'cow'"),
        (LABELS + 1, "labels: holds 3; the model has 3 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(dx.InputError, match=message):
        _labels(X, labels)


def test_padding_is_said() -> None:
    graph = dx.load_model(models.text())
    with pytest.warns(UserWarning, match="examples: 1 of 2: padded at the end with 0"):
        first, second = make_examples(graph, [[3, 4, 5], [2]], None, None, 5)
    assert [example.inputs["ids"].tolist() for example in (first, second)] == [[3, 4, 5], [2, 0, 0]]
