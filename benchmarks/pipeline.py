"""The overhead of the pipeline over a bare loop that computes and writes the same, and the gain of a second worker.

    python -m benchmarks.pipeline [--examples 20000 80000] [--method gradient_x_input ...] [--workers] [--json FILE]
    python -m benchmarks.pipeline --memory [--json FILE]
    python -m benchmarks.pipeline --sizes | --store | --host [--repeat N] [--json FILE]

Every run is a separate process, as a user starts it. The marginal cost of an example is the time difference between a run
with many and a run with few examples, divided by the difference of the counts; fixed costs (imports, planning, loading)
cancel. The bare loop reads the same TFRecords with tf.data, calls the same compiled method at its best batch size, and
writes the same Parquet files with pyarrow. Each run is compared with the estimate of --dry_run. --memory measures the peak
memory of runs over 10⁴, 10⁵ and 10⁶ small pictures.

--sizes and --store measure the transforms in one process on Beam's local runner: pictures of many sizes against as many of one
size, for a model that takes any size; and tiny elements with and without WriteAttributions. --host measures what the host takes
for an example, by stage (`host.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.host import host

# Integrated gradients: 32 evaluations, with both ends.
METHODS: dict[str, dict[str, Any]] = {"gradient_x_input": {}, "integrated_gradients": {"steps": 30}}
SHAPE, SMALL = (32, 32, 3), (8, 8, 3)


def write_data(folder: Path, examples: int, shape: tuple[int, ...] = SHAPE) -> Path:
    """TFRecords of pictures as numbers, in four files."""
    import tensorflow as tf

    path = folder / f"data{examples}"
    if not path.exists():
        path.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for part in range(4):
            with tf.io.TFRecordWriter(str(path / f"{part}.tfrecord")) as writer:
                for _ in range(examples // 4):
                    feature = tf.train.Feature(float_list={"value": rng.random(shape, np.float32).ravel()})
                    writer.write(tf.train.Example(features={"feature": {"image": feature}}).SerializeToString())
    return path


def write_model(folder: Path, shape: tuple[int | None, ...] = SHAPE) -> Path:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    x = y = keras.Input(shape, name="image")
    for width in (16, 32):
        y = layers.Conv2D(width, 3, strides=2, activation="relu")(y)
    model = keras.Model(x, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(y)))
    model.export(folder / "model", verbose=False)
    return folder / "model"


def bare(model: Path, data: Path, out: Path, method: str, batch: int = 64) -> None:
    """A loop written for this one case: no checks, error handling, progress or resuming."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf
    from PIL import Image

    import tb_deepexplain as dx
    from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, INPUT_SCHEMA, Attribution, Input

    explainer = dx.Explainer(method, model, **METHODS[method])
    spec = {"image": tf.io.FixedLenFeature(SHAPE, tf.float32)}
    records = tf.data.TFRecordDataset([str(p) for p in sorted(data.glob("*.tfrecord"))])
    out.mkdir(parents=True)
    maps = pq.ParquetWriter(out / "attributions.parquet", ATTRIBUTION_SCHEMA, compression="zstd")
    inputs = pq.ParquetWriter(out / "inputs.parquet", INPUT_SCHEMA, compression="zstd")
    number = 0
    for chunk in records.batch(batch).map(lambda r: tf.io.parse_example(r, spec)["image"]).prefetch(2):
        x = chunk.numpy()
        predicted = explainer.predict(x)
        target = predicted.outputs.argmax(1)
        result = explainer.run(x, target=target, return_result=True)
        rows, input_rows = [], []
        for i in range(len(x)):
            name = f"example-{number}"
            number += 1
            rows.append(
                Attribution(
                    name,
                    method,
                    result.attributions[i],
                    target=int(target[i]),
                    predicted=int(target[i]),
                    score=float(result.score[i]),
                    probability=float(predicted.probabilities[i, target[i]]),
                    evaluations=int(result.evaluations[i]),
                ).row()
            )
            png = io.BytesIO()
            Image.fromarray((x[i] * 255).astype(np.uint8)).save(png, "PNG")
            input_rows.append(Input(name, "image", image=png.getvalue()).row())
        maps.write_table(pa.Table.from_pylist(rows, ATTRIBUTION_SCHEMA))
        inputs.write_table(pa.Table.from_pylist(input_rows, INPUT_SCHEMA))
    maps.close()
    inputs.close()


