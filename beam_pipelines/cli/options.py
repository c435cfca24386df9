"""The command line of `explain`, read without importing anything heavy; methods and Beam check their own parts later."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from beam_pipelines.reading.formats import FORMATS
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.storage import place

PROG = "python -m beam_pipelines.attribute"
_METHOD_PARAMETER = re.compile(r"--([A-Za-z_*]+\.[A-Za-z_]+)(?:=(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What was asked, with the files of words already read."""

    model: str
    input: tuple[str, ...]
    logdir: Path
    run: str
    name: str
    methods: tuple[str, ...]
    measures: tuple[str, ...]
    measured: float
    superpixels: int | None
    target: Target
    signature: str | None
    output: str | None
    labels: tuple[str, ...] | None
    vocabulary: tuple[str, ...] | None
    batch_size: int | None
    unit_size: int
    step: int
    gpus: int | None
    mixed_precision: bool
    label_feature: str
    id_feature: str
    features: dict[str, str]
    format: str | None
    schema: str | None
    resize: bool
    preprocess: str | None
    resume: bool
    retry_errors: bool
    overwrite: bool
    max_error_rate: float | None
    stall_timeout: float
    dry_run: bool
    debug: bool
    examples: int | None  # of `evaluate`
    budget: int
    seed: int
    parameters: tuple[tuple[str, str, str], ...]  # (method, parameter, text)
    beam: tuple[str, ...]


