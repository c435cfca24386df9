"""--dry_run: what a run would take, from a sample of its own units that is explained into a folder that is removed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import tensorflow as tf

from beam_pipelines.engine.batch_size import BatchSize
from beam_pipelines.engine.progress import Counts, duration
from beam_pipelines.engine.unit_worker import Job, Task, unit_workers
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.storage import is_remote
from tb_deepexplain.store.store import StoreWriter

SECONDS = 8.0  # of sampling, after which no further part is begun


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of a whole run, from a sample of it."""

    examples: int
    sampled: int
    failed: float  # share of the sample
    evaluations: float
    seconds_to_start: float  # a process
    seconds_to_explain: float  # by one worker like this process
    cores: float  # that this one kept busy
    bytes: float

    def seconds(self, workers: int) -> float:
        """By so many processes on this machine, or by one like this itself (0). More than its cores keep busy are of no use."""
        useful = max(1.0, min(workers, (os.cpu_count() or 1) / max(self.cores, 1.0)))
        return self._start(workers) + self.seconds_to_explain / useful

    def _start(self, workers: int) -> float:
        return self.seconds_to_start * (2 if workers else 1)  # they start when this one has

    def describe(self, directory: Path, workers: int) -> str:
        by = "one process like this"
        if workers:
            by = f"{workers} worker processes" if workers > 1 else "a worker process"
        each = [
            f"{self.evaluations / self.examples:,.1f} evaluations",
            f"{self.seconds_to_explain / self.examples * 1e3:,.2f} ms",
            f"{_size(self.bytes / self.examples)} each",
        ]
        lines = [
            f"would explain {self.examples:,} examples: {self.evaluations:,.0f} evaluations",
            f"measured  {self.sampled:,}: {', '.join(each)}" + (f"; {self.failed:.1%} failed" if self.failed else ""),
            f"time      {duration(self.seconds(workers))} by {by}, {duration(self._start(workers))} of it to start",
            f"disk      {_size(self.bytes)}{self._free(directory)}",
            "nothing was written; the same command without --dry_run begins",
        ]
        return "\n".join(lines)

    def _free(self, directory: Path) -> str:
        if is_remote(directory):
            return ""
        nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        free = shutil.disk_usage(nearest).free
        return f", {_size(free)} are free" + (": not enough" if self.bytes > free else "")


def estimate(job: Job, units: Sequence[WorkUnit], begun: float, threads: int | None = None) -> Estimate:
    """From growing parts of units spread over the input. `begun` is when the run was, by the monotonic clock; `threads` are
    TensorFlow's in each worker."""
    if threads:
        with contextlib.suppress(RuntimeError):  # TensorFlow has begun
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tb_deepexplain-dry_run-"))
        worker = stack.enter_context(unit_workers(dataclasses.replace(job, directory=folder)).one())
        counts = Counts(folder)
        warm, *parts = _parts(units, BatchSize(job.request.batch_size).now)
        worker.work(Task(warm), counts)  # compiles
        ready, sampled, busy = time.monotonic(), Metrics(), time.process_time()
        for part in parts:
            last, metrics = part, worker.work(Task(part), counts)
            sampled += metrics
            if time.monotonic() - ready > SECONDS:
                break
        busy = time.process_time() - busy
        if not sampled.explained:
            raise InputError("none of the examples of the sample could be explained; run without --dry_run to see why")
        StoreWriter(folder).commit([last.id], {})
        found = [path for kind in (f"*-{last.id}", "index-*") for path in Path(folder).glob(f"{kind}.parquet")]
        size = sum(path.stat().st_size for path in found) / last.record_count
    examples, done = sum(unit.record_count for unit in units), sampled.explained + sampled.failures
    scale = examples / done
    return Estimate(
        examples=examples,
        sampled=done,
        failed=sampled.failures / done,
        evaluations=sampled.evaluations * scale,
        seconds_to_start=ready - begun,
        seconds_to_explain=metrics.total_seconds
        / (metrics.explained + metrics.failures)
        * examples,  # the longest part
        cores=busy / sampled.total_seconds,
        bytes=size * examples,
    )


def _parts(units: Sequence[WorkUnit], batch: int) -> list[WorkUnit]:
    """Beginnings of units spread over the input: one batch to warm up, then one and ever twice as many, up to a unit."""
    sizes = [batch, batch]
    while sizes[-1] < max(unit.record_count for unit in units):
        sizes.append(2 * sizes[-1])
    parts = []
    for number, size in enumerate(sizes):
        unit = units[number * (len(units) - 1) // (len(sizes) - 1)]
        pictures, whole = unit.pictures[:size], size >= unit.count
        cut = dataclasses.replace(
            unit, count=min(size, unit.count), pictures=pictures, damage=unit.damage if whole else None
        )
        parts.append(dataclasses.replace(cut, id=f"sample-{number}"))
    return parts


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
