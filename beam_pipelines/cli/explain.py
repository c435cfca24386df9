"""The pipeline: examples in files of many formats in, an attribution store and its marker event out.

plan units → drop those whose shard stands → one DoFn that reads, explains and writes a unit → index and
manifest. Only the units' names are shuffled, and a unit is done when its shard stands: what a runner repeats, loses or
abandons is done again, by `recovery` or after the next run with --resume.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import options
from beam_pipelines.engine.native_logs import chatter_filtered, silence

if __name__ == "__main__":  # before Beam is imported, which takes seconds and already has something to say
    if "--debug" not in sys.argv:
        silence()
    options.check(sys.argv[1:])

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from beam_pipelines.cli import report
from beam_pipelines.cli.options import Arguments
from beam_pipelines.engine import beam_counters, runners, store_lock
from beam_pipelines.engine.progress import Counts, note
from beam_pipelines.engine.recovery import Limits, Recovery, start
from beam_pipelines.engine.unit_worker import NOTE, Job, Task, UnitWorker, unit_workers
from beam_pipelines.reading.class_names import match_class_names
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.reading.work_unit import Plan, WorkUnit
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError, Stopped, UnsupportedModelError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.storage import each
from tb_deepexplain.store import configuration, failures
from tb_deepexplain.store.marker import is_store_name, write_marker
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.store import MANIFEST, StoreWriter, store_path, writing

if TYPE_CHECKING:
    from beam_pipelines.engine.devices import Pool
    from tb_deepexplain.recording.batch_explainer import Request

INTERRUPTED = 130
_TRIES = 8  # examples that fail before the run is left to find out which are good


@beam.typehints.with_input_types(Task)
@beam.typehints.with_output_types(str)
class ExplainUnit(beam.DoFn):
    """Task → its unit's id, when its shard stands. The model is loaded once for each device of a process."""

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared

    def setup(self) -> None:
        with chatter_filtered():
            self._pool: Pool[UnitWorker] = self._shared.acquire(lambda: unit_workers(self._job))
        self._counts, self._store = Counts(self._job.directory), StoreWriter(self._job.directory)

    def process(self, task: Task) -> Iterator[str]:
        if self._store.is_finished(task.unit.id):  # a bundle that is done again
            yield task.unit.id
            return
        try:
            with self._pool.one() as worker:
                metrics = worker.work(task, self._counts)
        except Stopped:  # wanted: no error of the pipeline, and the unit has left nothing
            return
        beam_counters.publish(metrics)
        yield task.unit.id

    def display_data(self) -> dict[str, Any]:
        request = self._job.request
        methods = ", ".join(name for name, _ in request.methods)
        return {"model": request.model, "methods": methods, "target": str(request.target), "store": self._job.directory}


