"""Records grouped into parts as they pass, without holding what is in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beam_pipelines.reading.formats.unit import DAMAGE, Broken, Part


def gather(offsets: Iterable[int], size: int | None) -> Iterator[Part]:
    """Parts of `size` of the records that begin at these offsets, or one part of all; Broken where they end in damage."""
    first = count = begin = offset = 0
    broken = None
    try:
        for offset in offsets:
            if count == size:
                yield Part(first, count, begin)
                first, count = first + count, 0
            if not count:
                begin = offset
            count += 1
    except DAMAGE as error:
        broken = f"{error}, behind byte {offset}; nothing behind it in this file can be read"
    if count:
        yield Part(first, count, begin)
    if broken:
        raise Broken(broken)


def even(records: int, size: int) -> Iterator[Part]:
    """Parts of `size` of this many records, in a format that finds a record by its number."""
    for first in range(0, records, size):
        yield Part(first, min(size, records - first))
