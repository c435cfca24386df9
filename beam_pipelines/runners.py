"""Which Beam runner runs the pipeline, and what its errors mean."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_pipelines import arguments
from tb_deepexplain.errors import ParameterError

_REFUSED = {
    "daskrunner": "DaskRunner loses data without saying so (it drops elements and sinks); "
    "use the local runner (--direct_num_workers N --direct_running_mode multi_processing), Flink, Spark or Dataflow",
}


def choose(flags: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """The runner and its options; ParameterError for a flag that Beam does not know, or a runner that is refused.

    Without --runner, and for DirectRunner, it is FnApiRunner in this process: Beam's own choice would first try
    to download another one.
    """
    _check_flags(flags)
    options = PipelineOptions(list(flags))
    asked = options.view_as(StandardOptions).runner or "DirectRunner"
    short = asked.rsplit(".", 1)[-1]
    if short.lower() in _REFUSED:
        raise ParameterError(f"--runner {asked}: {_REFUSED[short.lower()]}")
    if short.lower() in ("directrunner", "fnapirunner"):
        return _local(options), options
    try:
        return create_runner(asked), options
    except (ValueError, ImportError, AttributeError) as error:
        raise ParameterError(f"--runner {asked}: {str(error).splitlines()[0]}") from error


def _local(options: PipelineOptions) -> FnApiRunner:
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    direct.direct_running_mode = None  # it would start Beam's own worker processes instead of ours
    # exec: the shell between would die of Ctrl-C.
    command = f"exec {shlex.quote(sys.executable)} -m beam_pipelines.worker"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def in_processes(flags: Sequence[str]) -> bool:
    """Whether these flags ask for worker processes on this machine."""
    return PipelineOptions(list(flags)).view_as(DirectOptions).direct_running_mode == "multi_processing"


def name(runner: Any) -> str:
    return type(runner).__name__


def reason(error: BaseException) -> str:
    """One line of what went wrong; runners wrap the worker's error in its whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Stopped)\b", line)]
    found = re.sub(r"\s*\[while running .*", "", said[-1] if said else lines[0])
    return re.sub(r"^tb_deepexplain\.errors\.\w+: ", "", found)


def _check_flags(flags: Sequence[str]) -> None:
    class Strict(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ParameterError(f"{message}; see the options of Apache Beam")

    parser = Strict(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001  Beam tells its options in no other way
    _, unknown = parser.parse_known_args(list(flags))
    if unknown:
        known = re.findall(r"--\w+", arguments.parser("").format_help() + parser.format_help())
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists the options"
        raise ParameterError(f"unknown option {unknown[0]}{hint}")
