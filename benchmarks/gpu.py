"""Exactness and throughput on a GPU: what no CPU can show.

    python -m benchmarks.gpu [exactness] [throughput] [--examples 128] [--seconds 2] [--json FILE]

exactness    maps in float32 on the CPU, and on the GPU with matrix products in TF32 (TensorFlow's default there) and in float32,
             against maps in float64 on the CPU: max |difference| / max |map|, median and worst over the examples.
throughput   model evaluations per second of every method at several batch sizes, against the floor: the compiled pass on ready
             tensors at a batch of 4096 (cnn28) or 512 (resnet), in the same precision.

The nets are those of `benchmarks.nets` with random weights. Without a GPU the script runs on the CPU alone, as a test does.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tb_deepexplain as dx
from benchmarks import nets

NETS = {"cnn28": ((28, 28, 1), 4096), "resnet": ((64, 64, 3), 512)}  # shape of an example, batch of the floor
METHODS: dict[str, dict[str, Any]] = {
    "gradient_x_input": {},
    "integrated_gradients": {"steps": 50},
    "deeplift": {},
    "occlusion": {},
}
WINDOWS = {"cnn28": {"window_shape": (4, 4, 1), "step": 4}, "resnet": {"window_shape": (16, 16, 3), "step": 16}}
BATCHES = (None, 256, 1024)


def build(name: str) -> tuple[Any, np.ndarray]:
    """The net with random weights, and 4096 random examples."""
    tf.keras.utils.set_random_seed(0)
    model, _ = getattr(nets, name)()
    shape, _ = NETS[name]
    return model, np.random.default_rng(0).random((4096, *shape), np.float32)


def parameters(name: str, method: str) -> dict[str, Any]:
    return METHODS[method] | (WINDOWS[name] if method == "occlusion" else {})


def explain_all(name: str, model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """The maps of every method."""
    return {
        method: np.asarray(dx.Explainer(method, model, **parameters(name, method)).run(x, target=0))
        for method in METHODS
    }


# Precision → CUDA_VISIBLE_DEVICES.
PRECISIONS = {"CPU, float64": "-1", "CPU, float32": "-1", "GPU, TF32": None, "GPU, float32": None}


def write_maps(precision: str, examples: int, folder: Path) -> None:
    """The maps of every net, in a separate process: a plan of a convolution once made may outlive a change of precision."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(precision == "GPU, TF32")
    for name in NETS:
        weights_file = folder / f"{name}_weights.npz"
        model, x = build(name)
        if precision == "CPU, float64":
            np.savez(weights_file, *model.get_weights())
            tf.keras.config.set_dtype_policy("float64")
            model, _ = build(name)
            tf.keras.config.set_dtype_policy("float32")
            x = x.astype(np.float64)
        with np.load(weights_file) as weights:
            model.set_weights([weights[f"arr_{i}"] for i in range(len(model.get_weights()))])
        np.savez(folder / f"{name}_{precision}.npz", **explain_all(name, model, x[:examples]))


def exactness(examples: int) -> Iterator[dict[str, Any]]:
    """The error of maps by device and precision of matrix products."""
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    with tempfile.TemporaryDirectory() as folder:
        for precision, visible in PRECISIONS.items():
            if visible is None and not on_gpu:
                continue
            setup = f"from pathlib import Path; from benchmarks import gpu; gpu.NETS = {NETS}"
            program = f"{setup}; gpu.write_maps({precision!r}, {examples}, Path({folder!r}))"
            environment = os.environ | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
            subprocess.run([sys.executable, "-c", program], check=True, env=environment)
            for name in NETS:
                with (
                    np.load(f"{folder}/{name}_CPU, float64.npz") as exact,
                    np.load(f"{folder}/{name}_{precision}.npz") as maps,
                ):
                    for method in METHODS if precision != "CPU, float64" else ():
                        axes = tuple(range(1, maps[method].ndim))
                        errors = np.abs(maps[method] - exact[method]).max(axes) / np.abs(exact[method]).max(axes)
                        summary = {"median": float(np.median(errors)), "worst": float(errors.max())}
                        yield {"net": name, "method": method, "precision": precision, **summary}


def throughput(seconds: float) -> Iterator[dict[str, Any]]:
    """Evaluations per second of floor and methods, in float32."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    for name, (_, floor_batch) in NETS.items():
        model, x = build(name)
        for gradient in (False, True):
            yield {
                "net": name,
                "method": "floor, forward and backward" if gradient else "floor, forward",
                "batch": floor_batch,
                "evaluations_per_second": floor(model, x[:floor_batch], gradient, seconds),
            }
        for method in METHODS:
            explainer = dx.Explainer(method, model, **parameters(name, method))
            examples = x if method in ("gradient_x_input", "deeplift") else x[:256]
            for batch in BATCHES:
                run = functools.partial(explainer.run, examples, target=0, batch_size=batch, return_result=True)
                rate = float(run().evaluations.sum()) / least_time(run, seconds)
                yield {"net": name, "method": method, "batch": batch or "default", "evaluations_per_second": rate}


def floor(model: Any, x: np.ndarray, gradient: bool, seconds: float) -> float:
    """Evaluations per second of the compiled pass on a ready tensor."""

    @tf.function
    def evaluate(ready: Any) -> Any:
        if not gradient:
            return tf.reduce_sum(model(ready, training=False)[:, 0])
        with tf.GradientTape() as tape:
            tape.watch(ready)
            score = tf.reduce_sum(model(ready, training=False)[:, 0])
        return tf.reduce_sum(tape.gradient(score, ready))

    ready = tf.constant(x)
    evaluate(ready).numpy()
    return len(x) / least_time(lambda: evaluate(ready).numpy(), seconds)


def least_time(run: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest call, repeated for this long."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def card() -> str:
    """The name of the GPU, or CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=["exactness", "throughput"])
    parser.add_argument("--examples", type=int, default=128, help="of exactness (default: 128)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timing (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    print("device:", card(), "tensorflow", tf.__version__, flush=True)
    rows = []
    for part in options.parts:
        for row in exactness(options.examples) if part == "exactness" else throughput(options.seconds):
            rows.append({"part": part, **row})
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"device": card(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
