"""JSON lines, plain or gzip: one object a line; its keys are the columns. Blank lines are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beam_pipelines.reading import text_lines
from beam_pipelines.reading.files import fingerprint, open_file
from beam_pipelines.reading.format_interface import Damaged, RecordRange, Source
from beam_pipelines.reading.json_text import parse_json
from beam_pipelines.reading.record_ranges import group_by_offset
from beam_pipelines.reading.work_unit import WorkUnit


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Ranges of lines; a gzip file is one range."""
    digest.update(fingerprint(source.path))
    with open_file(source.path, source.compressed) as file:
        yield from group_by_offset(text_lines.record_offsets(file, 0), None if source.compressed else unit_size)


def read(unit: WorkUnit) -> Iterator[dict[str, Any] | Damaged]:
    """The objects."""
    with open_file(unit.path, unit.compressed) as file:
        file.seek(unit.offset)
        count = 0
        for _, content in text_lines.split_records(file):
            if count == unit.count:
                return
            if content is None or not text_lines.is_blank(content):
                count += 1
                yield _parse(content)


def _parse(content: bytes | None) -> dict[str, Any] | Damaged:
    if content is None:
        return Damaged(f"its line is longer than {text_lines.LONGEST >> 20} MiB")
    try:
        value = parse_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Damaged(f"its line is not JSON: it is not UTF-8 ({error.reason})")
    except ValueError as error:
        return Damaged(f"its line is {error}")
    if not isinstance(value, dict):
        return Damaged(f'its line is a JSON {type(value).__name__}; expected an object, such as {{"text": ...}}')
    return value
