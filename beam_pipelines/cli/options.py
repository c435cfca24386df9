"""The options of `explain` and `evaluate`, and their help. Imports nothing heavy: --help and mistakes are answered at once."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from beam_pipelines.reading.formats import FORMATS
from beam_pipelines.reading.record_spec import RESIZE_METHODS
from tb_deepexplain.attribution.precision import PRECISIONS
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.evaluation.ranking import DEFAULT_BUDGET, DEFAULT_MEASURES
from tb_deepexplain.recording.request import LEAST_GPU_MEMORY

_EXPLAIN_USAGE = """%(prog)s --model PATH --input GLOB --logdir DIR --methods A,B
       [options] [--METHOD.PARAMETER VALUE] [Beam options]"""
_EXPLAIN = "Explain every example of the input and write a store that TensorBoard shows.\n\n"
_EXPLAIN_EPILOG = """parameters of methods and measures:
  --METHOD.PARAMETER VALUE, such as --occlusion.step 4
                        'tb-deepexplain methods NAME' and 'tb-deepexplain measures NAME' list them

All other options go to Apache Beam:
  --runner NAME         DirectRunner (this machine; the default), FlinkRunner, DataflowRunner, ...
  --direct_running_mode multi_processing --direct_num_workers N
                        N worker processes on this machine
  --accelerator type:nvidia-l4;count:1;install-nvidia-driver, --min_ram 24GB
                        what Dataflow's workers need in order to run the model

examples:
  %(prog)s --model m.keras --input photos --logdir logs --methods integrated_gradients --resize
  %(prog)s --model saved --input 'data/*.csv' --logdir logs --methods shapley_sampling,occlusion \\
      --feature x=age,income --target label --shapley_sampling.samples 64
  %(prog)s --model gs://b/m --input 'gs://b/*.tfrecord' --logdir gs://b/logs --methods saliency \\
      --runner DataflowRunner --project p --region r --sdk_container_image IMAGE

exit status:
  0    all examples were explained
  1    some examples failed; errors-*.parquet in the store says which and why
  2    the run ended with an error; finished work is kept
  130  the run was stopped with Ctrl-C; finished work is kept"""

_EVALUATE_USAGE = """%(prog)s --model PATH --input GLOB --logdir DIR
       [options] [--METHOD.PARAMETER VALUE]"""
_EVALUATE = """Find the attribution method that suits a model best: explain a sample of the examples with every method,
measure the maps, and rank the methods by faithfulness. Maps and measures become a store that TensorBoard shows.

"""
_EVALUATE_EPILOG = """parameters of methods and measures:
  --METHOD.PARAMETER VALUE, such as --shapley_sampling.samples 1
                        'tb-deepexplain methods NAME' and 'tb-deepexplain measures NAME' list them

example:
  %(prog)s --model m.keras --input photos --logdir logs --resize --examples 100

exit status:
  0    all examples of the sample were explained
  1    some examples failed
  2    the evaluation ended with an error
  130  the evaluation was stopped with Ctrl-C; nothing was written"""

_INPUT = """Features (columns, keys, arrays) are matched to the model's inputs by name. Pictures may be PNG, JPEG, GIF or BMP.

input formats:
""" + "\n".join(f"  {row.id:<10} {row.description}" for row in FORMATS.values())


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ParameterError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message}; {self.prog} --help lists the options")


def explain_parser(prog: str) -> Parser:
    """The options of `explain`, without Beam's and without those of methods and measures."""
    parser = _parser(prog, _EXPLAIN_USAGE, _EXPLAIN, _EXPLAIN_EPILOG)
    required = _add_required(parser)
    required.add_argument("--methods", required=True, metavar="A,B", help="attribution methods, separated by commas")
    _add_selection(_add_target(parser))
    _add_measures(parser)
    _add_reading(parser)
    output = _add_output(parser, name="default")
    output.add_argument(
        "--resume", action="store_true", help="continue an unfinished store that was started with the same options"
    )
    output.add_argument(
        "--retry_errors", action="store_true", help="with --resume: redo the work units in which examples failed"
    )
    computation = _add_computation(parser)
    _add_execution(computation)
    _add_debug(computation)
    return parser


def evaluate_parser(prog: str) -> Parser:
    """The options of `evaluate`. It is no pipeline: it has no work units, workers or runners."""
    parser = _parser(prog, _EVALUATE_USAGE, _EVALUATE, _EVALUATE_EPILOG)
    _add_required(parser)
    _add_target(parser)
    _add_comparison(parser)
    _add_reading(parser)
    _add_output(parser, name="evaluation")
    _add_debug(_add_computation(parser))
    return parser


def option_names() -> list[str]:
    """The options of `explain`, such as `--model`."""
    return re.findall(r"--\w+", explain_parser("").format_help())


