"""Slice features: texts beside the inputs become columns of the index, of numbers where every value is one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import INPUT_SCHEMA, Input
from tb_deepexplain.store.slice_columns import LONGEST_VALUE, MOST_VALUES
from tb_deepexplain.store.slice_features import as_extras, as_number, check_slice_features, from_extras
from tb_deepexplain.store.writer import StoreWriter
from tests.store.small_stores import MANIFEST, attribution, write


def commit(directory: Path, units: list[list[dict[str, str]]], *names: str) -> Store:
    """A store of two maps of each example; the values of its slice features, by unit."""
    for unit, examples in enumerate(units):
        with StoreWriter(directory).shard(str(unit)) as shard:
            for number, values in enumerate(examples):
                id_ = f"{unit}-{number}"
                shard.add([attribution(id_, method) for method in ("saliency", "deeplift")],
                          [Input(id_, "tabular", values=[1.0], extras=as_extras(values))])  # fmt: skip
    slices = {"slice_features": [{"name": name} for name in names]} if names else {}
    StoreWriter(directory).commit([str(unit) for unit in range(len(units))], {**MANIFEST, **slices})
    return Store(directory)


@pytest.mark.parametrize(
    ("texts", "dtype", "expected"),
    [
        (["3", "-40", "0"], pa.int64(), [3, -40, 0]),
        (["3", "2.5", "1e-07", "inf"], pa.float64(), [3, 2.5, 1e-07, float("inf")]),
        (["2.5", "3"], pa.float64(), [2.5, 3]),
        (["3", "old"], pa.string(), ["3", "old"]),
        (["08001", "8002"], pa.string(), ["08001", "8002"]),  # postal codes
        (["1234567890123456", "1"], pa.string(), ["1234567890123456", "1"]),  # no float holds such numbers in general
        (["true", "false"], pa.string(), ["true", "false"]),
        (["3", "+4"], pa.string(), ["3", "+4"]),
    ],
)
def test_a_column_is_of_numbers_where_every_value_is_one(
    tmp_path: Path, texts: list[str], dtype: pa.DataType, expected: list[object]
) -> None:
    """Also where the units, each by itself, would have other types."""
    store = commit(tmp_path, [[{"f": text}] for text in texts], "f")
    column = store.index.column("slice.f")
    assert column.type == dtype
    assert column.to_pylist() == [value for value in expected for _ in range(2)]  # of both maps
    assert store.manifest["slice_features"][0]["type"] == ("text" if dtype == pa.string() else "number")
    assert [as_number(text) is not None for text in texts] == [isinstance(one, int | float) or one in ("3", "8002", "1")
                                                               for one in expected]  # fmt: skip


def test_columns_are_read_with_pandas(tmp_path: Path) -> None:
    units = [[{"plan": "pro", "age": "31"}, {"age": "20"}], [{"plan": "basic"}]]
    frame = commit(tmp_path, units, "plan", "age").index.to_pandas()
    assert frame.groupby("example_id")["slice.plan"].first().dropna().to_dict() == {"0-0": "pro", "1-0": "basic"}
    np.testing.assert_array_equal(frame["slice.age"], [31, 31, 20, 20, np.nan, np.nan])


def test_the_manifest_lists_the_values_of_a_text_that_has_few(tmp_path: Path) -> None:
    values = [f"v{number:02}" for number in range(MOST_VALUES + 1)]
    examples = [{"few": values[number % MOST_VALUES], "many": value} for number, value in enumerate(values)]
    examples[3]["long"] = "a" * (LONGEST_VALUE + 1)
    manifest = commit(tmp_path, [examples[:9], examples[9:], []], "few", "many", "long").manifest
    assert manifest["slice_features"] == [
        {"name": "few", "type": "text", "values": values[:-1]},
        {"name": "many", "type": "text"},
        {"name": "long", "type": "text"},
    ]


def test_a_feature_that_no_example_has_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no example has the feature 'chrun'"):
        commit(tmp_path, [[{"plan": "pro"}], [{}]], "plan", "chrun")
    assert not (tmp_path / "manifest.json").exists()
    assert commit(tmp_path / "empty", [[], []], "chrun").index.num_rows == 0


def test_a_store_without_slice_features_is_as_before(tmp_path: Path) -> None:
    """No column more, in no file, and no key of the manifest."""
    write(tmp_path, {"u": ["a"]})
    StoreWriter(tmp_path).commit(["u"], MANIFEST)
    assert not any("slice" in name for name in Store(tmp_path).index.column_names)
    assert "slice_features" not in json.loads((tmp_path / "manifest.json").read_text())
    assert pq.read_schema(tmp_path / "inputs-u.parquet").names == INPUT_SCHEMA.names
    assert Store(tmp_path).inputs([0])[0]["extras"] is None


def test_an_example_that_another_unit_has_costs_no_values(tmp_path: Path) -> None:
    for unit, plan in (("u", "pro"), ("v", "basic")):
        with StoreWriter(tmp_path).shard(unit) as shard:
            for id_ in ("same", unit):
                shard.add([attribution(id_)], [Input(id_, "tabular", values=[1.0], extras=as_extras({"plan": plan}))])
    StoreWriter(tmp_path).commit(["u", "v"], {**MANIFEST, "slice_features": [{"name": "plan"}]})
    index = Store(tmp_path).index.select(["example_id", "slice.plan"]).to_pylist()
    assert index == [
        {"example_id": id_, "slice.plan": plan} for id_, plan in (("same", "pro"), ("u", "pro"), ("v", "basic"))
    ]


def test_extras_keep_other_entries_apart() -> None:
    assert from_extras({"slice.plan": "pro", "slice.slice.x": "1", "outcome": "true"}) == {
        "plan": "pro",
        "slice.x": "1",
    }
    assert as_extras({}) is None and from_extras(None) == {}


@pytest.mark.parametrize(
    "names", [[""], [" "], ["a,b"], ['a"b'], ["a\\b"], ["a\nb"], [3], ["plan", "Plan"], ["plan", "plan"]]
)
def test_names_that_the_page_could_not_write_are_refused(names: list[str]) -> None:
    with pytest.raises(ParameterError, match=r"slice_features \(--keep\)"):
        check_slice_features(names)
    assert check_slice_features("plan") == ("plan",) and check_slice_features(["a b", "c.d"]) == ("a b", "c.d")
