"""Work units over TFRecord files: the same units every time, every record once, and damage never silent."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.reading import formats
from beam_pipelines.reading.formats import Plan, Record, find_files, number_labels, read
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.records import Failure
from tests.pipeline_runs import write_records

PAYLOADS = [bytes([65 + i]) * (1 + 100 * i) for i in range(11)]


def records(path: Path, payloads: list[bytes] = PAYLOADS, compression: str = "") -> Path:
    return write_records(path, payloads, compression)


def plan(paths: list[str], unit_size: int) -> Plan:
    return formats.plan(find_files(paths), unit_size)


def everything(found: Plan) -> list[Record | Failure]:
    return [item for unit in found.units for item in read(unit)]


def frame(i: int) -> int:
    """Where record i begins."""
    return sum(16 + len(p) for p in PAYLOADS[:i])


@pytest.mark.parametrize("compression", ["", "GZIP"])
@pytest.mark.parametrize("size", [1, 3, 11, 100])
def test_every_record_comes_once_in_order(tmp_path: Path, compression: str, size: int) -> None:
    path = records(tmp_path / "a.tfrecord", compression=compression)
    found = everything(plan([str(path)], size))
    assert [r.payload for r in found if isinstance(r, Record)] == PAYLOADS
    assert [r.position for r in found if isinstance(r, Record)] == [f"a:{i:06d}" for i in range(11)]


def test_units_are_ranges_that_are_named_by_their_place(tmp_path: Path) -> None:
    files = [str(records(tmp_path / "a.tfrecord")), str(records(tmp_path / "b.gz", compression="GZIP"))]
    found = plan(files, 4)
    assert [(u.id, u.first, u.count, u.offset) for u in found.units] == [
        ("00000-00000", 0, 4, 0),
        ("00000-00001", 4, 4, frame(4)),
        ("00000-00002", 8, 3, frame(8)),
        ("00001-00000", 0, 11, 0),
    ]
    assert found.records == 22
    assert plan(files, 4) == found


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one = plan([str(records(tmp_path / "a.tfrecord"))], 4).fingerprint
    assert plan([str(records(tmp_path / "a.tfrecord"))], 7).fingerprint == one
    changed = [*PAYLOADS[:5], b"x" * len(PAYLOADS[5]), *PAYLOADS[6:]]  # the same lengths
    assert plan([str(records(tmp_path / "a.tfrecord", changed))], 4).fingerprint != one


def test_a_plain_file_whose_first_length_looks_like_gzip_is_plain(tmp_path: Path) -> None:
    length = struct.unpack("<H", b"\x1f\x8b")[0]
    path = records(tmp_path / "a.tfrecord", [b"x" * length, b"y"])
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert len(everything(plan([str(path)], 10))) == 2


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_damaged_payload_costs_one_record(tmp_path: Path, compression: str) -> None:
    path = records(tmp_path / "plain.tfrecord")
    content = bytearray(path.read_bytes())
    content[frame(3) + 12] ^= 1
    path.write_bytes(content)
    if compression:
        import gzip

        path.write_bytes(gzip.compress(bytes(content)))
    found = everything(plan([str(path)], 2))
    assert [r.payload for r in found if isinstance(r, Record)] == [p for i, p in enumerate(PAYLOADS) if i != 3]
    assert [r for r in found if isinstance(r, Failure)] == [
        Failure("plain:000003", "read", "DataLoss", "its checksum does not match")
    ]
    assert isinstance(found[3], Failure)


@pytest.mark.parametrize("cut", [1, 5, 12 + 300 + 2])
def test_a_file_that_is_cut_off_ends_in_an_error(tmp_path: Path, cut: int) -> None:
    path = records(tmp_path / "a.tfrecord")
    path.write_bytes(path.read_bytes()[: frame(3) + cut])
    for size in (1, 2, 3, 10):
        found = plan([str(path)], size)
        items = everything(found)
        assert found.records == len(items) == 4
        assert [r.payload for r in items if isinstance(r, Record)] == PAYLOADS[:3]
        last = items[-1]
        assert isinstance(last, Failure)
        assert last.example_id == "a:000003"
        assert "cut off" in last.message


def test_damage_makes_another_input_of_a_file(tmp_path: Path) -> None:
    path = records(tmp_path / "a.tfrecord")
    content, prints = path.read_bytes(), set()
    for end in (frame(3), frame(3) + 5, frame(3) + 14):  # the records that can be read are the same three
        path.write_bytes(content[:end])
        prints.add(plan([str(path)], 4).fingerprint)
    assert len(prints) == 3


def test_a_damaged_header_ends_the_file_in_an_error(tmp_path: Path) -> None:
    path = records(tmp_path / "a.tfrecord")
    content = bytearray(path.read_bytes())
    content[frame(5)] ^= 1
    path.write_bytes(content)
    items = everything(plan([str(path)], 4))
    assert len(items) == 6
    assert isinstance(items[5], Failure)
    assert "header of a record is damaged" in items[5].message


def test_a_gzip_file_that_is_cut_off_keeps_what_can_be_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = records(tmp_path / "a.gz", [rng.bytes(30_000) for _ in range(10)], "GZIP")
    path.write_bytes(path.read_bytes()[:200_000])
    found = plan([str(path)], 4)
    items = everything(found)
    assert found.records == len(items)
    assert sum(isinstance(r, Record) for r in items) == 6
    assert isinstance(items[-1], Failure)


@pytest.mark.parametrize("content", [b"hello, this is text", b"abc", b"\x1f\x8bnot gzip at all"])
def test_what_is_no_tfrecord_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tfrecord").write_bytes(content)
    with pytest.raises(InputError, match=r"not a TFRecord file|Unknown compression method"):
        plan([str(tmp_path / "a.tfrecord")], 4)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=r"of no format known .* --format: tfrecord, parquet"):
        plan([str(tmp_path / "a")], 4)


def test_an_empty_file_has_no_units(tmp_path: Path) -> None:
    assert plan([str(records(tmp_path / "a.tfrecord", []))], 4).units == ()


def test_files_of_one_name_in_two_folders_keep_their_ids_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        records(tmp_path / folder / "a.tfrecord")
    ids = {r.position for r in everything(plan([f"{tmp_path}/*/a.tfrecord"], 4)) if isinstance(r, Record)}
    assert len(ids) == 22
    assert "y/a.tfrecord:000010" in ids


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file matches"):
        find_files([f"{tmp_path}/*.tfrecord"])


def test_a_file_that_shrinks_after_planning_loses_no_record_silently(tmp_path: Path) -> None:
    path = records(tmp_path / "a.tfrecord")
    found = plan([str(path)], 4)
    path.write_bytes(path.read_bytes()[: frame(6)])
    items = everything(found)
    assert len(items) == 11
    assert sum(isinstance(r, Failure) for r in items) == 5


@pytest.mark.parametrize(
    ("own", "given", "names", "numbers"),
    [
        (None, None, None, {}),
        (None, "cat dog", "cat dog", {"cat": 0, "dog": 1}),
        ("cat dog", None, "cat dog", {"cat": 0, "dog": 1}),
        ("cat dog", "dog fish cat", "dog fish cat", {"dog": 0, "fish": 1, "cat": 2}),
        ("n01 n02", "cat dog", "cat dog", {"n01": 0, "n02": 1}),  # other names for the same classes, in their order
    ],
)
def test_class_names(own: str | None, given: str | None, names: str | None, numbers: dict[str, int]) -> None:
    split = lambda text: None if text is None else tuple(text.split())  # noqa: E731
    assert number_labels(Plan((), "", labels=split(own)), split(given)) == (split(names), numbers)


@pytest.mark.parametrize(
    ("given", "odd"), [(("cat",), "dog"), (("cat", "cow"), "dog"), (("a", "b", "c"), "cat, dog"), (("a",), "cat, dog")]
)
def test_class_names_that_are_not_those_of_the_source(given: tuple[str, ...], odd: str) -> None:
    with pytest.raises(InputError, match=f"the source has 2, and {odd} is not among --labels; name every class"):
        number_labels(Plan((), "", labels=("cat", "dog")), given)
