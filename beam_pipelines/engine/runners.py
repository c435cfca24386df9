"""Chooses the Beam runner that runs the pipeline, and shortens its errors."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SetupOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.resources import parse_resource_hints

from beam_pipelines.engine.beam_flags import check_flags, runner_id, runner_option
from beam_pipelines.engine.local_workers import LOCAL_RUNNERS, make_local_runner
from beam_pipelines.engine.native_logs import logs_are_silenced
from beam_pipelines.engine.resource_hints import ResourceHintOptions
from tb_deepexplain.errors import ParameterError

_REJECTED = {
    "daskrunner": "DaskRunner loses data silently (it drops elements and sinks); "
    "use the local runner (--direct_num_workers N --direct_running_mode multi_processing), Flink, Spark or Dataflow",
}
_SUGGESTED = ("DirectRunner", "PrismRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner")


def choose_runner(flags: Sequence[str], command_options: Sequence[str] = ()) -> tuple[Any, PipelineOptions]:
    """The runner and its options.

    Without --runner, and for DirectRunner, it is FnApiRunner in this process: Beam's own choice would first try to
    download another one. `command_options`: other options of the command, for messages about misspelt ones. Raises
    ParameterError for a flag that Beam does not know, and for a runner that is rejected.
    """
    check_flags(flags, command_options)
    options = PipelineOptions(list(flags))
    name, id_ = runner_option(options), runner_id(options)
    if id_ in _REJECTED:
        raise ParameterError(f"--runner {name}: {_REJECTED[id_]}")
    hints = options.view_as(ResourceHintOptions).hints()
    if id_ == "dataflowrunner":
        _prepare_dataflow(options, hints)
    elif hints:
        raise ParameterError(f"--{next(iter(hints))} is only for Dataflow's workers; leave it out with --runner {name}")
    if id_ in LOCAL_RUNNERS:
        return make_local_runner(flags, options), options
    try:
        runner = create_runner(name)
        if isinstance(runner, PortableRunner):
            _start_job_server(runner, options)
        return runner, options
    except NotImplementedError as error:  # Beam: no job server to start
        raise ParameterError(f"--runner {name} needs --job_endpoint=HOST:PORT of its job server") from error
    except (ValueError, ImportError, AttributeError) as error:
        if isinstance(error, ImportError) and id_ == "dataflowrunner":
            message = "needs Google's clients: pip install 'tensorboard-plugin-deepexplain[gcp]'"
            raise ParameterError(f"--runner {name} {message}") from error
        raise ParameterError(f"--runner {name}: {_explain_unknown(name, error)}") from error


def is_template(options: PipelineOptions) -> bool:
    """Whether the job is only described: a flex template's launcher starts it after this process has ended."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def _start_job_server(runner: PortableRunner, options: PipelineOptions) -> None:
    """Start the job server of a portable runner, in the main thread: only there it can set its signal handler."""
    if logs_are_silenced():
        options.view_as(PrismRunnerOptions).prism_log_level = "error"
    if options.view_as(PortableOptions).job_endpoint:
        return
    on_interrupt = signal.getsignal(signal.SIGINT)
    server = runner.default_job_server(options)
    server.start()
    signal.signal(signal.SIGINT, on_interrupt)  # the driver handles Ctrl-C
    runner.default_job_server = lambda _: server  # already started, it returns its endpoint


def _explain_unknown(name: str, error: Exception) -> str:
    if "." in name:
        return f"{error}; expected the name of a runner, or module.Class"
    stems = {suggestion.removesuffix("Runner").lower(): suggestion for suggestion in _SUGGESTED}
    similar = [stems[stem] for stem in difflib.get_close_matches(name.lower().removesuffix("runner"), stems, n=2)]
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"expected one of {', '.join(_SUGGESTED)}"
    return f"there is no such runner; {hint}"


def _prepare_dataflow(options: PipelineOptions, hints: dict[str, str]) -> None:
    """Reject what would fail only on the workers, and start one process for each GPU."""
    try:
        parse_resource_hints(hints)
    except ValueError as error:
        raise ParameterError(f"{error} Give --min_ram with a unit, as 24GB") from error
    setup = options.view_as(SetupOptions)
    has_packages = setup.extra_packages or setup.setup_file or setup.requirements_file
    if not options.view_as(WorkerOptions).sdk_container_image and not has_packages:
        raise ParameterError(
            "Dataflow's workers need this package: give --sdk_container_image=IMAGE, built from "
            "beam_pipelines/container/Dockerfile (docs/scale.md)"
        )
    debug = options.view_as(DebugOptions)
    if "accelerator" in hints and "use_multiple_sdk_containers" not in (debug.experiments or []):
        debug.add_experiment("no_use_multiple_sdk_containers")  # otherwise one process for each core uses the GPU
