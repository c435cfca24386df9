"""Before a run: load the model and explain one example, so that an error common to all examples ends the run at once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from beam_pipelines.engine import local_workers
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_display import print_note
from beam_pipelines.engine.unit_worker import Job, UnitWorker, unit_worker_pool
from beam_pipelines.reading.named_features import check_present, describe_absent
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.store.records import Failure

if TYPE_CHECKING:  # these import TensorFlow
    from beam_pipelines.engine.device_pool import DevicePool
    from tb_deepexplain.recording.batch_explainer import BatchExplainer
    from tb_deepexplain.recording.example import Example

_MAX_FAILURES = 8  # failed examples after which the run starts anyway, and records which examples are good


def load_workers(
    job: Job, shared: Shared, units: Sequence[WorkUnit], flags: Sequence[str], options: PipelineOptions
) -> DevicePool[UnitWorker]:
    """This process's workers, after one of them has explained an example.

    They are the workers of the run if `flags`, Beam's options, run it in this process. Otherwise they use the CPU and
    leave the GPUs to the worker processes.
    """
    check_present(itertools.chain.from_iterable(map(read_records, units)), job.record_spec)
    print_note("loading the model and explaining one example")
    is_here = local_workers.explains_here(flags)
    with filter_native_stderr():
        if not is_here:
            if local_workers.explains_on_this_machine(flags):
                from beam_pipelines.engine.devices import check_machine

                check_machine(job.request.gpus, job.request.gpu_memory)
            job = dataclasses.replace(job, request=job.request.on_cpu())
        pool: DevicePool[UnitWorker] = (
            shared.acquire(lambda: unit_worker_pool(job)) if is_here else unit_worker_pool(job)
        )
        with pool.least_busy():  # loads the model
            pass
    with pool.least_busy() as worker:
        records = itertools.chain.from_iterable(map(read_records, units))
        if absent := describe_absent(records, worker.parser.sparse_features):
            print_note(absent)
        explain_one(worker.explainer, (example for unit in units for example in worker.read_examples(unit)))
    if is_here:
        local_workers.use_all_devices(options, len(pool.device_names))
    return pool


def explain_one(
    explainer: BatchExplainer, examples: Iterable[Example | Failure], which: str = "none of the examples"
) -> None:
    """Explain the first good example. ParameterError, UnsupportedModelError or InputError if none can be explained.

    `which`: the examples in words, for a message. There is at least one.
    """
    first_failure: Failure | None = None
    failures = 0
    for example in examples:
        if isinstance(example, Failure):
            first_failure = first_failure or example
            continue
        try:
            explainer.classes(example)
            explainer.attempt([example])
            for one in explainer.explainers:
                one.forget_sample(errors=True)  # the run explains this example, too
            return
        except (ParameterError, UnsupportedModelError):
            raise
        except Exception:  # perhaps only this example fails: the run will record it
            failures += 1
            if failures == _MAX_FAILURES:
                return
    if first_failure and not failures:
        reason = f"the first, {first_failure.example_id}: {first_failure.message}"
        raise InputError(f"{which} fits the model; {reason}")
