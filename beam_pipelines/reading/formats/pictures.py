"""Folders of encoded pictures. The label is the name of the sub-folder, as in Keras' image_dataset_from_directory.

The plan lists the pictures; its fingerprint depends on their sizes and times, not on their content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from beam_pipelines.reading.files import is_remote, join, open_file
from beam_pipelines.reading.format_interface import Damaged, RecordRange, Source
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.store.media_types import media_type

COLUMN, LABEL = "image", "label"


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Ranges of the pictures' paths."""
    for path, stamp in zip(source.pictures, source.stamps, strict=True):
        digest.update(f"{path}\0{stamp}\0".encode())
    for first in range(0, len(source.pictures), unit_size):
        paths = source.pictures[first : first + unit_size]
        yield RecordRange(first, len(paths), pictures=paths)


def read(unit: WorkUnit) -> Iterator[dict[str, Any] | Damaged]:
    """The encoded pictures, each with the name of its class."""
    for path in unit.pictures:
        try:
            with open_file(join(unit.path, path)) as file:
                content = file.read()
        except OSError as error:
            yield Damaged(f"cannot be read: {error.strerror or error}")
            continue
        if not media_type(content):
            yield Damaged("is not PNG, JPEG, GIF or BMP" if content else "is empty")
            continue
        label = _label(path)
        yield {COLUMN: content} if label is None else {COLUMN: content, LABEL: label}


def class_names(sources: Sequence[Source]) -> tuple[str, ...] | None:
    """The names of the sub-folders with pictures; of a local folder with any, the names of all its sub-folders."""
    names: set[str] = set()
    for source in sources:
        labels = {label for label in map(_label, source.pictures) if label is not None}
        if labels and not is_remote(source.path):
            with os.scandir(source.path or ".") as entries:
                labels |= {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
        names |= labels
    return tuple(sorted(names)) or None


def _label(path: str) -> str | None:
    """The sub-folder that the picture is in, directly below the root."""
    return path.split("/")[0] if "/" in path else None
