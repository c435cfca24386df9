"""Evaluations a second of every method, against the floor: the compiled pass on ready tensors at its best batch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

import tb_deepexplain as dx
from benchmarks.gpu import models
from benchmarks.gpu.workers import Clock, Row, Worker, rows_of_all, turn
from benchmarks.nets import Net

# In this order, so that most is known when the time is over.
METHODS = (
    "gradient_x_input",
    "integrated_gradients",
    "deeplift",
    "occlusion",
    "saliency",
    "epsilon_lrp",
    "shapley_sampling",
)
FIXED_BATCHES = (256, 4096)
_LEAST_GAIN = 1.03  # of a floor's batch over the one before
_CHOSEN = "chosen by itself"


def measure(
    seconds: float, on_gpu: bool, nets: list[str], methods: list[str], examples: int | None, timing: float
) -> Iterator[Row]:
    """In float32: floors and methods. In TF32, and with XLA: floors. `timing`: seconds of one timing.

    On a GPU each net has its process: they trace and compile side by side, and measure one at a time.
    """
    options = {"examples": examples, "timing": timing}
    if not on_gpu:
        yield from measure_methods(0.8 * seconds, nets, methods, **options)
        yield from measure_other_floors(0.2 * seconds, nets, **options)
        return
    with tempfile.NamedTemporaryFile() as file:
        options["turn_file"] = file.name
        exact = [Worker(measure_methods, {}, nets=[net], methods=methods, **options) for net in nets]
        others = [Worker(measure_other_floors, {}, nets=[net], **options) for net in nets]  # they start in the meantime
        clock = Clock(seconds)
        yield from rows_of_all(exact, 0.75 * seconds)
        yield from rows_of_all(others, clock.left())


def measure_methods(
    seconds: float,
    nets: list[str],
    methods: list[str],
    examples: int | None,
    timing: float,
    turn_file: str | None = None,
) -> Iterator[Row]:
    """In a process, in float32: floors, then methods with the batch that they choose, then with fixed batches."""
    clock = _begin(seconds, tf32=False)
    loaded = {name: models.load(name, examples) for name in nets}
    floors: dict[tuple[str, bool], float] = {}
    for name, net in loaded.items():
        for gradient in (True, False):
            if clock.left() < 0:
                return
            row = measure_floor(net, gradient, timing, turn_file) | {"precision": "float32", "compiled": "tf.function"}
            floors[name, gradient] = row["evaluations_per_second"]
            yield row
    rows = {row.id: row for row in dx.methods()}
    for batch in (None, *FIXED_BATCHES):
        for method in methods:
            for name, net in loaded.items():
                if clock.left() < 0:
                    return
                floor = floors[name, rows[method].family != models.PERTURBING]
                yield measure_method(net, rows[method], batch, floor, timing, turn_file)


def measure_floors(seconds: float, nets: list[str], examples: int | None, timing: float) -> Iterator[Row]:
    """In a process, in float32: the floor with its gradient."""
    _begin(seconds, tf32=False)
    for name in nets:
        yield measure_floor(models.load(name, examples), True, timing, None)


def measure_other_floors(
    seconds: float, nets: list[str], examples: int | None, timing: float, turn_file: str | None = None
) -> Iterator[Row]:
    """In a process: floors in TF32, with XLA in TF32, and with XLA in float32."""
    clock = _begin(seconds, tf32=True)
    loaded = {name: models.load(name, examples) for name in nets}
    for precision, jit in (("tf32", False), ("tf32", True), ("float32", True)):
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        for net in loaded.values():
            for gradient in (True, False):
                if clock.left() < 0:
                    return
                row = measure_floor(net, gradient, timing, turn_file, jit)
                yield row | {"precision": precision, "compiled": "XLA" if jit else "tf.function"}


def measure_floor(net: Net, gradient: bool, timing: float, turn_file: str | None, jit: bool = False) -> Row:
    """The floor of a net at its best batch."""

    @tf.function(jit_compile=jit or None, autograph=False)
    def evaluate(entries: Any) -> Any:
        if not gradient:
            return tf.reduce_sum(net.body(entries, training=False)[:, 0])
        with tf.GradientTape() as tape:
            tape.watch(entries)
            score = tf.reduce_sum(net.body(entries, training=False)[:, 0])
        return tf.reduce_sum(tape.gradient(score, entries))

    best = best_batch = 0.0
    for batch in models.NETS[net.name].batches:
        if batch > len(net.x) and best:
            break
        try:
            entries = tf.identity(net.entries(net.x[:batch]))
            run = evaluate.get_concrete_function(entries)
            with turn(turn_file):
                run(entries).numpy()
                rate = len(entries) / least_time(lambda: run(entries).numpy(), timing)  # noqa: B023
        except tf.errors.ResourceExhaustedError:
            break
        if rate < best * _LEAST_GAIN:
            break
        best, best_batch = rate, len(entries)
    passes = "forward and backward" if gradient else "forward"
    return {"net": net.name, "floor": passes, "batch": int(best_batch), "evaluations_per_second": best}


def measure_method(net: Net, method: Any, batch: int | None, floor: float, timing: float, turn_file: str | None) -> Row:
    """A method's rate as a user calls it, from NumPy to NumPy; `batch` None: the one that it chooses."""
    row = {"net": net.name, "method": method.id, "precision": "float32", "batch": batch or _CHOSEN}
    try:
        parameters = models.parameters(net.name, method)
        explainer = dx.Explainer(method.id, net.model, precision="float32", **parameters)
        few = explainer.run(net.x[:2], target=0, batch_size=batch, return_result=True)
        each = float(few.evaluations.mean())
        count = min(len(net.x), max(8, int(floor * timing / each)))
        x = net.x[:count]

        def run() -> Any:
            return explainer.run(x, target=0, batch_size=batch, return_result=True)

        with turn(turn_file):
            evaluations = float(run().evaluations.sum())
            rate = evaluations / least_time(run, 2 * timing)
    except Exception as error:  # the others are measured all the same
        return row | {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    figures = {"examples": count, "evaluations_per_second": rate, "of_floor": rate / floor}
    log = explainer.batch_log
    figures |= {"evaluations_at_once": log.size, "batches_with_xla": log.batches_with_xla}
    if batch is None:
        figures |= {"goal": models.NETS[net.name].goal, "reached": rate / floor >= models.NETS[net.name].goal}
    return row | figures


def least_time(run: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest call, repeated for this long."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _begin(seconds: float, tf32: bool) -> Clock:
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    return Clock(seconds)
