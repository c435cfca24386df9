"""Which Beam runner runs the pipeline, and what its errors mean."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from apache_beam.transforms.resources import parse_resource_hints

from beam_pipelines.engine.native_logs import is_silent
from tb_deepexplain.errors import ParameterError

_REFUSED = {
    "daskrunner": "DaskRunner loses data without saying so (it drops elements and sinks); "
    "use the local runner (--direct_num_workers N --direct_running_mode multi_processing), Flink, Spark or Dataflow",
}
_OFFERED = ("DirectRunner", "PrismRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner")


_LOCAL = ("directrunner", "fnapirunner")
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class HintOptions(PipelineOptions):
    """What the steps that run the model ask of Dataflow's workers, and only they: all others do with any worker."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--accelerator",
            help="Dataflow: the GPU of a worker, as type:nvidia-l4;count:1;install-nvidia-driver",
        )
        parser.add_argument("--min_ram", help="Dataflow: the least memory of a worker, as 24GB")

    def hints(self) -> dict[str, str]:
        """Those that were given."""
        return {name: value for name in ("accelerator", "min_ram") if (value := getattr(self, name))}


def choose(flags: Sequence[str], command_options: Sequence[str] = ()) -> tuple[Any, PipelineOptions]:
    """The runner and its options; ParameterError for a flag that Beam does not know, or a runner that is refused.

    `command_options`: options of the command itself, such as `--batch_size`, that a misspelt flag may have meant.
    Without --runner, and for DirectRunner, it is FnApiRunner in this process: Beam's own choice would first try
    to download another one.
    """
    options = PipelineOptions(list(flags))
    _check_flags(flags, command_options, more=bool(options.view_as(PortableOptions).job_endpoint))
    asked = options.view_as(StandardOptions).runner or "DirectRunner"
    short = _short(options)
    if short in _REFUSED:
        raise ParameterError(f"--runner {asked}: {_REFUSED[short]}")
    hints = options.view_as(HintOptions).hints()
    if short == "dataflowrunner":
        _prepare_dataflow(options, hints)
    elif hints:
        raise ParameterError(
            f"--{next(iter(hints))} is for Dataflow's workers; --runner {asked} takes them as they are"
        )
    if short in _LOCAL:
        return _local(flags, options), options
    try:
        runner = create_runner(asked)
        if isinstance(runner, PortableRunner):
            _start_job_server(runner, options)
        return runner, options
    except NotImplementedError as error:
        raise ParameterError(
            f"--runner {asked} needs --job_endpoint=HOST:PORT, where its job server listens"
        ) from error
    except (ValueError, ImportError, AttributeError) as error:
        if isinstance(error, ImportError) and short == "dataflowrunner":
            message = "needs Google's clients: pip install 'tensorboard-plugin-deepexplain[gcp]'"
            raise ParameterError(f"--runner {asked} {message}") from error
        raise ParameterError(f"--runner {asked}: {_unknown(asked, error)}") from error


def _short(options: PipelineOptions) -> str:
    asked: str = options.view_as(StandardOptions).runner or "DirectRunner"
    return asked.rsplit(".", 1)[-1].lower().removesuffix("runner") + "runner"


def hinted(transform: beam.PTransform, options: PipelineOptions) -> beam.PTransform:
    """A step that runs the model, with what it asks of its workers."""
    hints = options.view_as(HintOptions).hints()
    return transform.with_resource_hints(**hints) if hints else transform


