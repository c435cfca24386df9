"""The pipeline: TFRecords of tf.Example in, an attribution store and its marker event out.

plan units → drop those whose shard stands → one DoFn that reads, explains and writes a unit → index and
manifest. Nothing is shuffled, and a unit is done when its shard stands: what a runner repeats, loses or
abandons is right again after the next run with --resume.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from beam_pipelines import arguments, configuration, runners, sources, summary
from beam_pipelines.arguments import Arguments
from beam_pipelines.progress import Counts, Display, Stopped, note, watch
from beam_pipelines.quiet import chatter_filtered, silence
from beam_pipelines.sources import Unit
from beam_pipelines.units import Job, UnitWorker
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError, StoreError, UnsupportedModelError
from tb_deepexplain.marker import is_store_name, write_marker
from tb_deepexplain.record import Failure
from tb_deepexplain.store import MANIFEST, StoreWriter, store_path

if TYPE_CHECKING:
    from beam_pipelines.explaining import Request

INTERRUPTED = 130
_TRIES = 8  # examples that fail before the run is left to find out which are good


class ExplainUnit(beam.DoFn):
    """Unit → its id, when its shard stands. The model is loaded once in a process."""

    def __init__(self, job: Job, shared: Shared) -> None:
        self._job, self._shared = job, shared
        self._explained = beam.metrics.Metrics.counter("tb_deepexplain", "explained")
        self._failed = beam.metrics.Metrics.counter("tb_deepexplain", "failed")

    def setup(self) -> None:
        with chatter_filtered():
            self._worker = self._shared.acquire(lambda: UnitWorker(self._job))
        self._counts = Counts(self._job.directory)

    def process(self, unit: Unit) -> Iterator[str]:
        try:
            explained, failed = self._worker.work(unit, self._counts)
        except Stopped:  # wanted: no error of the pipeline, and the unit has left nothing
            return
        self._explained.inc(explained)
        self._failed.inc(failed)
        yield unit.id


def main(argv: Sequence[str] | None = None, prog: str = "python -m beam_pipelines.attribute") -> int:
    """Run the pipeline; 0, 1 (some examples failed), 2 (nothing could run) or 130 (stopped)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in argv
    try:
        return run(arguments.parse(argv, prog))
    except SystemExit as end:  # --help
        return int(end.code or 0)
    except DeepExplainError as error:
        if debug:
            raise
        return _fail(str(error))
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, --resume goes on with it", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {error}".splitlines()[0] + " (--debug shows where)")


def run(asked: Arguments) -> int:
    """Check everything that can be checked, explain what is not yet explained, commit."""
    started = time.monotonic()
    directory, plan = _check_places(asked)
    fingerprint = configuration.fingerprint(asked.model)
    runner, options = runners.choose(asked.beam)
    note("loading TensorFlow")
    with chatter_filtered():
        from beam_pipelines import manifest
    request = _request(asked)
    wanted = manifest.configure(asked, request, fingerprint, plan.fingerprint)
    if not asked.overwrite:
        configuration.check(directory, wanted, asked.resume)
    pending = plan.units if asked.overwrite else _unfinished(directory, plan)
    already = not pending and (directory / MANIFEST).exists()
    if not already:
        job = Job(request, str(directory), asked.label_feature, asked.id_feature, asked.features)
        shared = Shared()
        note("loading the model and trying it on one example")
        with chatter_filtered():
            worker = shared.acquire(lambda: UnitWorker(job))
        try_one(worker, plan.units)
        if asked.overwrite:
            configuration.clear(directory)
        configuration.begin(directory, wanted)
        interrupted = pending and _explain(pending, plan, job, shared, runner, options)
        if pending and runners.is_template(options):
            print("the job is described; when it has run, the same command with --resume makes its shards a store")
            return 0
        if interrupted and (left := len(_unfinished(directory, plan))):
            advice = f"stopped with {left} of {len(plan.units)} units left; the same command with --resume goes on"
            print(advice, file=sys.stderr)
            return INTERRUPTED
        described = manifest.build(asked, request, worker.explainer.kind, fingerprint, runners.name(runner))
        _commit(directory, [unit.id for unit in plan.units], described)
    write_marker(asked.logdir, asked.run, asked.name)
    return summary.report(asked.logdir, directory, time.monotonic() - started, already)


