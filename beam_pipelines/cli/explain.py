"""`tb-deepexplain explain`: examples in files become an attribution store that TensorBoard shows.

The steps: plan the work units; drop those that already have a shard; load the model and explain one example; run the
pipeline over the units; write index and manifest. A unit is finished when its shard is written. Units that a
runner loses or abandons are redone by `engine.recovery`, or by the next run with --resume.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from beam_pipelines.cli.arguments import PROG, Arguments, parse_explain
from beam_pipelines.cli.exit_status import INTERRUPTED, OK, run_guarded
from beam_pipelines.cli.input_plan import describe_input, plan_input, select_records
from beam_pipelines.cli.options import option_names
from beam_pipelines.cli.report import report
from beam_pipelines.engine import local_workers
from beam_pipelines.engine.commit import commit_units
from beam_pipelines.engine.explain_unit import ExplainUnit
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.pipeline_attempt import start_pipeline
from beam_pipelines.engine.plan_status import PlanStatus
from beam_pipelines.engine.progress_display import print_note
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.recovery import Recovery
from beam_pipelines.engine.resource_hints import add_hints
from beam_pipelines.engine.run_limits import RunLimits
from beam_pipelines.engine.runners import choose_runner, is_template
from beam_pipelines.engine.store_lock import check_not_locked, store_lock
from beam_pipelines.engine.trial import load_workers
from beam_pipelines.engine.unit_worker import Job, Task, UnitWorker
from tb_deepexplain.attribution.precision import forbid_tf32
from tb_deepexplain.store import configuration, failures
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.write_errors import as_store_error

if TYPE_CHECKING:
    from beam_pipelines.engine.device_pool import DevicePool

_DEFAULT_ERROR_RATE = 0.5
_INTERRUPTED = "stopped; finished work is kept, --resume continues it"


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run the pipeline; 0, 1 (some examples failed), 2 (an error ended it) or 130 (Ctrl-C)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return run_guarded(argv, lambda: run(parse_explain(argv, prog)), _INTERRUPTED)


def run(arguments: Arguments) -> int:
    """Check all that can be checked, explain the units without a shard, commit the store."""
    started = time.monotonic()
    forbid_tf32(arguments.precision)  # before TensorFlow is loaded, also by worker processes
    prepared = _prepare(arguments)
    status = prepared.status
    if arguments.dry_run:
        return _dry_run(prepared, started)
    restarts = arguments.overwrite or arguments.retry_errors
    # The model is loaded before the lock is taken: a mistake then leaves an existing store as it was.
    pool = prepared.load_workers() if restarts or not status.is_committed() else None
    with store_lock(status.directory):
        if arguments.overwrite:
            configuration.clear(status.directory)
        else:  # once more: another run may have written the store in the meantime
            configuration.check(status.directory, prepared.configuration, arguments.resume)
        if arguments.retry_errors:
            configuration.remove_failed_units(status.directory)
        was_committed = status.is_committed()
        if not was_committed:
            exit_status = _explain(prepared, pool or prepared.load_workers())
            if exit_status is not None:
                return exit_status
        configuration.remove_leftovers(status.directory)
        ProgressFolder(status.directory).clear()
        with as_store_error(arguments.logdir):
            write_marker(arguments.logdir, arguments.run, arguments.name)
    return report(arguments.logdir, status.directory, time.monotonic() - started, was_committed)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A run whose arguments are checked and whose work units are planned."""

    arguments: Arguments
    job: Job
    status: PlanStatus
    fingerprint: str  # of the model
    records: int  # of the whole input, of which the plan may be a part
    configuration: dict[str, Any]  # what the content of the store depends on
    runner: Any
    options: PipelineOptions
    shared: Shared  # holds the loaded model of this process

    def load_workers(self) -> DevicePool[UnitWorker]:
        return load_workers(self.job, self.shared, self.status.plan.units, self.arguments.beam, self.options)


