"""Beam's flags: which runner they name, and whether Beam knows them all."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions

from beam_pipelines.engine.resource_hints import ResourceHintOptions  # noqa: F401  declares its flags
from tb_deepexplain.errors import ParameterError

_CUTOFF, _JOB_SERVER_CUTOFF = 0.6, 0.8  # similarity from which an option is taken for a misspelt one


def runner_option(options: PipelineOptions) -> str:
    """The value of --runner, or the default."""
    return options.view_as(StandardOptions).runner or "DirectRunner"


def runner_id(options: PipelineOptions) -> str:
    """The class of the runner in lower case: `directrunner` for DirectRunner, direct and module.DirectRunner."""
    return runner_option(options).rsplit(".", 1)[-1].lower().removesuffix("runner") + "runner"


def check_flags(flags: Sequence[str], command_options: Sequence[str]) -> None:
    """Raise ParameterError for a flag that Beam does not know, with a similar one of Beam or of `command_options`.

    With a job server only misspelt flags are rejected: it may know options that Beam's Python does not.
    """

    class StrictParser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ParameterError(f"{message}; see the options of Apache Beam")

    parser = StrictParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options_class in PipelineOptions.__subclasses__():
        options_class._add_argparse_args(parser)  # noqa: SLF001  there is no public way to list Beam's options
    _, unknown = parser.parse_known_args(list(flags))
    known = [*command_options, *re.findall(r"--\w+", parser.format_help())]
    has_job_server = bool(PipelineOptions(list(flags)).view_as(PortableOptions).job_endpoint)
    cutoff = _JOB_SERVER_CUTOFF if has_job_server else _CUTOFF
    for option in unknown:
        similar = difflib.get_close_matches(option.split("=")[0], known, n=1, cutoff=cutoff)
        if has_job_server and not similar:
            continue
        hint = f"; did you mean {similar[0]}?" if similar else "; --help lists the options"
        raise ParameterError(f"unknown option {option}{hint}")
