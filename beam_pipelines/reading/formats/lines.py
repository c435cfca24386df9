"""Text files cut into records: lines, or CSV records, which go on over a line's end within quotes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

LONGEST = 1 << 26  # bytes of a record; what is longer is damage, such as a quote that is never closed


def records(file: BinaryIO, delimiter: bytes | None = None) -> Iterator[tuple[int, bytes | None]]:
    """(bytes it takes, content) of every record; no content if it is blank, or longer than LONGEST.

    With a delimiter they are CSV records: quotes count where they begin a field.
    """
    while line := file.readline(LONGEST):
        within = delimiter is not None and b'"' in line and _ends_quoted(line, False, delimiter)
        length, content = len(line), [line]
        while (within or not line.endswith(b"\n")) and (line := file.readline(LONGEST)):
            length += len(line)
            if length <= LONGEST:
                content.append(line)
            if delimiter is not None:
                within = _ends_quoted(line, within, delimiter)
        yield length, b"".join(content) if length <= LONGEST else None


def offsets(file: BinaryIO, start: int, delimiter: bytes | None = None) -> Iterator[int]:
    """Where each record begins that is not blank; the file stands at `start`."""
    for length, content in records(file, delimiter):
        if content is None or not is_blank(content):
            yield start
        start += length


def is_blank(content: bytes) -> bool:
    return len(content) <= 2 and not content.strip()


def _ends_quoted(line: bytes, within: bool, delimiter: bytes) -> bool:
    """Whether a quoted field is open at the end of the line; `within`: one was at its start."""
    at = 0
    while (quote := line.find(b'"', at)) >= 0:
        at = quote + 1
        if not within:
            within = quote == 0 or line[quote - 1 : quote] == delimiter
        elif line[at : at + 1] == b'"':  # two of them stand for one
            at += 1
        else:
            within = False
    return within