def main(argv: Sequence[str] | None = None, prog: str = options.PROG) -> int:
    """Run the pipeline; 0, 1 (some examples failed), 2 (ended by an error) or 130 (stopped)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return guarded(argv, lambda: run(options.parse(argv, prog)))


STOPPED = "stopped; what is finished is kept, --resume goes on with it"


def guarded(argv: Sequence[str], do: Callable[[], int], stopped: str = STOPPED) -> int:
    """The exit status of `do`; an error is one line, unless --debug is among the arguments. `stopped` is said of Ctrl-C."""
    debug = "--debug" in argv
    try:
        return do()
    except SystemExit as end:  # --help
        return int(end.code or 0)
    except DeepExplainError as error:
        if debug:
            raise
        return _fail(str(error))
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {error}".splitlines()[0] + " (--debug shows where)")


def run(asked: Arguments) -> int:
    """Check everything that can be checked, explain what is not yet explained, commit."""
    started = time.monotonic()
    directory, plan = check_places(asked)
    asked, record_spec = describe_input(asked, plan)
    fingerprint = configuration.fingerprint(asked.model)
    runner, beam_options = runners.choose(asked.beam, options.option_names())
    store_lock.refuse_if_locked(directory)
    note("loading TensorFlow")
    with chatter_filtered():
        from beam_pipelines.cli import run_configuration
    request = request_of(asked)
    wanted = run_configuration.configure(asked, request, fingerprint, plan)
    plan = plan.for_configuration(configuration.digest(wanted))
    if not asked.overwrite:
        configuration.check(directory, wanted, asked.resume)
    job = Job(request, str(directory), record_spec)
    if asked.dry_run:
        return _tell(job, directory, plan, asked, started)
    shared = Shared()
    again = asked.overwrite or asked.retry_errors
    pool = _ready(job, shared, plan, asked, beam_options) if again or not _is_finished(directory, plan) else None
    with store_lock.locked(directory):
        if asked.overwrite:
            configuration.clear(directory)
        else:
            configuration.check(directory, wanted, asked.resume)  # another run may have been at it since
        if asked.retry_errors:
            configuration.forget_failures(directory)
        if not (already := _is_finished(directory, plan)):
            pool = pool or _ready(job, shared, plan, asked, beam_options)
            configuration.begin(directory, wanted)
            limits = Limits(0.5 if asked.max_error_rate is None else asked.max_error_rate, asked.stall_timeout)
            recovery = Recovery(Counts(directory), limits, runner, beam_options)
            left = functools.partial(_unfinished, directory, plan)

            def explain() -> beam.PTransform:
                return runners.hinted(beam.ParDo(ExplainUnit(job, shared)), beam_options)

            if runners.is_template(beam_options):
                start(runner, beam_options, [Task(unit) for unit in left()], explain)
                print("the job is described; when it has run, the same command with --resume makes its shards a store")
                return 0
            interrupted = recovery.run(left, functools.partial(_behind, directory, plan), explain, plan.record_count)
            if interrupted and left():
                advice = f"stopped with {len(left())} of {len(plan.units)} units left"
                print(f"{advice}; the same command with --resume goes on", file=sys.stderr)
                return INTERRUPTED
            units = [unit.id for unit in plan.units]
            if asked.max_error_rate is not None:
                limits.check(*_behind(directory, plan), failures.summarize_units(directory, units), least=1)
            with pool.one() as worker:
                kind = worker.explainer.kind
            described = run_configuration.build(asked, request, kind, fingerprint, runners.name(runner))
            _commit(directory, units, described, recovery.retried)
        configuration.remove_leftovers(directory)
        Counts(directory).clear()
        with writing(asked.logdir):
            write_marker(asked.logdir, asked.run, asked.name)
    return report.report(asked.logdir, directory, time.monotonic() - started, already)


def _tell(job: Job, directory: Path, plan: Plan, asked: Arguments, started: float) -> int:
    """What is left to do, and what it would take."""
    left = plan.units if asked.overwrite else _unfinished(directory, plan)
    if not left:
        print("nothing is left to do")
        return 0
    note("explaining a sample")
    with chatter_filtered():
        from beam_pipelines.cli.dry_run import estimate

        found = estimate(job, left, started, runners.threads(asked.beam))
    print(found.describe(directory, runners.processes(asked.beam)))
    return 0


def check_places(asked: Arguments) -> tuple[Path, Plan]:
    """Where the store goes and what the input holds, before anything heavy is loaded."""
    if not is_store_name(asked.name):
        expected = "letters, digits, '_', '-' or '.', not starting with '.' or '-'"
        raise ParameterError(f"--name {asked.name!r}: expected {expected}")
    directory = store_path(asked.logdir, asked.run, asked.name)
    configuration.check_writable(directory)
    FileSystems.set_options(PipelineOptions(list(asked.beam)))  # where hdfs:// is, say
    plan = make_plan(find_files(asked.input, asked.format), asked.unit_size)
    if not plan.record_count:
        raise InputError(f"--input {' '.join(asked.input)}: the files hold no records; give files with examples")
    return directory, plan


def describe_input(asked: Arguments, plan: Plan) -> tuple[Arguments, RecordSpec]:
    """The arguments with the class names of the input, if it defines some, and how its records are read."""
    schema = load_schema(asked.schema) if asked.schema else None
    names = plan.class_names if asked.label_feature == "label" else None  # the input names the classes of `label`
    if schema and names is None:
        names = schema.class_names(asked.label_feature)
    labels, class_names = match_class_names(names, asked.labels)
    record_spec = RecordSpec(
        features=asked.features,
        label_feature=asked.label_feature,
        id_feature=asked.id_feature,
        class_names=class_names,
        resize=asked.resize,
        preprocess=asked.preprocess,
        schema=schema,
    )
    return dataclasses.replace(asked, labels=labels), record_spec


def _unfinished(directory: Path, plan: Plan) -> Sequence[WorkUnit]:
    finished = StoreWriter(directory).finished_units()
    return [unit for unit in plan.units if unit.id not in finished]


def _is_finished(directory: Path, plan: Plan) -> bool:
    return (directory / MANIFEST).exists() and not _unfinished(directory, plan)


def _behind(directory: Path, plan: Plan) -> tuple[int, int]:
    """Examples in shards, and how many of them failed."""
    finished = StoreWriter(directory).finished_units()
    units = [unit for unit in plan.units if unit.id in finished]
    return sum(unit.record_count for unit in units), sum(
        StoreWriter(directory).rows("errors", [unit.id for unit in units])
    )


def _ready(job: Job, shared: Shared, plan: Plan, asked: Arguments, options: PipelineOptions) -> Pool[UnitWorker]:
    """This process's workers, one tried on an example: on the CPU, if devices are for other processes to take."""
    note("loading the model and trying it on one example")
    here = runners.is_here(asked.beam)
    if not here:
        job = dataclasses.replace(job, request=dataclasses.replace(job.request, gpus=0, mixed_precision=False))
    with chatter_filtered():
        pool: Pool[UnitWorker] = shared.acquire(lambda: unit_workers(job)) if here else unit_workers(job)
        with pool.one():  # loads
            pass
    with pool.one() as worker:
        try_one(worker, plan.units)
    if here:
        runners.spread(options, len(pool.devices))
    return pool


