"""Every format: each record once, units that can be read alone and are planned alike every time, damage reported and contained."""

from __future__ import annotations

import csv
import gzip
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata, FileSystem, MatchResult
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_pipelines.reading import beam_hdfs, text_lines
from beam_pipelines.reading import plan as planning
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.feature_values import EmptyCell
from beam_pipelines.reading.formats import FORMATS, arrays
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.work_unit import Plan, Record
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.store.records import Failure
from tests.pipeline_runs import Run, write_records
from tests.reading import format_writers
from tests.reading.format_writers import WRITERS

ROWS = format_writers.make_rows(11)
INPUTS = [InputSpec("x", "float32", (None, 4), "x")]


def plan_path(path: Path | str, size: int = 4, format: str | None = None) -> Plan:  # noqa: A002
    return make_plan(find_files([str(path)], format), size)


def read_all(plan: Plan) -> list[Record | Failure]:
    return [item for unit in plan.units for item in read_records(unit)]


def comparable(item: Record | Failure) -> Any:
    """The item as values that can be compared with ==."""
    if isinstance(item, Failure) or isinstance(item.payload, bytes):
        return item
    return item.position, {k: np.asarray(v).tolist() for k, v in item.payload.items()}


def column_values(plan: Plan, column: str) -> list[Any]:
    """The column's values, None for failures."""
    return [
        item.payload[column] if isinstance(item, Record) and not isinstance(item.payload, bytes) else None
        for item in read_all(plan)
    ]


@pytest.fixture(params=WRITERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / request.param, ROWS)


def test_every_record_comes_once_in_order_under_the_same_id(file: Path) -> None:
    first = None
    for size in (1, 3, 11, 100):
        items = read_all(plan_path(file, size))
        assert [item.position for item in items if isinstance(item, Record)] == [
            f"{file.name.split('.')[0]}:{i:06d}" for i in range(11)
        ]
        parsed = [
            ExampleParser(INPUTS).parse(item.payload, item.position) for item in items if isinstance(item, Record)
        ]
        np.testing.assert_array_equal([p.inputs["x"] for p in parsed], [row["x"] for row in ROWS])
        assert [(p.id, p.label) for p in parsed] == [(row["id"], row["label"]) for row in ROWS]
        first = first or list(map(comparable, items))
        assert list(map(comparable, items)) == first


def test_units_are_the_same_every_time_and_stand_alone(file: Path) -> None:
    plan = plan_path(file, 3)
    assert plan_path(file, 3) == plan
    assert [unit.id for unit in plan.units] == [f"00000-{i:05d}" for i in range(len(plan.units))]
    assert sum(unit.count for unit in plan.units) == plan.record_count == 11
    if file.name not in format_writers.SEQUENTIAL:
        assert max(unit.count for unit in plan.units) == 3
    together = {item.position if isinstance(item, Record) else "": comparable(item) for item in read_all(plan)}
    for unit in reversed(plan.units):  # as worker processes receive them
        for item in read_records(pickle.loads(pickle.dumps(unit))):
            assert isinstance(item, Record)
            assert comparable(item) == together.pop(item.position)
    assert not together


def test_the_fingerprint_depends_on_the_content(file: Path, tmp_path: Path) -> None:
    one = plan_path(file).fingerprint
    assert plan_path(file, 7).fingerprint == one
    changed = [*ROWS[:5], {**ROWS[5], "x": ROWS[5]["x"] + 1 / 4}, *ROWS[6:]]
    WRITERS[file.name](file, changed)
    assert plan_path(file).fingerprint != one


def test_the_fingerprint_depends_on_the_name(file: Path) -> None:
    one = plan_path(file).fingerprint  # ids of examples without an id begin with it
    assert plan_path(file.rename(file.with_name(f"b{file.name[1:]}"))).fingerprint != one


def test_the_format_of_a_file_without_suffix_is_detected_from_its_content(file: Path) -> None:
    (expected,) = plan_path(file).formats
    other = file.rename(file.with_name("nameless.gz" if file.suffix == ".gz" else "nameless"))
    row = FORMATS[expected]
    if row.signatures or row.recognizes:
        assert plan_path(other).formats == (expected,)
    else:  # such as CSV: any text may be one
        with pytest.raises(InputError, match="name one with --format"):
            plan_path(other)
        assert plan_path(other, format=expected).record_count == 11


