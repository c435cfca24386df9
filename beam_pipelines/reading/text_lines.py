"""Splits text files into records: lines, or CSV records, which may contain line ends within quotes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

LONGEST = 1 << 26  # bytes of a record; a longer one is damaged, for example by a quote that is never closed


def split_records(file: BinaryIO, delimiter: bytes | None = None) -> Iterator[tuple[int, bytes | None]]:
    """(length in bytes, content) of every record; the content of a record longer than LONGEST is None.

    With a delimiter the records are CSV: a quote counts where it begins a field.
    """
    while line := file.readline(LONGEST):
        quoted = delimiter is not None and b'"' in line and _ends_quoted(line, False, delimiter)
        length, content = len(line), [line]
        while (quoted or not line.endswith(b"\n")) and (line := file.readline(LONGEST)):
            length += len(line)
            if length <= LONGEST:
                content.append(line)
            if delimiter is not None:
                quoted = _ends_quoted(line, quoted, delimiter)
        yield length, b"".join(content) if length <= LONGEST else None


def record_offsets(file: BinaryIO, start: int, delimiter: bytes | None = None) -> Iterator[int]:
    """The offset of each record that is not blank. The file must be at `start`."""
    for length, content in split_records(file, delimiter):
        if content is None or not is_blank(content):
            yield start
        start += length


def is_blank(content: bytes) -> bool:
    return len(content) <= 2 and not content.strip()


def _ends_quoted(line: bytes, quoted: bool, delimiter: bytes) -> bool:
    """Whether a quoted field is open at the end of the line; `quoted`: whether one was open at its start."""
    at = 0
    while (quote := line.find(b'"', at)) >= 0:
        at = quote + 1
        if not quoted:
            quoted = quote == 0 or line[quote - 1 : quote] == delimiter
        elif line[at : at + 1] == b'"':  # two quotes stand for one
            at += 1
        else:
            quoted = False
    return quoted
