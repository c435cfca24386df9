"""Which class a target means, for many units, for one unit that stands for two classes, and for a quantity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.recording.targets import Classes, Target

THREE = Predictions(np.array([[1.0, 3.0, 2.0], [5.0, -1.0, 0.0]]), np.array([[0.1, 0.7, 0.2], [0.9, 0.04, 0.06]]), None)
SIGMOID = Predictions(np.array([[2.0], [-1.0]]), np.array([[0.9], [0.25]]), None)
QUANTITY = Predictions(np.array([[2.0], [-1.0]]), None, None)


@pytest.mark.parametrize("text", ["predicted", "label", "sum", "top:3", "0", "12", "2,5"])
def test_a_target_is_read_and_written(text: str) -> None:
    assert str(Target.parse(text)) == text


@pytest.mark.parametrize("text", ["", "top", "top:0", "top:-1", "-1", "1.5", "best"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="expected predicted, label"):
        Target.parse(text)


def test_a_class_may_be_named() -> None:
    assert str(Target.parse("dog", ["cat", "dog"])) == "1"
    assert Target.parse("label", ["label", "other"]).rule == "label"
    with pytest.raises(ParameterError, match=r"target dig: expected predicted, .* or one of the classes cat, dog"):
        Target.parse("dig", ["cat", "dog"])


@pytest.mark.parametrize(
    ("target", "expected"),
    [("predicted", [[1, 0]]), ("label", [[2, 1]]), ("2", [[2, 2]]), ("top:2", [[1, 0], [2, 2]]), ("sum", [None])],
)
def test_classes_of_a_softmax(target: str, expected: list[list[int] | None]) -> None:
    classes = Classes.of(THREE, None)
    assert _chosen(classes, target, [2, 1]) == expected
    assert classes.probability(0, [2]) == pytest.approx(0.2)


def _chosen(classes: Classes, target: str, labels: Any) -> list[Any]:
    """For each map the targets of the examples, all of which have it."""
    maps = classes.choose(Target.parse(target), labels)
    assert all(of_map.rows.tolist() == list(range(len(labels))) for of_map in maps)
    return [None if of_map.explained.target is None else of_map.explained.target.tolist() for of_map in maps]


def test_margin_and_loss() -> None:
    classes = Classes.of(THREE, None)
    assert [classes.margin(0), classes.margin(1)] == pytest.approx([0.5, 0.84])
    assert [classes.loss(0, 2), classes.loss(1, 1)] == pytest.approx([-np.log(0.2), -np.log(0.04)])
    assert classes.loss(0, None) is None
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
    np.testing.assert_array_equal(predicted.explained.weights, [[1.0], [-1.0]])
    assert _chosen(classes, "top:2", [0, 0]) == [[1, 0], [0, 1]]
    assert classes.probability(1, [0]) == pytest.approx(0.75)
    assert classes.probability(1, [1]) == pytest.approx(0.25)


def test_a_quantity_has_no_classes() -> None:
    classes = Classes.of(QUANTITY, None)
    assert classes.predicted is None
    assert _chosen(classes, "predicted", [None, None]) == [[0, 0]]
    with pytest.raises(ParameterError, match="no sigmoid after it and may be a logit or a probability"):
        Classes.of(QUANTITY, ["no", "yes"])


@pytest.mark.parametrize(
    ("predictions", "target"), [(THREE, "3"), (THREE, "top:4"), (SIGMOID, "2"), (QUANTITY, "label")]
)
def test_a_class_that_the_model_does_not_have_is_refused(predictions: Predictions, target: str) -> None:
    with pytest.raises(ParameterError, match=f"target {target}"):
        Classes.of(predictions, None).check(Target.parse(target))


def test_labels_fit_the_output() -> None:
    three, quantity = Classes.of(THREE, None), Classes.of(QUANTITY, None)
    assert three.fit_labels([2, None, -1]) == [2, None, None]
    labels = quantity.fit_labels([2, 2.5, None, -1])
    expected = [(float, 2.0), (float, 2.5), (type(None), None), (float, -1.0)]
    assert [(type(label), label) for label in labels] == expected
    for classes, label, reason in [
        (three, 1.5, "its label is 1.5; expected a class number"),
        (three, (0, 1), "exclude each other"),
        (quantity, (0, 1), "a single quantity"),
        (three, 99, "its label is 99; the model has 3 classes, numbered from 0"),
        (Classes.of(SIGMOID, None), 2, "its label is 2; the model has 2 classes"),
        (Classes.of(LABELS, None), (0, 3), "its label is 3; the model has 3 classes"),
        (Classes.of(LABELS, None), 7, "its label is 7; the model has 3 classes"),
    ]:
        with pytest.raises(InputError, match=reason):
            classes.fit_labels([label])


def test_labels_must_be_as_many_as_classes() -> None:
    with pytest.raises(ParameterError, match="got 2 class names, but the model has 3 classes"):
        Classes.of(THREE, ["a", "b"])


@pytest.mark.parametrize("label", [None, -1])
def test_an_example_without_a_label_fails(label: int | None) -> None:
    classes = Classes.of(THREE, None)
    with pytest.raises(InputError, match="it has no label"):
        classes.choose(Target.parse("label"), classes.fit_labels([0, label]))


LABELS = Predictions(
    np.array([[1.0, -3.0, 2.0], [-5.0, -1.0, -2.0]]),
    np.array([[0.7, 0.05, 0.9], [0.01, 0.3, 0.1]]),
    None,
    label_threshold=0.0,
)


def _maps(classes: Classes, target: str, labels: Any) -> list[tuple[list[int], list[int]]]:
    """(examples, classes) of each map."""
    maps = classes.choose(Target.parse(target), labels)
    return [(of_map.rows.tolist(), np.asarray(of_map.explained.target).tolist()) for of_map in maps]


def test_of_several_labels_each_has_a_map() -> None:
    classes = Classes.of(LABELS, ["cat", "dog", "sky"])
    both = [[0, 2], [1]]
    assert _maps(classes, "predicted", both) == [([0, 1], [2, 1]), ([0], [0])]  # at least the most probable
    assert _maps(classes, "label", both) == [([0, 1], [0, 1]), ([0], [2])]
    assert _maps(classes, "top:2", both) == [([0, 1], [2, 1]), ([0, 1], [0, 2])]
    assert [classes.predicted_class(0, [k]) for k in (0, 1, 2)] == [0, 2, 2]
    assert classes.predicted_class(1, [1]) is None
    assert classes.loss(0, (0, 1)) == pytest.approx(-np.log([0.7, 0.05, 0.1]).mean())
    assert classes.margin(0) is None
    described = [classes.describe_labels(0, k, (1, 2)) for k in (0, 1, 2)]
    assert described[0] == {"predictions": "0,2", "labels": "1,2", "outcome": "false positive"}
    assert [d and d["outcome"] for d in described] == ["false positive", "false negative", "true positive"]
    assert classes.describe_labels(1, 0, ()) == {"predictions": "", "labels": "", "outcome": "true negative"}
    assert classes.describe_labels(1, 0, None) == {"predictions": ""}
    with pytest.raises(InputError, match="none of the classes is true of it"):
        classes.choose(Target.parse("label"), [[0], []])


def test_classes_at_positions() -> None:
    outputs = np.array([[[1.0, 0.0, 3.0], [4.0, 0.0, 2.0]], [[0.0, 1.0, 0.0], [0.0, 2.0, 1.0]]])
    classes = Classes.of(Predictions(outputs, None, None), None)
    assert classes.predicted is not None
    assert classes.predicted.tolist() == [0, 1]  # 4 at one position beats 3 at another
    (predicted, second) = classes.choose(Target.parse("top:2"), [None, None])
    assert np.asarray(predicted.explained.target).tolist() == [0, 1]
    assert np.asarray(predicted.explained.positions).tolist() == [[False, True], [True, True]]
    assert np.asarray(second.explained.target).tolist()[0] == 2
    (position,) = classes.choose(Target.parse("1,2"), [None, None])
    assert np.asarray(position.explained.unit).tolist() == [[1, 2], [1, 2]]
    assert [classes.predicted_class(i, [1, 2]) for i in (0, 1)] == [0, 1]
    for outside in ("2,0", "0,3", "0,0,0"):
        with pytest.raises(ParameterError, match=f"target {outside}: the output of an example has shape"):
            classes.check(Target.parse(outside))
