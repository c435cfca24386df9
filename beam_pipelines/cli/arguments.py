"""From the command line to checked `Arguments`. Beam checks its own options later."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_pipelines.cli.options import evaluate_parser, explain_parser
from tb_deepexplain.attribution.methods import TABLE as METHODS
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.attribution.precision import Precision, read_precision
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError
from tb_deepexplain.evaluation.measures import TABLE as MEASURES
from tb_deepexplain.evaluation.measures import find_measure
from tb_deepexplain.evaluation.ranking import DEFAULT_BUDGET
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.registry.table import Row
from tb_deepexplain.registry.table import find_row as find_row_of
from tb_deepexplain.storage import to_path
from tb_deepexplain.store.slice_features import check_slice_features

PROG = "python -m beam_pipelines.attribute"
_METHOD_PARAMETER = re.compile(r"--([A-Za-z_*]+\.[A-Za-z_]+)(?:=(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The options of `explain` or `evaluate`; label and vocabulary files are read already.

    Options that a command does not have keep their default.
    """

    model: str
    input: tuple[str, ...]
    logdir: Path
    run: str
    name: str
    methods: tuple[str, ...]
    measures: tuple[str, ...]
    superpixels: int | None
    target: Target | str  # a text may be the name of a class that the input defines
    signature: str | None
    transform_graph: str | None
    output: str | None
    inputs: tuple[str, ...] | None
    custom_objects: tuple[str, ...]
    logits: bool | None
    check_model: bool
    check_batch: bool
    score: str | None
    labels: tuple[str, ...] | None
    vocabulary: tuple[str, ...] | None
    batch_size: int | None
    step: int
    label_feature: str
    id_feature: str
    features: dict[str, str]  # model input → feature, where the names differ
    slice_features: tuple[str, ...]
    format: str | None
    schema: str | None
    resize: str | None
    preprocess: str | None
    overwrite: bool
    debug: bool
    parameters: tuple[tuple[str, str, str], ...]  # (method or measure, parameter, text)
    baseline_examples: tuple[str, ...] = ()
    precision: Precision = "float32"
    # of `explain`
    max_examples: int | None = None
    sample: int | None = None  # seed; None: the first examples
    only: str | None = None
    measured: float = 1.0
    unit_size: int = 256
    gpus: int | None = None
    processes_per_gpu: int = 1
    gpu_memory: float | None = None
    resume: bool = False
    retry_errors: bool = False
    max_error_rate: float | None = None
    stall_timeout: float = 3600.0
    dry_run: bool = False
    beam: tuple[str, ...] = ()  # options for Apache Beam
    # of `evaluate`
    examples: int = 64
    budget: int = DEFAULT_BUDGET
    seed: int = 0


_ONLY_EXPLAIN = (
    "max_examples",
    "sample",
    "only",
    "measured",
    "unit_size",
    "gpus",
    "processes_per_gpu",
    "gpu_memory",
    "resume",
    "retry_errors",
    "max_error_rate",
    "stall_timeout",
    "dry_run",
)
_ONLY_EVALUATE = ("examples", "budget", "seed")


def check_or_exit(argv: Sequence[str], prog: str = PROG) -> None:
    """End the process with status 0 after --help, or 2 after a mistake."""
    try:
        parse_explain(argv, prog)
    except DeepExplainError as error:
        print(f"tb-deepexplain: {error}", file=sys.stderr)
        sys.exit(2)


def parse_explain(argv: Sequence[str], prog: str) -> Arguments:
    """The arguments of `explain`; ParameterError or InputError says what is wrong with them."""
    rest, parameters = _split_parameters(argv)
    options, beam = explain_parser(prog).parse_known_args(rest)
    _check_unknown(beam)
    if options.retry_errors and not options.resume:
        raise ParameterError("--retry_errors needs --resume: it redoes part of an existing store")
    if options.sample is not None and options.max_examples is None:
        raise ParameterError(f"--sample {options.sample} needs --max_examples N, the size of the sample")
    values = {name: getattr(options, name) for name in _ONLY_EXPLAIN}
    return _checked(Arguments(**_read_options(options), parameters=parameters, beam=tuple(beam), **values))


def parse_evaluate(argv: Sequence[str], prog: str) -> Arguments:
    """The arguments of `evaluate`; ParameterError or InputError says what is wrong with them."""
    rest, parameters = _split_parameters(argv)
    options, unknown = evaluate_parser(prog).parse_known_args(rest)
    _check_unknown(unknown)
    if unknown:
        raise ParameterError(f"unknown option {unknown[0]}; {prog} --help lists the options")
    values = {name: getattr(options, name) for name in _ONLY_EVALUATE}
    return _checked(Arguments(**_read_options(options), parameters=parameters, **values))


def find_row(name: str) -> Row:
    """The method or measure with the parameter `--name.…`; UnknownMethodError if there is none."""
    return find_row_of("method or measure", (*METHODS, *MEASURES), name)