def test_a_file_that_ends_early_loses_no_record_silently(file: Path) -> None:
    plan = plan_path(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    items = read_all(plan)
    assert len(items) == 11
    assert any(isinstance(item, Failure) for item in items)


@pytest.mark.parametrize("name", [*WRITERS, "a.npy"])
def test_a_damaged_file_among_others_is_one_failure_and_alone_it_is_rejected(name: str, tmp_path: Path) -> None:
    format_writers.write(tmp_path / "b.jsonl", format_writers.to_jsonl(ROWS))
    broken = tmp_path / name
    content = b"\xff\xfe{ this is nothing" * 10
    broken.write_bytes(gzip.compress(content)[:-9] if name.endswith(".gz") else content)
    if format_writers.format_of(name) not in format_writers.ACCEPT_ANY_LINE:
        with pytest.raises(InputError, match=rf"{name}: "):
            plan_path(broken)
    items = read_all(plan_path(tmp_path / "*"))
    assert sum(isinstance(item, Record) for item in items) == 11
    assert [item.stage for item in items if isinstance(item, Failure)] == ["read"]


def test_a_file_that_cannot_be_opened_is_an_error_of_the_run(file: Path) -> None:
    plan = plan_path(file)
    file.unlink()
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        read_all(plan)


# CSV


def test_csv_quotes(tmp_path: Path) -> None:
    fields = ['a "b" c', 'say "x"\nand go', 'x\r\ny,"', "", "\n\n", '"', "größer", 'end"', "\u2028\x0b"]
    path = format_writers.write(
        tmp_path / "a.csv", format_writers.to_csv([{"text": f, "n": i} for i, f in enumerate(fields)])
    )
    for size in (1, 2, 100):
        assert column_values(plan_path(path, size), "text") == fields


def test_an_empty_cell_is_no_value_of_a_sparse_column(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b"city,n\nBern,1\n,2\n")
    cells = column_values(plan_path(path, 100), "city")
    assert [isinstance(cell, EmptyCell) for cell in cells] == [False, True]


def test_csv_blank_lines_byte_order_mark_semicolons_and_no_end(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'\xef\xbb\xbf"a";b\r\n\r\n1;2,5\r\n\n3;4\n\r\n5;6')
    for size in (1, 2, 100):
        plan = plan_path(path, size)
        assert column_values(plan, "a") == ["1", "3", "5"]
        assert column_values(plan, "b") == ["2,5", "4", "6"]
        assert plan.record_count == 3


def test_a_quote_within_an_unquoted_field_is_a_character(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'a,b\n5" pipe,1\n6" pipe,2\n')
    assert column_values(plan_path(path, 1), "a") == ['5" pipe', '6" pipe']


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1,2,3\n", "it has 3 fields; the header has 2"),
        (b"1\n", "it has 1 fields"),
        (b'"a"b,2\n', "it is not CSV"),
        (b"\xff,2\n", "it is not UTF-8"),
    ],
)
def test_a_damaged_csv_record_loses_only_itself(bad: bytes, reason: str, tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b"a,b\n1,1\n" + bad + b"3,3\n")
    for size in (1, 100):
        items = read_all(plan_path(path, size))
        assert column_values(plan_path(path, size), "a") == ["1", None, "3"]
        assert isinstance(items[1], Failure)
        assert (items[1].example_id, items[1].stage) == ("a:000001", "read")
        assert reason in items[1].message


def test_a_quote_that_is_never_closed_is_one_failure(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'a,b\n1,1\n"2,2\n' + b"3,3\n" * 100)
    plan = plan_path(path, 1)
    assert column_values(plan, "a") == ["1", None]


def test_a_record_that_is_too_long_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST", 50)
    long = b'"' + b"x\n" * 100 + b'",2\n'
    for path, expected in (
        (format_writers.write(tmp_path / "a.csv", b"a,b\n1,1\n" + long + b"3,3\n"), ["1", None, "3"]),
        (
            format_writers.write(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 300 + b'"}\n{"a": 3}\n'),
            [1, None, 3],
        ),
    ):
        assert column_values(plan_path(path, 1), "a") == expected
        assert " longer than " in str(read_all(plan_path(path))[1])


