"""Every format: each record once, units that stand alone and never change, and damage that is told and costs no more than itself."""

from __future__ import annotations

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
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata, FileSystem, MatchResult
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_pipelines.reading import formats
from beam_pipelines.reading.example_parser import Parser
from beam_pipelines.reading.formats import FORMATS, Plan, Record, arrays, csv, find_files, lines, plan, read
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.model_graph import InputSpec
from tb_deepexplain.store.records import Failure
from tests.pipeline_runs import Run, write_records
from tests.reading import format_writers
from tests.reading.format_writers import WRITERS

ROWS = format_writers.rows(11)
PARSE = Parser([InputSpec("x", "float32", (None, 4), "x")])


def planned(path: Path | str, size: int = 4, format: str | None = None) -> Plan:  # noqa: A002
    return plan(find_files([str(path)], format), size)


def everything(found: Plan) -> list[Record | Failure]:
    return [item for unit in found.units for item in read(unit)]


def plain(item: Record | Failure) -> Any:
    """What can be compared."""
    if isinstance(item, Failure) or isinstance(item.payload, bytes):
        return item
    return item.position, {k: np.asarray(v).tolist() for k, v in item.payload.items()}


def texts(found: Plan, column: str) -> list[Any]:
    """The column's values, None for failures."""
    return [
        item.payload[column] if isinstance(item, Record) and not isinstance(item.payload, bytes) else None
        for item in everything(found)
    ]


@pytest.fixture(params=WRITERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / request.param, ROWS)


def test_every_record_comes_once_in_order_under_the_same_id(file: Path) -> None:
    first = None
    for size in (1, 3, 11, 100):
        found = everything(planned(file, size))
        assert [item.position for item in found if isinstance(item, Record)] == [
            f"{file.name.split('.')[0]}:{i:06d}" for i in range(11)
        ]
        parsed = [PARSE(item.payload, item.position) for item in found if isinstance(item, Record)]
        np.testing.assert_array_equal([p.inputs["x"] for p in parsed], [row["x"] for row in ROWS])
        assert [(p.id, p.label) for p in parsed] == [(row["id"], row["label"]) for row in ROWS]
        first = first or list(map(plain, found))
        assert list(map(plain, found)) == first


def test_units_are_the_same_every_time_and_stand_alone(file: Path) -> None:
    found = planned(file, 3)
    assert planned(file, 3) == found
    assert [unit.id for unit in found.units] == [f"00000-{i:05d}" for i in range(len(found.units))]
    assert sum(unit.count for unit in found.units) == found.records == 11
    if "gz" not in file.name and "_" not in file.name:
        assert max(unit.count for unit in found.units) == 3
    together = {item.position if isinstance(item, Record) else "": plain(item) for item in everything(found)}
    for unit in reversed(found.units):  # as other processes get them
        for item in read(pickle.loads(pickle.dumps(unit))):
            assert isinstance(item, Record)
            assert plain(item) == together.pop(item.position)
    assert not together


def test_the_fingerprint_is_of_the_content(file: Path, tmp_path: Path) -> None:
    one = planned(file).fingerprint
    assert planned(file, 7).fingerprint == one
    changed = [*ROWS[:5], {**ROWS[5], "x": ROWS[5]["x"] + 1 / 4}, *ROWS[6:]]
    WRITERS[file.name](file, changed)
    assert planned(file).fingerprint != one


def test_a_file_of_another_name_is_another_input(file: Path) -> None:
    one = planned(file).fingerprint  # examples without an id of their own are named by their file
    assert planned(file.rename(file.with_name(f"b{file.name[1:]}"))).fingerprint != one


def test_a_file_without_its_suffix_is_known_by_its_content(file: Path) -> None:
    expected = planned(file).formats
    if expected == ("csv",):
        other = file.rename(file.with_name("nameless"))
        with pytest.raises(InputError, match="name one with --format"):
            planned(other)
        assert planned(other, format="csv").records == 11
        return
    assert planned(file.rename(file.with_name("nameless.gz" if "gz" in file.name else "nameless"))).formats == expected


