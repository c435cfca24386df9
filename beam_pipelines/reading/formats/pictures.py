"""Folders of pictures, encoded as they are; the label is the name of the sub-folder, as Keras has it.

The plan holds the names of all pictures; their content is told from their sizes and times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from beam_pipelines.reading.formats.files import is_remote, join, opened
from beam_pipelines.reading.formats.unit import Damaged, Part, Place, Unit

COLUMN, LABEL = "image", "label"
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM")


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Ranges of the names."""
    for name, stamp in zip(place.names, place.stamps, strict=True):
        digest.update(f"{name}\0{stamp}\0".encode())
    for first in range(0, len(place.names), size):
        names = place.names[first : first + size]
        yield Part(first, len(names), names=names)


def read(unit: Unit) -> Iterator[dict[str, Any] | Damaged]:
    """The pictures' bytes, each with the name of its class."""
    for name in unit.names:
        try:
            with opened(join(unit.path, name)) as file:
                content = file.read()
        except OSError as error:
            yield Damaged(f"cannot be read: {error.strerror or error}")
            continue
        if not content.startswith(STARTS):
            yield Damaged("is no PNG, JPEG, GIF or BMP" if content else "is empty")
            continue
        label = label_of(name)
        yield {COLUMN: content} if label is None else {COLUMN: content, LABEL: label}


def classes(place: Place) -> set[str]:
    """The names of the sub-folders that hold pictures or, on this machine, of all."""
    found = {label for label in map(label_of, place.names) if label is not None}
    if found and not is_remote(place.path):
        with os.scandir(place.path or ".") as entries:
            found |= {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    return found


def label_of(name: str) -> str | None:
    """The folder directly below the root that the picture is in."""
    return name.split("/")[0] if "/" in name else None