def read_parameter(row: Row, name: str, text: str) -> dict[str, Any]:
    """The value of a parameter by its name; ParameterError if the row does not take it."""
    parameters = {parameter.name: parameter for parameter in row.parameters}
    return row.check({name: parameters[name].parse(text) if name in parameters else text})


def _checked(arguments: Arguments) -> Arguments:
    """The arguments, if there are such methods, measures and parameters: a mistake is said before TensorFlow and Beam are loaded."""
    for method in arguments.methods:
        find_method(method)
    for measure in arguments.measures:
        find_measure(measure)
    for name, parameter, text in arguments.parameters:
        read_parameter(find_row(name), parameter, text)
    return arguments


def _check_unknown(unknown: Sequence[str]) -> None:
    if unknown and not unknown[0].startswith("-"):
        raise ParameterError(f"unexpected argument {unknown[0]!r}; options begin with --")


def _read_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options that `explain` and `evaluate` share."""
    labels = _read_labels(options.labels)
    return {
        "model": options.model,
        "input": tuple(options.input),
        "logdir": to_path(options.logdir).expanduser(),
        "run": _check_run(_default_run(options.model) if options.run is None else options.run),
        "name": options.name,
        "methods": _split_names(options.methods),
        "measures": _split_names(options.measures),
        "superpixels": options.superpixels,
        "target": _read_target(options.target, labels),
        "signature": options.signature,
        "transform_graph": options.transform_graph,
        "output": options.output,
        "check_model": options.check_model == "yes",
        "check_batch": options.check_batch == "yes",
        "inputs": None if options.inputs is None else _split_names(options.inputs),
        "custom_objects": tuple(options.custom_objects),
        "logits": None if options.logits is None else options.logits == "yes",
        "score": options.score,
        "labels": labels,
        "vocabulary": _read_lines("--vocab", options.vocab),
        "batch_size": options.batch_size,
        "precision": read_precision(options.precision, options.mixed_precision),
        "step": options.step,
        "label_feature": options.label_feature,
        "id_feature": options.id_feature,
        "features": dict(_split_feature(text) for text in options.feature),
        "slice_features": check_slice_features(_split_names(options.keep)),
        "format": options.format,
        "schema": options.schema,
        "resize": options.resize,
        "baseline_examples": tuple(options.baseline_examples),
        "preprocess": options.preprocess,
        "overwrite": options.overwrite,
        "debug": options.debug,
    }


def _read_target(text: str, labels: Sequence[str] | None) -> Target | str:
    """The target; a word as it is, if the names of the classes are not known yet."""
    return (
        text if labels is None and re.fullmatch(r"[^\W\d].*", text) and ":" not in text else Target.parse(text, labels)
    )


def _split_parameters(argv: Sequence[str]) -> tuple[list[str], tuple[tuple[str, str, str], ...]]:
    """All other options, and those of methods and measures, such as `--occlusion.step 4`."""
    rest, parameters, items = [], [], iter(argv)
    for item in items:
        if match := _METHOD_PARAMETER.fullmatch(item):
            value = match[2] if match[2] is not None else next(items, None)
            if value is None:
                raise ParameterError(f"{item} needs a value")
            method, _, name = match[1].partition(".")
            parameters.append((method, name, value))
        else:
            rest.append(item)
    return rest, tuple(parameters)


def _split_feature(text: str) -> tuple[str, str]:
    name, sign, feature = text.partition("=")
    if not (name and sign and feature):
        raise ParameterError(f"--feature {text}: expected INPUT=NAME, the model's input and the feature that holds it")
    return name, feature


def _split_names(text: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def _default_run(model: str) -> str:
    name = re.sub(r"\.(keras|h5|hdf5|pb|pbtxt)$", "", Path(model).resolve().name)
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).strip(".") or "explain"


def _check_run(run: str) -> str:
    path = Path(run)
    if not run.strip() or path.is_absolute() or ".." in path.parts:
        raise ParameterError(f"--run {run!r}: expected a name, or a path below the logdir")
    return run


def _read_labels(labels: str | None) -> tuple[str, ...] | None:
    """Class names from a file, or those that the option itself lists."""
    if labels is not None and "," in labels and not to_path(labels).expanduser().exists():
        names = tuple(name.strip() for name in labels.split(","))
        if not all(names):
            raise ParameterError(f"--labels {labels}: name {names.index('') + 1} is empty; give a name for each class")
        return names
    return _read_lines("--labels", labels)


def _read_lines(option: str, path: str | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        text = to_path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        reason, names = error.strerror or error, ", or names separated by commas" if option == "--labels" else ""
        raise InputError(f"{option} {path}: {reason}; give a text file with one entry per line{names}") from error
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{option} {path}: not UTF-8 text ({reason}); save it as UTF-8") from error
    # Not str.splitlines: it would split tokens at other separators than a newline.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines == [""]:
        raise InputError(f"{option} {path}: is empty; give one entry per line")
    return tuple(lines)
