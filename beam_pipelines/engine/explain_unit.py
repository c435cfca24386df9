"""The Beam step that explains: a task in, the shard of its work unit written, the unit's id out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.engine.gpu_leases import SECONDS_TO_WAIT, NoFreeGpuError
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_folder import ProgressFolder, WorkerReport
from beam_pipelines.engine.unit_worker import Job, Task, UnitWorker, unit_worker_pool
from tb_deepexplain.errors import Stopped
from tb_deepexplain.store.writer import StoreWriter

if TYPE_CHECKING:
    from beam_pipelines.engine.device_pool import DevicePool


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

    A process that gets no GPU hands its units back: it puts out nothing for them, and the driver starts another pipeline.
    """

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared

    def setup(self) -> None:
        self._progress, self._store = ProgressFolder(self._job.directory), StoreWriter(self._job.directory)
        self._pool: DevicePool[UnitWorker] | None = None

    def start_bundle(self) -> None:
        self._hands_back = False

    def process(self, task: Task) -> Iterator[str]:
        if self._store.is_finished(task.unit.id):  # the runner repeats a bundle
            yield task.unit.id
            return
        if self._hands_back:
            return
        try:
            self._pool = self._pool or self._load()
            with self._pool.least_busy() as worker:
                metrics = worker.explain_unit(task, self._progress)
        except Stopped:  # the driver stops the run: no error of the pipeline, and the unit has written nothing
            return
        except NoFreeGpuError:
            self._hands_back = True
            return
        update_counters(metrics)
        yield task.unit.id

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
