"""What a file of `formats/` provides, and the types that it exchanges with planning and reading."""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from tb_deepexplain.error_text import describe_failure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One row of the table of formats. The module `formats/ID.py` defines

    `plan(source, unit_size, digest) -> Iterator[RecordRange]`: the records of a source, in ranges of `unit_size` where
    reading can start at any record. Updates `digest` (of hashlib) with what identifies the content. Raises BrokenFile
    where the rest of the file cannot be read.

    `read(unit) -> Iterator[record | Damaged]`, or `read(unit, columns)` if the format is `columnar`: the unit's records
    in order, each a serialized tf.Example or a dict of values by column. Raises an error of DAMAGE where the rest cannot
    be read.

    `class_names(sources) -> tuple[str, ...] | None` (optional): the class names that the data define.

    `data_files(folder) -> list[str]` (with `marker_files`): the files with records in such a folder.
    """

    id: str
    description: str
    suffixes: tuple[str, ...] = ()
    signatures: tuple[bytes, ...] = ()  # first bytes that identify a file with another suffix
    recognizes: Callable[[bytes], bool] | None = None  # the same, for a format without fixed first bytes
    gzip: bool = False  # files may be compressed
    columnar: bool = False  # single columns can be read
    folders: bool = False  # all files below a folder are planned as one source
    marker_files: tuple[str, ...] = ()  # files that identify a folder of this format

    @property
    def module(self) -> Any:
        return importlib.import_module(f"beam_pipelines.reading.formats.{self.id}")

    def matches(self, start: bytes) -> bool:
        """Whether a file that starts with these bytes (at least 12, if it has them) has this format."""
        if self.recognizes and self.recognizes(start):
            return True
        return start.removeprefix(b"\xef\xbb\xbf").startswith(self.signatures)


class Source(NamedTuple):
    """What is planned as one: a file, or a folder and the pictures below it."""

    format: Format
    path: str
    id_prefix: str  # begins the ids of its records
    compressed: bool = False
    pictures: tuple[str, ...] = ()  # their paths below the folder
    stamps: tuple[str, ...] = ()  # size and time of each picture
    named: tuple[str, ...] = ()  # the features that the user names


@dataclasses.dataclass(frozen=True)
class RecordRange:
    """Some records of a source: a work unit without its id."""

    first: int = 0
    count: int = 0
    offset: int = 0
    pictures: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()


class Damaged(NamedTuple):
    """Replaces one record that cannot be read."""

    reason: str


class BrokenFile(Exception):
    """The rest of the file cannot be read."""


DAMAGE = (BrokenFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile)


def describe_damage(error: Exception) -> str:
    """Why the rest of a file cannot be read, from an error that no format expected."""
    error_type, reason = describe_failure(error)
    return f"it is damaged ({error_type}: {reason})"