def try_one(worker: UnitWorker, units: Sequence[WorkUnit]) -> None:
    """Explain the first example that can be, so that what is wrong for all of them is said before the work begins."""
    first: Failure | None = None
    tried = 0
    for found in (example for unit in units for example in worker.parsed(unit)):
        if isinstance(found, Failure):
            first = first or found
            continue
        try:
            worker.explainer.classes(found)
            worker.explainer.attempt([found])
            return
        except (ParameterError, UnsupportedModelError):
            raise
        except Exception:  # perhaps this example's own trouble: the run will record it
            tried += 1
            if tried == _TRIES:
                return
    if first and not tried:
        raise InputError(f"none of the examples fits the model; the first, {first.example_id}: {first.message}")


def request_of(asked: Arguments) -> Request:
    """The methods and measures with their parameters, checked against the tables."""
    from tb_deepexplain.attribution.methods import find_method
    from tb_deepexplain.evaluation.measures import TABLE as MEASURES
    from tb_deepexplain.evaluation.measures import find_measure
    from tb_deepexplain.recording.batch_explainer import Request

    methods = _rows("methods", asked.methods, find_method)
    measures = _rows("measures", asked.measures, find_measure)
    if not methods:
        raise ParameterError("--methods: expected at least one method")
    for name, parameter, text in asked.parameters:
        kind = "measures" if name in {row.id for row in MEASURES} else "methods"
        row, given = (find_measure(name), measures) if kind == "measures" else (find_method(name), methods)
        if row.id not in given:
            raise ParameterError(f"--{name}.{parameter} was given but {row.id} is not among --{kind} {','.join(given)}")
        known = {p.name: p for p in row.parameters}
        given[row.id] |= row.check({parameter: known[parameter].parse(text) if parameter in known else text})
    return Request(
        model=asked.model,
        methods=tuple(methods.items()),
        measures=tuple(measures.items()),
        measured=asked.measured,
        superpixels=asked.superpixels if asked.measures else None,
        target=asked.target,
        signature=asked.signature,
        output=asked.output,
        labels=asked.labels,
        vocabulary=asked.vocabulary,
        batch_size=asked.batch_size,
        step=asked.step,
        gpus=asked.gpus,
        alone=runners.is_alone(asked.beam),
        mixed_precision=asked.mixed_precision,
    )


def _rows(option: str, names: Sequence[str], find: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
    """The ids, each with room for its parameters."""
    found: dict[str, dict[str, Any]] = {find(name).id: {} for name in names}
    if len(found) != len(names):
        raise ParameterError(f"--{option} {','.join(names)}: expected different {option}, separated by commas")
    return found


def _commit(directory: Path, units: list[str], described: dict[str, Any], retried: int) -> None:
    """Index, manifest; but no store of errors alone."""
    if reasons := failures.summarize_if_all_failed(directory, units):
        configuration.clear(directory)
        raise InputError(f"none of the examples could be explained: {reasons}")
    writer = StoreWriter(directory, measures=[measure["id"] for measure in described["measures"]])
    notes = each(writer.notes, units, directory)
    spent = sum((Metrics.decode(note.get(NOTE, "{}")) for note in notes), Metrics())
    writer.commit(units, described | {"spent": {**spent.described(), "units_retried": retried}})


def _fail(reason: str) -> int:
    print(f"tb-deepexplain: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    # Imported by name: workers must find the same classes, which they could not in __main__.
    from beam_pipelines.cli.explain import main as run_main

    sys.exit(run_main())
