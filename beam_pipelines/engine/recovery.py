"""Runs the pipeline over all work units, and again over the unfinished ones after each death of a worker.

A unit at which workers died is explained alone, one example at a time: the example that kills its worker each time becomes
an error of the store like any other. An error that the runner raises, such as a full disk, ends the run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.engine.pipeline_attempt import PipelineAttempt, at_units
from beam_pipelines.engine.progress_display import ProgressDisplay
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.run_limits import ADVICE, RunLimits
from beam_pipelines.engine.suspects import Suspects
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import StoreError

TRIES = 3  # in a row without a finished unit or a narrower cause


class Recovery:
    """`run` explains all units; `retried_units` counts those that were begun more than once."""

    def __init__(
        self,
        progress: ProgressFolder,
        limits: RunLimits,
        runner: Any,
        options: Any,
        processes: int = 0,
        count_slots: Callable[[int], int] = lambda processes: processes,
        limited_runner: Callable[[int], Any] | None = None,
    ) -> None:
        """`processes`: the worker processes that were requested on this machine, if any; `count_slots(processes)`: those of
        them that can have a device now; `limited_runner(slots)`: the runner where these are fewer."""
        self._progress, self._limits = progress, limits
        self._runner, self._options = runner, options
        self._processes, self._count_slots, self._limited_runner = processes, count_slots, limited_runner
        self._last_slots = processes
        self._suspects = Suspects()
        self.retried_units = 0

    def run(
        self,
        unfinished_units: Callable[[], Sequence[WorkUnit]],
        finished_examples: Callable[[], tuple[int, int]],
        make_transform: Callable[[], beam.PTransform],
        total: int,
    ) -> bool:
        """Explain all units; whether Ctrl-C ended the run.

        `unfinished_units()`: those without a shard. `finished_examples()`: how many examples are in shards, and how many of
        them failed. `make_transform()`: from tasks on. `total`: all examples. Raises StoreError if the run cannot be
        finished.
        """
        tries, unfinished = 0, unfinished_units()
        with ProgressDisplay(total) as display:
            while unfinished:
                tasks = self._suspects.next_tasks(unfinished)
                attempt = PipelineAttempt(self._progress, self._limits, display, finished_examples())
                limit = self._limit_workers(display)
                runner = self._runner
                if self._limited_runner and limit is not None and limit < self._processes:
                    runner = self._limited_runner(limit)
                death = attempt.run(runner, self._options, tasks, make_transform, limit)
                before, unfinished = unfinished, unfinished_units()
                if attempt.interrupted:
                    return True
                if death is None:  # suspect units, which were left out, come next
                    if len(unfinished) == len(before):
                        ended = "the runner ended without an error and"
                        raise StoreError(f"{attempt.waiting or f'{ended} left {len(unfinished)} units'}; {ADVICE}")
                    continue
                narrowed = self._suspects.blame(attempt.dead_workers)
                self.retried_units += len({report.unit for report in attempt.reports if report.unit})
                tries = 0 if narrowed or len(unfinished) < len(before) else tries + 1
                if tries >= TRIES:
                    raise StoreError(
                        f"{death}, {TRIES} times without a unit finished{self._last_suspect(unfinished)}; {ADVICE}"
                    )
                left = f"{len(unfinished)} unit{'' if len(unfinished) == 1 else 's'} left"
                display.print(f"{death}{at_units(attempt.dead_workers)}; continuing with {left}")
        return False

    def _limit_workers(self, display: ProgressDisplay) -> int | None:
        """How many worker processes to start, if not all that were requested."""
        if not self._processes:
            return None
        slots = self._count_slots(self._processes)
        if slots != self._last_slots:
            self._last_slots = slots
            display.print(
                f"GPUs are free for {slots} of {self._processes} worker processes (--direct_num_workers); {slots} "
                f"start{'s' if slots == 1 else ''}"
            )
        return slots

    def _last_suspect(self, unfinished: Sequence[WorkUnit]) -> str:
        """When the workers died, for the message."""
        if not self._suspects.units:
            return ", while starting"
        ((suspect, _),) = self._suspects.units.most_common(1)
        unit = next((unit for unit in unfinished if unit.id == suspect), None)
        if unit is None:
            return ""
        last = unit.first + unit.record_count - 1
        return f", most recently in unit {unit.id} (records {unit.first} to {last} of {unit.path})"