def test_a_file_that_ends_early_loses_no_record_silently(file: Path) -> None:
    found = planned(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    items = everything(found)
    assert len(items) == 11
    assert any(isinstance(item, Failure) for item in items)


@pytest.mark.parametrize("name", [*WRITERS, "a.npy"])
def test_a_damaged_file_beside_a_good_one_is_one_failure_and_alone_it_is_refused(name: str, tmp_path: Path) -> None:
    format_writers.write(tmp_path / "b.jsonl", format_writers.lines(ROWS))
    broken = tmp_path / name
    content = b"\xff\xfe{ this is nothing" * 10
    broken.write_bytes(gzip.compress(content)[:-9] if name.endswith(".gz") else content)
    if "jsonl" not in name:  # where each line is a record
        with pytest.raises(InputError, match=rf"{name}: "):
            planned(broken)
    items = everything(planned(tmp_path / "*"))
    assert sum(isinstance(item, Record) for item in items) == 11
    assert [item.stage for item in items if isinstance(item, Failure)] == ["read"]


def test_a_file_that_cannot_be_opened_is_an_error_of_the_run(file: Path) -> None:
    found = planned(file)
    file.unlink()
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        everything(found)


# CSV


def test_csv_quotes(tmp_path: Path) -> None:
    fields = ['a "b" c', 'say "x"\nand go', 'x\r\ny,"', "", "\n\n", '"', "größer", 'end"', "\u2028\x0b"]
    path = format_writers.write(
        tmp_path / "a.csv", format_writers.table([{"text": f, "n": i} for i, f in enumerate(fields)])
    )
    for size in (1, 2, 100):
        assert texts(planned(path, size), "text") == fields


def test_csv_blank_lines_byte_order_mark_semicolons_and_no_end(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'\xef\xbb\xbf"a";b\r\n\r\n1;2,5\r\n\n3;4\n\r\n5;6')
    for size in (1, 2, 100):
        found = planned(path, size)
        assert texts(found, "a") == ["1", "3", "5"]
        assert texts(found, "b") == ["2,5", "4", "6"]
        assert found.records == 3


def test_a_quote_within_an_unquoted_field_is_a_character(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'a,b\n5" pipe,1\n6" pipe,2\n')
    assert texts(planned(path, 1), "a") == ['5" pipe', '6" pipe']


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1,2,3\n", "it has 3 fields; the header has 2"),
        (b"1\n", "it has 1 fields"),
        (b'"a"b,2\n', "it is not CSV"),
        (b"\xff,2\n", "it is not UTF-8"),
    ],
)
def test_a_damaged_csv_record_costs_itself(bad: bytes, reason: str, tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b"a,b\n1,1\n" + bad + b"3,3\n")
    for size in (1, 100):
        items = everything(planned(path, size))
        assert texts(planned(path, size), "a") == ["1", None, "3"]
        assert isinstance(items[1], Failure)
        assert (items[1].example_id, items[1].stage) == ("a:000001", "read")
        assert reason in items[1].message


def test_a_quote_that_is_never_closed_is_one_failure(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b'a,b\n1,1\n"2,2\n' + b"3,3\n" * 100)
    found = planned(path, 1)
    assert texts(found, "a") == ["1", None]


def test_a_record_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 50)
    long = b'"' + b"x\n" * 100 + b'",2\n'
    for path, expected in (
        (format_writers.write(tmp_path / "a.csv", b"a,b\n1,1\n" + long + b"3,3\n"), ["1", None, "3"]),
        (
            format_writers.write(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 300 + b'"}\n{"a": 3}\n'),
            [1, None, 3],
        ),
    ):
        assert texts(planned(path, 1), "a") == expected
        assert " longer than " in str(everything(planned(path))[1])