@pytest.mark.parametrize(("header", "reason"), [(b"a,b,a\n1,2,3\n", "names a twice"), (b"\xff,b\n1,2\n", "not UTF-8")])
def test_a_csv_header_that_cannot_be_used(header: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        plan_path(format_writers.write(tmp_path / "a.csv", header))


def test_a_long_field_is_read_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    limit, long = csv.field_size_limit(), "x" * 200_000  # the module's limit is 131,072 characters
    path = format_writers.write(tmp_path / "a.csv", f"a,b\n{long},1\n".encode())
    assert column_values(plan_path(path), "a") == [long]
    assert csv.field_size_limit() == limit


def test_a_csv_with_only_a_header_has_no_records(tmp_path: Path) -> None:
    assert plan_path(format_writers.write(tmp_path / "a.csv", b"a,b\n")).record_count == 0


# JSON lines


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a": 1', "not JSON"),
        (b"[1, 2]", "is a JSON list; expected an object"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"  ", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_line_loses_only_itself(bad: bytes, reason: str, tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n' + bad + b'\r\n\r\n{"a": 3}')
    for size in (1, 100):
        assert column_values(plan_path(path, size), "a") == [1, None, 3]
    failure = read_all(plan_path(path))[1]
    assert isinstance(failure, Failure)
    assert reason in failure.message
    assert failure.example_id == "a:000001"


# Parquet


def test_folders_of_a_partitioned_parquet_table_are_columns(tmp_path: Path) -> None:
    """As pandas writes and reads them, but as texts: features, labels and slices."""
    frame = pd.DataFrame(
        {"age": [31.0, 5, 40, 2], "year": [2023, 2024, 2024, 2023], "city": ["Bern", "a/b =c", "Bern", None]}
    )
    frame.to_parquet(tmp_path / "part=1" / "table", partition_cols=["year", "city"])
    spec = RecordSpec(
        features={"x": "age,year"}, label_feature="city", class_names=("Bern", "a/b =c"), slice_features=("year",)
    )
    parser = ExampleParser([InputSpec("x", "float32", (None, 2), "x")], spec)
    plan = plan_path(tmp_path / "part=1" / "table")
    records = [record for unit in plan.units for record in read_records(unit, parser.columns)]
    assert all(record.payload.keys() == {"age", "year", "city"} for record in records)
    examples = [parser.parse(record.payload, record.position) for record in records]
    described = sorted((*example.inputs["x"].tolist(), example.label, example.slices["year"]) for example in examples)
    assert described == [(2, 2023, None, "2023"), (5, 2024, 1, "2024"), (31, 2023, 0, "2023"), (40, 2024, 0, "2024")]
    assert not parser.unread
    (tmp_path / "part=1" / "table" / "year=2023").rename(tmp_path / "part=1" / "table" / "year=2022")
    assert plan_path(tmp_path / "part=1" / "table").fingerprint != plan.fingerprint
    only = ExampleParser([InputSpec("year", "int64", (None,), "year")])
    unit = plan_path(tmp_path / "part=1" / "table" / "year=2024").units[0]
    (record, *_) = read_records(unit, only.columns)
    assert only.parse(record.payload, "1").inputs["year"] == 2024
    by_another_name = ExampleParser([InputSpec("x", "float32", (None,), "x")])
    (record, *_) = read_records(unit, by_another_name.columns)
    # The only column of the file.
    assert by_another_name.parse(record.payload, "1").inputs["x"] == record.payload["age"]


def test_parquet_columns_keep_their_axes(tmp_path: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(2, 3, 2))
    table = pa.table(
        {
            "nested": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
            "ragged": pa.array([[[1], [2, 3]], []], pa.list_(pa.list_(pa.int8()))),
            "fixed": pa.array([[1.5, 2], [3, 4]], pa.list_(pa.float32(), 2)),
            "tensor": tensors,
            "picture": pa.array([{"bytes": b"\x89PNG\x00", "path": "p"}, None]),
            "word": pa.array(["größer", None]).dictionary_encode(),
            "holes": pa.array([[1, None], [2, 3]]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    one, two = (item.payload for item in read_all(plan_path(tmp_path / "a.parquet")) if isinstance(item, Record))
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["nested"].tolist() == [[1, 2], [3, 4]]
    assert [a.tolist() for a in one["ragged"]] == [[1], [2, 3]]
    assert one["fixed"].dtype == np.float32
    assert two["tensor"].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert (one["picture.bytes"], two["picture.bytes"]) == (b"\x89PNG\x00", None)
    assert (one["word"], two["word"]) == ("größer", None)
    assert one["holes"] == [1, None]
    assert two["holes"].tolist() == [2, 3]


def test_a_damaged_row_group_loses_only_its_rows(tmp_path: Path) -> None:
    path = format_writers.write_parquet(tmp_path / "a.parquet", ROWS)
    column = pq.read_metadata(path).row_group(2).column(0)
    format_writers.damage(path, column.data_page_offset + 30, b"\xff" * 10)
    for size in (2, 100):
        items = read_all(plan_path(path, size))
        assert [i for i, item in enumerate(items) if isinstance(item, Failure)] == [4, 5]
        assert "row group 2 cannot be decoded" in str(items[4])


def test_a_byte_that_changed_in_a_page_is_damage_even_if_it_can_be_decoded(tmp_path: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"x": np.arange(4)}), tmp_path / "a.parquet", row_group_size=2, **plain)
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(1).column(0)
    end = column.data_page_offset + column.total_compressed_size
    path = format_writers.damage(tmp_path / "a.parquet", end - 8, b"\x07")
    assert column_values(plan_path(path), "x") == [0, 1, None, None]


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        (None, ["x", "label", "id"]),
        ("s.y", ["s.y", "label", "id"]),
        ("s", ["s.y", "s.z", "label", "id"]),  # no column itself; an error lists the others
        ("label,n", ["label", "n", "id"]),
        ("q", ["x", "label", "n", "id", "s.y", "s.z"]),
    ],
)
def test_only_the_columns_that_the_parser_uses_are_read(
    tmp_path: Path, feature: str | None, columns: list[str]
) -> None:
    columns_by_name = {"x": [[1.0] * 4], "label": [1], "n": [2], "id": ["i"], "s": [{"y": [1.0] * 4, "z": 2}]}
    pq.write_table(pa.table(columns_by_name), tmp_path / "a.parquet")
    (unit,) = plan_path(tmp_path / "a.parquet").units
    parser = ExampleParser(INPUTS, RecordSpec(features={"x": feature} if feature else {}))
    (record,) = read_records(unit, parser.columns)
    assert isinstance(record, Record)
    assert set(record.payload) == set(columns)
    assert ExampleParser(INPUTS, RecordSpec(preprocess=dict)).columns is None


def test_damage_in_an_unused_column_is_ignored(tmp_path: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    rows = pa.table({"y": [[float(i)] * 4 for i in range(4)], "other": np.arange(4)})
    pq.write_table(rows, tmp_path / "a.parquet", **plain)
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(1)
    format_writers.damage(tmp_path / "a.parquet", column.data_page_offset + column.total_compressed_size - 8, b"\x07")
    (unit,) = plan_path(tmp_path / "a.parquet").units
    parser = ExampleParser(INPUTS, RecordSpec(features={"x": "y"}))
    assert [isinstance(record, Record) for record in read_records(unit, parser.columns)] == [True] * 4
    assert [isinstance(record, Record) for record in read_records(unit)] == [False] * 4


def test_row_groups_that_fit_into_a_unit_stay_whole(tmp_path: Path) -> None:
    path = format_writers.write_parquet(tmp_path / "a.parquet", ROWS, 3)
    assert [(u.first, u.count) for u in plan_path(path, 5).units] == [(0, 3), (3, 3), (6, 5)]
    assert [(u.first, u.count) for u in plan_path(path, 6).units] == [(0, 6), (6, 5)]


def test_a_row_group_larger_than_a_unit_is_divided_into_few_parts(tmp_path: Path) -> None:
    many = pa.table({"x": np.arange(5000)})
    pq.write_table(many, tmp_path / "a.parquet", row_group_size=3000)
    assert [(u.first, u.count) for u in plan_path(tmp_path / "a.parquet", 1000).units] == [
        (0, 1000), (1000, 1000), (2000, 1000), (3000, 1000), (4000, 1000)
    ]  # fmt: skip
    plan = plan_path(tmp_path / "a.parquet", 10)
    assert len(plan.units) == 32
    assert column_values(plan, "x") == list(range(5000))


# Arrays


def test_npy_is_an_input_by_itself(tmp_path: Path) -> None:
    x = np.arange(22, dtype=">f4").reshape(11, 2)
    np.save(tmp_path / "a.npy", x)
    items = [item for item in read_all(plan_path(tmp_path / "a.npy", 3)) if isinstance(item, Record)]
    parser = ExampleParser([InputSpec("anything", "float32", (None, 2), "x")])
    np.testing.assert_array_equal([parser.parse(item.payload, item.position).inputs["anything"] for item in items], x)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": np.ones((2, 3)), "label": np.ones(3, int)}, r"differ in length \(x 2, label 3\)"),
        ({"x": np.array([1, "a", None], object)}, "holds Python objects"),
        ({"x": np.float32(1)}, "is a single value"),
        ({"x": np.asfortranarray(np.ones((2, 3)))}, "Fortran order; save np.ascontiguousarray"),
        ({}, "holds no .npy arrays"),
    ],
)
def test_arrays_that_cannot_be_read_by_rows(content: dict[str, np.ndarray], reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(InputError, match=reason):
        plan_path(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_named_arrays_of_a_training_and_a_test_set_are_read(save: Any, tmp_path: Path) -> None:
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5) % 3
    save(tmp_path / "a.npz", x_train=np.zeros((8, 2)), y_train=np.zeros(8, int), x_test=x, y_test=y[:, None])
    spec = RecordSpec(features={"anything": "x_test"}, label_feature="y_test")
    parser = ExampleParser([InputSpec("anything", "float32", (None, 2), "x")], spec)
    plan = make_plan(find_files([f"{tmp_path}/a.npz"]), 2, ["x_test", "y_test"])
    examples = [parser.parse(item.payload, item.position) for item in read_all(plan) if isinstance(item, Record)]
    np.testing.assert_array_equal([example.inputs["anything"] for example in examples], x)
    assert [example.label for example in examples] == y.tolist()
    for names in ((), ("x_test", "y_train")):
        with pytest.raises(
            InputError, match=r"x_test 5, y_test 5\); choose .* --feature INPUT=x_test --label_feature y_test"
        ):
            make_plan(find_files([f"{tmp_path}/a.npz"]), 2, names)


def test_npy_of_other_content_is_another_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    one = plan_path(tmp_path / "a.npy").fingerprint
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert plan_path(tmp_path / "a.npy").fingerprint != one


@pytest.mark.parametrize("name", ["a.npz", "a_.npz"])
def test_arrays_are_read_in_blocks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[name](tmp_path / name, ROWS)
    whole = list(map(comparable, read_all(plan_path(path, 5))))
    monkeypatch.setattr(
        arrays, "_BLOCK_BYTES", 2 * sum(value.nbytes // 11 for value in format_writers.to_arrays(ROWS).values())
    )
    assert list(map(comparable, read_all(plan_path(path, 5)))) == whole


def test_an_array_that_ends_early_keeps_its_whole_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-20])  # a row and a part of one
    items = read_all(plan_path(tmp_path / "a.npy"))
    assert [isinstance(item, Record) for item in items] == [True, True, True, False, False]
    assert "the file ends before the array does" in str(items[3])


@pytest.mark.parametrize("name", ["a.npz", "a_.npz"])
def test_a_damaged_npz(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, ROWS)
    plan = plan_path(path)
    format_writers.damage(path, format_writers.member_offset(path, "label.npy"), b"\0" * 100)
    items = read_all(plan)
    assert len(items) == 11
    assert all(isinstance(item, Failure) for item in items)


# Pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, one of them with a sub-folder, and an empty one."""
    for i, name in enumerate(["b/2.png", "b/1.jpg", "a/x.gif", "a/deep/y.bmp", "b/10.PNG"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 5, 3), 40 * i, np.uint8)
        if path.suffix in (".gif", ".bmp"):
            from PIL import Image

            Image.fromarray(pixels).save(path)
        else:
            encode = tf.io.encode_jpeg if path.suffix == ".jpg" else tf.io.encode_png
            path.write_bytes(encode(pixels).numpy())
    (tmp_path / "photos" / "c").mkdir()
    (tmp_path / "photos" / ".hidden").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_a_folder_of_pictures_is_labelled_as_keras_does(photos: Path) -> None:
    plan = plan_path(photos, 2)
    dataset = tf.keras.utils.image_dataset_from_directory(
        photos, shuffle=False, batch_size=None, verbose=False, image_size=(4, 5)
    )
    assert plan.class_names == tuple(dataset.class_names) == ("a", "b", "c")
    keras = {
        str(Path(p).relative_to(photos)): int(label) for p, (_, label) in zip(dataset.file_paths, dataset, strict=True)
    }
    parser = ExampleParser(
        [InputSpec("input_1", "float32", (None, 4, 5, 3), "x")], RecordSpec(class_names=("a", "b", "c"))
    )
    ours = [parser.parse(item.payload, item.position) for item in read_all(plan) if isinstance(item, Record)]
    assert {example.id: example.label for example in ours} == keras
    assert [example.id for example in ours] == sorted(keras)
    assert {example.id: example.inputs["input_1"][0, 0, 0] for example in ours}["a/deep/y.bmp"] == 120


def test_pictures_by_pattern(photos: Path) -> None:
    positions = lambda plan: [item.position for item in read_all(plan) if isinstance(item, Record)]  # noqa: E731
    assert positions(plan_path(f"{photos}/*/*.png")) == ["b/2.png"]
    assert positions(plan_path(f"{photos}/[ab]")) == positions(plan_path(photos))
    one = plan_path(photos / "b" / "2.png")
    assert (positions(one), one.class_names) == (["2.png"], None)
    both = make_plan(find_files([f"{photos}/a", f"{photos}/b"]), 2)
    assert positions(both) == ["a/deep/y.bmp", "a/x.gif", "b/1.jpg", "b/10.PNG", "b/2.png"]


def test_the_fingerprint_depends_on_size_and_time_of_pictures(photos: Path) -> None:
    one = plan_path(photos).fingerprint
    assert plan_path(photos, 1).fingerprint == one
    (photos / "b" / "2.png").write_bytes((photos / "b" / "10.PNG").read_bytes())
    other = plan_path(photos).fingerprint
    assert other != one
    os.utime(photos / "b" / "2.png", (1, 1))  # other content of the same size
    assert plan_path(photos).fingerprint != other


def test_files_that_are_not_pictures_lose_only_themselves(photos: Path) -> None:
    plan = plan_path(photos, 2)
    (photos / "a" / "x.gif").write_bytes(b"")
    (photos / "b" / "1.jpg").write_bytes(b"<html>")
    (photos / "b" / "10.PNG").unlink()
    items = read_all(plan)
    assert [(i.example_id, i.message) for i in items if isinstance(i, Failure)] == [
        ("a/x.gif", "is empty"),
        ("b/1.jpg", "is not PNG, JPEG, GIF or BMP"),
        ("b/10.PNG", "cannot be read: No such file or directory"),
    ]
    assert len(items) == 5


# Remote files


def upload(path: Path, url: str) -> None:
    """Copy a file or folder to s3://."""
    import s3fs

    s3fs.S3FileSystem().put(str(path), url, recursive=path.is_dir())


def test_every_format_is_read_from_s3(file: Path, bucket: str) -> None:
    local_items = list(map(comparable, read_all(plan_path(file))))
    upload(file, f"{bucket}/in/{file.name}")
    for pattern in (f"{bucket}/in/{file.name}", f"{bucket}/in/*", f"{bucket}/in", f"{bucket}/in/"):
        assert list(map(comparable, read_all(plan_path(pattern)))) == local_items
    assert plan_path(f"{bucket}/in").fingerprint == plan_path(f"{bucket}/in", 3).fingerprint
    with pytest.raises(InputError, match="no file matches"):
        plan_path(f"{bucket}/in/none*")


def test_the_fingerprint_of_a_remote_file_depends_on_its_content(bucket: str, tmp_path: Path) -> None:
    fingerprints = []
    for content in (b"a\n1\n", b"a\n2\n", b"a\n1\n"):
        upload(format_writers.write(tmp_path / "a.csv", content), f"{bucket}/a.csv")
        fingerprints.append(plan_path(f"{bucket}/a.csv").fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_remote_files_are_planned_concurrently(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        upload(format_writers.write_parquet(tmp_path / f"{i}.parquet", ROWS), f"{bucket}/{i}.parquet")
    plan_source, barrier = planning._plan_source, threading.Barrier(6)

    def wait(*arguments: Any, **options: Any) -> Any:
        barrier.wait(300)
        return plan_source(*arguments, **options)

    monkeypatch.setattr(planning, "_plan_source", wait)
    assert [(unit.id_prefix, unit.first) for unit in plan_path(f"{bucket}/*", 6).units] == [
        (str(i), first) for i in range(6) for first in (0, 6)
    ]


def test_remote_pictures_are_labelled_by_their_folders(photos: Path, bucket: str) -> None:
    local = plan_path(photos)
    upload(photos, f"{bucket}/photos")
    remote = plan_path(f"{bucket}/photos")
    items = read_all(remote)
    assert [item.position for item in items if isinstance(item, Record)] == [
        path for unit in local.units for path in unit.pictures
    ]
    assert list(map(comparable, items)) == list(map(comparable, read_all(local)))
    assert remote.class_names == ("a", "b")  # an object store has no empty folders


def test_a_bucket_that_does_not_exist(bucket: str) -> None:
    with pytest.raises(InputError, match=r"no file matches|cannot list"):
        plan_path(f"{bucket}-none/a.csv")


def test_a_scheme_without_filesystem() -> None:
    with pytest.raises(ParameterError, match="there is no filesystem nowhere://"):
        plan_path("nowhere://bucket/a.csv")


@pytest.fixture
def hdfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that Beam's filesystem shows as hdfs:// while the test runs."""
    root = tmp_path / "hdfs"
    root.mkdir()

    class FakeHdfs(LocalFileSystem):
        @classmethod
        def scheme(cls) -> str:
            return "hdfs"

        @staticmethod
        def _local(path: str) -> str:
            return path.replace("hdfs:/", str(root), 1)

        def match(self, patterns: list[str], limits: Any = None) -> list[MatchResult]:
            results = LocalFileSystem.match(self, [self._local(pattern) for pattern in patterns], limits)
            for result in results:
                result.metadata_list = [
                    FileMetadata(m.path.replace(str(root), "hdfs:/", 1), m.size_in_bytes, m.last_updated_in_seconds)
                    for m in result.metadata_list
                ]
            return results

        def open(self, path: str, *args: Any, **options: Any) -> Any:
            return super().open(self._local(path), *args, **options)

        def exists(self, path: str) -> bool:
            return super().exists(self._local(path))

        def checksum(self, path: str) -> str:
            return super().checksum(self._local(path))

    monkeypatch.setattr(FileSystem, "get_all_subclasses", classmethod(lambda cls: [FakeHdfs]))
    return root


def test_hdfs_is_read_through_beam(file: Path, hdfs: Path) -> None:
    local_items = list(map(comparable, read_all(plan_path(file))))
    (hdfs / "in").mkdir()
    file.rename(hdfs / "in" / file.name)
    for pattern in (f"hdfs://in/{file.name}", "hdfs://in/*", "hdfs://in"):
        assert list(map(comparable, read_all(plan_path(pattern)))) == local_items
    assert plan_path("hdfs://in").fingerprint == plan_path("hdfs://in", 3).fingerprint
    with pytest.raises(InputError, match="no file matches"):
        plan_path("hdfs://in/none*")


def test_hdfs_without_an_address_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.io.hadoopfilesystem import HadoopFileSystem

    monkeypatch.setattr("apache_beam.io.hadoopfilesystem.hdfs", object())
    monkeypatch.setattr(FileSystem, "get_all_subclasses", classmethod(lambda cls: [HadoopFileSystem]))
    beam_hdfs.configure([])
    with pytest.raises(InputError, match="hdfs_host is not set; give --hdfs_host, --hdfs_port and --hdfs_user"):
        plan_path("hdfs://in/a.csv")


# Folders


def test_a_folder_stands_for_its_files_of_a_known_format(tmp_path: Path) -> None:
    folder = tmp_path / "table.parquet"
    folder.mkdir()
    for i in range(2):
        format_writers.write_parquet(folder / f"part-{i}.parquet", ROWS)
    (folder / "_SUCCESS").write_text("")
    (folder / "_metadata.parquet").write_text("")
    (folder / ".part-0.parquet.crc").write_text("")
    (folder / ".part-2.parquet").write_text("")
    (folder / ".staging").mkdir()
    (folder / ".staging" / "part-3.parquet").write_text("")
    assert plan_path(folder).record_count == 22
    format_writers.write(folder / "notes.csv", b"a\n1\n")
    assert plan_path(folder, format="parquet").record_count == 22
    assert plan_path(folder).formats == ("csv", "parquet")


def test_every_format_of_the_table_is_tested() -> None:
    written = {format_writers.format_of(name) for name in WRITERS}
    assert written | format_writers.FOLDERS == set(FORMATS)


def test_every_format_of_the_table_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"\n| `{name}` |" not in text] == []


# TensorFlow Datasets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with two splits, one of them in two files."""
    tfds = pytest.importorskip("tensorflow_datasets", reason="reads tfds directories only where it is installed")
    rng = np.random.default_rng(0)

    def split(n: int) -> list[dict[str, Any]]:
        return [
            {"image": rng.integers(0, 255, (8, 8, 3), np.uint8), "label": i % 2, "box": rng.random((2, 2))}
            for i in range(n)
        ]

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "box": tfds.features.Tensor(shape=(2, 2), dtype=np.float64),
        }
    )
    root = tmp_path_factory.mktemp("tfds")
    splits = {name: list(enumerate(split(n))) for name, n in (("train", 7), ("test", 3))}
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=features,
        data_dir=root,
        split_datasets=splits,
        download_config=tfds.download.DownloadConfig(num_shards=2),
    )
    return Path(builder.data_path)


