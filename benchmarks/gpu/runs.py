"""Runs of the pipeline, watched from outside: over many pictures, with two processes on one card, on a nearly full card."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from beam_pipelines.engine import gpu_driver
from beam_pipelines.engine.progress_folder import ProgressFolder
from benchmarks.gpu import models, throughput
from benchmarks.gpu.workers import Clock, Row, Worker
from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.layout import store_path

STEPS = 50  # of integrated gradients
GOAL, BUSY_GOAL = 0.7, 0.85
GIB_LEFT = 1.6  # on a nearly full card
_BETWEEN_SAMPLES = 0.2
_SECONDS_TO_STOP = 20.0  # after Ctrl-C


def measure_pipeline(seconds: float, on_gpu: bool, pictures: int, timing: float) -> Iterator[Row]:
    """Integrated gradients of the ResNet, as many pictures as the time allows, with the floor and how busy the card is."""
    clock = Clock(seconds)
    options: dict[str, Any] = {"nets": ["resnet"], "examples": None if on_gpu else pictures, "timing": timing}
    worker = Worker(throughput.measure_floors, {}, **options) if on_gpu else None
    with tempfile.TemporaryDirectory() as folder:
        command = prepare(Path(folder), "resnet", pictures, f"--integrated_gradients.steps={STEPS}")
        floors = worker.rows(seconds / 3) if worker else throughput.measure_floors(seconds / 3, **options)
        floor_rows = list(floors)  # to the end of the process
        run = watch([*command, "--methods=integrated_gradients"], Path(folder), clock.left())
    yield from (row for row in floor_rows if "error" in row)
    rate = run.examples_per_second * (STEPS + 2)  # with both ends
    figures = {
        **run.row(),
        "examples_per_second": run.examples_per_second,
        "evaluations_per_second": rate,
        "goal": GOAL,
        "busy": run.busy,
        "busy_goal": BUSY_GOAL,
        "reached": False,
    }
    for floor in [row["evaluations_per_second"] for row in floor_rows if "error" not in row]:
        reached = rate / floor >= GOAL and run.busy >= BUSY_GOAL
        figures |= {"floor": floor, "of_floor": rate / floor, "reached": reached}
    yield figures


def measure_processes(seconds: float, pictures: int) -> Iterator[Row]:
    """Two processes that share one card, over pictures of the small CNN."""
    flags = ["--processes_per_gpu=2", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    with tempfile.TemporaryDirectory() as folder:
        command = prepare(Path(folder), "cnn28", pictures, f"--integrated_gradients.steps={STEPS}")
        environment = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
        run = watch([*command, "--methods=integrated_gradients", *flags], Path(folder), seconds, environment)
    figures = {
        "examples_per_second": run.examples_per_second,
        "busy": run.busy,
        "processes_at_work": len(run.processes),
    }
    yield {**run.row(), **figures, "reached": run.status == 0 and len(run.processes) == 2}


def measure_full_card(seconds: float, on_gpu: bool, pictures: int) -> Iterator[Row]:
    """A run on a card of which another process holds all but 1.6 GiB, with a batch that is much too large."""
    with tempfile.TemporaryDirectory() as folder:
        command = prepare(Path(folder), "resnet", pictures, "--batch_size=8192")
        with memory_held() if on_gpu else contextlib.nullcontext():
            memory = gpu_driver.memory("0")
            run = watch([*command, "--methods=gradient_x_input"], Path(folder), seconds)
    free = {"gib_free": memory.free / (1 << 30)} if memory else {}
    yield {**run.row(), **free, "reached": not run.was_stopped and (run.status == 0 or bool(run.last_line))}


def prepare(folder: Path, net: str, pictures: int, *options: str) -> list[str]:
    """Write a model and pictures; the command that explains them."""
    models.load(net, 1).model.export(folder / "model", verbose=False)
    shape = (28, 28, 1) if net == "cnn28" else (64, 64, 3)
    blocks = np.random.default_rng(0).random((pictures, shape[0] // 4, shape[1] // 4, shape[2]), np.float32)
    np.savez(folder / "pictures.npz", x=blocks.repeat(4, axis=1).repeat(4, axis=2))
    unit_size = min(256, max(pictures // 8, 1))
    paths = [f"--model={folder / 'model'}", f"--input={folder / 'pictures.npz'}", f"--logdir={folder / 'logs'}"]
    return [
        sys.executable,
        "-m",
        "beam_pipelines.attribute",
        *paths,
        "--run=r",
        "--target=0",
        f"--unit_size={unit_size}",
        *options,
    ]


@contextlib.contextmanager
def memory_held() -> Iterator[None]:
    """Within, another process holds all memory of the card but 1.6 GiB."""
    command = [sys.executable, "-m", "benchmarks.gpu.hold_memory", str(GIB_LEFT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        if holder.stdout.readline() != "held\n":
            raise RuntimeError("the card's memory could not be held")
        yield


@dataclasses.dataclass
class Watched:
    """A run of the pipeline, as seen from outside."""

    status: int = 0
    seconds: float = 0.0
    was_stopped: bool = False  # because its time was over
    last_line: str = ""  # that it printed
    processes: set[int] = dataclasses.field(default_factory=set)  # that explained something
    samples: list[tuple[float, float, float]] = dataclasses.field(
        default_factory=list
    )  # second, examples done, share busy

    @property
    def _at_work(self) -> list[tuple[float, float, float]]:
        """The samples from the first to the last progress."""
        done = [sample[1] for sample in self.samples]
        first = next((i for i, value in enumerate(done) if value > 0), len(done))
        return self.samples[first : done.index(max(done)) + 1] if first < len(done) else []

    @property
    def examples_per_second(self) -> float:
        """While it was at work, without start and end."""
        if len(self._at_work) < 2:
            return 0.0
        (start, before, _), (end, after, _) = self._at_work[0], self._at_work[-1]
        return (after - before) / (end - start)

    @property
    def busy(self) -> float:
        """The share of that time in which the card was at work; without a card, of the machine's processors."""
        return float(np.mean([busy for *_, busy in self._at_work])) if self._at_work else 0.0

    def row(self) -> Row:
        done = max((done for _, done, _ in self.samples), default=0.0)
        figures = {"status": self.status, "seconds": self.seconds, "examples_seen_done": done}
        return figures | {"was_stopped": self.was_stopped, "said": self.last_line[:300]}


