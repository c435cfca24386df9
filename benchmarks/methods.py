"""Time of every method relative to the floor: the same number of model passes and nothing else.

    python -m benchmarks.methods [--net cnn28 ...] [--method occlusion ...] [--json FILE]

The floor is a compiled forward pass for perturbation methods, and a forward and backward pass for the others, on prepared
tensors at its best batch size. Floor and method run in turn, several times; the shortest time of each counts. On one
thread, the default, CPU time is measured, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from benchmarks.floor import Floor, seconds
from benchmarks.nets import NETS, Net, load

PERTURBING = "perturbation"
# Windows of pictures; of texts a token each, by default.
WINDOWS = {"cnn28": {"window_shape": (4, 4, 1), "step": 4}, "resnet": {"window_shape": (8, 8, 3), "step": 8}}


def parameters(method: Any, net: Net) -> dict[str, Any]:
    """The method's defaults, except for window sizes, sampled axes, and operations without a backward rule."""
    known = {p.name for p in method.parameters}
    chosen: dict[str, Any] = {}
    if "window_shape" in known:
        chosen |= WINDOWS.get(net.name, {})
    if method.map_axes_parameter:
        chosen[method.map_axes_parameter] = [1]  # rows of a picture, words of a text
    if "on_unsupported" in known and net.name == "transformer":
        chosen["on_unsupported"] = "gradient"
    return chosen


def measure(net: Net, method: Any, floor: Floor, repeat: int, *, jit: bool, batch: int | None) -> dict[str, Any]:
    """Times of one method on one net."""
    explainer = dx.Explainer(method.id, net.model, jit=jit, **parameters(method, net))
    few = net.examples(8)
    target = net.model.predict(net.examples(len(net.x)), verbose=0).argmax(1)
    each = explainer.run(few, target=target[:8], batch_size=batch, return_result=True).evaluations.mean()
    size = batch or explainer.batch_sizes.of(explainer.check(few), None).evaluations()
    target_count = 1.0 / (each * floor.per_example(0.1))
    count = max(1, math.ceil(target_count / size)) * size if each < 2 else max(8, math.ceil(target_count / 8) * 8)
    x, target = net.examples(count), np.resize(target, count)

    def run() -> Any:
        return explainer.run(x, target=target, batch_size=batch, return_result=True)

    evaluations = int(run().evaluations.sum())  # also compiles
    floors, times = [], []
    for _ in range(repeat):
        floors.append(floor.per_example())
        times.append(seconds(run, 1.0) / evaluations)
    return {
        "net": net.name,
        "method": method.id,
        "examples": count,
        "evaluations": evaluations / count,
        "batch": size,
        "floor_batch": floor.batch,
        "floor_us": min(floors) * 1e6,
        "method_us": min(times) * 1e6,
        "ratio": min(times) / min(floors),
        "spread": float(np.median(times)) / min(times),
    }


def of_net(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Times of the chosen methods on one model, measured in a separate process."""
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    console = Console(width=130)
    net = load(name)
    console.print(f"{name}: accuracy {net.accuracy:.3f}")
    floors: dict[bool, Floor] = {}
    rows = []
    for method in (m for m in dx.methods() if m.id in arguments.method):
        gradient = method.family != PERTURBING
        if gradient not in floors:
            floor = floors[gradient] = Floor(net, gradient=gradient, jit=arguments.jit)
            passes = "forward + backward" if gradient else "forward"
            by_batch = ", ".join(f"{b}: {t * 1e6:.0f}" for b, t in floor.by_batch.items())
            console.print(f"  {passes}, µs per example by batch: {by_batch}")
        floor = floors[gradient]
        batch = None if arguments.batch is None else floor.batch if arguments.batch == "best" else int(arguments.batch)
        rows.append(measure(net, method, floor, arguments.repeat, jit=arguments.jit, batch=batch))
        console.print(f"  {method.id}: {rows[-1]['ratio']:.2f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [m.id for m in dx.methods()]
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--method", nargs="+", choices=known, default=known)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of TensorFlow; 0: as many as there are cores")
    parser.add_argument(
        "--batch", help="size of the methods' batches, or 'best': the floor's; by default that of the Explainer"
    )
    parser.add_argument("--jit", action="store_true", help="compile floor and methods with XLA")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    console = Console(width=130)
    machine = {
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": tf.keras.version(),
        "jit": arguments.jit,
    }
    console.print(machine)
    # A process for each model: in a used process, the state of the allocator cost 15 %.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        rows = [row for of_one in processes.imap(partial(of_net, arguments=arguments), arguments.net) for row in of_one]
    console.print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def table(rows: list[dict[str, Any]]) -> Table:
    result_table = Table("net", "method", title="Time of Explainer.run against the floor")
    for column in ("evaluations", "batch", "floor's batch", "floor µs", "method µs", "ratio", "median / least"):
        result_table.add_column(column, justify="right")
    for r in rows:
        result_table.add_row(
            r["net"],
            r["method"],
            f"{r['evaluations']:.1f}",
            str(r["batch"]),
            str(r["floor_batch"]),
            f"{r['floor_us']:.0f}",
            f"{r['method_us']:.0f}",
            f"{r['ratio']:.2f}",
            f"{r['spread']:.2f}",
        )
    return result_table


if __name__ == "__main__":
    main()
