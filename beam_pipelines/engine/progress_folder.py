"""What workers report during a run: files in a folder of the store, which the driver reads.

Files work alike for a thread of this process and for another process, and a runner reports its own metrics only when it
has finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import socket
import time
from pathlib import Path

from tb_deepexplain.errors import Stopped, StoreError
from tb_deepexplain.storage import is_remote, map_files, read_text, to_path
from tb_deepexplain.store.write_errors import as_store_error

_SECONDS_BETWEEN_WRITES = 0.1
_SECONDS_BETWEEN_REQUESTS = 10.0  # to remote storage
_STOP = "stop"  # the file that asks workers to stop


@dataclasses.dataclass(frozen=True)
class WorkerReport:
    """The last report of one worker."""

    host: str
    process: int
    done: float = 0.0  # examples, in fractions while some of an example's maps are finished
    failed: int = 0
    reason: str = ""  # of the last failure
    unit: str | None = None  # being explained
    step: str | None = None  # of the unit, if its examples are explained one by one
    waiting: str = ""  # why the worker has no device


class ProgressFolder:
    """The folder `<store>/.progress`: a report of each worker, and the request to stop.

    In remote storage, where each access is a request, it is written and read every ten seconds.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self._folder = to_path(store) / ".progress"
        self._remote = is_remote(self._folder)
        self._report = WorkerReport(socket.gethostname(), os.getpid())
        self._written = self._read = self._stop_checked = -math.inf  # when, by the monotonic clock
        self._reports: list[WorkerReport] = []

    def create(self) -> None:
        """For the driver, before the workers start: an empty folder."""
        self.clear()
        with as_store_error(self._folder.parent):
            if not self._remote:
                self._folder.mkdir()

    def clear(self) -> None:
        """For the driver: remove all reports and the request to stop."""
        if not self._remote:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with contextlib.suppress(FileNotFoundError):
            map_files(lambda path: path.unlink(missing_ok=True), list(self._folder.glob("*")), self._folder)
        self._reports = []

    def report_unit(self, unit: str | None, step: str | None = None) -> None:
        """For a worker: the unit that it begins, and the step within it."""
        self._report = dataclasses.replace(self._report, unit=unit, step=step)
        self.write_report()

    def report_waiting(self, reason: str) -> None:
        """For a worker: that it waits for a device, and why; "" when it has one. Raises Stopped if a stop is requested."""
        if reason != self._report.waiting:
            self._report = dataclasses.replace(self._report, waiting=reason)
            self.write_report()
        self.report_examples(0)

    def report_examples(self, done: float, failed: int = 0, reason: str = "") -> None:
        """For a worker: `done` more examples are finished; `failed` of them failed. Raises Stopped if a stop is requested."""
        last = self._report
        self._report = dataclasses.replace(
            last, done=last.done + done, failed=last.failed + failed, reason=reason or last.reason
        )
        interval = _SECONDS_BETWEEN_REQUESTS if self._remote else _SECONDS_BETWEEN_WRITES
        if time.monotonic() - self._written > interval:
            self.write_report()
        if self._is_due(self._stop_checked):
            self._stop_checked = time.monotonic()
            if (self._folder / _STOP).exists():
                raise Stopped("the run was stopped")

    def write_report(self) -> None:
        """For a worker: write its report now. A failure is ignored: the driver notices if the folder is gone."""
        self._written = time.monotonic()
        path = self._folder / f"{self._report.host}-{self._report.process}-{id(self)}"
        content = json.dumps(dataclasses.asdict(self._report))
        with contextlib.suppress(Exception if self._remote else OSError):
            if self._remote:
                path.write_text(content, encoding="utf-8")
                return
            temporary = path.with_name(f".{path.name}")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(path)

    def request_stop(self) -> None:
        """For the driver: ask all workers to stop after their current map."""
        if self._remote or self._folder.is_dir():
            (self._folder / _STOP).touch()

    def read_reports(self, now: bool = False) -> list[WorkerReport]:
        """For the driver: the last report of every worker; of remote storage up to ten seconds old, unless `now`.

        Raises StoreError if the folder is gone, and with it the store.
        """
        if not (now or self._is_due(self._read)):
            return self._reports
        self._read = time.monotonic()
        if not self._remote and not self._folder.is_dir():
            raise StoreError(f"{self._folder.parent} was removed while the run was writing to it; run again")
        paths = list(self._folder.glob("[!.]*-*"))  # without files that are being written
        self._reports = [report for report in map_files(_read_report, paths, self._folder) if report]
        return self._reports

    def _is_due(self, last: float) -> bool:
        return not self._remote or time.monotonic() - last > _SECONDS_BETWEEN_REQUESTS


def _read_report(path: Path) -> WorkerReport | None:
    with contextlib.suppress(Exception if is_remote(path) else FileNotFoundError):  # read the next time
        return WorkerReport(**json.loads(read_text(path)))
    return None