def _prepare(arguments: Arguments) -> _Prepared:
    directory, whole_plan = plan_input(arguments)
    plan = select_records(arguments, whole_plan)
    arguments, record_spec = describe_input(arguments, plan)
    fingerprint = configuration.fingerprint(arguments.model)
    runner, options = choose_runner(arguments.beam, option_names())
    check_not_locked(directory)
    print_note("loading TensorFlow")
    with filter_native_stderr():
        from beam_pipelines.cli import run_configuration
        from beam_pipelines.cli.background import read_background
        from beam_pipelines.cli.request import build_request, check_baseline_examples

        check_baseline_examples(arguments)
        background = read_background(arguments, record_spec)
    request = build_request(arguments, background)
    contents = run_configuration.configure(arguments, request, fingerprint, plan)
    plan = plan.for_configuration(configuration.digest(contents))
    if not arguments.overwrite:
        configuration.check(directory, contents, arguments.resume)
    job = Job(request, str(directory), record_spec)
    status = PlanStatus(plan, directory)
    records = whole_plan.record_count
    return _Prepared(arguments, job, status, fingerprint, records, contents, runner, options, Shared())


def _explain(prepared: _Prepared, pool: DevicePool[UnitWorker]) -> int | None:
    """Explain the units without a shard and commit the store; an exit status if the run ends before the commit."""
    arguments, status, options = prepared.arguments, prepared.status, prepared.options
    configuration.begin(status.directory, prepared.configuration)

    def explain_units() -> beam.PTransform:
        return add_hints(beam.ParDo(ExplainUnit(prepared.job, prepared.shared)), options)

    if is_template(options):
        start_pipeline(prepared.runner, options, [Task(unit) for unit in status.unfinished_units()], explain_units)
        print("the job template is written; after the job has run, the same command with --resume commits the store")
        return OK
    from beam_pipelines.engine.devices import count_process_slots

    max_error_rate = _DEFAULT_ERROR_RATE if arguments.max_error_rate is None else arguments.max_error_rate
    limits = RunLimits(max_error_rate, arguments.stall_timeout)
    recovery = Recovery(
        ProgressFolder(status.directory),
        limits,
        prepared.runner,
        options,
        local_workers.count_processes(arguments.beam),
        lambda processes: count_process_slots(processes, arguments.gpus, arguments.processes_per_gpu),
        functools.partial(local_workers.make_limited_runner, arguments.beam),
    )
    interrupted = recovery.run(status.unfinished_units, status.count_examples, explain_units, status.plan.record_count)
    if interrupted and (unfinished := status.unfinished_units()):
        counts = f"{len(unfinished)} of {len(status.plan.units)} units left"
        print(f"stopped with {counts}; the same command with --resume continues", file=sys.stderr)
        return INTERRUPTED
    units = [unit.id for unit in status.plan.units]
    if arguments.max_error_rate is not None:
        limits.check_error_rate(*status.count_examples(), failures.summarize_units(status.directory, units), least=1)
    from beam_pipelines.cli import run_configuration

    with pool.least_busy() as worker:
        manifest = run_configuration.build_manifest(
            arguments,
            prepared.job.request,
            worker.explainer,
            prepared.fingerprint,
            type(prepared.runner).__name__,
            prepared.records,
        )
    commit_units(status.directory, units, manifest, recovery.retried_units)
    return None


def _dry_run(prepared: _Prepared, started: float) -> int:
    """Print what is left to explain and an estimate of what it takes."""
    arguments, status = prepared.arguments, prepared.status
    units = status.plan.units if arguments.overwrite else status.unfinished_units()
    if not units:
        print("nothing is left to explain")
        return OK
    print_note("explaining a sample")
    with filter_native_stderr():
        from beam_pipelines.cli.dry_run import estimate

        result = estimate(prepared.job, units, started, local_workers.threads_per_process(arguments.beam))
    print(result.describe(status.directory, local_workers.count_processes(arguments.beam)))
    return OK
