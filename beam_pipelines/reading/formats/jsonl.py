"""JSON lines, plain or gzip: one object a line, its keys the columns. Blank lines do not count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from beam_pipelines.reading.formats import lines
from beam_pipelines.reading.formats.files import fingerprint, opened
from beam_pipelines.reading.formats.ranges import gather
from beam_pipelines.reading.formats.unit import Damaged, Part, Place, Unit


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Ranges of lines; a gzip file is one."""
    digest.update(fingerprint(place.path))
    with opened(place.path, place.compressed) as file:
        yield from gather(lines.offsets(file, 0), None if place.compressed else size)


def read(unit: Unit) -> Iterator[dict[str, Any] | Damaged]:
    """The objects."""
    with opened(unit.path, unit.compressed) as file:
        file.seek(unit.offset)
        found = 0
        for _, content in lines.records(file):
            if found == unit.count:
                return
            if content is None or not lines.is_blank(content):
                found += 1
                yield _parse(content)


def _parse(content: bytes | None) -> dict[str, Any] | Damaged:
    if content is None:
        return Damaged(f"its line is longer than {lines.LONGEST >> 20} MiB")
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Damaged(f"its line is not JSON ({error})")
    if not isinstance(value, dict):
        return Damaged(f'its line is a JSON {type(value).__name__}; expected an object, such as {{"text": ...}}')
    return value
