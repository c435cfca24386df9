"""What the host takes for an example, whatever the model: from an .npz to the committed store.

The model is one addition, so that its passes take next to nothing; the method is gradient × input, by the ordinary command in this
process. Times of an example are the difference between a run with many and a run with few examples, divided by the difference of
the counts: fixed costs cancel. Processor time is that of all threads. On a machine that does other work, too, only processor time
means something; and it grows with what the others take of the caches.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table


class Case(NamedTuple):
    """Examples of one shape."""

    name: str
    make: Callable[[int], np.ndarray]  # float32 [N, H, W, C] in 0..1
    examples: int  # of the larger run
    goal: int  # examples a second
    unit_size: int  # each unit opens and closes files, which of 256 small examples takes a third of their time


def digits(n: int) -> np.ndarray:
    """The digits of scikit-learn in 28×28."""
    from sklearn.datasets import load_digits

    images = np.kron(load_digits().images / 16, np.ones((1, 4, 4)))[:, 2:30, 2:30, None].astype(np.float32)
    chosen: np.ndarray = images[np.random.default_rng(0).integers(0, len(images), n)]
    return chosen


def photos(n: int) -> np.ndarray:
    """Sections of 64×64 of the two photos of scikit-learn."""
    from sklearn.datasets import load_sample_images

    images, rng = np.stack(load_sample_images().images), np.random.default_rng(0)
    corners = zip(*(rng.integers(0, size - 63, n) for size in images.shape[1:3]), strict=True)
    sections = [images[i % 2, top : top + 64, left : left + 64] for i, (top, left) in enumerate(corners)]
    return np.stack(sections).astype(np.float32) / np.float32(255)


def noise(n: int, *shape: int) -> np.ndarray:
    """Random numbers, which nothing compresses."""
    return np.random.default_rng(0).random((n, *shape), np.float32)


CASES = (
    Case("digits, 28×28×1", digits, 60_000, 25_000, 2048),
    Case("noise, 28×28×1", lambda n: noise(n, 28, 28, 1), 60_000, 25_000, 2048),
    Case("photos, 64×64×3", photos, 6_000, 2_500, 256),
    Case("noise, 64×64×3", lambda n: noise(n, 64, 64, 3), 6_000, 2_500, 256),
)

# Stage → the function, at the place where it is looked up, whose processor time without that of other stages it has.
STAGES = {
    "read, parse": "beam_pipelines.engine.unit_worker:UnitWorker._batches",
    "predict": "tb_deepexplain.attribution.explainer:Explainer.predict",
    "explain": "tb_deepexplain.attribution.explainer:Explainer.run",
    "rows": "tb_deepexplain.recording.batch_explainer:make_rows",
    "pictures": "tb_deepexplain.recording.display:store_examples",
    "maps": "tb_deepexplain.store.records:encode_maps",
    "Arrow": "tb_deepexplain.store.shard_writer:make_table",
    "Parquet": "pyarrow.parquet:ParquetWriter.write_table",
    "others of a unit": "beam_pipelines.engine.unit_worker:UnitWorker.explain_unit",
    "commit": "beam_pipelines.cli.explain:commit_units",
}


class StageTimes:
    """The processor time of the functions of STAGES; of a function within another one, only its own stage has it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._lock, self._of_thread = threading.Lock(), threading.local()

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Measure within the block."""
        with contextlib.ExitStack() as stack:
            for stage, location in STAGES.items():
                module, _, path = location.partition(":")
                owner: Any = importlib.import_module(module)
                *parents, name = path.split(".")
                for parent in parents:
                    owner = getattr(owner, parent)
                stack.enter_context(mock.patch.object(owner, name, self._timed(stage, getattr(owner, name))))
            yield

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self._counted(stage):
                return function(*arguments, **options)

        @functools.wraps(function)
        def timed_steps(*arguments: Any, **options: Any) -> Iterator[Any]:
            steps = function(*arguments, **options)
            while True:
                with self._counted(stage):
                    step = next(steps, None)
                if step is None:
                    return
                yield step

        return timed_steps if inspect.isgeneratorfunction(function) else timed

    @contextlib.contextmanager
    def _counted(self, stage: str) -> Iterator[None]:
        outer, started = getattr(self._of_thread, "inner", 0.0), time.thread_time()
        self._of_thread.inner = 0.0
        try:
            yield
        finally:
            seconds = time.thread_time() - started
            with self._lock:
                self.seconds[stage] += seconds - self._of_thread.inner
            self._of_thread.inner = outer + seconds


class Run(NamedTuple):
    """What a run took, in seconds."""

    wall: float
    processor: float
    stages: dict[str, float]


def write_addition(folder: Path, shape: tuple[int, ...]) -> Path:
    """A SavedModel whose outputs are sums of the picture and a constant."""
    import tensorflow as tf

    class Addition(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="image")])
        def call(self, image: Any) -> Any:
            return tf.reduce_sum(image, [1, 2, 3])[:, None] + tf.constant([[1.0, 2.0, 3.0]])

    module = Addition()
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.call})
    return folder / "model"


def explain(model: Path, data: Path, logdir: Path, unit_size: int, stages: bool) -> Run:
    """Run the command in this process."""
    from beam_pipelines.cli.main import main

    times, command = StageTimes(), ["explain", "--model", str(model), "--input", str(data), "--logdir", str(logdir)]
    with times.measure() if stages else contextlib.nullcontext():
        wall, processor = time.perf_counter(), time.process_time()
        status = main([*command, "--run", "host", "--methods", "gradient_x_input", "--unit_size", str(unit_size)])
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return Run(wall, processor, times.seconds)


def measure(case: Case, repeat: int, scale: float) -> dict[str, Any]:
    """Seconds of an example: the fastest of `repeat` runs of each size; the stages by a further run."""
    many = max(8, int(case.examples * scale))
    few = many // 4
    with tempfile.TemporaryDirectory() as folder:
        root, images = Path(folder), case.make(many)
        model = write_addition(root, images.shape[1:])
        labels = np.arange(many) % 3
        for n in (few, many):
            np.savez(root / f"{n}.npz", image=images[:n], label=labels[:n])
        explain(model, root / f"{few}.npz", root / "first", case.unit_size, False)  # imports
        runs = {
            n: [explain(model, root / f"{n}.npz", root / f"{n}-{i}", case.unit_size, False) for i in range(repeat)]
            for n in (few, many)
        }
        staged = {n: explain(model, root / f"{n}.npz", root / f"{n}-stages", case.unit_size, True) for n in (few, many)}
    marginal = {
        name: (min(getattr(run, name) for run in runs[many]) - min(getattr(run, name) for run in runs[few]))
        / (many - few)
        for name in ("wall", "processor")
    }
    stages = {name: (staged[many].stages[name] - staged[few].stages[name]) / (many - few) for name in STAGES}
    return {"case": case.name, "examples": many, "goal": case.goal, **marginal, "stages": stages}


def host(console: Console, repeat: int = 1, scale: float = 1.0) -> list[dict[str, Any]]:
    """Measure all cases, and print tables."""
    results = [measure(case, repeat, scale) for case in CASES]
    table = Table("examples", title="From an .npz to the committed store, gradient × input of one addition")
    for column in ("examples a second", "goal", "µs of the processor each"):
        table.add_column(column, justify="right")
    for row in results:
        table.add_row(row["case"], f"{1 / row['wall']:,.0f}", f"{row['goal']:,}", f"{row['processor'] * 1e6:.0f}")
    console.print(table)
    table = Table("µs of the processor by stage", *STAGES)
    for row in results:
        table.add_row(row["case"], *(f"{seconds * 1e6:.1f}" for seconds in row["stages"].values()))
    console.print(table)
    return results
