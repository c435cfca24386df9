"""The condition of --only holds for the examples that it describes, in the words of the page's filter."""

from __future__ import annotations

import numpy as np
import pytest

from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.example_condition import ExampleCondition
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.recording.targets import Classes

NAMES = ("cat", "dog", "big cow")
PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.9, 0.04, 0.06], [0.3, 0.25, 0.45], [0.2, 0.75, 0.05]])
CLASSES = Classes.of(Predictions(np.log(PROBABILITIES), PROBABILITIES, None), None)  # predicts 1, 0, 2, 1
EXAMPLES = [Example(f"a:{i}", {}, label) for i, label in enumerate([1, 2, 2, None])]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("misclassified", [1]),
        ("is:error", [1]),
        ("is=correct", [0, 2]),
        ("correct", [0, 2]),
        ("-correct", [1, 3]),  # unlabelled examples are not correct
        ("label=2", [1, 2]),
        ("label : 1,2", [0, 1, 2]),
        ('label:"big cow"', [1, 2]),
        ("label:big*", [1, 2]),
        ("-label:2", [0, 3]),
        ("pred:DOG", [0, 3]),
        ("pred=1 and probability < 0.72", [0]),
        ("probability>=72%", [1, 3]),
        ("probability:0.4..0.7", [0, 2]),
        ("margin<0.2", [2]),
        ("loss>2", [1]),
        ("score<-0.5", [2]),
        ("label=2 misclassified margin>0.8", [1]),
        ("id:a:3 ", [3]),
        ("id:*0,*3", [0, 3]),
    ],
)
def test_conditions(condition: str, expected: list[int]) -> None:
    parsed = ExampleCondition(condition, NAMES)
    assert [i for i, example in enumerate(EXAMPLES) if parsed.holds(CLASSES, i, example)] == expected


def test_an_example_without_a_prediction_meets_what_is_asked_of_predictions() -> None:
    outputs = np.array([[np.nan, 1.0], [2.0, 1.0]])
    classes, example = Classes.of(Predictions(outputs, None, None), None), Example("a", {}, 0)
    for condition, expected in [("misclassified", [True, False]), ("misclassified label:1", [False, False])]:
        parsed = ExampleCondition(condition)
        assert [parsed.holds(classes, i, example) for i in range(2)] == expected


def test_a_single_unit() -> None:
    sigmoid = Classes.of(Predictions(np.array([[2.0], [-1.0]]), np.array([[0.9], [0.25]]), None), None)
    examples = [Example("0", {}, 0), Example("1", {}, 0)]
    for condition, expected in [
        ("misclassified", [True, False]),
        ("probability<0.8", [False, True]),
        ("pred=0", [False, True]),
    ]:
        parsed = ExampleCondition(condition)
        assert [parsed.holds(sigmoid, i, example) for i, example in enumerate(examples)] == expected
    quantity = Classes.of(Predictions(np.array([[2.0], [-1.0]]), None, None), None)
    for condition, expected in [
        ("score>0", [True, False]),
        ("probability<1", [False, False]),
        ("misclassified", [False, False]),
    ]:
        parsed = ExampleCondition(condition)
        assert [parsed.holds(quantity, i, example) for i, example in enumerate(examples)] == expected


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("", "the condition `only` is empty"),
        ("wrong", "'wrong' is unknown; expected misclassified, correct, or a condition on is, label, pred"),
        ("gap>0.1", "'gap' is unknown"),
        ("saliency.score>1", "'saliency.score' is unknown"),
        ("label=3 or label=2", "'or' is unknown"),
        ("label>3", "'label' has no order; write label:3"),
        ("label:horse", "no class is named 'horse'; the classes are cat, dog, big cow"),
        ("is:odd", "is:odd is unknown; expected is:error or is:correct"),
        ("probability<high", "expected a number such as 0.9 or 5%, not 'high'"),
        ('label:"cat', "has no partner"),
    ],
)
def test_anything_else_is_refused(condition: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        ExampleCondition(condition, NAMES)
    with pytest.raises(ParameterError, match="give the class names as `labels`"):
        ExampleCondition("label:cat")


@pytest.mark.parametrize("condition", ["misclassified", "-correct", "pred:1", "probability<1", "margin<1", "loss>1"])
def test_a_condition_on_what_the_model_does_not_predict_is_refused(condition: str) -> None:
    quantity = Classes.of(Predictions(np.array([[2.0]]), None, None), None)
    ExampleCondition(condition, NAMES).check(CLASSES)
    with pytest.raises(ParameterError, match=f"only {condition}: .* single quantity, not classes"):
        ExampleCondition(condition).check(quantity)
    ExampleCondition("label:3 score>0 id:a").check(quantity)
    with pytest.raises(ParameterError, match="a score function has no classes"):
        make_request("m", ["saliency"], only=condition, score="numpy:sum")
    if condition.startswith(("probability", "margin", "loss")):
        with pytest.raises(ParameterError, match="gives no probabilities"):
            ExampleCondition(condition).check(Classes.of(Predictions(np.log(PROBABILITIES), None, None), None))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("plan:pro", [0, 2]),
        ("plan = PRO", [0, 2]),
        ("-plan:pro", [1, 3]),  # the last has no plan
        ("plan:pr*,team", [0, 1, 2]),
        ("age>30", [1, 2]),
        ("slice.age:30..31", [0, 1]),
        ("age=30", [0]),
        ('"plan type":"a b"', [3]),
        ("slice.label:x", [2]),
        ("label:1", [0]),  # the label itself
        ("plan:pro misclassified", []),
        ("correct plan:pro", [0, 2]),
    ],
)
def test_conditions_on_slice_features(condition: str, expected: list[int]) -> None:
    values = [{"plan": "pro", "age": "30"}, {"plan": "team", "age": "31"}, {"plan": "pro", "age": "40.5", "label": "x"},
              {"plan type": "a b"}]  # fmt: skip
    examples = [Example(one.id, {}, one.label, slices=of_one) for one, of_one in zip(EXAMPLES, values, strict=True)]
    parsed = ExampleCondition(condition, NAMES, ("plan", "age", "plan type", "label"))
    assert [i for i, example in enumerate(examples) if parsed.holds(CLASSES, i, example)] == expected


def test_a_condition_on_slice_features_needs_no_classes() -> None:
    make_request("m", "saliency", score="math:sqrt", only="plan:pro", slice_features=["plan"])
    with pytest.raises(
        ParameterError, match=r"'plan' is unknown; .* id, .* feature that slice_features \(--keep\) names"
    ):
        make_request("m", "saliency", only="plan:pro")
    with pytest.raises(ParameterError, match=r"'city' is unknown; .*, plan"):
        make_request("m", "saliency", only="city:Bern", slice_features=["plan"])
