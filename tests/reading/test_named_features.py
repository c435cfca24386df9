"""A feature that the caller names and no record has is an error, not a column of nulls."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.named_features import check_present, describe_absent, is_present
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import InputSpec
from tests.pipeline_runs import serialize


def test_a_feature_that_no_record_has_is_refused_at_once() -> None:
    records = [Record(str(number), {"plan": "pro" if number == 20 else None, "age": 3}) for number in range(30)]
    check_present(records, RecordSpec(slice_features=("plan", "age")))
    check_present([], RecordSpec(slice_features=("plan",)))  # the run tells that there are no records
    sentence = r"--keep plam: none of the first 30 records has this feature; they have age, plan: correct the name"
    with pytest.raises(InputError, match=sentence):
        check_present(records, RecordSpec(slice_features=("age", "plam")))
    plan = RecordSpec(slice_features=("plan",), in_python=True)
    with pytest.raises(InputError, match=r"slice_features=\['plan'\]: none of the first 2 records .* they have y:"):
        check_present([Record(str(i), serialize({"y": 1})) for i in range(2)], plan)
    endless = (Record(str(number), {"age": 3}) for number in iter(int, 1))
    with pytest.raises(InputError, match=r"none of the first 1,000 records"):
        check_present(endless, plan)


def test_features_of_label_and_id_are_searched_for_too() -> None:
    records = [Record(str(number), {"age": 3, "churn": None}) for number in range(30)]
    check_present(records, RecordSpec(label_feature="churn"))  # a label may be unknown
    for spec, option in (
        (RecordSpec(label_feature="chrun"), "--label_feature chrun"),
        (RecordSpec(id_feature="name", in_python=True), "id_feature='name'"),
    ):
        with pytest.raises(
            InputError, match=f"{option}: none of the first 30 records has this feature; they have age, churn"
        ):
            check_present(records, spec)
    for spec in (RecordSpec(), RecordSpec(label_feature="none"), RecordSpec(label_feature="x", preprocess=dict)):
        check_present(records, spec)


def test_a_parser_knows_which_features_it_has_not_read() -> None:
    spec = RecordSpec(label_feature="churn", id_feature="name", slice_features=("plan",))
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")], spec)
    for columns, unread in (
        ({"x": 1.0}, {"churn", "name", "plan"}),
        ({"x": 1.0, "churn": 1, "plan": None}, {"name", "plan"}),
        ({"x": 1.0, "name": "a", "plan": "pro"}, set()),
    ):
        parser.parse(columns, "1")
        assert parser.unread == unread


def test_threads_note_at_once_which_features_they_have_read(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RecordSpec(label_feature="churn", id_feature="name", slice_features=("plan",))
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")], spec)
    searched = threading.local()
    searched.first = True

    def search(columns: Mapping[str, Any], name: str, spec: RecordSpec) -> bool:
        if getattr(searched, "first", False):
            searched.first = False
            other = threading.Thread(target=lambda: parser.parse({"x": 1.0, "name": "a", "plan": "pro"}, "2"))
            other.start()
            other.join()
        return is_present(columns, name, spec)

    monkeypatch.setattr("beam_pipelines.reading.example_parser.is_present", search)
    assert parser.parse({"x": 1.0}, "1").id == "1"
    assert parser.unread == {"churn"}


def test_sparse_columns_that_no_record_has_are_named() -> None:
    """Any record may lack them: nothing else would tell of a name in error."""
    parser = ExampleParser([InputSpec(name, "string", (None, None), name, is_sparse=True) for name in ("plan", "city")])
    records = [
        Record(str(number), {"City": "Bern", **({"plan": "pro"} if number == 20 else {})}) for number in range(30)
    ]
    assert describe_absent(records, parser.sparse_features) == (
        "none of the first 30 records has city: missing in all examples"
    )
    assert describe_absent(records, ["plan"]) == describe_absent(records, []) == describe_absent([], ["x"]) == ""


def test_another_column_is_not_taken_for_a_sparse_one() -> None:
    tags = InputSpec("tags", "string", (None, None), "tags", np.array([b"\xffmissing"], object), is_sparse=True)
    assert tags.is_missing(ExampleParser([tags]).parse(serialize({"city": "Bern"}), "1").inputs["tags"]).all()
