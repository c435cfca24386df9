"""Which work units and examples kill their workers."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from beam_pipelines.engine.progress_folder import WorkerReport
from beam_pipelines.engine.unit_worker import Task
from beam_pipelines.reading.work_unit import WorkUnit

_DEATHS = 2  # at one unit, before its examples are explained one by one; at one step, before its example is given up
_REASON = (
    "its worker process died or stalled each time it came to this example, which may need more memory than there is"
)


@dataclasses.dataclass
class Suspects:
    """How often workers died at each unit and step. A worker dies at two units if two were in flight; each is then tried alone."""

    units: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    steps: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)

    def blame(self, reports: Iterable[WorkerReport]) -> bool:
        """Count the units and steps of workers that died. Whether a step is among them, which narrows the cause down."""
        narrowed = False
        for report in reports:
            if report.unit is None:
                continue
            self.units[report.unit] += 1
            if report.step is not None:
                self.steps[report.unit, report.step] += 1
                narrowed = True
        return narrowed

    def next_tasks(self, units: Sequence[WorkUnit]) -> list[Task]:
        """Tasks for the units that are not suspect, those with a death last; if there are none, for all, one example at a
        time."""
        trusted = [unit for unit in units if self.units[unit.id] < _DEATHS]
        if trusted:
            last = sorted(trusted, key=lambda unit: self.units[unit.id])
            return [Task(unit, is_suspect=self.units[unit.id] > 0) for unit in last]
        return [Task(unit, one_by_one=True, fatal=self._fatal_steps(unit.id)) for unit in units]

    def _fatal_steps(self, unit_id: str) -> dict[str, str]:
        """The steps of the unit to leave out, each with the reason."""
        return {step: _REASON for (unit, step), deaths in self.steps.items() if unit == unit_id and deaths >= _DEATHS}
