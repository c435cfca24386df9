"""Broken and hostile input files: each record that cannot be read is a row of the errors in our words; what a header claims is checked."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.reading import read_records as reading
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.feature_values import to_number
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.json_text import parse_json
from beam_pipelines.reading.label_values import to_label
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.slice_values import to_text
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.store.media_types import picture_sides
from tb_deepexplain.store.records import Failure
from tests.reading import format_writers
from tests.reading.format_writers import WRITERS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each property; `make fuzz` sets more
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
ROWS = format_writers.make_rows(5)
NUMBERS = InputSpec("x", "float32", (None, 4), "x")
WORD = InputSpec("x", "string", (None,), "x")
INPUTS = [
    NUMBERS,
    WORD,
    InputSpec("x", "int64", (None, None), "x"),
    InputSpec("x", "bool", (None,), "x"),
    InputSpec("x", "float32", (None, None, None, 3), "x"),
    InputSpec("x", "int64", (None, None), "x", is_sparse=True),
]
PYTHON = (
    "Traceback",
    "codec can't",
    "Exceeds the limit",
    "recursion",
    "object has no attribute",
    "not supported between",
    "NoneType",
)


def read_all(path: Path, size: int = 4) -> list[Record | Failure]:
    return [item for unit in make_plan(find_files([str(path)]), size).units for item in read_records(unit)]


def failures(path: Path) -> list[str]:
    return [item.message for item in read_all(path) if isinstance(item, Failure)]


def assert_in_our_words(message: str) -> None:
    assert not any(words in message for words in PYTHON), message
    assert len(message) <= 500


def refusal(function: Callable[[], Any], error_type: type[Exception]) -> str:
    """The message of the error of this type; "" if there is none. Other errors pass."""
    try:
        function()
    except error_type as error:
        return str(error)
    return ""


def npz(path: Path, compression: int, arrays: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            out = io.BytesIO()
            np.save(out, array)
            archive.writestr(f"{name}.npy", out.getvalue())
    return path


# Arrays


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_member_of_an_npz_is_a_row_of_the_errors(tmp_path: Path, compression: int) -> None:
    rng = np.random.default_rng(0)
    path = npz(tmp_path / "a.npz", compression, {"x": rng.normal(size=(500, 50))})
    for position in (200, 5000, path.stat().st_size // 2):
        content = bytearray(path.read_bytes())
        content[position : position + 8] = b"\xff" * 8
        damaged = tmp_path / f"damaged_{position}.npz"
        damaged.write_bytes(content)
        try:
            messages = failures(damaged)
        except InputError as error:  # no record can be read
            messages = [str(error)]
        assert (messages and "damage" in messages[0]) or "npy" in messages[0]


def test_a_wrong_crc_of_an_npz_is_a_row_of_the_errors(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, {"x": np.random.default_rng(0).normal(size=(5000, 4))})
    with zipfile.ZipFile(path) as archive:
        crc = struct.pack("<I", archive.infolist()[0].CRC)
    path.write_bytes(path.read_bytes().replace(crc, b"\1\2\3\4"))
    messages = failures(path)
    assert messages and "its array x is damaged (Bad CRC-32" in messages[0]


def test_members_that_are_no_arrays_are_a_sentence(tmp_path: Path) -> None:
    for name, content in {
        "text": b"no array",
        "empty": b"",
        "zip": b"PK\3\4" * 9,
        "header": b"\x93NUMPY\1\0\x10\0{'descr': 1}    ",
    }.items():
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr("x.npy", content)
        with pytest.raises(InputError, match=r"its array x has no \.npy header"):
            read_all(tmp_path / f"{name}.npz")


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("kind", ["npy", "stored", "deflated", "lzma"])
@pytest.mark.parametrize(
    ("shape", "descr", "reason"),
    [
        ((10**9, 4), "<f4", "claims 1,000,000,000 rows"),
        ((10**30,), "<f4", "rows, and the file has bytes for"),
        ((-1, 4), "<f4", "claims the shape"),
        ((10**9, 0), "<f4", "rows, and the file has bytes for"),
        ((10**9,), "|V0", "rows, and the file has bytes for"),
    ],
)
def test_rows_that_a_header_claims_are_checked_against_the_file(
    tmp_path: Path, kind: str, shape: tuple[int, ...], descr: str, reason: str
) -> None:
    content, path = header(shape, descr) + np.arange(8, dtype=np.float32).tobytes(), tmp_path / "a.npy"
    if kind == "npy":
        path.write_bytes(content)
    else:
        path = tmp_path / "a.npz"
        compression = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA}[kind]
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("array.npy", content)
    begin = time.process_time()
    try:
        plan = make_plan(find_files([str(path)]), 4096)
        damage = plan.units[-1].damage or ""
    except InputError as error:
        damage = str(error)
    else:
        if shape == (10**9, 4):
            items = [item for unit in plan.units for item in read_records(unit)]
            rows = [
                item.payload["array"].tolist()
                for item in items
                if isinstance(item, Record) and not isinstance(item.payload, bytes)
            ]
            assert rows == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(items) == 3
    assert reason in damage
    assert time.process_time() - begin < 5


def test_a_row_that_claims_more_bytes_than_the_file_has_is_not_allocated(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header((4, 10**12)) + bytes(64))
    messages = failures(tmp_path / "a.npy")
    assert len(messages) == 4 and all("the file ends before the array does" in message for message in messages)


# Text


def test_lone_carriage_returns_are_a_sentence(tmp_path: Path) -> None:
    path = format_writers.write(tmp_path / "a.csv", b"a,b\r1,2\r3,4\r")
    with pytest.raises(
        InputError, match=r"a\.csv: its lines end in carriage returns alone; save the file with line feeds"
    ):
        read_all(path)
    path = format_writers.write(tmp_path / "b.csv", b"a,b\n1,2\n3,4\r5,6\r\n7,8\n")
    (message,) = failures(path)
    assert "it is not CSV" in message


DIGITS, DEEP = "9" * 5000, "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    ("text", "model_input", "reason"),
    [
        (DIGITS, NUMBERS, "is a number of 5,000 characters, which is larger than any float"),
        (f"[{DIGITS}, 1, 2, 3]", NUMBERS, "a whole number has more than 4,300 digits"),
        (f"[{'9' * 400}, 1, 2, 3]", NUMBERS, "numbers beyond 64 bits among its values"),
        (DEEP, NUMBERS, "its lists and objects lie too deep within each other"),
        ("[" * 100 + "1" + "]" * 100, NUMBERS, "more than 64 deep"),
        ("x" * 5000, NUMBERS, "(5,000 characters); expected a number"),
        ("1e300 1 1 1", NUMBERS, "holds a number that float32 cannot hold"),
        ("1e999", NUMBERS, "is a number 1e999, which is larger than any float"),
    ],
)
def test_a_csv_field_that_no_input_takes_is_a_row_in_our_words(
    tmp_path: Path, text: str, model_input: InputSpec, reason: str
) -> None:
    path = format_writers.write(tmp_path / "a.csv", f'x,label\n"{text}",1\n"1 2 3 4",2\n'.encode())
    one, two = (
        ExampleParser([model_input]).parse_or_fail(item.payload, item.position)
        for item in read_all(path)
        if isinstance(item, Record)
    )
    assert isinstance(one, Failure) and not isinstance(two, Failure)
    assert (one.error, one.stage) == ("InputError", "parse") and reason in one.message
    assert_in_our_words(one.message)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'{{"x": {DIGITS}}}', "a whole number has more than 4,300 digits"),
        (f'{{"x": {DEEP}}}', "its lists and objects lie too deep within each other"),
    ],
)
def test_a_json_line_that_cannot_be_held_is_a_row_in_our_words(tmp_path: Path, line: str, reason: str) -> None:
    path = format_writers.write(tmp_path / "a.jsonl", f'{line}\n{{"x": "\\ud83d\\ude00"}}\n'.encode())
    one, two = read_all(path)
    assert isinstance(one, Failure) and reason in one.message
    assert_in_our_words(one.message)
    assert isinstance(two, Record) and two.payload == {"x": "😀"}


@pytest.mark.parametrize(
    ("convert", "reason"),
    [
        (lambda: to_label(DIGITS, "y", ()), "its label, feature 'y', is '9999"),
        (lambda: to_label(10**400, "y", ()), "larger than any float"),
        (lambda: to_label(DEEP, "y", ()), "its label, feature 'y', is '[["),
        (lambda: to_text(10**5000, "y"), "too many digits"),
        (lambda: to_number(10**400, "y"), "larger than any float"),
        (lambda: ExampleParser([WORD]).parse({"x": "a\ud800"}, "0"), "half of a surrogate pair"),
        (lambda: ExampleParser([WORD]).parse({"x": "a", "id": 10**5000}, "0"), "too many digits"),
    ],
)
def test_values_of_python_that_cannot_be_written_are_refused_in_our_words(
    convert: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        convert()
    assert reason in str(caught.value)
    assert_in_our_words(str(caught.value)[:500])


# Parquet


def test_a_column_that_python_cannot_hold_names_itself(tmp_path: Path) -> None:
    times = pa.array([1], pa.int64()).cast(pa.timestamp("us")).cast(pa.timestamp("us", "Mars/Olympus"))
    far = pa.array([2**62], pa.timestamp("us"))
    for name, column, reason in (("t", times, "Mars/Olympus"), ("f", far, "")):
        pq.write_table(pa.table({name: column}), tmp_path / f"{name}.parquet")
        (message,) = failures(tmp_path / f"{name}.parquet")
        assert f"its column {name!r} of type timestamp" in message and reason in message


def test_structs_in_lists_and_maps_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "boxes": pa.array([[{"x": 1, "tags": ["a"]}, {"x": 2, "tags": None}], None]),
            "m": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
            "n": pa.array([[[{"y": 1}]], []]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    one, two = (item.payload for item in read_all(tmp_path / "a.parquet") if isinstance(item, Record))
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one == {"boxes": [{"x": 1, "tags": ["a"]}, {"x": 2, "tags": None}], "m": [("a", 1)], "n": [[{"y": 1}]]}
    assert two == {"boxes": None, "m": [], "n": []}


def test_an_error_that_no_format_expects_is_rows_of_the_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS["a.jsonl"](tmp_path / "a.jsonl", ROWS)
    (unit,) = make_plan(find_files([str(path)]), 10).units

    def read(unit: Any) -> Any:
        yield {"x": 1}
        raise KeyError("odd")

    monkeypatch.setattr(reading.FORMATS["jsonl"].module, "read", read)
    first, *others = read_records(unit)
    assert isinstance(first, Record) and len(others) == 4
    assert all("it is damaged (KeyError: 'odd')" in str(item) for item in others)


# Pictures


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "BMP"])
def test_the_sides_of_a_picture_are_in_its_header(format_: str) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (37, 21)).save(out, format_)
    assert picture_sides(out.getvalue()) == (37, 21)
    assert picture_sides(out.getvalue()[:7]) is None


def test_a_picture_that_claims_too_many_pixels_is_not_decoded() -> None:
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 22_000, 22_000) + b"\x08\2\0\0\0"
    parser = ExampleParser([InputSpec("x", "float32", (None, 8, 8, 3), "x")], RecordSpec(resize="bilinear"))
    failure = parser.parse_or_fail({"x": png}, "0")
    assert isinstance(failure, Failure) and "has 22,000 × 22,000 pixels; at most" in failure.message


# Properties: whatever a file or a value holds, every record is a Record or a Failure, or the file is refused by one sentence.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "label", "id", "a"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
VALUES = (
    JSON
    | st.binary(max_size=40)
    | st.sampled_from([DIGITS, "\ud800", "[[1], [2, 3]]", "1e999", "nan", "True", b"\xff", b"\x89PNG\r\n\x1a\n"])
)


@FUZZ
@given(
    st.dictionaries(st.sampled_from(["x", "label", "id", "slice", "a"]), VALUES, max_size=4), st.sampled_from(INPUTS)
)
def test_the_parser_returns_an_example_or_refuses_in_our_words(record: dict[str, Any], model_input: InputSpec) -> None:
    spec = RecordSpec(slice_features=("slice",), class_names=("cat", "dog"))
    parsed = ExampleParser([model_input], spec).parse_or_fail(record, "position")
    if isinstance(parsed, Failure):
        assert parsed.error == "InputError", parsed
        assert_in_our_words(parsed.message)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_are_no_tf_example_or_one(content: bytes) -> None:
    parsed = ExampleParser([NUMBERS]).parse_or_fail(content, "position")
    assert not isinstance(parsed, Failure) or parsed.error == "InputError"


@FUZZ
@given(JSON.map(json.dumps) | st.text())
def test_json_is_a_value_or_a_reason(text: str) -> None:
    reason = refusal(lambda: parse_json(text), ValueError)
    assert reason.startswith("not JSON") or not reason
    assert_in_our_words(reason[:500])


@FUZZ
@given(st.sampled_from([*WRITERS, "a.npy", "lzma.npz", "bz2.npz"]), st.data())
def test_a_mutated_file_of_any_format_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.arange(20.0).reshape(5, 4))
    elif name in ("lzma.npz", "bz2.npz"):
        npz(path, zipfile.ZIP_LZMA if name == "lzma.npz" else zipfile.ZIP_BZIP2, format_writers.to_arrays(ROWS))
    else:
        WRITERS[name](path, ROWS)
    content = bytearray(
        gzip.decompress(path.read_bytes())
        if (inside := name.endswith(".gz") and data.draw(st.booleans()))
        else path.read_bytes()
    )
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(gzip.compress(content) if inside else content)
    reason = refusal(lambda: make_plan(find_files([str(path)]), 2), InputError)
    if reason:
        assert path.name in reason
        assert_in_our_words(reason[:500])
        return
    plan = make_plan(find_files([str(path)]), 2)
    assert plan.record_count < 10_000
    parser = ExampleParser([NUMBERS])
    items = [item for unit in plan.units for item in read_records(unit)]
    assert len(items) == plan.record_count
    for item in items:
        parsed = item if isinstance(item, Failure) else parser.parse_or_fail(item.payload, item.position)
        if isinstance(parsed, Failure):
            assert_in_our_words(parsed.message)
            assert parsed.error in ("InputError", "DataLoss"), parsed
