"""--dry_run: estimate evaluations, time and disk space of a run from a sample of its work units.

The sample is explained into a temporary folder.
"""

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
from beam_pipelines.engine.progress_display import format_duration
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.unit_worker import Job, Task, unit_worker_pool
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.storage import is_remote
from tb_deepexplain.store.writer import StoreWriter

_MAX_SECONDS = 8.0  # of sampling, after which no further part is started


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a whole run takes, by a sample of its examples."""

    examples: int
    sampled: int
    failed: float  # share of the sample
    skipped: float  # share of the sample that does not meet the condition
    evaluations: float
    seconds_to_start: float  # of one process
    seconds_to_explain: float  # by one worker like this process
    cores: float  # that this process kept busy
    bytes: float

    def seconds(self, workers: int) -> float:
        """Run time with this number of worker processes on this machine; with 0, this process explains.

        Workers are counted only as long as there are cores for them.
        """
        effective = max(1.0, min(workers, (os.cpu_count() or 1) / max(self.cores, 1.0)))
        return self._startup(workers) + self.seconds_to_explain / effective

    def _startup(self, workers: int) -> float:
        return self.seconds_to_start * (2 if workers else 1)  # worker processes start after this one

    def describe(self, directory: Path, workers: int) -> str:
        """The estimate in five lines."""
        processes = "one process"
        if workers:
            processes = f"{workers} worker processes" if workers > 1 else "one worker process"
        per_example = [
            f"{self.evaluations / self.examples:,.1f} evaluations",
            f"{self.seconds_to_explain / self.examples * 1e3:,.2f} ms",
            f"{_format_bytes(self.bytes / self.examples)} per example",
        ]
        failed = f"; {self.failed:.1%} failed" if self.failed else ""
        failed += f"; {self.skipped:.1%} do not meet the condition of --only" if self.skipped else ""
        seconds, startup = format_duration(self.seconds(workers)), format_duration(self._startup(workers))
        return "\n".join(
            [
                f"explain   {self.examples:,} examples with about {self.evaluations:,.0f} evaluations",
                f"time      {seconds} with {processes}, including {startup} to start",
                f"disk      {_format_bytes(self.bytes)}{self._free(directory)}",
                f"sample    {self.sampled:,} examples: {', '.join(per_example)}{failed}",
                "nothing was written; the same command without --dry_run starts the run",
            ]
        )

    def _free(self, directory: Path) -> str:
        if is_remote(directory):
            return ""
        existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        return f" of {_format_bytes(free)} free" + (": not enough" if self.bytes > free else "")


def estimate(job: Job, units: Sequence[WorkUnit], started: float, threads: int | None = None) -> Estimate:
    """Explain ever larger parts of units that are spread over the input.

    `started`: when the command started, by the monotonic clock. `threads`: TensorFlow's in each worker.
    """
    if threads:
        with contextlib.suppress(RuntimeError):  # TensorFlow has started already
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tb_deepexplain-dry_run-"))
        worker = stack.enter_context(unit_worker_pool(dataclasses.replace(job, directory=folder)).least_busy())
        progress = ProgressFolder(folder)
        warm_up, *parts = _sample(units, BatchSize(job.request.batch_size).current)
        worker.explain_unit(Task(warm_up), progress)  # compiles
        ready, total, busy = time.monotonic(), Metrics(), time.process_time()
        of_units = dict[tuple[str, int], Metrics]()  # a later part of a unit has the records of an earlier one, too
        for part in parts:
            last_part, last = part, worker.explain_unit(Task(part), progress)
            total += last
            of_units[part.path, part.first] = last
            if time.monotonic() - ready > _MAX_SECONDS:
                break
        busy = time.process_time() - busy
        sample = sum(of_units.values(), Metrics())
        if sample.skipped and not sample.explained + sample.failures:
            raise InputError(
                f"none of the {sample.skipped:,} examples of the sample meets the condition of --only; run without --dry_run "
                "to try all"
            )
        if not sample.explained:
            raise InputError("none of the examples of the sample could be explained; run without --dry_run to see why")
        StoreWriter(folder).commit([last_part.id], {})
        paths = [path for name in (f"*-{last_part.id}", "index-*") for path in Path(folder).glob(f"{name}.parquet")]
        bytes_per_example = sum(path.stat().st_size for path in paths) / last_part.record_count
    examples, sampled = sum(unit.record_count for unit in units), sample.explained + sample.failures + sample.skipped
    # The time is that of the last part, the longest.
    seconds_per_example = last.total_seconds / (last.explained + last.failures + last.skipped)
    return Estimate(
        examples=examples,
        sampled=sampled,
        failed=sample.failures / sampled,
        skipped=sample.skipped / sampled,
        evaluations=sample.evaluations * examples / sampled,
        seconds_to_start=ready - started,
        seconds_to_explain=seconds_per_example * examples,
        cores=busy / total.total_seconds,
        bytes=bytes_per_example * examples,
    )


def _sample(units: Sequence[WorkUnit], batch: int) -> list[WorkUnit]:
    """The first records of units spread over the input: two parts of one batch, then each twice as large, up to a unit."""
    sizes = [batch, batch]
    while sizes[-1] < max(unit.record_count for unit in units):
        sizes.append(2 * sizes[-1])
    parts = []
    for number, size in enumerate(sizes):
        unit = units[number * (len(units) - 1) // (len(sizes) - 1)]
        parts.append(dataclasses.replace(unit.head(size), id=f"sample-{number}"))
    return parts


def _format_bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
