"""Work units of TFRecord files: planned alike every time, every record once, damage reported."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.work_unit import Plan, Record
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.records import Failure
from tests.pipeline_runs import write_records

PAYLOADS = [bytes([65 + i]) * (1 + 100 * i) for i in range(11)]


def write_tfrecord(path: Path, payloads: list[bytes] = PAYLOADS, compression: str = "") -> Path:
    return write_records(path, payloads, compression)


def plan_paths(paths: list[str], unit_size: int) -> Plan:
    return make_plan(find_files(paths), unit_size)


def read_all(plan: Plan) -> list[Record | Failure]:
    return [item for unit in plan.units for item in read_records(unit)]


def frame_offset(i: int) -> int:
    """The offset of record i."""
    return sum(16 + len(p) for p in PAYLOADS[:i])


@pytest.mark.parametrize("compression", ["", "GZIP"])
@pytest.mark.parametrize("size", [1, 3, 11, 100])
def test_every_record_comes_once_in_order(tmp_path: Path, compression: str, size: int) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord", compression=compression)
    items = read_all(plan_paths([str(path)], size))
    assert [r.payload for r in items if isinstance(r, Record)] == PAYLOADS
    assert [r.position for r in items if isinstance(r, Record)] == [f"a:{i:06d}" for i in range(11)]


def test_units_are_ranges_with_ids_by_position(tmp_path: Path) -> None:
    files = [str(write_tfrecord(tmp_path / "a.tfrecord")), str(write_tfrecord(tmp_path / "b.gz", compression="GZIP"))]
    plan = plan_paths(files, 4)
    assert [(u.id, u.first, u.count, u.offset) for u in plan.units] == [
        ("00000-00000", 0, 4, 0),
        ("00000-00001", 4, 4, frame_offset(4)),
        ("00000-00002", 8, 3, frame_offset(8)),
        ("00001-00000", 0, 11, 0),
    ]
    assert plan.record_count == 22
    assert plan_paths(files, 4) == plan


def test_the_fingerprint_depends_on_the_content(tmp_path: Path) -> None:
    one = plan_paths([str(write_tfrecord(tmp_path / "a.tfrecord"))], 4).fingerprint
    assert plan_paths([str(write_tfrecord(tmp_path / "a.tfrecord"))], 7).fingerprint == one
    changed = [*PAYLOADS[:5], b"x" * len(PAYLOADS[5]), *PAYLOADS[6:]]  # the same lengths
    assert plan_paths([str(write_tfrecord(tmp_path / "a.tfrecord", changed))], 4).fingerprint != one


def test_a_plain_file_whose_first_length_looks_like_gzip_is_plain(tmp_path: Path) -> None:
    length = struct.unpack("<H", b"\x1f\x8b")[0]
    path = write_tfrecord(tmp_path / "a.tfrecord", [b"x" * length, b"y"])
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert len(read_all(plan_paths([str(path)], 10))) == 2


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_damaged_payload_loses_one_record(tmp_path: Path, compression: str) -> None:
    path = write_tfrecord(tmp_path / "plain.tfrecord")
    content = bytearray(path.read_bytes())
    content[frame_offset(3) + 12] ^= 1
    path.write_bytes(content)
    if compression:
        import gzip

        path.write_bytes(gzip.compress(bytes(content)))
    items = read_all(plan_paths([str(path)], 2))
    assert [r.payload for r in items if isinstance(r, Record)] == [p for i, p in enumerate(PAYLOADS) if i != 3]
    assert [r for r in items if isinstance(r, Failure)] == [
        Failure("plain:000003", "read", "DataLoss", "its checksum does not match")
    ]
    assert isinstance(items[3], Failure)


@pytest.mark.parametrize("cut", [1, 5, 12 + 300 + 2])
def test_a_file_that_is_cut_off_ends_in_an_error(tmp_path: Path, cut: int) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord")
    path.write_bytes(path.read_bytes()[: frame_offset(3) + cut])
    for size in (1, 2, 3, 10):
        plan = plan_paths([str(path)], size)
        items = read_all(plan)
        assert plan.record_count == len(items) == 4
        assert [r.payload for r in items if isinstance(r, Record)] == PAYLOADS[:3]
        last = items[-1]
        assert isinstance(last, Failure)
        assert last.example_id == "a:000003"
        assert "cut off" in last.message


def test_the_fingerprint_depends_on_the_damage(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord")
    content, prints = path.read_bytes(), set()
    for end in (
        frame_offset(3),
        frame_offset(3) + 5,
        frame_offset(3) + 14,
    ):  # the records that can be read are the same three
        path.write_bytes(content[:end])
        prints.add(plan_paths([str(path)], 4).fingerprint)
    assert len(prints) == 3


def test_a_damaged_header_ends_the_file_in_an_error(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord")
    content = bytearray(path.read_bytes())
    content[frame_offset(5)] ^= 1
    path.write_bytes(content)
    items = read_all(plan_paths([str(path)], 4))
    assert len(items) == 6
    assert isinstance(items[5], Failure)
    assert "header of a record is damaged" in items[5].message


def test_a_gzip_file_that_is_cut_off_keeps_what_can_be_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_tfrecord(tmp_path / "a.gz", [rng.bytes(30_000) for _ in range(10)], "GZIP")
    path.write_bytes(path.read_bytes()[:200_000])
    plan = plan_paths([str(path)], 4)
    items = read_all(plan)
    assert plan.record_count == len(items)
    assert sum(isinstance(r, Record) for r in items) == 6
    assert isinstance(items[-1], Failure)


@pytest.mark.parametrize("content", [b"hello, this is text", b"abc", b"\x1f\x8bnot gzip at all"])
def test_a_file_that_is_not_a_tfrecord_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tfrecord").write_bytes(content)
    with pytest.raises(InputError, match=r"not a TFRecord file|Unknown compression method"):
        plan_paths([str(tmp_path / "a.tfrecord")], 4)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(
        InputError, match=r"neither suffix nor content is of a known format.*--format: tfrecord, parquet"
    ):
        plan_paths([str(tmp_path / "a")], 4)


def test_an_empty_file_has_no_units(tmp_path: Path) -> None:
    assert plan_paths([str(write_tfrecord(tmp_path / "a.tfrecord", []))], 4).units == ()


def test_files_of_the_same_name_in_two_folders_have_different_ids(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_tfrecord(tmp_path / folder / "a.tfrecord")
    ids = {r.position for r in read_all(plan_paths([f"{tmp_path}/*/a.tfrecord"], 4)) if isinstance(r, Record)}
    assert len(ids) == 22
    assert "y/a.tfrecord:000010" in ids


def test_a_pattern_that_matches_no_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file matches"):
        find_files([f"{tmp_path}/*.tfrecord"])


def test_a_file_that_shrinks_after_planning_loses_no_record_silently(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord")
    plan = plan_paths([str(path)], 4)
    path.write_bytes(path.read_bytes()[: frame_offset(6)])
    items = read_all(plan)
    assert len(items) == 11
    assert sum(isinstance(r, Failure) for r in items) == 5
