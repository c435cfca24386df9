"""Groups records into ranges during planning, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beam_pipelines.reading.format_interface import DAMAGE, BrokenFile, RecordRange


def group_by_offset(offsets: Iterable[int], size: int | None) -> Iterator[RecordRange]:
    """Ranges of `size` of the records that begin at these offsets; one range of all if `size` is None.

    Raises BrokenFile after the last range if iterating the offsets ends in damage.
    """
    first = count = begin = offset = 0
    damage = None
    try:
        for offset in offsets:
            if count == size:
                yield RecordRange(first, count, begin)
                first, count = first + count, 0
            if not count:
                begin = offset
            count += 1
    except DAMAGE as error:
        damage = f"{error}, after byte {offset}; the rest of this file cannot be read"
    if count:
        yield RecordRange(first, count, begin)
    if damage:
        raise BrokenFile(damage)


def group_by_number(records: int, size: int) -> Iterator[RecordRange]:
    """Ranges of `size` of this many records, for a format that finds records by number."""
    for first in range(0, records, size):
        yield RecordRange(first, min(size, records - first))
