"""Work units, and the plan that lists them: what of the input is read, written and repeated as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkUnit:
    """A range of one file, or a range of the pictures below a folder."""

    id: str
    format: str = "tfrecord"
    path: str  # of the file; for pictures, of the folder
    id_prefix: str  # begins the id of each record, such as the file's name
    first: int  # number of the first record in the file
    count: int  # records that can be reached
    offset: int = 0  # bytes to the first record; in a gzip file, of the decompressed stream
    compressed: bool = False
    pictures: tuple[str, ...] = ()  # their paths below the folder
    arrays: tuple[str, ...] = ()  # those of a file that hold the records; all if there are none
    damage: str | None = None  # why the file cannot be read after these records

    @property
    def record_count(self) -> int:
        """Records and failures that reading the unit yields: damage adds one failure."""
        return self.count + (self.damage is not None)

    def position(self, number: int) -> str:
        """The id of record `number` of the file, such as `digits:000012`."""
        if self.pictures:
            return self.id_prefix + self.pictures[number - self.first]
        return f"{self.id_prefix}:{number:06d}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """All work units of an input."""

    units: tuple[WorkUnit, ...]
    fingerprint: str  # changes with the content of the input
    formats: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None  # defined by the input itself, by class number

    @property
    def record_count(self) -> int:
        """Records and failures that reading all units yields."""
        return sum(unit.record_count for unit in self.units)

    def for_configuration(self, digest: str) -> Plan:
        """The plan with the configuration's digest in the units' ids.

        A worker of an abandoned run with another configuration may still write shards; their ids belong to no unit of
        this plan.
        """
        units = tuple(dataclasses.replace(unit, id=f"{digest}-{unit.id}") for unit in self.units)
        return dataclasses.replace(self, units=units)


@dataclasses.dataclass(frozen=True)
class Record:
    """One record and its id by position, such as `digits:000012`."""

    position: str
    payload: bytes | Mapping[str, Any]  # a serialized tf.Example, or values by column


class Columns(NamedTuple):
    """The columns of a file that an example parser uses."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