def _parser(prog: str, usage: str, description: str, epilog: str) -> Parser:
    return Parser(
        prog=prog,
        allow_abbrev=False,
        usage=usage,
        description=description + _INPUT,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_required(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("required")
    group.add_argument(
        "--model", required=True, metavar="PATH", help="SavedModel directory, or a .keras, .h5 or frozen .pb file"
    )
    group.add_argument(
        "--input", required=True, nargs="+", metavar="GLOB", help="files or folders, also on gs://, s3:// or hdfs://"
    )
    group.add_argument(
        "--logdir", required=True, metavar="DIR", help="TensorBoard's log directory, also on gs:// or s3://"
    )
    return group


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max_examples",
        "--examples",
        type=_positive,
        metavar="N",
        help="read at most N examples: the first ones of the input (default: all)",
    )
    group.add_argument(
        "--sample",
        type=_count,
        metavar="SEED",
        help="with --max_examples: read a random sample instead of the first ones; the same for the same seed",
    )
    group.add_argument(
        "--only",
        metavar="CONDITION",
        help="predict all examples that are read, and explain those that meet the condition: misclassified, "
        "'label=3 and probability<0.5', 'pred:cat,dog margin<10%%', ... (fields: label, pred, probability, score, margin, "
        "loss, id, and the features of --keep)",
    )


def _add_target(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("what to explain")
    group.add_argument(
        "--target",
        default="predicted",
        metavar="TARGET",
        help="predicted (default) | label | top:K | a class, by number or name | a position such as 2,5 | sum (of all units)",
    )
    group.add_argument("--signature", metavar="NAME", help="signature of the SavedModel (default: serving_default)")
    group.add_argument(
        "--transform_graph",
        metavar="DIRECTORY",
        help="what TFX's Transform wrote, in front of a signature that takes transformed features",
    )
    group.add_argument(
        "--inputs",
        metavar="A,B",
        help="inputs, layers or tensors to explain (default: all inputs of the model)",
    )
    group.add_argument("--output", metavar="NAME", help="output to explain, if the model has several")
    group.add_argument(
        "--check_model",
        choices=("yes", "no"),
        default="yes",
        help="no: explain the model's graph even if its output differs from that of the model as it is called",
    )
    group.add_argument(
        "--check_batch",
        choices=("yes", "no"),
        default="yes",
        help="no: do not try whether the output for an example depends on the other examples of its batch",
    )
    group.add_argument(
        "--custom_objects",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="class or function of your own that a Keras file names; may be repeated",
    )
    group.add_argument(
        "--logits",
        choices=("yes", "no"),
        help="no: explain probabilities, not the logits before them; yes, with --score: pass it the logits",
    )
    group.add_argument(
        "--score",
        metavar="MODULE:FUNCTION",
        help="explain a function of the model's outputs, [N, ...] to [N], not a target",
    )
    group.add_argument(
        "--labels",
        metavar="FILE|A,B",
        help="class names: a file with one per line, or names separated by commas (default: those of the input)",
    )
    group.add_argument(
        "--vocab",
        metavar="FILE",
        help="tokens, one per line; the line number, from 0, is the "
        "token id (default: the words that the model looks up)",
    )
    return group


def _add_measures(parser: Parser) -> None:
    group = parser.add_argument_group("measuring the maps")
    group.add_argument(
        "--measures",
        default="",
        metavar="A,B",
        help="measures to compute for each map and for a random map, such as deletion,sensitivity_n",
    )
    group.add_argument(
        "--measured",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="share of the examples whose maps are measured (default: 1)",
    )
    _add_superpixels(group)


def _add_comparison(parser: Parser) -> None:
    group = parser.add_argument_group("what to compare")
    group.add_argument(
        "--methods", default="", metavar="A,B", help="attribution methods (default: all that support the model)"
    )
    group.add_argument(
        "--measures",
        default=",".join(DEFAULT_MEASURES),
        metavar="A,B",
        help=f"measures (default: {', '.join(DEFAULT_MEASURES)})",
    )
    group.add_argument(
        "--examples",
        "--max_examples",
        dest="examples",
        type=_positive,
        default=64,
        metavar="N",
        help="size of the random sample (default: 64); `explain --max_examples N --sample SEED` explains the same examples",
    )
    _add_superpixels(group)
    group.add_argument(
        "--budget",
        type=_positive,
        default=DEFAULT_BUDGET,
        metavar="N",
        help=f"skip methods that need more evaluations per map (default: {DEFAULT_BUDGET})",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the sample and of all random numbers (default: 0)"
    )


def _add_superpixels(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--superpixels",
        type=_positive,
        metavar="N",
        help="measures remove superpixels, about N per picture, instead of single pixels",
    )


def _add_reading(parser: Parser) -> None:
    group = parser.add_argument_group("reading the input")
    group.add_argument(
        "--format",
        choices=list(FORMATS),
        metavar="NAME",
        help=f"{' | '.join(FORMATS)} (default: detected from suffix or content)",
    )
    group.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="INPUT=NAME",
        help="feature for a model input, if its name differs; INPUT=A,B,C joins several columns",
    )
    group.add_argument(
        "--label_feature",
        default="label",
        metavar="NAME",
        help="feature with the true class or classes, by number or name, or with a quantity (default: label)",
    )
    group.add_argument(
        "--id_feature",
        default="id",
        metavar="NAME",
        help="feature with the example's id (default: id); without it, the id is the position in the file",
    )
    group.add_argument(
        "--keep",
        default="",
        metavar="A,B",
        help="features to keep in the store whether the model reads them or not, with one number or string an example: fields of "
        "the page's filter and sort, and columns `slice.NAME` of the index",
    )
    group.add_argument(
        "--baseline_examples",
        action="extend",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="examples like the input, whose statistics stand for missing features: the most frequent values, or the median or mean "
        "of numbers with --METHOD.baseline median",
    )
    group.add_argument(
        "--resize",
        nargs="?",
        const="bilinear",
        choices=list(RESIZE_METHODS),
        metavar="METHOD",
        help="resize pictures to the size of the model's input, as in training: bilinear (default, like Keras' "
        f"image_dataset_from_directory) | {' | '.join(name for name in RESIZE_METHODS if name != 'bilinear')}",
    )
    group.add_argument(
        "--preprocess",
        metavar="MODULE:FUNCTION",
        help="function that takes a record (a dict) and returns the model's inputs, and optionally label, id and image "
        "(the picture to show)",
    )
    group.add_argument(
        "--schema", metavar="FILE", help="tensorflow_metadata schema (schema.pbtxt): shapes, defaults, class names"
    )


def _add_output(parser: Parser, name: str) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    group.add_argument("--run", metavar="NAME", help="run in TensorBoard (default: the model's name)")
    group.add_argument("--name", default=name, help=f"store within the run (default: {name})")
    group.add_argument(
        "--step", type=int, default=0, metavar="N", help="training step at which the model was saved (default: 0)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace an existing store of the same name")
    return group


def _add_computation(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("computation")
    group.add_argument(
        "--batch_size",
        type=_positive,
        metavar="N",
        help="evaluations at once, as far as they fit into memory (default: measured while the run goes on)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of matrix products and convolutions: float32 (exact; the default), tf32 (of GPUs), mixed (float16 on GPUs, bfloat16 on "
        "CPUs) or float64. The others are also compared with float32 on a few examples",
    )
    group.add_argument("--mixed_precision", action="store_true", help="--precision mixed")
    return group


def _add_debug(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--debug", action="store_true", help="show tracebacks and the logs of TensorFlow and Beam")


def _add_execution(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="GPUs to reserve for each process; 0 uses the CPU (default: all of them if a machine runs one process, "
        "1 if it runs several)",
    )
    group.add_argument(
        "--processes_per_gpu",
        type=_positive,
        default=1,
        metavar="N",
        help="let N processes share a GPU, each with its share of the free memory: for small models (default: 1)",
    )
    group.add_argument(
        "--gpu_memory",
        type=_gigabytes,
        metavar="GB",
        help="memory of each GPU that a process uses at most, where other programs use it, too (default: all that is free, or "
        "its share)",
    )
    group.add_argument(
        "--unit_size",
        type=_positive,
        default=256,
        metavar="N",
        help="examples per work unit, the smallest part that is written and resumed (default: 256)",
    )
    group.add_argument(
        "--max_error_rate",
        type=_share,
        metavar="SHARE",
        help="stop when a larger share of the examples has failed (default: 0.5; 1: never). Checked from the 100th "
        "example on and, if you set it, also at the end of a shorter run",
    )
    group.add_argument(
        "--stall_timeout",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="treat workers as dead after this many seconds without a map (default: 3600); a notice appears after "
        "600 s. Worker processes are replaced; a run in a single process ends",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="estimate evaluations, time and disk space from a sample, and write nothing",
    )


def _count(text: str, minimum: int = 0) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {minimum}")
    return int(text)


def _positive(text: str) -> int:
    return _count(text, 1)


def _gigabytes(text: str) -> float:
    value = _number(text)
    if not value >= LEAST_GPU_MEMORY:  # NaN, too
        raise argparse.ArgumentTypeError(f"{text} is not a number of gigabytes of at least {LEAST_GPU_MEMORY}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
