"""Labels in the forms in which people and Keras keep them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.errors import InputError

NAMES = ["cat", "dog", "fox"]
EXPECTED = [2, 0, 1, 0]
TAGS = [[0, 2, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    "labels",
    [
        EXPECTED,
        np.array(EXPECTED, np.uint8),
        np.array(EXPECTED, np.float32),
        np.array(EXPECTED)[:, None],
        np.array(EXPECTED, float)[:, None],
        np.eye(3)[EXPECTED],
        np.eye(3, dtype=bool)[EXPECTED],
        tf.one_hot(EXPECTED, 3),
        ["fox", "cat", "dog", "cat"],
        [b"fox", b"cat", b"dog", b"cat"],
        np.array([["fox"], ["cat"], ["dog"], ["cat"]]),
        pd.Series(EXPECTED, dtype="Int64"),
        pd.Series(EXPECTED, index=[7, 5, 3, 1]),
        pd.Series(["fox", "cat", "dog", "cat"]),
        pd.Series(pd.Categorical(["fox", "cat", "dog", "cat"], categories=["fox", "dog", "cat"])),
        pd.DataFrame({"label": EXPECTED}),
        pd.get_dummies(pd.Series(EXPECTED)),
        np.array([2, 0.0, True, 0], object),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_one_class_each(labels: Any) -> None:
    read = read_labels(labels, 4, classes=3, class_names=NAMES)
    assert read.form == "class"
    assert read.array.dtype == np.int64
    np.testing.assert_array_equal(read.array, EXPECTED)


def test_labels_of_two_classes() -> None:
    for labels in ([0, 1, 1], [0.0, 1.0, 1.0], [[0.0], [1], [1]], [False, True, True], [[1, 0], [0, 1], [0, 1]]):
        read = read_labels(labels, 3, classes=2)
        assert read.form == "class"
        np.testing.assert_array_equal(read.array, [0, 1, 1])


def test_labels_alone_tell_when_the_number_of_classes_is_unknown() -> None:
    for labels, form in (
        ([1, 0], "class"),
        ([[1.0], [0]], "class"),
        (np.eye(3)[:2], "class"),
        ([[1, 0, 1], [0, 0, 0]], "classes"),
        ([1.5, 2], "value"),
        ([-1, 2], "value"),
        ([[0.3, 1], [2, 4]], "value"),
    ):
        assert read_labels(labels, 2).form == form, labels


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 2], [1], []],
        [["cat", "fox"], ["dog"], []],
        [[1, 0, 1], [0, 1, 0], [0, 0, 0]],
        tf.ragged.constant([[0, 2], [1], []]),
    ],
)
def test_several_classes_each(labels: Any) -> None:
    read = read_labels(labels, 3, classes=3, class_names=NAMES)
    assert read.form == "classes"
    np.testing.assert_array_equal(read.array, [[1, 0, 1], [0, 1, 0], [0, 0, 0]])


def test_lists_of_classes_may_be_equally_long() -> None:
    for labels in ([[0, 2]], [["cat", "fox"]]):
        np.testing.assert_array_equal(
            read_labels(labels, 1, classes=4, class_names=[*NAMES, "cow"]).array, [[True, False, True, False]]
        )
    with pytest.raises(InputError, match="rows of 2; the model has 4 classes"):
        read_labels([[1, 0], [0, 1]], 2, classes=4)  # one-hot rows of another model


def test_quantities() -> None:
    for labels in ([3, 0], [[3.0], [0]], pd.Series([3.0, 0.0])):
        read = read_labels(labels, 2, classes=1)
        assert read.form == "value"
        np.testing.assert_array_equal(read.array, [3, 0])
    soft = [[0.9, 0.1], [0.2, 0.8]]
    assert read_labels(soft, 2, classes=2).form == "value"


def test_labels_of_positions() -> None:
    for labels in (TAGS, np.array(TAGS)[..., None], np.eye(3)[np.array(TAGS)], np.array(NAMES)[np.array(TAGS)]):
        read = read_labels(labels, 2, classes=3, positions=1, class_names=NAMES)
        assert read.form == "class"
        np.testing.assert_array_equal(read.array, TAGS)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 3], {"classes": 3}, "labels: holds 3; the model has 3 classes, numbered from 0"),
        ([0, -1], {"classes": 3}, "holds -1"),
        ([0, 0.5], {"classes": 3}, "holds 0.5"),
        ([0], {}, r"got shape \(1,\); expected one for each of 2 examples"),
        (1, {}, r"got shape \(\)"),
        (np.eye(4)[:2], {"classes": 3}, "rows of 4; the model has 3 classes"),
        (["dgo", "cat"], {"class_names": NAMES}, "no class is named 'dgo'; did you mean 'dog'"),
        (["emu", "cat"], {"class_names": NAMES}, "no class is named 'emu'; known: cat, dog, fox"),
        (["dog", "cat"], {}, "names of the classes are unknown; give class_names"),
        ([1, None], {}, "example 1 has none"),
        ([np.nan, 1], {"classes": 3}, "example 0 has none"),
        (pd.Series([1, None], dtype="Int64"), {}, "example 1 has none"),
        (["dog", 1], {"class_names": NAMES}, r"got text \('dog'\); expected numbers"),
        ([[0, 2], [1]], {}, "the number of classes is unknown"),
        ([[0, 3], [1]], {"classes": 3}, "holds 3"),
        ([object(), object()], {}, "expected"),
        (pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"])), {}, "got dates"),
    ],
)
def test_what_is_no_label_is_refused(labels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(labels, 2, **options)
