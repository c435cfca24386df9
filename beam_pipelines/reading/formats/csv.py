"""CSV files (RFC 4180), plain or gzip: a header, then a record of text a line, or over several lines within quotes.

Fields are separated by whichever of comma, semicolon and tab the header has most of. Blank lines do not count.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

from beam_pipelines.reading.formats import lines
from beam_pipelines.reading.formats.files import fingerprint, opened
from beam_pipelines.reading.formats.ranges import gather
from beam_pipelines.reading.formats.unit import Broken, Damaged, Part, Place, Unit

_DELIMITERS = ",;\t"

csv.field_size_limit(lines.LONGEST)


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Ranges of records; a gzip file is one."""
    digest.update(fingerprint(place.path))
    with opened(place.path, place.compressed) as file:
        start, delimiter, _ = _header(file)
        yield from gather(lines.offsets(file, start, delimiter.encode()), None if place.compressed else size)


def read(unit: Unit) -> Iterator[dict[str, str] | Damaged]:
    """The records, text by column."""
    with opened(unit.path, unit.compressed) as file:
        _, delimiter, columns = _header(file)
        file.seek(unit.offset)
        found = 0
        for _, content in lines.records(file, delimiter.encode()):
            if found == unit.count:
                return
            if content is None or not lines.is_blank(content):
                found += 1
                yield _parse(content, delimiter, columns)


def _header(file: BinaryIO) -> tuple[int, str, list[str]]:
    """(where the records begin, delimiter, columns) of a file that stands at its start."""
    line = file.readline(lines.LONGEST)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Broken(f"its header is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    delimiter = max(_DELIMITERS, key=text.count)
    columns = next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter), [])
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise Broken(f"its header names {', '.join(doubled)} twice; give every column its own name")
    return len(line), delimiter, columns


def _parse(content: bytes | None, delimiter: str, columns: list[str]) -> dict[str, str] | Damaged:
    if content is None:
        return Damaged(f"it is longer than {lines.LONGEST >> 20} MiB; is a quote not closed?")
    try:
        fields = next(csv.reader([content.decode()], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        return Damaged(f"it is not UTF-8 ({error.reason}); save the file as UTF-8")
    except csv.Error as error:
        return Damaged(f"it is not CSV ({error}); quotes within a quoted field are doubled")
    if len(fields) != len(columns):
        return Damaged(f"it has {len(fields)} fields; the header has {len(columns)}")
    return dict(zip(columns, fields, strict=True))
