"""The Beam step that explains: a task in, the shard of its work unit written, the unit's id out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.unit_worker import Job, Task, UnitWorker, unit_worker_pool
from tb_deepexplain.errors import Stopped
from tb_deepexplain.store.writer import StoreWriter

if TYPE_CHECKING:
    from beam_pipelines.engine.device_pool import DevicePool


@beam.typehints.with_input_types(Task)
@beam.typehints.with_output_types(str)
class ExplainUnit(beam.DoFn):
    """Task → id of its work unit, once the unit's shard is written. Each device of a process loads the model once."""

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared

    def setup(self) -> None:
        with filter_native_stderr():
            self._pool: DevicePool[UnitWorker] = self._shared.acquire(lambda: unit_worker_pool(self._job))
        self._progress, self._store = ProgressFolder(self._job.directory), StoreWriter(self._job.directory)

    def process(self, task: Task) -> Iterator[str]:
        if self._store.is_finished(task.unit.id):  # the runner repeats a bundle
            yield task.unit.id
            return
        try:
            with self._pool.least_busy() as worker:
                metrics = worker.explain_unit(task, self._progress)
        except Stopped:  # the driver stops the run: no error of the pipeline, and the unit has written nothing
            return
        update_counters(metrics)
        yield task.unit.id

    def display_data(self) -> dict[str, Any]:
        request = self._job.request
        methods = ", ".join(name for name, _ in request.methods)
        return {"model": request.model, "methods": methods, "target": str(request.target), "store": self._job.directory}