def is_template(options: PipelineOptions) -> bool:
    """Whether the job is only described, for a flex template's launcher to start it after this process has ended."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def _start_job_server(runner: PortableRunner, options: PipelineOptions) -> None:
    """From here, not from the pipeline's thread: Beam's server wants a signal handler, which only the main thread may set."""
    if is_silent():
        options.view_as(PrismRunnerOptions).prism_log_level = "error"
    if options.view_as(PortableOptions).job_endpoint:
        return
    on_interrupt = signal.getsignal(signal.SIGINT)
    server = runner.default_job_server(options)
    server.start()
    signal.signal(signal.SIGINT, on_interrupt)  # the driver handles it for all
    runner.default_job_server = lambda _: server  # which, once started, says where it is


def _unknown(asked: str, error: Exception) -> str:
    if "." in asked:
        return f"{error}; expected the name of a runner, or module.Class"
    stems = {name.removesuffix("Runner").lower(): name for name in _OFFERED}
    near = [stems[stem] for stem in difflib.get_close_matches(asked.lower().removesuffix("runner"), stems, n=2)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(_OFFERED)}"
    return f"there is no such runner; {hint}"


def _prepare_dataflow(options: PipelineOptions, hints: dict[str, str]) -> None:
    """Refuse what would fail only on the workers; one process for each GPU."""
    try:
        parse_resource_hints(hints)
    except ValueError as error:
        raise ParameterError(f"{error} Give --min_ram with a unit, as 24GB") from error
    setup = options.view_as(SetupOptions)
    brought = setup.extra_packages or setup.setup_file or setup.requirements_file
    if not options.view_as(WorkerOptions).sdk_container_image and not brought:
        raise ParameterError(
            "Dataflow's workers need this package: give --sdk_container_image=IMAGE, built from "
            "beam_pipelines/container/Dockerfile (docs/scale.md)"
        )
    debug = options.view_as(DebugOptions)
    if "accelerator" in hints and "use_multiple_sdk_containers" not in (debug.experiments or []):
        debug.add_experiment("no_use_multiple_sdk_containers")  # else one process for each core, all on the one GPU


def _local(flags: Sequence[str], options: PipelineOptions) -> FnApiRunner:
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    given = {name: os.environ.get(name, str(threads(flags))) for name in _THREADS}
    direct.direct_running_mode = None  # it would start Beam's own worker processes instead of ours
    # exec: the shell between would die of Ctrl-C.
    command = shlex.join(
        ["exec", "env", *map("=".join, given.items()), sys.executable, "-m", "beam_pipelines.engine.worker_main"]
    )
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def processes(flags: Sequence[str]) -> int:
    """How many worker processes these flags ask for on this machine; 0 if the work is done in this one, or elsewhere."""
    direct = PipelineOptions(list(flags)).view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return 0
    return direct.direct_num_workers or _cores()


def threads(flags: Sequence[str]) -> int | None:
    """TensorFlow's threads in each of them, so that all together have one for each core; None if it is to choose."""
    number = processes(flags)
    return max(1, _cores() // number) if number else None


def is_here(flags: Sequence[str]) -> bool:
    """Whether this process itself explains."""
    options = PipelineOptions(list(flags))
    if _short(options) in _LOCAL:
        return not processes(flags)
    asked = options.view_as(PortableOptions).environment_type
    return asked == "LOOPBACK" or (_short(options) == "prismrunner" and asked is None)


def is_alone(flags: Sequence[str]) -> bool:
    """Whether a process that explains is the only one on its machine, and may take all of its GPUs."""
    options = PipelineOptions(list(flags))
    on_dataflow = _short(options) == "dataflowrunner" and "accelerator" in options.view_as(HintOptions).hints()
    return on_dataflow or is_here(flags)


def spread(options: PipelineOptions, devices: int) -> None:
    """A thread for each device of this process, where Beam was not told otherwise."""
    direct = options.view_as(DirectOptions)
    if devices > 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode, direct.direct_num_workers = "multi_threading", devices


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name(runner: Any) -> str:
    return type(runner).__name__


def reason(error: BaseException) -> str:
    """One line of what went wrong; runners wrap the worker's error in its whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Stopped)\b", line)]
    found = re.sub(r"\s*\[while running .*", "", said[-1] if said else lines[0])
    return re.sub(r"^tb_deepexplain\.errors\.\w+: ", "", found)


def _check_flags(flags: Sequence[str], command_options: Sequence[str], more: bool) -> None:
    """`more`: a job server may know options that Beam's Python does not."""

    class Strict(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ParameterError(f"{message}; see the options of Apache Beam")

    parser = Strict(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001  Beam tells its options in no other way
    _, unknown = parser.parse_known_args(list(flags))
    known = [*command_options, *re.findall(r"--\w+", parser.format_help())]
    for option in unknown:
        near = difflib.get_close_matches(option.split("=")[0], known, n=1, cutoff=0.8 if more else 0.6)
        if more and not near:
            continue
        hint = f"; did you mean {near[0]}?" if near else "; --help lists the options"
        raise ParameterError(f"unknown option {option}{hint}")