COMPARED = ("completeness", "sensitivity_n", "deletion", "insertion", "stability")
_OF_RUNS = {
    "measured": 1.0, "unit_size": 256, "gpus": None, "mixed_precision": False, "resume": False, "retry_errors": False,
    "max_error_rate": None, "stall_timeout": 3600.0, "dry_run": False,
}  # fmt: skip
_EXPLAINING = "Explain every example of the input and write the result where TensorBoard finds it.\n"
_EVALUATING = """Which method should be used on this model? Explains some examples by every method, measures the maps,
and ranks the methods. The maps and what was measured become a store that TensorBoard opens.
"""
_EVALUATED = """parameters of methods and measures: --METHOD.PARAMETER VALUE; 'tb-deepexplain methods' and
'tb-deepexplain measures' list them.

example:
  %(prog)s --model m.keras --input photos --logdir logs --resize --examples 100 --shapley_sampling.samples 1

exit status: 0 done; 1 some examples failed; 2 ended by an error."""
_INPUT = """Features (columns, keys, arrays) are named like the model's inputs; a picture input
takes PNG, JPEG, GIF or BMP bytes.

formats:
""" + "\n".join(f"  {row.id:<10} {row.description}" for row in FORMATS.values())
_EPILOG = """parameters of methods and measures: --METHOD.PARAMETER VALUE; 'tb-deepexplain methods' and
'tb-deepexplain measures' list them.

Apache Beam takes all other options:
  --runner NAME         DirectRunner (this machine; the default), FlinkRunner, DataflowRunner, ...
  --direct_running_mode multi_processing --direct_num_workers N
                        N worker processes on this machine
  --accelerator type:nvidia-l4;count:1;install-nvidia-driver, --min_ram 24GB
                        what the workers of Dataflow that run the model must have

examples:
  %(prog)s --model m.keras --input photos --logdir logs --methods integrated_gradients --resize
  %(prog)s --model saved --input 'data/*.csv' --logdir logs --methods shapley_sampling,occlusion \\
      --feature x=age,income --target label --shapley_sampling.samples 64
  %(prog)s --model gs://b/m --input 'gs://b/*.tfrecord' --logdir gs://b/logs --methods saliency \\
      --runner DataflowRunner --project p --region r --sdk_container_image IMAGE

exit status: 0 all explained; 1 some examples failed (errors-*.parquet tells which and why);
2 ended by an error, what is finished is kept; 130 stopped."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message}; {self.prog} --help lists the options")


def parser(prog: str, evaluating: bool = False) -> Parser:
    """The options of `explain`, or of `evaluate`, which has some more and, not being a pipeline, many fewer."""
    usage = "%(prog)s --model DIR --input GLOB --logdir DIR --methods A,B [options] [--METHOD.PARAMETER VALUE] [Beam options]"
    found = Parser(
        prog=prog,
        allow_abbrev=False,
        usage=usage.replace(" --methods A,B", "").replace(" [Beam options]", "") if evaluating else usage,
        description=(_EVALUATING if evaluating else _EXPLAINING) + _INPUT,
        epilog=_EVALUATED if evaluating else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    needed = found.add_argument_group("needed")
    needed.add_argument(
        "--model", required=True, metavar="DIR", help="SavedModel directory, .keras, .h5 or frozen .pb file"
    )
    needed.add_argument(
        "--input", required=True, nargs="+", metavar="GLOB", help="files or folders, also gs://, s3://, hdfs://"
    )
    needed.add_argument("--logdir", required=True, metavar="DIR", help="where TensorBoard looks, also gs:// or s3://")
    if not evaluating:
        needed.add_argument("--methods", required=True, metavar="A,B", help="attribution methods, separated by commas")
    what = found.add_argument_group("what is explained")
    what.add_argument("--target", default="predicted", help="predicted (default) | label | top:K | class number | sum")
    what.add_argument("--signature", metavar="NAME", help="of the SavedModel (default: serving_default)")
    what.add_argument("--output", metavar="NAME", help="of a model with several")
    what.add_argument("--labels", metavar="FILE", help="class names, one a line (default: the input's)")
    what.add_argument("--vocab", metavar="FILE", help="tokens, one a line; the line number, from 0, is the id")
    if evaluating:
        _add_comparison(found)
    else:
        _add_measures(found)
    read = found.add_argument_group("how the input is read")
    read.add_argument(
        "--format", choices=list(FORMATS), metavar="NAME", help=f"{' | '.join(FORMATS)} (default: by suffix or content)"
    )
    read.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="INPUT=NAME",
        help="the feature for a model input, if named differently; A,B,C for columns that make it up",
    )
    read.add_argument(
        "--label_feature",
        default="label",
        metavar="NAME",
        help="feature with the true class, its number or name (default: label)",
    )
    read.add_argument(
        "--id_feature",
        default="id",
        metavar="NAME",
        help="feature with the example's id (default: id); else its position",
    )
    read.add_argument("--resize", action="store_true", help="resize pictures to the model's input")
    read.add_argument(
        "--preprocess",
        metavar="MODULE:FUNCTION",
        help="function of a record, a dict, that returns the model's inputs, perhaps with label, id and image (to be shown)",
    )
    read.add_argument(
        "--schema", metavar="FILE", help="schema.pbtxt of tensorflow_metadata: shapes, defaults, class names"
    )
    where = found.add_argument_group("where and how")
    where.add_argument("--run", help="run in TensorBoard (default: the model's name)")
    name = "evaluation" if evaluating else "default"
    where.add_argument("--name", default=name, help=f"name of the store within the run (default: {name})")
    where.add_argument("--step", type=int, default=0, help="training step of the model (default: 0)")
    where.add_argument(
        "--batch_size",
        type=_positive,
        metavar="N",
        help="model evaluations at once (default: by the size of an example)",
    )
    where.add_argument("--overwrite", action="store_true", help="replace a store of the same name")
    where.add_argument("--debug", action="store_true", help="show tracebacks and the logs of TensorFlow and Beam")
    if not evaluating:
        _add_run(where)
    return found


def option_names() -> list[str]:
    """All options of `explain`, such as `--model`."""
    return re.findall(r"--\w+", parser("").format_help())


def _add_measures(found: Parser) -> None:
    believed = found.add_argument_group("how far the maps can be believed")
    believed.add_argument(
        "--measures",
        default="",
        metavar="A,B",
        help="measures of every map, and of a random one, such as deletion,sensitivity_n",
    )
    believed.add_argument(
        "--measured",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="measure the maps of this share of the examples only (default: 1)",
    )
    _add_superpixels(believed)


def _add_superpixels(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--superpixels",
        type=_positive,
        metavar="N",
        help="measures take away about N superpixels of a picture instead of single pixels",
    )


def _add_comparison(found: Parser) -> None:
    compared = found.add_argument_group("what is compared")
    compared.add_argument(
        "--methods", default="", metavar="A,B", help="attribution methods (default: all that can explain the model)"
    )
    compared.add_argument(
        "--measures", default=",".join(COMPARED), metavar="A,B", help=f"measures (default: {','.join(COMPARED)})"
    )
    compared.add_argument(
        "--examples", type=_positive, default=64, metavar="N", help="random examples of the input (default: 64)"
    )
    _add_superpixels(compared)
    compared.add_argument(
        "--budget",
        type=_positive,
        default=2000,
        metavar="N",
        help="leave out methods that spend more evaluations on a map (default: 2000)",
    )
    compared.add_argument("--seed", type=int, default=0, help="which ones, and all else that is random (default: 0)")


def _add_run(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="GPUs for each process, which no other process is given (default: all for the only process of a machine, 1 for "
        "each of several; 0: the CPU)",
    )
    where.add_argument(
        "--mixed_precision",
        action="store_true",
        help="matrix products and convolutions in half precision (float16 on GPUs, bfloat16 on CPUs): faster, and the maps less exact",
    )
    where.add_argument(
        "--unit_size",
        type=_positive,
        default=256,
        metavar="N",
        help="examples written and resumed together (default: 256)",
    )
    where.add_argument("--resume", action="store_true", help="go on with a store that was begun with the same options")
    where.add_argument(
        "--retry_errors", action="store_true", help="with --resume: do the units anew in which examples failed"
    )
    where.add_argument(
        "--max_error_rate",
        type=_share,
        metavar="SHARE",
        help="end the run when more than this share of the examples so far fails (default: 0.5; 1: never). "
        "Looked at once 100 are behind; if you give it, also at the end, however few there are",
    )
    where.add_argument(
        "--stall_timeout",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="take workers for dead when none has finished a map for so long (default: 3600; from 600 on it is said): "
        "worker processes are replaced; a run in this process ends",
    )
    where.add_argument(
        "--dry_run",
        action="store_true",
        help="tell from a sample what the run would take, of time and disk; write nothing",
    )


def check(argv: Sequence[str], prog: str = PROG) -> None:
    """Ends the process where there is nothing to run: after --help, or a mistake."""
    try:
        parse(argv, prog)
    except DeepExplainError as error:
        print(f"tb-deepexplain: {error}", file=sys.stderr)
        sys.exit(2)


def parse(argv: Sequence[str], prog: str, evaluating: bool = False) -> Arguments:
    """The arguments; ParameterError or InputError for what is wrong with them."""
    rest, parameters = _split(argv)
    options, beam = parser(prog, evaluating).parse_known_args(rest)
    if beam and not beam[0].startswith("-"):
        raise ParameterError(f"unexpected argument {beam[0]!r}; options begin with --")
    if evaluating:
        if beam:
            raise ParameterError(f"unknown option {beam[0]}; {prog} --help lists the options")
        options = argparse.Namespace(**_OF_RUNS | vars(options))
    if options.retry_errors and not options.resume:
        raise ParameterError("--retry_errors goes with --resume: it does part of a store anew")
    features = dict(_split_feature(text) for text in options.feature)
    return Arguments(
        model=options.model,
        input=tuple(options.input),
        logdir=place(options.logdir).expanduser(),
        run=_checked_run(options.run if options.run is not None else _run_of(options.model)),
        name=options.name,
        methods=_names(options.methods),
        measures=_names(options.measures),
        measured=options.measured,
        superpixels=options.superpixels,
        target=Target.parse(options.target),
        signature=options.signature,
        output=options.output,
        labels=_read_lines("--labels", options.labels),
        vocabulary=_read_lines("--vocab", options.vocab),
        batch_size=options.batch_size,
        unit_size=options.unit_size,
        step=options.step,
        gpus=options.gpus,
        mixed_precision=options.mixed_precision,
        label_feature=options.label_feature,
        id_feature=options.id_feature,
        features=features,
        format=options.format,
        schema=options.schema,
        resize=options.resize,
        preprocess=options.preprocess,
        resume=options.resume,
        retry_errors=options.retry_errors,
        overwrite=options.overwrite,
        max_error_rate=options.max_error_rate,
        stall_timeout=options.stall_timeout,
        dry_run=options.dry_run,
        debug=options.debug,
        examples=getattr(options, "examples", None),
        budget=getattr(options, "budget", 0),
        seed=getattr(options, "seed", 0),
        parameters=tuple(parameters),
        beam=tuple(beam),
    )


def _split(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Options such as `--occlusion.step 4` and all others."""
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
    return rest, parameters


def _split_feature(text: str) -> tuple[str, str]:
    name, sign, feature = text.partition("=")
    if not (name and sign and feature):
        raise ParameterError(f"--feature {text}: expected INPUT=NAME, the model's input and the feature that holds it")
    return name, feature


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def _count(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)


def _positive(text: str) -> int:
    return _count(text, 1)


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None


def _run_of(model: str) -> str:
    name = re.sub(r"\.(keras|h5|hdf5|pb|pbtxt)$", "", Path(model).resolve().name)
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).strip(".") or "explain"


def _checked_run(run: str) -> str:
    path = Path(run)
    if not run.strip() or path.is_absolute() or ".." in path.parts:
        raise ParameterError(f"--run {run!r}: expected a name, or a path below the logdir")
    return run


def _read_lines(option: str, path: str | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        text = place(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{option} {path}: {error.strerror or error}; give a text file with one entry a line"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{option} {path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    lines = (
        text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    )  # str.splitlines would break tokens at odd characters
    if lines == [""]:
        raise InputError(f"{option} {path}: is empty; give one entry a line")
    return tuple(lines)