def pipeline_command(model: Path, data: Path, out: Path, method: str, workers: int = 1) -> list[str]:
    """The command line of a run of the pipeline."""
    command = [sys.executable, "-m", "beam_pipelines.attribute", "--model", str(model), "--logdir", str(out)]
    command += ["--input", f"{data}/*.tfrecord", "--run", "benchmark", "--methods", method]
    command += [f"--{method}.{name}={value}" for name, value in METHODS[method].items()]
    if workers > 1:
        command += ["--direct_running_mode", "multi_processing", "--direct_num_workers", str(workers)]
    return command


def timed(command: list[str], threads: int | None = None) -> tuple[float, float, str]:
    """(seconds, peak memory in MiB of the process or one of its children, its output) of a process."""
    environment = (
        {} if threads is None else {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    )
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{text}")
    return seconds, used.ru_maxrss / 1024, text


def estimated_seconds(command: list[str], threads: int | None) -> float:
    """The estimate of --dry_run for a run, in seconds."""
    _, _, text = timed([*command, "--dry_run"], threads)
    match = re.search(r"^time +(.*) with ", text, re.MULTILINE)
    assert match, text
    units = {"s": 1, "min": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (s|min|h)", match[1]))


def memory(console: Console) -> list[dict[str, Any]]:
    """The peak memory of runs over more and more examples."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = write_model(root, SMALL)
        for n in (10**4, 10**5, 10**6):
            data = write_data(root, n, SMALL)
            seconds, most, _ = timed(pipeline_command(model, data, root / f"out{n}", "gradient_x_input"))
            results.append({"examples": n, "seconds": seconds, "MiB": most})
            console.print(f"{n:>9,} examples of 8×8×3: {seconds:.0f} s, {most:,.0f} MiB at the peak")
    return results


def measure(
    root: Path, method: str, way: str, workers: int, data: dict[int, Path], model: Path, repeat: int
) -> dict[str, Any]:
    """Runs over few and over many examples, each the fastest of `repeat`. `workers`: 0 is the bare loop."""
    threads = 1 if way == "pipeline, one thread" else None
    times = {}
    for n in data:
        out = root / re.sub(r"\W+", "-", f"{method} {way} {n}")
        here = [sys.executable, "-m", "benchmarks.pipeline", "--bare", str(model), str(data[n]), str(out), method]
        command = pipeline_command(model, data[n], out, method, workers) if workers else here
        estimate = estimated_seconds(command, threads) if workers else None  # the last one is that of the longer run
        tries = []
        for _ in range(repeat):
            tries.append(timed(command, threads)[:2])
            shutil.rmtree(out)
        times[n], most = min(tries)
    (few, short), (many, long) = times.items()
    marginal = (long - short) / (many - few)
    return {
        "method": method,
        "way": way,
        "marginal_us": marginal * 1e6,
        "fixed_s": short - marginal * few,
        "MiB": most,
        "seconds": long,
        "estimated_s": estimate,
    }


def compare(
    methods: list[str], examples: list[int], single: bool, repeat: int, console: Console
) -> list[dict[str, Any]]:
    """Measure every method in every way, and print a table."""
    results: list[dict[str, Any]] = []
    ways = {"bare loop": 0, "pipeline": 1}
    ways |= {"pipeline, one thread": 1, "pipeline, two single-threaded workers": 2} if single else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = write_model(root)
        data = {n: write_data(root, n) for n in examples}
        for method in methods:
            for way, workers in ways.items():
                row = measure(root, method, way, workers, data, model, repeat)
                results.append(row)
                bare = next(r for r in results if r["method"] == method)
                row["ratio"] = row["marginal_us"] / bare["marginal_us"]
                console.print(f"{method}, {way}: {row['marginal_us']:.0f} µs per example, {row['fixed_s']:.1f} s fixed")
    alone, _, _ = timed([sys.executable, "-c", "import tensorflow"])
    console.print(f"of the fixed cost, {alone:.1f} s are import tensorflow")
    few, many = examples
    table = Table("method", "way", title=f"From {few:,} to {many:,} examples of 32×32×3")
    for column in ("µs per example", "fixed, s", "/ bare loop", "MiB", f"{many:,}, s", "--dry_run, s"):
        table.add_column(column, justify="right")
    for r in results:
        numbers = (f"{r['marginal_us']:.0f}", f"{r['fixed_s']:.1f}", f"{r['ratio']:.2f}", f"{r['MiB']:,.0f}")
        table.add_row(r["method"], r["way"], *numbers, f"{r['seconds']:.0f}", f"{r['estimated_s'] or 0:.0f}")
    console.print(table)
    return results


def _transforms(
    elements: Callable[[], Iterable[Any]], model: Path, methods: Any, logdir: Path | None = None
) -> tuple[float, float]:
    """(seconds, processor seconds) of a pipeline that explains and counts the elements, and writes a store if there is a `logdir`."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_pipelines.transforms import Attribute, WriteAttributions

    started, processor = time.monotonic(), time.process_time()
    with beam.Pipeline(runner=FnApiRunner()) as p:
        made = p | beam.Create([None]) | beam.FlatMap(lambda _: elements())
        attributions = made | Attribute(model, methods)
        _ = attributions.explained | beam.combiners.Count.Globally()
        if logdir:
            _ = attributions | WriteAttributions(logdir)
    return time.monotonic() - started, time.process_time() - processor


def sizes(console: Console, repeat: int) -> list[dict[str, Any]]:
    """200 pictures of 36 sizes, and of one size, by the methods that take longest to trace."""
    results: list[dict[str, Any]] = []
    methods = {
        "saliency": {},
        "deeplift": {},
        "integrated_gradients": {"steps": 8},
        "occlusion": {"window_shape": [4, 4], "step": 4},
    }
    rng = np.random.default_rng(0)
    many = [(16 + 4 * i, 16 + 4 * j) for i in range(6) for j in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), (None, None, 3))
        for name, parameters in methods.items():
            seconds = {}
            for count, of_pictures in ((1, [(28, 28)]), (36, many)):
                pictures = [rng.random((*of_pictures[i % count], 3), np.float32) for i in range(200)]
                tries = [
                    _transforms(lambda p=pictures: enumerate(p), model, {name: parameters})[0] for _ in range(repeat)
                ]
                seconds[count] = min(tries)
            results.append({"method": name, "one_size_s": seconds[1], "36_sizes_s": seconds[36]})
            console.print(
                f"{name}: 200 pictures of one size {seconds[1]:.1f} s, of 36 sizes {seconds[36]:.1f} s, "
                f"{seconds[36] / seconds[1]:.2f} times as long"
            )
    return results


def store(console: Console, repeat: int) -> list[dict[str, Any]]:
    """The marginal cost of an element of four numbers, with and without a store."""
    import keras
    from keras import layers

    few, many = 10_000, 100_000
    rows = np.random.default_rng(0).random((many, 4), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        keras.utils.set_random_seed(0)
        x = keras.Input((4,), name="x")
        hidden = layers.Dense(8, activation="relu")(x)
        keras.Model(x, layers.Dense(3, activation="softmax")(hidden)).export(root / "model", verbose=False)
        _transforms(lambda: enumerate(rows[:100]), root / "model", ["gradient_x_input"])
        marginal: dict[str, float] = {}
        for way in ("counted", "stored"):
            processor = {}
            for n in (few, many):
                tries = [
                    _transforms(
                        lambda n=n: enumerate(rows[:n]),
                        root / "model",
                        ["gradient_x_input"],
                        root / f"{n}-{i}" if way == "stored" else None,
                    )[1]
                    for i in range(repeat)
                ]
                processor[n] = min(tries)
            marginal[way] = (processor[many] - processor[few]) / (many - few) * 1e6
            console.print(f"{way}: {marginal[way]:.0f} µs of the processor for each element")
    console.print(f"a store costs {marginal['stored'] / marginal['counted'] - 1:.0%} more")
    return [{"way": way, "marginal_us": value} for way, value in marginal.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", nargs=2, type=int, default=[20_000, 80_000], metavar=("FEW", "MANY"))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--workers", action="store_true", help="also compare one single-threaded worker with two")
    parser.add_argument(
        "--memory", action="store_true", help="measure only the memory of runs over more and more examples"
    )
    parser.add_argument("--sizes", action="store_true", help="measure only pictures of many sizes")
    parser.add_argument("--store", action="store_true", help="measure only the cost of a store")
    parser.add_argument("--host", action="store_true", help="measure only what the host takes for an example")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--bare", nargs=4, metavar=("MODEL", "DATA", "OUT", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        model, data, out, method = arguments.bare
        bare(Path(model), Path(data), Path(out), method)
        return
    console = Console(width=120)
    if arguments.memory:
        results = memory(console)
    elif arguments.sizes:
        results = sizes(console, arguments.repeat)
    elif arguments.host:
        results = host(console, arguments.repeat)
    elif arguments.store:
        results = store(console, arguments.repeat)
    else:
        results = compare(arguments.method, arguments.examples, arguments.workers, arguments.repeat, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