@pytest.mark.parametrize(("header", "reason"), [(b"a,b,a\n1,2,3\n", "names a twice"), (b"\xff,b\n1,2\n", "not UTF-8")])
def test_a_csv_header_that_cannot_be_used(header: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        planned(format_writers.write(tmp_path / "a.csv", header))


def test_a_csv_of_a_header_alone_holds_nothing(tmp_path: Path) -> None:
    assert planned(format_writers.write(tmp_path / "a.csv", b"a,b\n")).records == 0
    assert csv.csv.field_size_limit() == lines.LONGEST  # Python's own is 128 kB


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
def test_a_damaged_line_costs_itself(bad: bytes, reason: str, tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n' + bad + b'\r\n\r\n{"a": 3}')
    for size in (1, 100):
        assert texts(planned(path, size), "a") == [1, None, 3]
    failure = everything(planned(path))[1]
    assert isinstance(failure, Failure)
    assert reason in failure.message
    assert failure.example_id == "a:000001"


# Parquet


def test_parquet_columns_keep_their_axes(tmp_path: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(2, 3, 2))
    found = pa.table(
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
    pq.write_table(found, tmp_path / "a.parquet")
    one, two = (item.payload for item in everything(planned(tmp_path / "a.parquet")) if isinstance(item, Record))
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["nested"].tolist() == [[1, 2], [3, 4]]
    assert [a.tolist() for a in one["ragged"]] == [[1], [2, 3]]
    assert one["fixed"].dtype == np.float32
    assert two["tensor"].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert (one["picture.bytes"], two["picture.bytes"]) == (b"\x89PNG\x00", None)
    assert (one["word"], two["word"]) == ("größer", None)
    assert one["holes"] == [1, None]
    assert two["holes"].tolist() == [2, 3]


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = format_writers.write_parquet(tmp_path / "a.parquet", ROWS)
    column = pq.read_metadata(path).row_group(2).column(0)
    format_writers.damage(path, column.data_page_offset + 30, b"\xff" * 10)
    for size in (2, 100):
        items = everything(planned(path, size))
        assert [i for i, item in enumerate(items) if isinstance(item, Failure)] == [4, 5]
        assert "row group 2 cannot be decoded" in str(items[4])


def test_a_byte_that_changed_in_a_page_is_damage_even_if_it_can_be_decoded(tmp_path: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"x": np.arange(4)}), tmp_path / "a.parquet", row_group_size=2, **plain)
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(1).column(0)
    end = column.data_page_offset + column.total_compressed_size
    path = format_writers.damage(tmp_path / "a.parquet", end - 8, b"\x07")
    assert texts(planned(path), "x") == [0, 1, None, None]


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        (None, ["x", "label", "id"]),
        ("s.y", ["s.y", "label", "id"]),
        ("s", ["s.y", "s.z", "label", "id"]),  # is in no row by itself, and an error names what is there
        ("label,n", ["label", "n", "id"]),
        ("q", ["x", "label", "n", "id", "s.y", "s.z"]),
    ],
)
def test_only_the_columns_that_a_model_looks_at_are_read(
    tmp_path: Path, feature: str | None, columns: list[str]
) -> None:
    found = {"x": [[1.0] * 4], "label": [1], "n": [2], "id": ["i"], "s": [{"y": [1.0] * 4, "z": 2}]}
    pq.write_table(pa.table(found), tmp_path / "a.parquet")
    (unit,) = planned(tmp_path / "a.parquet").units
    parser = Parser(PARSE.specs, renamed={"x": feature} if feature else {})
    (record,) = read(unit, parser.columns)
    assert isinstance(record, Record)
    assert set(record.payload) == set(columns)
    assert Parser(PARSE.specs, preprocess=dict).columns is None


