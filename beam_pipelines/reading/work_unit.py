"""Work units, and the plan that lists them: what of the input is read, written and repeated as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
    numbers: tuple[int, ...] | None = None  # of the records in the file, in their order, that are read; None: all
    damage: str | None = None  # why the file cannot be read after these records

    @property
    def record_count(self) -> int:
        """Records and failures that reading the unit yields: damage adds one failure."""
        records = self.count if self.numbers is None else len(self.numbers)
        return records + (self.damage is not None)

    def head(self, size: int) -> WorkUnit:
        """The unit with its first `size` records."""
        return self if size >= self.record_count else self.pick(range(size))

    def pick(self, positions: Sequence[int]) -> WorkUnit:
        """The unit with the records at these positions, which ascend, of those that it has."""
        records = self.record_count - (self.damage is not None)
        damage = self.damage if positions and positions[-1] == records else None
        positions = [position for position in positions if position < records]
        if self.pictures:
            pictures = tuple(self.pictures[position] for position in positions)
            return dataclasses.replace(self, pictures=pictures, count=len(pictures), damage=damage)
        in_file = self.numbers if self.numbers is not None else range(self.first, self.first + self.count)
        numbers = tuple(in_file[position] for position in positions)
        count = self.count if damage else numbers[-1] + 1 - self.first
        is_start = len(numbers) == count
        return dataclasses.replace(self, numbers=None if is_start else numbers, count=count, damage=damage)

    def join(self, later: WorkUnit) -> WorkUnit:
        """The records of both units, of which `later` begins at a later record of the same file."""
        if self.pictures:
            pictures = self.pictures + later.pictures
            return dataclasses.replace(self, pictures=pictures, count=len(pictures))
        both = [
            unit.numbers if unit.numbers is not None else tuple(range(unit.first, unit.first + unit.count))
            for unit in (self, later)
        ]
        count = later.first + later.count - self.first
        return dataclasses.replace(self, numbers=both[0] + both[1], count=count, damage=later.damage)

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


class Record(NamedTuple):
    """One record and its id by position, such as `digits:000012`."""

    position: str
    payload: bytes | Mapping[str, Any]  # a serialized tf.Example, or values by column


class Columns(NamedTuple):
    """The columns of a file that an example parser uses."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
