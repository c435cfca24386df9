"""The Beam step that explains: a task in, the shard of its work unit written, the unit's id out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_pipelines.engine import beam_counters
from beam_pipelines.engine.native_logs import chatter_filtered
from beam_pipelines.engine.progress import Counts
from beam_pipelines.engine.unit_worker import Job, Task, UnitWorker, unit_workers
from tb_deepexplain.errors import Stopped
from tb_deepexplain.store.store import StoreWriter

if TYPE_CHECKING:
    from beam_pipelines.engine.devices import Pool


@beam.typehints.with_input_types(Task)
@beam.typehints.with_output_types(str)
class ExplainUnit(beam.DoFn):
    """Task → id of its work unit, once the unit's shard is written. Each device of a process loads the model once."""

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared

    def setup(self) -> None:
        with chatter_filtered():
            self._pool: Pool[UnitWorker] = self._shared.acquire(lambda: unit_workers(self._job))
        self._counts, self._store = Counts(self._job.directory), StoreWriter(self._job.directory)

    def process(self, task: Task) -> Iterator[str]:
        if self._store.is_finished(task.unit.id):  # the runner repeats a bundle
            yield task.unit.id
            return
        try:
            with self._pool.one() as worker:
                metrics = worker.work(task, self._counts)
        except Stopped:  # the driver stops the run: no error of the pipeline, and the unit has written nothing
            return
        beam_counters.publish(metrics)
        yield task.unit.id

    def display_data(self) -> dict[str, Any]:
        request = self._job.request
        methods = ", ".join(name for name, _ in request.methods)
        return {"model": request.model, "methods": methods, "target": str(request.target), "store": self._job.directory}
