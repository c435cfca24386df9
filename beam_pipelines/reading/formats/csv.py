"""CSV files (RFC 4180), plain or gzip: a header, then one record a line, or over several lines within quotes.

The delimiter is the one of comma, semicolon and tab that the header has most of. Blank lines are skipped.
"""

from __future__ import annotations

import contextlib
import csv
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from beam_pipelines.reading import text_lines
from beam_pipelines.reading.feature_values import EmptyCell
from beam_pipelines.reading.files import fingerprint, open_file
from beam_pipelines.reading.format_interface import BrokenFile, Damaged, RecordRange, Source
from beam_pipelines.reading.record_ranges import group_by_offset
from beam_pipelines.reading.work_unit import WorkUnit

_DELIMITERS = ",;\t"
_DEFAULT_LIMIT = 1 << 17  # characters of a field that Python's csv module reads
_limit_lock = threading.Lock()


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Ranges of records; a gzip file is one range."""
    digest.update(fingerprint(source.path))
    with open_file(source.path, source.compressed) as file:
        start, delimiter, _ = _read_header(file)
        offsets = text_lines.record_offsets(file, start, delimiter.encode())
        yield from group_by_offset(offsets, None if source.compressed else unit_size)


def read(unit: WorkUnit) -> Iterator[dict[str, str] | Damaged]:
    """The records: text by column."""
    with open_file(unit.path, unit.compressed) as file:
        _, delimiter, columns = _read_header(file)
        file.seek(unit.offset)
        count = 0
        for _, content in text_lines.split_records(file, delimiter.encode()):
            if count == unit.count:
                return
            if content is None or not text_lines.is_blank(content):
                count += 1
                yield _parse(content, delimiter, columns)


def _read_header(file: BinaryIO) -> tuple[int, str, list[str]]:
    """(offset of the first record, delimiter, columns) of a file at its start."""
    line = file.readline(text_lines.LONGEST)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFile(f"its header is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    delimiter, text = max(_DELIMITERS, key=text.count), text.rstrip("\r\n")
    if "\r" in text:
        raise BrokenFile("its lines end in carriage returns alone; save the file with line feeds (\\n)")
    try:
        columns = _fields(text, delimiter, strict=False)
    except csv.Error as error:
        raise BrokenFile(f"its header is not CSV ({error})") from error
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise BrokenFile(f"its header names {', '.join(repeated)} twice; column names must differ")
    return len(line), delimiter, columns


def _parse(content: bytes | None, delimiter: str, columns: list[str]) -> dict[str, str] | Damaged:
    if content is None:
        return Damaged(f"it is longer than {text_lines.LONGEST >> 20} MiB; is a quote not closed?")
    try:
        fields = _fields(content.decode(), delimiter, strict=True)
    except UnicodeDecodeError as error:
        return Damaged(f"it is not UTF-8 ({error.reason}); save the file as UTF-8")
    except csv.Error as error:
        return Damaged(f"it is not CSV ({error}); quotes within a quoted field are doubled")
    if len(fields) != len(columns):
        return Damaged(f"it has {len(fields)} fields; the header has {len(columns)}")
    return {name: field or EmptyCell() for name, field in zip(columns, fields, strict=True)}


def _fields(text: str, delimiter: str, strict: bool) -> list[str]:
    with _field_size_limit(len(text)):
        return next(csv.reader([text], delimiter=delimiter, strict=strict), [])


@contextlib.contextmanager
def _field_size_limit(size: int) -> Iterator[None]:
    """Raises the limit of Python's csv module for one record only: the whole process has a single limit."""
    if size <= _DEFAULT_LIMIT:
        yield
        return
    with _limit_lock:
        limit = csv.field_size_limit(size)
        try:
            yield
        finally:
            csv.field_size_limit(limit)
