"""Runs the pipeline over the units; again after every worker that dies, with what has no shard yet.

A unit that was at work when workers died is taken alone, example by example: the example that does it again and again
is an error of the run like any other. What a runner reports as an error, a full disk say, ends the run at once.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from beam_pipelines.engine import runners
from beam_pipelines.engine.progress import Counts, Display, Report, duration
from beam_pipelines.engine.unit_worker import Task
from beam_pipelines.engine.worker_processes import WorkerDied, Workers, alone
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import StoreError

LEAST_EXAMPLES = 100  # behind, before their errors can end a run
TRIES = 3  # in a row in which no unit was finished and nothing was learnt
_DEATHS = 2  # at one unit before its examples are taken one by one; at one example before it is given up
_SECONDS_TO_STOP = 10.0
_SECONDS_TO_WONDER = 600.0  # about a silence that does not yet end the run
_KEPT = "what is finished is kept: the same command with --resume goes on"


@dataclasses.dataclass
class Limits:
    """When a run is ended."""

    error_rate: float  # at most so large a share of the examples may fail
    stall_timeout: float  # seconds without a map from any worker

    def check(self, examples: float, failed: int, reason: str, least: int = LEAST_EXAMPLES) -> None:
        """StoreError if too many of the examples behind failed; of very few, that says nothing."""
        if examples >= least and failed > self.error_rate * examples:
            raise StoreError(
                f"{failed} of {examples:.0f} examples failed, more than --max_error_rate {self.error_rate:g} allows"
                f"{f' (one of them: {reason})' if reason else ''}; {_KEPT}, if need be with a larger --max_error_rate"
            )


@dataclasses.dataclass
class Suspects:
    """What was at work when workers died."""

    units: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    steps: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)

    def blame(self, reports: Iterable[Report]) -> bool:
        """Count what these workers were at; whether it says more than was known: the example at fault."""
        learnt = False
        for report in reports:
            if report.unit is not None:
                self.units[report.unit] += 1
            if report.unit is not None and report.step is not None:
                self.steps[report.unit, report.step] += 1
                learnt = True
        return learnt

    def tasks(self, units: Sequence[WorkUnit]) -> list[Task]:
        """The next ones: all that are not suspicious, those that were at work before last; or else all the others."""
        calm = [unit for unit in units if self.units[unit.id] < _DEATHS]
        if calm:
            return [Task(unit) for unit in sorted(calm, key=lambda unit: self.units[unit.id])]
        return [Task(unit, one_by_one=True, fatal=self._fatal(unit.id)) for unit in units]

    def _fatal(self, unit: str) -> dict[str, str]:
        why = "its worker process died or fell silent each time it came to it; it may need more memory than there is"
        return {step: why for (of, step), deaths in self.steps.items() if of == unit and deaths >= _DEATHS}


def start(runner: Any, options: Any, tasks: Sequence[Task], do: Callable[[], beam.PTransform]) -> PipelineResult:
    """Hand the pipeline over these tasks to the runner."""
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = pipeline | "Units" >> beam.Create(list(tasks)) | "ExplainUnit" >> do()
    return pipeline.run()


class Recovery:
    """`run` explains all units; `retried` is how many had to be begun anew."""

    def __init__(self, counts: Counts, limits: Limits, runner: Any, options: Any) -> None:
        self._counts, self._limits = counts, limits
        self._runner, self._options = runner, options
        self._suspects = Suspects()
        self.retried = 0

    def run(
        self,
        unfinished: Callable[[], Sequence[WorkUnit]],
        behind: Callable[[], tuple[int, int]],
        do: Callable[[], beam.PTransform],
        total: int,
    ) -> bool:
        """Whether Ctrl-C ended it. `unfinished()` are the units without a shard, `behind()` the examples that are in
        shards and how many of them failed, `do()` the transform from tasks on."""
        tries, left = 0, unfinished()
        with Display(total) as display:
            while left:
                tasks = self._suspects.tasks(left)
                attempt = _Attempt(self._counts, self._limits, display, behind())
                dead = attempt.run(self._runner, self._options, tasks, do)
                before, left = left, unfinished()
                if attempt.interrupted:
                    return True
                if dead is None:  # those that were not tried, because workers die of them, come next
                    if len(left) == len(before):
                        raise StoreError(f"the runner ended without an error and left {len(left)} units; {_KEPT}")
                    continue
                learnt = self._suspects.blame(attempt.at_work)
                self.retried += len({report.unit for report in attempt.reports if report.unit})
                tries = 0 if learnt or len(left) < len(before) else tries + 1
                if tries >= TRIES:
                    raise StoreError(f"{dead}, {TRIES} times without a unit finished{self._accused(left)}; {_KEPT}")
                display.say(f"{dead}{_at(attempt.at_work)}; going on with what is left, {_units(len(left))}")
        return False

    def _accused(self, left: Sequence[WorkUnit]) -> str:
        if not (most := self._suspects.units.most_common(1)):
            return ", while starting"
        unit = next((unit for unit in left if unit.id == most[0][0]), None)
        return f", lately while {_name(unit)} was explained" if unit else ""


class _Attempt:
    """One run of the pipeline."""

    def __init__(self, counts: Counts, limits: Limits, display: Display, behind: tuple[int, int]) -> None:
        self._counts, self._limits, self._display = counts, limits, display
        self._behind, self._failed_before = behind
        self._error: BaseException | None = None
        self._result: PipelineResult | None = None
        self._ended = threading.Event()
        self._heard, self._told, self._here = (0.0, time.monotonic()), False, False
        self.reports: list[Report] = []
        self.at_work: list[Report] = []  # of the workers that died
        self.interrupted = False

    def run(self, runner: Any, options: Any, tasks: Sequence[Task], do: Callable[[], Any]) -> WorkerDied | None:
        """The death that ended it early; None if nothing did, or Ctrl-C."""
        self._here = isinstance(runner, FnApiRunner)
        self._counts.begin()
        self._display.restart(self._behind)
        with ExitStack() as stack:
            stack.callback(self._clear)
            workers = stack.enter_context(Workers())
            if tasks[0].one_by_one:
                stack.enter_context(alone(options.view_as(DirectOptions)))
            # In a thread, so that this one can draw the progress and hear Ctrl-C whatever the runner is doing. Its end
            # is told by an event: Thread.join that Ctrl-C interrupts takes a living thread for dead (Python 3.11).
            threading.Thread(target=self._pipeline, args=(runner, options, tasks, do), daemon=True).start()
            stack.push(self._stop_on_error)
            dead = self._watch(workers) or self._late(workers)
            if dead:
                self.reports = self._counts.reports(now=True)
                gone = workers.gone() or workers.numbers()  # none is gone: all have fallen silent
                self.at_work = [report for report in self.reports if report.process in gone]
        if self.interrupted or dead:
            return None if self.interrupted else dead
        if self._error:
            raise StoreError(f"{runners.reason(self._error)}; {_KEPT}") from self._error
        return None

    def _pipeline(self, runner: Any, options: Any, tasks: Sequence[Task], do: Callable[[], Any]) -> None:
        try:
            self._result = start(runner, options, tasks, do)
            self._result.wait_until_finish()
        except BaseException as error:  # handed to the thread that waits
            self._error = error
        finally:
            self._ended.set()

    def _watch(self, workers: Workers) -> WorkerDied | None:
        """Until the pipeline ends or a worker dies. A first Ctrl-C lets the workers finish what they are at, a second
        one goes through."""
        while True:
            try:
                ended = self._ended.wait(0.2)
                self._look()
                if ended:
                    return None
                if dead := workers.death() or self._stalled(workers):
                    return dead
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
                self._counts.stop()
                self._display.say("stopping after the maps being computed; Ctrl-C again stops at once")
                if not self._here:
                    threading.Timer(_SECONDS_TO_STOP, self._cancel).start()

    def _stop_on_error(self, error: type[BaseException] | None, *_: object) -> None:
        if error:  # workers in this process cannot be ended from outside
            self._counts.stop()
            self._ended.wait(_SECONDS_TO_STOP)
            self._cancel()

    def _clear(self) -> None:
        if self._here or self._ended.is_set():  # else workers elsewhere have yet to hear that they are to stop
            self._counts.clear()

    def _cancel(self) -> None:
        """A job on an engine would go on without its driver; the shards that it has written are safe."""
        if self._result is not None and not self._here and not self._ended.is_set():
            with contextlib.suppress(Exception):  # a runner that cannot, or an engine that is gone
                self._result.cancel()

    def _late(self, workers: Workers) -> WorkerDied | None:
        """Beam's own word of a death, "Channel closed prematurely", may come before that of the process."""
        limit = time.monotonic() + (2 if self._error and workers.gone() else 0)
        while not (dead := workers.death()) and time.monotonic() < limit:
            time.sleep(0.1)
        return dead

    def _stalled(self, workers: Workers) -> WorkerDied | None:
        """Worker processes that have all been silent for too long count as dead; this process itself cannot be replaced;
        an engine looks after its own."""
        silent, limit = time.monotonic() - self._heard[1], self._limits.stall_timeout
        said, at = f"no worker has finished a map for {duration(silent)}", _at(self.reports)
        if silent > limit and workers.numbers():
            return WorkerDied(f"{said}, which --stall_timeout takes for death")
        if silent > limit and self._here:
            raise StoreError(f"{said}{at}; {_KEPT}, if need be with a longer --stall_timeout than {limit:g}")
        if silent > min(_SECONDS_TO_WONDER, limit) and not self._told:
            self._told = True
            self._display.say(said + at)
        return None

    def _look(self) -> None:
        self.reports = self._counts.reports()
        done, failed = sum(r.done for r in self.reports), sum(r.failed for r in self.reports)
        self._display.update(done, failed)
        reason = next((r.reason for r in self.reports if r.reason), "")
        self._limits.check(self._behind + done, self._failed_before + failed, reason)
        if done != self._heard[0]:
            self._heard, self._told = (done, time.monotonic()), False


def _at(reports: Sequence[Report]) -> str:
    units = sorted({report.unit for report in reports if report.unit})
    return f", at unit {', '.join(units)}" if units else ""


def _units(number: int) -> str:
    return f"{number} unit{'' if number == 1 else 's'}"


def _name(unit: WorkUnit) -> str:
    last = unit.first + unit.record_count - 1
    return f"unit {unit.id} (records {unit.first} to {last} of {unit.path})"
