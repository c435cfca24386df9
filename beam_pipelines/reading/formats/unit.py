"""The work unit: a range of one file, read record by record, and what each format's module works with.

A format's module has two functions. `plan(place, size, digest)` gives the Parts of a file, `size` records each where
the format can be entered at any of them, and feeds `digest` what the content depends on; it raises Broken where the
file cannot be read further. `read(unit)` gives, for each of the unit's records in order, the record or Damaged, and
raises one of DAMAGE where the rest is out of reach; that of a columnar format takes Columns, too.
"""

from __future__ import annotations

import dataclasses
import gzip
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class Unit:
    """A range of one file: the work that is done, written and repeated as a whole."""

    id: str
    path: str  # of the file; of the folder for pictures
    source: str  # the file's name in example ids
    offset: int  # bytes; of the decompressed stream for gzip
    first: int  # number of the first record in the file
    count: int  # records that can be reached
    compressed: bool
    broken: str | None = None  # why the file cannot be read behind these records
    format: str = "tfrecord"
    names: tuple[str, ...] = ()  # of the pictures below the folder

    @property
    def records(self) -> int:
        """How many records or errors it gives."""
        return self.count + (self.broken is not None)

    def position(self, number: int) -> str:
        """What identifies the record of this number within the file."""
        if self.names:
            return self.source + self.names[number - self.first]
        return f"{self.source}:{number:06d}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """All units of the input, and a digest of what is in them."""

    units: tuple[Unit, ...]
    fingerprint: str
    formats: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None  # class names that the source itself has, by class number

    @property
    def records(self) -> int:
        return sum(unit.records for unit in self.units)

    def of(self, configuration: str) -> Plan:
        """With the configuration in the units' names: what workers of an abandoned run still write is then no part of one that
        is configured otherwise."""
        named = (dataclasses.replace(unit, id=f"{configuration}-{unit.id}") for unit in self.units)
        return dataclasses.replace(self, units=tuple(named))


@dataclasses.dataclass(frozen=True)
class Record:
    """One record as its format gives it, and the id of its place, such as `digits:000012`."""

    position: str
    payload: bytes | Mapping[str, Any]  # a serialized tf.Example, or values by column


class Columns(NamedTuple):
    """Which columns of a file are looked at."""

    needed: tuple[str, ...]
    others: tuple[str, ...]  # if they are there


class Place(NamedTuple):
    """A file to be planned, or a folder and the pictures below it."""

    path: str
    compressed: bool = False
    names: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()  # size and time of each picture


@dataclasses.dataclass(frozen=True)
class Part:
    """A unit that has no name yet."""

    first: int = 0
    count: int = 0
    offset: int = 0
    names: tuple[str, ...] = ()


class Damaged(NamedTuple):
    """In the place of one record: why it cannot be read."""

    reason: str


class Broken(Exception):
    """Nothing behind this can be read in the file."""


DAMAGE = (Broken, EOFError, zlib.error, gzip.BadGzipFile)