def watch(command: list[str], folder: Path, seconds: float, environment: dict[str, str] | None = None) -> Watched:
    """Run the command; after `seconds` it is stopped as by Ctrl-C."""
    run, started, progress = Watched(), time.monotonic(), ProgressFolder(store_path(folder / "logs", "r", "default"))
    processors = _processor_times()
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | (environment or {}))
        while process.poll() is None:
            time.sleep(_BETWEEN_SAMPLES)
            run.seconds = time.monotonic() - started
            reports = []
            with contextlib.suppress(StoreError):  # not begun yet
                reports = progress.read_reports()
            run.processes |= {report.process for report in reports if report.done}
            before, processors = processors, _processor_times()
            busy = gpu_driver.utilization("0")
            share = (processors[0] - before[0]) / max(processors[1] - before[1], 1) if busy is None else busy
            run.samples.append((run.seconds, sum(report.done for report in reports), share))
            if run.seconds > seconds + _SECONDS_TO_STOP:
                process.kill()
            elif run.seconds > seconds and not run.was_stopped:
                run.was_stopped = True
                process.send_signal(signal.SIGINT)
        output.seek(0)
        run.last_line = next((line.strip() for line in reversed(output.readlines()) if line.strip()), "")
    run.status = process.wait()
    return run


def _processor_times() -> tuple[int, int]:
    """Of all processors: the time at work, and all time."""
    times = [int(value) for value in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)