def test_a_prepared_dataset(prepared: Path) -> None:
    plan = plan_path(prepared, 2)
    assert (plan.formats, plan.class_names, plan.record_count) == (("tfds",), ("cat", "dog"), 10)
    items = [item.payload for item in read_all(plan) if isinstance(item, Record)]
    assert len(items) == 10
    for item in items:
        assert isinstance(item, dict)
        assert bytes(item["image"]).startswith(b"\x89PNG")
        assert item["box"].shape == (2, 2)
    parser = ExampleParser([InputSpec("image", "float32", (None, 8, 8, 3), "x")])
    assert sorted(parser.parse(item, "").label for item in items) == [0] * 6 + [1] * 4  # type: ignore[type-var]
    assert [u.id for u in plan_path(prepared, 2).units] == [u.id for u in plan.units]


def test_a_prepared_dataset_needs_its_package(prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from beam_pipelines.reading.formats import tfds

    tfds._builder.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="pip install tensorflow-datasets"):
        plan_path(prepared)
    with pytest.raises(
        InputError, match="expected a prepared TensorFlow Datasets directory, which has the files dataset_info"
    ):
        plan_path(tmp_path, format="tfds")


# Memory

_MEASURE = r"""
import pathlib, re, sys
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
import beam_pipelines.reading.formats.csv, beam_pipelines.reading.formats.parquet, beam_pipelines.reading.formats.arrays
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024
for small, large in zip(sys.argv[1::2], sys.argv[2::2]):
    grown = []
    for path in (small, large):
        before = peak()
        plan = make_plan(find_files([path]), 10_000)
        planned = peak() - before
        n = sum(1 for unit in plan.units for _ in read_records(unit))
        grown.append((n, planned, peak() - before))
    print(large.rsplit("/")[-1], *grown)
    assert grown[1][2] < 16, (large, grown)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """A file 20 times as large, of some 65 MB, adds less than 16 MiB to the peak, in planning and in reading."""
    rng = np.random.default_rng(0)
    pairs: list[str] = []
    for name in ("a.jsonl", "a.csv", "a.tfrecord.gz", "a.parquet", "a.npz", "a_.npz"):
        for n in (500, 10_000):
            path = tmp_path / str(n) / name
            path.parent.mkdir(exist_ok=True)
            x = rng.integers(0, 256, (n, 1700 if "." in name else 1), np.uint8)
            if name.endswith("npz"):
                (np.savez if name == "a.npz" else np.savez_compressed)(path, x=x.astype(np.float32))
            elif name == "a.parquet":
                wide = pa.FixedSizeListArray.from_arrays(pa.array(x.astype(np.float32).ravel()), 1700)
                pq.write_table(pa.table({"x": wide}), path, row_group_size=n, compression="none", use_dictionary=False)
            elif "tfrecord" in name:
                write_records(path, [row.tobytes() * 4 for row in x], "GZIP")
            elif name == "a.csv":
                path.write_bytes(b"x,y\n" + b"".join(b'"' + row.tobytes().hex().encode() * 2 + b'\n",1\n' for row in x))
            else:
                path.write_bytes(b"".join(b'{"x": "' + row.tobytes().hex().encode() * 2 + b'"}\n' for row in x))
            pairs.append(str(path))
    done = subprocess.run([sys.executable, "-c", _MEASURE, *pairs], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-1000:]


def test_a_value_that_cannot_be_read_loses_only_its_row(tmp_path: Path) -> None:
    names = pa.Array.from_buffers(
        pa.utf8(), 3, [None, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a\xe9c")]
    )
    pq.write_table(pa.table({"x": [[1.0, 2.0, 3.0, 4.0]] * 3, "name": names}), tmp_path / "a.parquet")
    items = [record for unit in plan_path(tmp_path / "a.parquet").units for record in read_records(unit)]
    assert [type(record) for record in items] == [Record, Failure, Record]
    assert "its column 'name' of type string cannot be read (it is not UTF-8: " in items[1].message  # type: ignore[union-attr]


def test_an_id_that_is_not_valid_unicode(exported: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [b'{"x": [1, 2, 3, 4], "id": "\\ud800"}', b'{"x": [1, 2, 3, 4], "id": "b"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(tmp_path / "a.jsonl") == 0
    assert run.store.index.column("example_id").unique().to_pylist() == ["?", "b"]
