"""The parts of the measurement, each within its budget, one line of JSON for each figure as soon as it is known.

    python -m benchmarks.gpu [exactness] [throughput] [pipeline] [processes] [full_card] [--seconds N] [--json FILE]

exactness    golden cases that hold, and maps against float64 on the CPU, in every precision.
throughput   evaluations a second of every method on four nets, with the batch that it chooses and with fixed ones, against
             the floor: the compiled pass on ready tensors at its best batch. Floors also in TF32 and with XLA.
pipeline     integrated gradients of 50 steps on the ResNet, over 20,000 pictures, and how busy the card is.
processes    two worker processes on one card.
full_card    a run on a card of which another process holds all but 1.6 GiB: it finishes or ends with a sentence.

All parts together take less than six minutes on a machine with one GPU. Without a GPU they run on the CPU: choose small numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.gpu import exactness, models, runs, throughput
from benchmarks.gpu.workers import Row

BUDGETS = {"exactness": 60.0, "throughput": 115.0, "pipeline": 75.0, "processes": 45.0, "full_card": 60.0}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(BUDGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, help="of each part (default: " + json.dumps(BUDGETS).strip("{}") + ")")
    parser.add_argument(
        "--net",
        nargs="+",
        choices=models.NETS,
        help="of exactness (default: " + ", ".join(exactness.NETS) + ") and throughput (default: all)",
    )
    parser.add_argument("--method", nargs="+", choices=throughput.METHODS, default=list(throughput.METHODS))
    parser.add_argument("--examples", type=int, help="of each net, at most")
    parser.add_argument("--cases", type=int, help="golden ones (default: as many as the time allows)")
    parser.add_argument("--pictures", type=int, default=20_000, help="of the pipeline (default: 20,000)")
    parser.add_argument("--timing", type=float, default=0.4, help="seconds of one timing (default: 0.4)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(BUDGETS):
        parser.error(f"no part {', '.join(sorted(unknown))}; expected {', '.join(BUDGETS)}")
    gpus, device = tf.config.list_physical_devices("GPU"), "CPU"
    if gpus:
        device = tf.config.experimental.get_device_details(gpus[0])["device_name"]
        tf.config.set_visible_devices([], "GPU")  # the card is left to the processes that measure
    rows = []
    for part in options.parts or BUDGETS:
        for row in run(part, options, on_gpu=bool(gpus)):
            rows.append({"device": device, "part": part, **_rounded(row)})
            print(json.dumps(rows[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps({"tensorflow": tf.__version__, "rows": rows}, indent=1) + "\n")


def run(part: str, options: argparse.Namespace, on_gpu: bool) -> Iterator[Row]:
    """The rows of a part; an error of it is a row, too."""
    seconds = options.seconds or BUDGETS[part]
    try:
        match part:
            case "exactness":
                yield from exactness.measure(
                    seconds, on_gpu, options.net or exactness.NETS, min(options.examples or 64, 64), options.cases
                )
            case "throughput":
                yield from throughput.measure(
                    seconds, on_gpu, options.net or list(models.NETS), options.method, options.examples, options.timing
                )
            case "pipeline":
                yield from runs.measure_pipeline(seconds, on_gpu, options.pictures, options.timing)
            case "processes":
                yield from runs.measure_processes(seconds, max(options.pictures // 4, 16))
            case "full_card":
                yield from runs.measure_full_card(seconds, on_gpu, min(options.pictures, 8192))
    except Exception as error:  # the other parts are measured all the same
        yield {"error": f"{type(error).__name__}: {error}"}


def _rounded(row: Row) -> dict[str, Any]:
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}


if __name__ == "__main__":
    main()
