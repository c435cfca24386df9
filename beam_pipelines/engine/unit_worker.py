"""One work unit from its file to its shard: read, parse, batch, explain, write. Knows no Beam."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from beam_pipelines.engine.batch_size import BatchSize
from beam_pipelines.engine.progress import Counts
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.store import StoreWriter

if TYPE_CHECKING:  # TensorFlow comes with these: they are imported when a worker starts
    from beam_pipelines.engine.devices import Pool
    from tb_deepexplain.recording.batch_explainer import BatchExplainer, Request
    from tb_deepexplain.recording.example import Example

NOTE = "metrics"  # of a shard: what it took to make it


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker must know; sent to every one of them."""

    request: Request
    directory: str
    record_spec: RecordSpec


@dataclasses.dataclass(frozen=True)
class Task:
    """A unit as it is to be worked on."""

    unit: WorkUnit
    one_by_one: bool = False  # it is at work whenever a worker dies: the example at fault is to be found
    fatal: Mapping[str, str] = dataclasses.field(default_factory=dict)  # steps that killed their workers, and how


class _Steps:
    """Where the example that kills workers is sought: each step, such as `parse a:000001`, is told before it is done."""

    def __init__(self, task: Task, counts: Counts) -> None:
        self._task, self._counts = task, counts

    def begin(self, stage: str, example: str) -> Failure | None:
        """A Failure in the place of a step that was fatal before."""
        if not self._task.one_by_one:
            return None
        step = f"{stage} {example}"
        if why := self._task.fatal.get(step):
            return Failure(example, stage, "WorkerDied", why)
        self._counts.enter(self._task.unit.id, step)
        return None

    def end(self) -> None:
        if self._task.one_by_one:
            self._counts.enter(self._task.unit.id)


def unit_workers(job: Job) -> Pool[UnitWorker]:
    """One for each device of this process."""
    from beam_pipelines.engine.device_pool import start
    from beam_pipelines.engine.devices import Pool

    return Pool(start(job.request), lambda: UnitWorker(job))


class UnitWorker:
    """Turns units into shards with one loaded model."""

    def __init__(self, job: Job) -> None:
        from beam_pipelines.reading.example_parser import ExampleParser
        from tb_deepexplain.recording.batch_explainer import BatchExplainer

        self.explainer: BatchExplainer = BatchExplainer(job.request)
        self._parser = ExampleParser(self.explainer.graph.inputs, job.record_spec)
        self._size = BatchSize(job.request.batch_size)
        self._writer = StoreWriter(job.directory, begun=True, measures=[name for name, _ in job.request.measures])

    def work(self, task: Task, counts: Counts) -> Metrics:
        """Write the unit's shard; what it took, which the shard holds too."""
        started, metrics, steps = time.perf_counter(), Metrics(), _Steps(task, counts)
        counts.enter(task.unit.id)
        counts.add(0)  # hears of a stop before the first batch
        with self._writer.shard(task.unit.id) as shard:
            for batch, errors in self._batches(self.parsed(task.unit, steps), task.one_by_one):
                begun = time.perf_counter()
                if batch and (fatal := steps.begin("explain", batch[0].id)):
                    batch, errors = [], [*errors, fatal]
                records = self.explainer.explain(batch, counts.add, metrics) if batch else None
                steps.end()
                wrong = errors
                if records:
                    wrong = errors + records.errors
                    shard.add(records.attributions, records.inputs)
                    metrics.explained += len(records.inputs)
                shard.add(errors=wrong)
                for failure in wrong:
                    metrics.fail(failure.stage)
                counts.add(len(errors), len(wrong), wrong[-1].message if wrong else "")
                self._size.took(len(batch), time.perf_counter() - begun)
            metrics.total_seconds = time.perf_counter() - started
            shard.note(NOTE, metrics.encode())
        counts.enter(None)
        return metrics

    def parsed(self, unit: WorkUnit, steps: _Steps | None = None) -> Iterator[Example | Failure]:
        """The unit's examples in order, with a Failure in the place of each that cannot be explained."""
        positions: dict[str, str] = {}
        for record in read_records(unit, self._parser.columns):
            if isinstance(record, Failure):
                yield record
                continue
            if steps and (fatal := steps.begin("parse", record.position)):
                yield fatal
                continue
            try:
                example = self._parser.parse(record.payload, record.position)
                if example.id in positions:
                    raise InputError(
                        f"its id {example.id!r} is that of {positions[example.id]}; give every example its own"
                    )
            except Exception as error:  # a record's own trouble, whatever it raises
                from tb_deepexplain.recording.error_text import describe

                yield Failure(record.position, "parse", *describe(error))
                continue
            positions[example.id] = record.position
            yield example

    def _batches(
        self, items: Iterable[Example | Failure], one_by_one: bool
    ) -> Iterator[tuple[list[Example], list[Failure]]]:
        batch: list[Example] = []
        errors: list[Failure] = []
        for found in items:
            if isinstance(found, Failure):
                errors.append(found)
            else:
                batch.append(found)
            if len(batch) + len(errors) >= (1 if one_by_one else self._size.now):
                yield batch, errors
                batch, errors = [], []
        if batch or errors:
            yield batch, errors
