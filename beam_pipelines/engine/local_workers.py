"""Where a run explains: in this process, in worker processes of this machine, or elsewhere; and with how many threads."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_pipelines.engine.beam_flags import runner_id
from beam_pipelines.engine.resource_hints import ResourceHintOptions

LOCAL_RUNNERS = ("directrunner", "fnapirunner")
_THREAD_VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def count_processes(flags: Sequence[str]) -> int:
    """The worker processes that these flags start on this machine; 0 if this process explains, or other machines do."""
    direct = PipelineOptions(list(flags)).view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return 0
    return direct.direct_num_workers or _count_cores()


def threads_per_process(flags: Sequence[str]) -> int | None:
    """TensorFlow's threads in each worker process: one for each core, all processes together. None: TensorFlow chooses."""
    processes = count_processes(flags)
    return max(1, _count_cores() // processes) if processes else None


def explains_here(flags: Sequence[str]) -> bool:
    """Whether this process itself explains."""
    options = PipelineOptions(list(flags))
    if runner_id(options) in LOCAL_RUNNERS:
        return not count_processes(flags)
    environment = options.view_as(PortableOptions).environment_type
    return environment == "LOOPBACK" or (runner_id(options) == "prismrunner" and environment is None)


def explains_on_this_machine(flags: Sequence[str]) -> bool:
    """Whether this process, or worker processes that Beam's local runner starts, explain."""
    return explains_here(flags) or runner_id(PipelineOptions(list(flags))) in LOCAL_RUNNERS


def is_alone(flags: Sequence[str]) -> bool:
    """Whether a process that explains is the only one on its machine, and may use all of its GPUs."""
    options = PipelineOptions(list(flags))
    on_dataflow_gpus = (
        runner_id(options) == "dataflowrunner" and "accelerator" in options.view_as(ResourceHintOptions).hints()
    )
    return on_dataflow_gpus or explains_here(flags)


def use_all_devices(options: PipelineOptions, devices: int) -> None:
    """Start a thread for each device of this process, unless the options set another running mode."""
    direct = options.view_as(DirectOptions)
    if devices > 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode, direct.direct_num_workers = "multi_threading", devices


def make_local_runner(flags: Sequence[str], options: PipelineOptions) -> FnApiRunner:
    """Beam's local runner; with multi_processing it starts `worker_main` as its worker processes."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    threads = {name: os.environ.get(name, str(threads_per_process(flags))) for name in _THREAD_VARIABLES}
    direct.direct_running_mode = None  # otherwise Beam starts its own worker processes
    # exec: Ctrl-C would end a shell between the two processes.
    command = shlex.join(
        ["exec", "env", *map("=".join, threads.items()), sys.executable, "-m", "beam_pipelines.engine.worker_main"]
    )
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def make_limited_runner(flags: Sequence[str], processes: int) -> FnApiRunner:
    """The same with this number of worker processes, which share the cores."""
    return make_local_runner([*flags, f"--direct_num_workers={processes}"], PipelineOptions(list(flags)))


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