def _check_places(asked: Arguments) -> tuple[Path, sources.Plan]:
    """Where the store goes and what the input holds, before anything heavy is loaded."""
    if not is_store_name(asked.name):
        expected = "letters, digits, '_', '-' or '.', not starting with '.' or '-'"
        raise ParameterError(f"--name {asked.name!r}: expected {expected}")
    directory = store_path(asked.logdir, asked.run, asked.name)
    configuration.check_writable(directory)
    plan = sources.plan(sources.find_files(asked.input), asked.unit_size)
    if not plan.records:
        raise InputError(f"--input {' '.join(asked.input)}: the files hold no records; give TFRecords of tf.Example")
    return directory, plan


def _unfinished(directory: Path, plan: sources.Plan) -> Sequence[Unit]:
    finished = StoreWriter(directory).finished_units()
    return [unit for unit in plan.units if unit.id not in finished]


def try_one(worker: UnitWorker, units: Sequence[Unit]) -> None:
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


def _request(asked: Arguments) -> Request:
    """The methods and their parameters, checked against the table."""
    from beam_pipelines.explaining import Request
    from tb_deepexplain.methods import find_method

    given: dict[str, dict[str, Any]] = {find_method(name).id: {} for name in asked.methods}
    if len(given) != len(asked.methods) or not given:
        raise ParameterError(f"--methods {','.join(asked.methods)}: expected different methods, separated by commas")
    for name, parameter, text in asked.parameters:
        method = find_method(name)
        if method.id not in given:
            raise ParameterError(
                f"--{name}.{parameter} was given but {method.id} is not among --methods {','.join(given)}"
            )
        known = {p.name: p for p in method.parameters}
        given[method.id] |= method.check({parameter: known[parameter].parse(text) if parameter in known else text})
    return Request(
        model=asked.model,
        methods=tuple(given.items()),
        target=asked.target,
        labels=asked.labels,
        vocabulary=asked.vocabulary,
        batch_size=asked.batch_size,
        step=asked.step,
    )


def _explain(pending: Sequence[Unit], plan: sources.Plan, job: Job, shared: Shared, runner: Any, options: Any) -> bool:
    """Run the pipeline over the units and show how far it is; whether Ctrl-C stopped it."""
    counts = Counts(job.directory)
    counts.begin()
    trouble: list[BaseException] = []
    ended = threading.Event()

    def run_pipeline() -> None:
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
            _ = (
                pipeline
                | "PlanUnits" >> beam.Create(list(pending))
                | "ExplainUnit" >> runners.hinted(beam.ParDo(ExplainUnit(job, shared)), options)
            )
            result = pipeline.run()
            if not runners.is_template(options):
                result.wait_until_finish()
        except BaseException as error:  # handed to the thread that waits
            trouble.append(error)
        finally:
            ended.set()

    def give_up(error: BaseException) -> None:
        trouble.append(error)
        ended.set()

    already = plan.records - sum(unit.records for unit in pending)
    try:
        with Display(plan.records, already) as display, runners.told_of_dead_workers(give_up):
            # In a thread, so that this one can draw the progress and hear Ctrl-C whatever the runner is doing. Its end
            # is told by an event: Thread.join that Ctrl-C interrupts takes a living thread for dead (Python 3.11).
            threading.Thread(target=run_pipeline, daemon=True).start()
            interrupted = watch(ended.wait, counts, display)
    finally:
        counts.clear()
    if trouble and not interrupted:
        raise StoreError(
            f"{runners.reason(trouble[0])}; what is finished is kept: the same command with --resume goes on"
        ) from trouble[0]
    return interrupted


def _commit(directory: Path, units: list[str], described: dict[str, Any]) -> None:
    """Index, manifest; but no store of errors alone."""
    if reasons := summary.all_failed(directory, units):
        configuration.clear(directory)
        raise InputError(f"none of the examples could be explained: {reasons}")
    StoreWriter(directory).commit(units, described)
    configuration.remove_leftovers(directory)


def _fail(reason: str) -> int:
    print(f"tb-deepexplain: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    if "--debug" not in sys.argv:
        silence()
    # Imported by name: workers must find the same classes, which they could not in __main__.
    from beam_pipelines.attribute import main as run_main

    sys.exit(run_main())
