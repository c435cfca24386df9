"""The Beam step that explains: a task in, the shard of its work unit written, the unit's id out."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.engine.gpu_leases import SECONDS_TO_WAIT, NoFreeGpuError
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_folder import ProgressFolder, WorkerReport
from beam_pipelines.engine.unit_worker import Job, Task, UnitWorker, unit_worker_pool
from tb_deepexplain.errors import Stopped
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.writer import StoreWriter

if TYPE_CHECKING:
    from beam_pipelines.engine.device_pool import DevicePool


_UNITS_AT_ONCE = 2  # of a step: while the model explains one, the other is read, encoded or written
_SECONDS_IDLE = 5.0  # between two units of a worker at most
_SECONDS_STALE = 600.0  # after which workers whose reports do not change no longer count


class WaitForGpu:
    """Whether a worker without a GPU waits on: as long as others of its run are at work, or half a minute where none is."""

    def __init__(self, progress: ProgressFolder) -> None:
        self._progress = progress
        self._deadline = time.monotonic() + SECONDS_TO_WAIT
        self._reports: set[WorkerReport] = set()
        self._last_change = time.monotonic()

    def __call__(self, reason: str) -> bool:
        """`reason`: why there is no GPU, which the driver shows. Raises Stopped if a stop is requested."""
        self._progress.report_waiting(reason)
        now, reports = time.monotonic(), set(self._progress.read_reports())
        if reports != self._reports:
            self._reports, self._last_change = reports, now
        if any(report.unit for report in reports) and now - self._last_change < _SECONDS_STALE:
            self._deadline = now + _SECONDS_IDLE
        return now < self._deadline


@beam.typehints.with_input_types(Task)
@beam.typehints.with_output_types(str)
class ExplainUnit(beam.DoFn):
    """Task → id of its work unit, once the unit's shard is written. Each device of a process loads the model once.

    Two units are in flight at once, so that a device need not wait for the host; `BatchExplainer` computes one batch at a time. An
    error of one unit is raised when the other has ended.

    A process that gets no GPU hands its units back: it puts out nothing for them, and the driver starts another pipeline.
    """

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared

    def setup(self) -> None:
        self._progress, self._store = ProgressFolder(self._job.directory), StoreWriter(self._job.directory)
        self._pool: DevicePool[UnitWorker] | None = None
        self._threads = ThreadPoolExecutor(_UNITS_AT_ONCE, "ExplainUnit")
        self._idle = [ProgressFolder(self._job.directory) for _ in range(_UNITS_AT_ONCE)]  # each unit in flight has one
        self._in_flight = collections.deque[Future[tuple[str, Metrics] | None]]()

    def start_bundle(self) -> None:
        self._hands_back = False

    def process(self, task: Task) -> Iterator[str]:
        if self._store.is_finished(task.unit.id):  # the runner repeats a bundle
            yield task.unit.id
            return
        if self._hands_back:
            return
        yield from self._finish(0 if task.alone else _UNITS_AT_ONCE - 1)
        try:
            self._pool = self._pool or self._load()
        except Stopped:  # the driver stops the run: no error of the pipeline
            return
        except NoFreeGpuError:
            self._hands_back = True
            return
        self._in_flight.append(self._threads.submit(self._explain, self._pool, task))
        if task.alone:
            yield from self._finish(0)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        for unit in self._finish(0):
            yield WindowedValue(unit, window.max_timestamp(), (window,))

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _explain(self, pool: DevicePool[UnitWorker], task: Task) -> tuple[str, Metrics] | None:
        """The unit's id and metrics; None if a stop is requested: the unit has then written nothing."""
        progress = self._idle.pop()
        try:
            with pool.least_busy() as worker:
                return task.unit.id, worker.explain_unit(task, progress)
        except Stopped:
            return None
        finally:
            self._idle.append(progress)

    def _finish(self, most: int) -> Iterator[str]:
        """Wait until at most so many units are in flight; the ids of those that have ended. Raises the first error of a unit when all have
        ended."""
        while len(self._in_flight) > most:
            wait([self._in_flight[0]])
            if any(one.done() and one.exception() for one in self._in_flight):
                wait(self._in_flight)
                failed = next(one for one in self._in_flight if one.exception())
                self._in_flight.clear()
                failed.result()
            if outcome := self._in_flight.popleft().result():
                unit, metrics = outcome
                update_counters(metrics)
                yield unit

    def _load(self) -> DevicePool[UnitWorker]:
        keep_waiting = WaitForGpu(self._progress)
        with filter_native_stderr():
            pool: DevicePool[UnitWorker] = self._shared.acquire(lambda: unit_worker_pool(self._job, keep_waiting))
        self._progress.report_waiting("")
        return pool

    def display_data(self) -> dict[str, Any]:
        request = self._job.request
        methods = ", ".join(name for name, _ in request.methods)
        return {"model": request.model, "methods": methods, "target": str(request.target), "store": self._job.directory}
