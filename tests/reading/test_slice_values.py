"""Values of slice features: one number or string of the record as it is, whatever the model reads."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.slice_values import to_text
from beam_pipelines.reading.work_unit import Columns
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.recording.example import Example
from tests.pipeline_runs import serialize

KEPT = ("plan", "age", "city")


def parse(record: Any, **options: Any) -> Example:
    parser = ExampleParser([InputSpec("x", "float32", (None, 2), "x")], RecordSpec(slice_features=KEPT, **options))
    return parser.parse(record, "a:000007")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("pro", "pro"),
        ("Größe".encode(), "Größe"),
        (np.array([b"pro"], object), "pro"),
        (np.array(["pro"]), "pro"),
        (3, "3"),
        (np.array([7], np.int64), "7"),
        (2.0, "2.0"),
        (np.float32(0.1), "0.1"),  # not 0.10000000149011612
        (np.array([0.1], np.float32), "0.1"),
        (np.array(2.5), "2.5"),
        (True, "true"),
        (np.array([False]), "false"),
        (" 42", " 42"),
        (datetime.date(2026, 11, 28), "2026-11-28"),
        (decimal.Decimal("1.50"), "1.50"),
        ([["pro"]], "pro"),
        (float("inf"), "inf"),
        (None, None),
        ("", None),
        ([], None),
        (np.array([]), None),
        (float("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        ("NaN", None),  # in a CSV file
        ("Nan", "Nan"),  # a town
        (pd.Timestamp("2026-11-28 10:00"), "2026-11-28T10:00:00"),
        (np.array([np.nan], np.float32), None),
    ],
)
def test_a_value_is_one_number_or_string(value: Any, text: str | None) -> None:
    assert to_text(value, "f") == text


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (np.array([1, 2]), "2 int64 values"),
        (["a", "b"], "2 bytes values"),
        ({"a": 1}, "a dict"),
        (np.ones((2, 2)), "4 float values"),
    ],
)
def test_anything_else_is_refused(value: Any, held: str) -> None:
    with pytest.raises(InputError, match=f"its slice feature 'tags' is {held}; expected one number or string"):
        to_text(value, "tags")


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="lists of different lengths"):
        to_text([[1], [1, 2]], "tags")


def test_an_example_keeps_them_and_the_model_gets_its_input() -> None:
    example = parse(serialize({"x": [1.0, 2.0], "plan": "pro", "age": 31, "unused": "z"}))
    assert example.slices == {"plan": "pro", "age": "31"}
    np.testing.assert_array_equal(example.inputs["x"], [1, 2])
    assert parse({"x": [1.0, 2.0]}).slices == {}


def test_the_only_other_feature_is_for_the_only_input() -> None:
    np.testing.assert_array_equal(parse({"y": [1.0, 2.0], "plan": "pro"}).inputs["x"], [1, 2])
    np.testing.assert_array_equal(parse({"plan": "3 4", "id": "a"}).inputs["x"], [3, 4])


def test_values_are_those_of_the_record_before_it_is_preprocessed() -> None:
    example = parse({"plan": "pro", "age": 31}, preprocess=lambda record: {"x": [record["age"], 0], "age": -1.0})
    assert example.slices == {"plan": "pro", "age": "31"}


def test_only_the_columns_that_are_needed_are_read() -> None:
    spec = RecordSpec(slice_features=KEPT)
    assert ExampleParser([InputSpec("x", "float32", (None, 2), "x")], spec).columns == Columns(
        ("x",), ("label", "id", *KEPT)
    )