def test_damage_in_a_column_that_no_model_looks_at_is_not_met(tmp_path: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    rows = pa.table({"y": [[float(i)] * 4 for i in range(4)], "other": np.arange(4)})
    pq.write_table(rows, tmp_path / "a.parquet", **plain)
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(1)
    format_writers.damage(tmp_path / "a.parquet", column.data_page_offset + column.total_compressed_size - 8, b"\x07")
    (unit,) = planned(tmp_path / "a.parquet").units
    parser = Parser(PARSE.specs, renamed={"x": "y"})
    assert [isinstance(record, Record) for record in read(unit, parser.columns)] == [True] * 4
    assert [isinstance(record, Record) for record in read(unit)] == [False] * 4


def test_row_groups_that_fit_into_a_unit_stay_whole(tmp_path: Path) -> None:
    path = format_writers.write_parquet(tmp_path / "a.parquet", ROWS, 3)
    assert [(u.first, u.count) for u in planned(path, 5).units] == [(0, 3), (3, 3), (6, 5)]
    assert [(u.first, u.count) for u in planned(path, 6).units] == [(0, 6), (6, 5)]


def test_a_row_group_larger_than_a_unit_is_cut_a_few_times(tmp_path: Path) -> None:
    many = pa.table({"x": np.arange(5000)})
    pq.write_table(many, tmp_path / "a.parquet", row_group_size=3000)
    assert [(u.first, u.count) for u in planned(tmp_path / "a.parquet", 1000).units] == [
        (0, 1000), (1000, 1000), (2000, 1000), (3000, 1000), (4000, 1000)
    ]  # fmt: skip
    found = planned(tmp_path / "a.parquet", 10)
    assert len(found.units) == 32
    assert texts(found, "x") == list(range(5000))


# Arrays


def test_npy_is_an_input_by_itself(tmp_path: Path) -> None:
    x = np.arange(22, dtype=">f4").reshape(11, 2)
    np.save(tmp_path / "a.npy", x)
    found = [item for item in everything(planned(tmp_path / "a.npy", 3)) if isinstance(item, Record)]
    parse = Parser([InputSpec("anything", "float32", (None, 2), "x")])
    np.testing.assert_array_equal([parse(item.payload, item.position).inputs["anything"] for item in found], x)


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
        planned(tmp_path / "a.npz")


def test_npy_of_other_content_is_another_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    one = planned(tmp_path / "a.npy").fingerprint
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert planned(tmp_path / "a.npy").fingerprint != one


@pytest.mark.parametrize("name", ["a.npz", "a_.npz"])
def test_arrays_are_read_in_blocks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[name](tmp_path / name, ROWS)
    whole = list(map(plain, everything(planned(path, 5))))
    monkeypatch.setattr(arrays, "_BLOCK", 2 * sum(value.nbytes // 11 for value in format_writers.arrays(ROWS).values()))
    assert list(map(plain, everything(planned(path, 5)))) == whole


def test_an_array_that_ends_early_keeps_its_whole_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-20])  # a row and a part of one
    items = everything(planned(tmp_path / "a.npy"))
    assert [isinstance(item, Record) for item in items] == [True, True, True, False, False]
    assert "the file ends before the array does" in str(items[3])


@pytest.mark.parametrize("name", ["a.npz", "a_.npz"])
def test_a_damaged_npz(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, ROWS)
    found = planned(path)
    format_writers.damage(path, format_writers.member_offset(path, "label.npy"), b"\0" * 100)
    items = everything(found)
    assert len(items) == 11
    assert all(isinstance(item, Failure) for item in items)


# Pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, one of them in two folders, and one that is empty."""
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
    found = planned(photos, 2)
    dataset = tf.keras.utils.image_dataset_from_directory(
        photos, shuffle=False, batch_size=None, verbose=False, image_size=(4, 5)
    )
    assert found.labels == tuple(dataset.class_names) == ("a", "b", "c")
    keras = {
        str(Path(p).relative_to(photos)): int(label) for p, (_, label) in zip(dataset.file_paths, dataset, strict=True)
    }
    parse = Parser([InputSpec("input_1", "float32", (None, 4, 5, 3), "x")], labels={"a": 0, "b": 1, "c": 2})
    ours = [parse(item.payload, item.position) for item in everything(found) if isinstance(item, Record)]
    assert {example.id: example.label for example in ours} == keras
    assert [example.id for example in ours] == sorted(keras)
    assert {example.id: example.inputs["input_1"][0, 0, 0] for example in ours}["a/deep/y.bmp"] == 120


def test_pictures_by_pattern(photos: Path) -> None:
    positions = lambda found: [item.position for item in everything(found) if isinstance(item, Record)]  # noqa: E731
    assert positions(planned(f"{photos}/*/*.png")) == ["b/2.png"]
    assert positions(planned(f"{photos}/[ab]")) == positions(planned(photos))
    one = planned(photos / "b" / "2.png")
    assert (positions(one), one.labels) == (["2.png"], None)
    both = plan(find_files([f"{photos}/a", f"{photos}/b"]), 2)
    assert positions(both) == ["a/deep/y.bmp", "a/x.gif", "b/1.jpg", "b/10.PNG", "b/2.png"]


def test_pictures_that_changed_are_another_input(photos: Path) -> None:
    one = planned(photos).fingerprint
    assert planned(photos, 1).fingerprint == one
    (photos / "b" / "2.png").write_bytes((photos / "b" / "10.PNG").read_bytes())
    other = planned(photos).fingerprint
    assert other != one
    os.utime(photos / "b" / "2.png", (1, 1))  # other content of the same size
    assert planned(photos).fingerprint != other


def test_pictures_that_are_none_cost_themselves(photos: Path) -> None:
    found = planned(photos, 2)
    (photos / "a" / "x.gif").write_bytes(b"")
    (photos / "b" / "1.jpg").write_bytes(b"<html>")
    (photos / "b" / "10.PNG").unlink()
    items = everything(found)
    assert [(i.example_id, i.message) for i in items if isinstance(i, Failure)] == [
        ("a/x.gif", "is empty"),
        ("b/1.jpg", "is no PNG, JPEG, GIF or BMP"),
        ("b/10.PNG", "cannot be read: No such file or directory"),
    ]
    assert len(items) == 5


# Files that are not on this machine


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Beam finds under far:// while the test runs; no file can be opened there but through Beam."""
    root = tmp_path / "there"
    root.mkdir()

    class Far(LocalFileSystem):
        @classmethod
        def scheme(cls) -> str:
            return "far"

        @staticmethod
        def _near(path: str) -> str:
            return path.replace("far:/", str(root), 1)

        def match(self, patterns: list[str], limits: Any = None) -> list[MatchResult]:
            found = LocalFileSystem.match(self, [self._near(p) for p in patterns], limits)
            for result in found:
                result.metadata_list = [
                    FileMetadata(m.path.replace(str(root), "far:/", 1), m.size_in_bytes, m.last_updated_in_seconds)
                    for m in result.metadata_list
                ]
            return found

        def open(self, path: str, *args: Any, **options: Any) -> Any:
            return super().open(self._near(path), *args, **options)

        def exists(self, path: str) -> bool:
            return super().exists(self._near(path))

        def checksum(self, path: str) -> str:
            return super().checksum(self._near(path))

    monkeypatch.setattr(FileSystem, "get_all_subclasses", classmethod(lambda cls: [Far]))
    return root


def test_any_format_is_read_through_beams_filesystems(file: Path, far: Path) -> None:
    here = everything(planned(file))
    (far / "in").mkdir()
    file.rename(far / "in" / file.name)
    for pattern in (f"far://in/{file.name}", "far://in/*", "far://in"):
        assert list(map(plain, everything(planned(pattern)))) == list(map(plain, here))
    assert planned("far://in").fingerprint == planned("far://in", 3).fingerprint
    with pytest.raises(InputError, match="no file matches"):
        planned("far://in/none*")


def test_files_from_afar_are_planned_many_at_once(far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        format_writers.write_parquet(far / f"{i}.parquet", ROWS)
    real, met = formats._plan_source, threading.Barrier(6)

    def wait(*arguments: Any, **options: Any) -> Any:
        met.wait(30)
        return real(*arguments, **options)

    monkeypatch.setattr(formats, "_plan_source", wait)
    assert [(unit.source, unit.first) for unit in planned("far://*", 6).units] == [
        (str(i), first) for i in range(6) for first in (0, 6)
    ]


def test_pictures_from_afar_are_labelled_by_their_folders(photos: Path, far: Path) -> None:
    here = planned(photos)
    photos.rename(far / "photos")
    found = planned("far://photos")
    assert list(map(plain, everything(found))) == list(map(plain, everything(found)))
    assert [i.position for i in everything(found) if isinstance(i, Record)] == [n for u in here.units for n in u.names]
    assert found.labels == ("a", "b")  # an empty folder does not exist in an object store


def test_a_filesystem_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="Beam knows no filesystem for nowhere://; install the extra"):
        planned("nowhere://bucket/a.csv")


# Folders, and what is in none of the formats


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
    assert planned(folder).records == 22
    format_writers.write(folder / "notes.csv", b"a\n1\n")
    assert planned(folder, format="parquet").records == 22
    assert planned(folder).formats == ("csv", "parquet")


def test_every_format_of_the_table_is_tested() -> None:
    written = {find_suffix(name) for name in WRITERS}
    assert written | {"pictures", "tfds"} == set(FORMATS)


def find_suffix(name: str) -> str:
    return next(row.id for row in FORMATS.values() if name.removesuffix(".gz").endswith(row.suffixes))


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
    found = planned(prepared, 2)
    assert (found.formats, found.labels, found.records) == (("tfds",), ("cat", "dog"), 10)
    items = [item.payload for item in everything(found) if isinstance(item, Record)]
    assert len(items) == 10
    for item in items:
        assert isinstance(item, dict)
        assert bytes(item["image"]).startswith(b"\x89PNG")
        assert item["box"].shape == (2, 2)
    parse = Parser([InputSpec("image", "float32", (None, 8, 8, 3), "x")])
    assert sorted(parse(item, "").label for item in items) == [0] * 6 + [1] * 4  # type: ignore[type-var]
    assert [u.id for u in planned(prepared, 2).units] == [u.id for u in found.units]


def test_a_prepared_dataset_needs_its_package(prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from beam_pipelines.reading.formats import tfds

    tfds._builder.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="pip install tensorflow-datasets"):
        planned(prepared)
    with pytest.raises(InputError, match="no prepared dataset"):
        planned(tmp_path, format="tfds")


# Memory

_MEASURE = r"""
import pathlib, re, sys
from beam_pipelines.sources import find_files, plan, read
import beam_pipelines.sources.csv, beam_pipelines.sources.parquet, beam_pipelines.sources.arrays
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024
for small, large in zip(sys.argv[1::2], sys.argv[2::2]):
    grown = []
    for path in (small, large):
        before = peak()
        found = plan(find_files([path]), 10_000)
        planned = peak() - before
        n = sum(1 for unit in found.units for _ in read(unit))
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


def test_a_value_that_cannot_be_read_costs_its_row(tmp_path: Path) -> None:
    names = pa.Array.from_buffers(
        pa.utf8(), 3, [None, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a\xe9c")]
    )
    pq.write_table(pa.table({"x": [[1.0, 2.0, 3.0, 4.0]] * 3, "name": names}), tmp_path / "a.parquet")
    found = [record for unit in planned(tmp_path / "a.parquet").units for record in read(unit)]
    assert [type(record) for record in found] == [Record, Failure, Record]
    assert "a value cannot be read ('utf-8' codec" in found[1].message  # type: ignore[union-attr]


def test_an_id_that_no_file_can_hold(exported: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [b'{"x": [1, 2, 3, 4], "id": "\\ud800"}', b'{"x": [1, 2, 3, 4], "id": "b"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(tmp_path / "a.jsonl") == 0
    assert run.store.index.column("example_id").unique().to_pylist() == ["?", "b"]
