"""The files that --input names, and the format of each."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beam_pipelines.reading import files
from beam_pipelines.reading.format_interface import DAMAGE
from beam_pipelines.reading.formats import FORMATS
from tb_deepexplain.errors import InputError

GZIP = b"\x1f\x8b"
_START_BYTES = 12  # enough to detect every format


class InputFile(NamedTuple):
    """A file of the input."""

    path: str
    root: str  # the folder that its pattern begins with
    format: str
    stamp: str = ""  # size and time


def find_files(patterns: Sequence[str], format: str | None = None) -> list[InputFile]:  # noqa: A002  as on the command line
    """The files that match, sorted by path. Formats are detected, unless `format` names one.

    A folder stands for the pictures below it; if there are none, for its files of a known format. Raises InputError if a
    pattern matches no file, or if a format cannot be detected.
    """
    by_path: dict[str, InputFile] = {}
    for pattern in patterns:
        matches = list(_match(pattern, format))
        if not matches:
            raise InputError(
                f"--input {pattern}: no file matches; give a path, a folder, or a quoted pattern such as 'data/*.tfrecord'"
            )
        by_path |= {file.path: file for file in matches}
    return [by_path[path] for path in sorted(by_path)]


def read_start(path: str, compressed: bool = False) -> bytes:
    """The first bytes of a file. Raises InputError if it cannot be opened, an error of DAMAGE if it cannot be decompressed."""
    try:
        with files.open_file(path, compressed) as file:
            return file.read(_START_BYTES)
    except DAMAGE:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def strip_suffix(name: str) -> str:
    """A file's name without the suffix of its format."""
    name = name.removesuffix(".gz") or name
    for suffix in (suffix for row in FORMATS.values() for suffix in row.suffixes):
        name = name.removesuffix(suffix) or name
    return name


def _match(pattern: str, format_id: str | None) -> Iterator[InputFile]:
    folder = os.path.expanduser(pattern)
    for row in FORMATS.values():
        if not row.marker_files or format_id not in (None, row.id):
            continue
        if not glob.has_magic(pattern) and all(files.exists(files.join(folder, name)) for name in row.marker_files):
            yield from (InputFile(path, folder, row.id) for path in row.module.data_files(folder))
            return
        if format_id == row.id:
            markers = " and ".join(row.marker_files)
            raise InputError(f"--input {pattern}: expected {row.description}, which has the files {markers}")
    listed = files.find(pattern)
    selected = {file.path for file in _select([file for file in listed if file.in_folder], format_id)}
    for file in listed:
        if not file.in_folder or file.path in selected:
            yield InputFile(file.path, file.root, format_id or _detect_format(file.path), file.stamp)


def _select(listed: Sequence[files.ListedFile], format_id: str | None) -> Sequence[files.ListedFile]:
    """The files that a folder stands for."""
    pictures = FORMATS["pictures"]
    # Spark writes _SUCCESS, Delta _delta_log.
    visible = [file for file in listed if "/_" not in file.path[len(file.root) :]]
    if format_id not in (None, pictures.id):
        return [file for file in visible if _has_suffix(file.path, FORMATS[format_id].suffixes)] or visible
    selected = [file for file in listed if _has_suffix(file.path, pictures.suffixes)]
    if selected or format_id:
        return selected
    suffixes = tuple(suffix for row in FORMATS.values() for suffix in row.suffixes)
    return [file for file in visible if _has_suffix(file.path, suffixes)] or visible


def _detect_format(path: str) -> str:
    """The format by suffix, else by content."""
    for row in FORMATS.values():
        if row.suffixes and _has_suffix(path, row.suffixes):
            return row.id
    starts = [read_start(path)]
    if not starts[0]:  # an empty file has no records in any format
        return next(iter(FORMATS))
    if starts[0].startswith(GZIP):
        with contextlib.suppress(*DAMAGE):
            starts.append(read_start(path, compressed=True))
    for start in starts:
        for row in FORMATS.values():
            if row.matches(start):
                return row.id
    raise InputError(
        f"{path}: neither suffix nor content is of a known format; name one with --format: {', '.join(FORMATS)}"
    )


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().removesuffix(".gz").endswith(suffixes)
