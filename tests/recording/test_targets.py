"""Which class a target means, for many units, for one unit that stands for two classes, and for a quantity."""

from __future__ import annotations

import numpy as np
import pytest

from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.recording.targets import Classes, Target

THREE = Predictions(np.array([[1.0, 3.0, 2.0], [5.0, -1.0, 0.0]]), np.array([[0.1, 0.7, 0.2], [0.9, 0.04, 0.06]]), None)
SIGMOID = Predictions(np.array([[2.0], [-1.0]]), np.array([[0.9], [0.25]]), None)
QUANTITY = Predictions(np.array([[2.0], [-1.0]]), None, None)


@pytest.mark.parametrize("text", ["predicted", "label", "sum", "top:3", "0", "12"])
def test_a_target_is_read_and_written(text: str) -> None:
    assert str(Target.parse(text)) == text


@pytest.mark.parametrize("text", ["", "top", "top:0", "top:-1", "-1", "1.5", "best"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="expected predicted, label"):
        Target.parse(text)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("predicted", [[1, 0]]), ("label", [[2, 1]]), ("2", [[2, 2]]), ("top:2", [[1, 0], [2, 2]]), ("sum", [None])],
)
def test_classes_of_a_softmax(target: str, expected: list[list[int] | None]) -> None:
    classes = Classes.of(THREE, None)
    chosen = classes.choose(Target.parse(target), [2, 1])
    assert [None if c is None else c.tolist() for c in chosen] == expected
    assert classes.probability(0, 2) == pytest.approx(0.2)


def test_margin_and_loss() -> None:
    classes = Classes.of(THREE, None)
    assert [classes.margin(0), classes.margin(1)] == pytest.approx([0.5, 0.84])
    assert [classes.loss(0, 2), classes.loss(1, 1)] == pytest.approx([-np.log(0.2), -np.log(0.04)])
    assert classes.loss(0, None) is classes.loss(0, 3) is None
    binary = Classes.of(SIGMOID, None)
    assert [binary.margin(0), binary.margin(1)] == pytest.approx([0.8, 0.5])
    assert [binary.loss(0, 0), binary.loss(0, 1)] == pytest.approx([-np.log(0.1), -np.log(0.9)])
    quantity = Classes.of(QUANTITY, None)
    assert quantity.margin(0) is quantity.loss(0, 0) is None


def test_one_sigmoid_unit_stands_for_two_classes() -> None:
    classes = Classes.of(SIGMOID, ["no", "yes"])
    assert classes.predicted is not None
    assert classes.predicted.tolist() == [1, 0]
    (predicted,) = classes.choose(Target.parse("predicted"), [None, None])
    np.testing.assert_array_equal(classes.score_arguments(predicted)["ys"], [[1.0], [-1.0]])
    assert [c.tolist() for c in classes.choose(Target.parse("top:2"), [0, 0]) if c is not None] == [[1, 0], [0, 1]]
    assert classes.probability(1, 0) == pytest.approx(0.75)
    assert classes.probability(1, 1) == pytest.approx(0.25)


def test_a_quantity_has_no_classes() -> None:
    classes = Classes.of(QUANTITY, None)
    assert classes.predicted is None
    (unit,) = classes.choose(Target.parse("predicted"), [None, None])
    assert classes.score_arguments(unit)["target"].tolist() == [0, 0]
    with pytest.raises(ParameterError, match="no sigmoid after it and may be a logit or a probability"):
        Classes.of(QUANTITY, ["no", "yes"])


@pytest.mark.parametrize(
    ("predictions", "target"), [(THREE, "3"), (THREE, "top:4"), (SIGMOID, "2"), (QUANTITY, "label")]
)
def test_a_class_that_the_model_does_not_have_is_refused(predictions: Predictions, target: str) -> None:
    with pytest.raises(ParameterError, match=f"target {target}"):
        Classes.of(predictions, None).check(Target.parse(target))


def test_labels_must_be_as_many_as_classes() -> None:
    with pytest.raises(ParameterError, match="got 2 class names, but the model has 3 classes"):
        Classes.of(THREE, ["a", "b"])


@pytest.mark.parametrize(
    ("label", "reason"), [(None, "it has no label"), (3, "its label 3 is none"), (-1, "its label -1 is none")]
)
def test_an_example_without_a_usable_label_fails(label: int | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Classes.of(THREE, None).choose(Target.parse("label"), [0, label])


def test_an_output_of_pictures_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="one row of units"):
        Classes.of(Predictions(np.zeros((2, 4, 4, 3)), None, None), None)
