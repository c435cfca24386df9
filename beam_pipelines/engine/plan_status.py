"""How much of a plan a store already holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from beam_pipelines.reading.work_unit import Plan, WorkUnit
from tb_deepexplain.store.layout import MANIFEST
from tb_deepexplain.store.writer import StoreWriter


@dataclasses.dataclass(frozen=True)
class PlanStatus:
    """A plan and the directory of its store."""

    plan: Plan
    directory: Path

    def unfinished_units(self) -> Sequence[WorkUnit]:
        """The units without a shard."""
        finished = StoreWriter(self.directory).finished_units()
        return [unit for unit in self.plan.units if unit.id not in finished]

    def is_committed(self) -> bool:
        """Whether the store has a manifest and the shard of every unit."""
        return (self.directory / MANIFEST).exists() and not self.unfinished_units()

    def count_examples(self) -> tuple[int, int]:
        """(examples in shards, those of them that failed)."""
        writer = StoreWriter(self.directory)
        finished = writer.finished_units()
        units = [unit for unit in self.plan.units if unit.id in finished]
        return sum(unit.record_count for unit in units), sum(writer.count_rows("errors", [unit.id for unit in units]))
