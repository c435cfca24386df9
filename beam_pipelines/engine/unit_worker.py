"""Explains one work unit: reads, parses, batches and explains its examples, and writes its shard. Independent of Beam."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from beam_pipelines.engine.batch_size import BatchSize, examples_to_fill
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.writer import StoreWriter

if TYPE_CHECKING:  # these import TensorFlow, which a process imports when its worker starts
    from beam_pipelines.engine.device_pool import DevicePool
    from tb_deepexplain.recording.example import Example
    from tb_deepexplain.recording.request import Request

_Batch: TypeAlias = "tuple[list[Example], list[Failure]]"
METRICS_NOTE = "metrics"  # the note of a shard that holds the metrics of its unit


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker must know."""

    request: Request
    directory: str  # of the store
    record_spec: RecordSpec


@dataclasses.dataclass(frozen=True)
class Task:
    """A work unit as a worker gets it."""

    unit: WorkUnit
    one_by_one: bool = False  # workers died at this unit: each example is reported before it is parsed and explained
    fatal: Mapping[str, str] = dataclasses.field(default_factory=dict)  # steps that killed their workers → the reason
    is_suspect: bool = False  # a worker died at this unit, or at another one that was in flight with it

    @property
    def alone(self) -> bool:
        """Whether no other unit may be in flight: a death is then due to this one."""
        return self.one_by_one or self.is_suspect


class _StepReporter:
    """Reports each step of a unit, such as `parse a:000001`, before it begins: a worker's last report names the example at
    which it died. Does nothing unless the task's examples are explained one by one."""

    def __init__(self, task: Task, progress: ProgressFolder) -> None:
        self._task, self._progress = task, progress

    def begin(self, stage: str, example_id: str) -> Failure | None:
        """Report the step. For a step that was fatal before, a Failure: it must be skipped."""
        if not self._task.one_by_one:
            return None
        step = f"{stage} {example_id}"
        if reason := self._task.fatal.get(step):
            return Failure(example_id, stage, "WorkerDied", reason)
        self._progress.report_unit(self._task.unit.id, step)
        return None

    def end(self) -> None:
        if self._task.one_by_one:
            self._progress.report_unit(self._task.unit.id)


def unit_worker_pool(job: Job, keep_waiting: Callable[[str], bool] | None = None) -> DevicePool[UnitWorker]:
    """A worker for each device of this process. `keep_waiting`: for a free GPU, as in `lease_gpus`."""
    from tb_deepexplain.attribution.precision import forbid_tf32

    forbid_tf32(job.request.precision)  # before CUDA's libraries are loaded
    from beam_pipelines.engine.device_pool import DevicePool, prepare_devices

    return DevicePool(prepare_devices(job.request, keep_waiting), lambda: UnitWorker(job))


class UnitWorker:
    """Explains work units with one loaded model."""

    def __init__(self, job: Job) -> None:
        from beam_pipelines.reading.example_parser import ExampleParser
        from tb_deepexplain.attribution.precision import computes_on_gpu
        from tb_deepexplain.recording.batch_explainer import BatchExplainer

        # On a CPU, NumPy sorts a map's magnitudes faster, and nothing is copied.
        self.explainer = BatchExplainer(job.request, encodes_maps=computes_on_gpu())
        self.parser = ExampleParser(self.explainer.graph.inputs, job.record_spec)
        self._batch_size = BatchSize(job.request.batch_size)
        self._writer = StoreWriter(
            job.directory, directory_exists=True, measures=[name for name, _ in job.request.measures]
        )

    def explain_unit(self, task: Task, progress: ProgressFolder) -> Metrics:
        """Write the unit's shard; its metrics, which the shard holds, too. Raises Stopped if a stop is requested."""
        started, metrics, steps = time.perf_counter(), Metrics(), _StepReporter(task, progress)
        progress.report_unit(task.unit.id)
        progress.report_examples(0)  # ends here if a stop is requested
        with self._writer.shard(task.unit.id) as shard:
            batches = self._batches(self.read_examples(task.unit, steps), task.one_by_one)
            if self.explainer.request.only is not None:
                batches = self._selected(batches, task.one_by_one, steps, progress, metrics)
            for batch, failures in batches:
                model_seconds, unread = metrics.model_seconds, len(failures)
                if batch and (fatal := steps.begin("explain", batch[0].id)):
                    batch, failures, unread = [], [*failures, fatal], unread + 1
                if batch:
                    records = self.explainer.explain(batch, progress.report_examples, metrics)
                    shard.add(records.attributions, records.inputs)
                    metrics.explained += len(records.inputs)
                    failures = failures + records.errors
                steps.end()
                shard.add(errors=failures)
                for failure in failures:
                    metrics.fail(failure.stage)
                progress.report_examples(unread, len(failures), failures[-1].message if failures else "")
                if batch:
                    to_fill = examples_to_fill(self.explainer, batch)
                    self._batch_size.record(len(batch), metrics.model_seconds - model_seconds, to_fill)
            metrics.total_seconds = time.perf_counter() - started
            shard.note(METRICS_NOTE, metrics.encode())
        progress.report_unit(None)
        return metrics

    def _selected(
        self,
        batches: Iterable[_Batch],
        one_by_one: bool,
        steps: _StepReporter,
        progress: ProgressFolder,
        metrics: Metrics,
    ) -> Iterator[_Batch]:
        """Batches of the examples that meet the request's condition; the others are counted."""
        selected: list[Example] = []
        failures: list[Failure] = []
        for batch, new_failures in batches:
            failures += new_failures
            if batch and (fatal := steps.begin("explain", batch[0].id)):
                batch, failures = [], [*failures, fatal]
            meet = self.explainer.meet_condition(batch, metrics)
            selected += [example for example, meets in zip(batch, meet, strict=True) if meets]
            metrics.skipped += len(batch) - sum(meet)
            progress.report_examples(len(batch) - sum(meet))
            size = 1 if one_by_one else self._batch_size.current
            if len(selected) + len(failures) >= size:
                yield selected[:size], failures
                selected, failures = selected[size:], []
        if selected or failures:
            yield selected, failures

    def read_examples(self, unit: WorkUnit, steps: _StepReporter | None = None) -> Iterator[Example | Failure]:
        """The unit's examples in order, with a Failure for each that cannot be read or parsed."""
        positions: dict[str, str] = {}
        for record in read_records(unit, self.parser.columns):
            if isinstance(record, Failure):
                yield record
                continue
            if steps and (fatal := steps.begin("parse", record.position)):
                yield fatal
                continue
            try:
                example = self.parser.parse(record.payload, record.position)
                if example.id in positions:
                    raise InputError(f"its id {example.id!r} is also that of {positions[example.id]}; ids must differ")
            except Exception as error:  # a record may raise anything; only it is lost
                from tb_deepexplain.error_text import describe_failure

                yield Failure(record.position, "parse", *describe_failure(error))
                continue
            positions[example.id] = record.position
            yield example

    def _batches(self, items: Iterable[Example | Failure], one_by_one: bool) -> Iterator[_Batch]:
        batch: list[Example] = []
        failures: list[Failure] = []
        for item in items:
            if isinstance(item, Failure):
                failures.append(item)
            else:
                batch.append(item)
            if len(batch) + len(failures) >= (1 if one_by_one else self._batch_size.current):
                yield batch, failures
                batch, failures = [], []
        if batch or failures:
            yield batch, failures
