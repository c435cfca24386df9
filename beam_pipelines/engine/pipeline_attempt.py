"""Runs the pipeline once over some tasks, and watches it: progress, dead or stalled workers, the error rate, Ctrl-C."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from beam_pipelines.engine.progress_display import ProgressDisplay, format_duration
from beam_pipelines.engine.progress_folder import ProgressFolder, WorkerReport
from beam_pipelines.engine.run_limits import ADVICE, RunLimits
from beam_pipelines.engine.unit_worker import Task
from beam_pipelines.engine.worker_processes import WorkerDied, WorkerProcesses, limited_workers
from tb_deepexplain.error_text import runner_error_text
from tb_deepexplain.errors import StoreError

_SECONDS_TO_STOP = 10.0
_SECONDS_TO_NOTICE = 600.0  # without a map, before a notice is shown


def start_pipeline(
    runner: Any, options: Any, tasks: Sequence[Task], make_transform: Callable[[], beam.PTransform]
) -> PipelineResult:
    """Submit the pipeline over these tasks to the runner."""
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = pipeline | "Units" >> beam.Create(list(tasks)) | "ExplainUnit" >> make_transform()
    return pipeline.run()


def at_units(reports: Sequence[WorkerReport]) -> str:
    """The units that workers were explaining, for messages."""
    units = sorted({report.unit for report in reports if report.unit})
    return f", at unit {', '.join(units)}" if units else ""


class PipelineAttempt:
    """One run of the pipeline. Afterwards `dead_workers` has the last reports of workers that died."""

    def __init__(
        self,
        progress: ProgressFolder,
        limits: RunLimits,
        display: ProgressDisplay,
        finished_examples: tuple[int, int],
    ) -> None:
        """`finished_examples`: how many are in shards, and how many of them failed."""
        self._progress, self._limits, self._display = progress, limits, display
        self._finished, self._failed = finished_examples
        self._error: BaseException | None = None
        self._result: PipelineResult | None = None
        self._ended = threading.Event()
        self._last_done, self._last_change, self._noticed = 0.0, time.monotonic(), False
        self._noticed_waiting = False
        self._local = False  # Beam's local runner
        self.reports: list[WorkerReport] = []
        self.dead_workers: list[WorkerReport] = []
        self.interrupted = False

    def run(
        self,
        runner: Any,
        options: Any,
        tasks: Sequence[Task],
        make_transform: Callable[[], Any],
        workers_limit: int | None = None,
    ) -> WorkerDied | None:
        """Run to the end; the death of a worker that ended it early, else None. Ctrl-C sets `interrupted`.

        `workers_limit`: how many workers the local runner starts, if not as many as its options say.

        Raises StoreError for an error of the pipeline, and if a limit is exceeded.
        """
        self._local = isinstance(runner, FnApiRunner)
        self._progress.create()
        self._display.restart(self._finished)
        with ExitStack() as stack:
            stack.callback(self._clear_progress)
            workers = stack.enter_context(WorkerProcesses())
            workers_limit = 1 if tasks[0].one_by_one else workers_limit
            if workers_limit is not None:
                stack.enter_context(limited_workers(options.view_as(DirectOptions), workers_limit))
            # The pipeline runs in a thread, so that this one can show the progress and handle Ctrl-C. An event signals its
            # end: after Ctrl-C, Thread.join takes a living thread for a dead one (Python 3.11).
            arguments = (runner, options, tasks, make_transform)
            threading.Thread(target=self._run_pipeline, args=arguments, daemon=True).start()
            stack.push(self._stop_on_error)
            death = self._watch(workers) or self._late_death(workers)
            if death:
                self.reports = self._progress.read_reports(now=True)
                dead = workers.ended() or workers.process_ids()  # if none has ended, all have stalled
                self.dead_workers = [report for report in self.reports if report.process in dead]
        if self.interrupted:
            return None
        if death is None and self._error:
            raise StoreError(f"{runner_error_text(self._error)}; {ADVICE}") from self._error
        return death

    @property
    def waiting(self) -> str:
        """Why a worker has no device; "" if all have one."""
        return next((report.waiting for report in self.reports if report.waiting), "")

    def _run_pipeline(
        self, runner: Any, options: Any, tasks: Sequence[Task], make_transform: Callable[[], Any]
    ) -> None:
        try:
            self._result = start_pipeline(runner, options, tasks, make_transform)
            self._result.wait_until_finish()
        except BaseException as error:  # the thread that waits raises it
            self._error = error
        finally:
            self._ended.set()

    def _watch(self, workers: WorkerProcesses) -> WorkerDied | None:
        """Wait until the pipeline ends or a worker dies. After a first Ctrl-C the workers finish their current maps; a second
        one is raised."""
        while True:
            try:
                ended = self._ended.wait(0.2)
                self._update_progress()
                if ended:
                    return None
                if death := workers.find_death() or self._find_stall(workers):
                    return death
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
                self._progress.request_stop()
                self._display.print("stopping after the current maps; Ctrl-C again stops at once")
                if not self._local:
                    threading.Timer(_SECONDS_TO_STOP, self._cancel).start()

    def _update_progress(self) -> None:
        self.reports = self._progress.read_reports()
        done, failed = sum(report.done for report in self.reports), sum(report.failed for report in self.reports)
        self._display.update(done, failed)
        reason = next((report.reason for report in self.reports if report.reason), "")
        if self.waiting and not self._noticed_waiting:
            self._noticed_waiting = True
            self._display.print(f"a worker waits for a GPU, the others go on: {self.waiting}")
        self._limits.check_error_rate(self._finished + done, self._failed + failed, reason)
        if done != self._last_done:
            self._last_done, self._last_change, self._noticed = done, time.monotonic(), False

    def _find_stall(self, workers: WorkerProcesses) -> WorkerDied | None:
        """Worker processes that all stalled count as dead. Threads of this process cannot be replaced: StoreError. An engine
        watches its own workers."""
        seconds, limit = time.monotonic() - self._last_change, self._limits.stall_timeout
        message, units = f"no worker has finished a map for {format_duration(seconds)}", at_units(self.reports)
        if seconds > limit and workers.process_ids():
            return WorkerDied(f"{message}, longer than --stall_timeout")
        if seconds > limit and self._local:
            raise StoreError(f"{message}{units}; {ADVICE}, with a longer --stall_timeout than {limit:g} if necessary")
        if seconds > min(_SECONDS_TO_NOTICE, limit) and not self._noticed:
            self._noticed = True
            self._display.print(message + units)
        return None

    def _late_death(self, workers: WorkerProcesses) -> WorkerDied | None:
        """Beam's own error after a death, "Channel closed prematurely", may come before the process is seen to have ended."""
        deadline = time.monotonic() + (2 if self._error and workers.ended() else 0)
        while not (death := workers.find_death()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return death

    def _stop_on_error(self, error: type[BaseException] | None, *_: object) -> None:
        """Stop the pipeline if watching it raises: threads of this process can only be asked to stop."""
        if error:
            self._progress.request_stop()
            self._ended.wait(_SECONDS_TO_STOP)
            self._cancel()

    def _clear_progress(self) -> None:
        if self._local or self._ended.is_set():  # otherwise remote workers have yet to read the request to stop
            self._progress.clear()

    def _cancel(self) -> None:
        """Cancel a job on an engine, which would continue without its driver. The shards that it has written are safe."""
        if self._result is not None and not self._local and not self._ended.is_set():
            with contextlib.suppress(Exception):  # a runner that cannot cancel, or an engine that is gone
                self._result.cancel()
