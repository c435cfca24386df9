"""How far a run is: workers say so in a folder beside the shards, the driver adds it up and shows it.

Files, because they work the same for a thread of this process and for a process of its own, and because a
runner reports its own metrics only when it has finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tb_deepexplain.errors import Stopped, StoreError
from tb_deepexplain.storage import each, is_remote, place, read_text
from tb_deepexplain.store.store import writing

_SECONDS_BETWEEN_LINES = 10.0, 60.0  # at first, and of a run that goes on and on
_SECONDS_BETWEEN_REQUESTS = 10.0  # to remote storage
_SECONDS_OF_RATE = 30.0  # that the rate and the time left are told from


@dataclasses.dataclass(frozen=True)
class Report:
    """What one worker last said of itself."""

    host: str
    process: int
    done: float = 0.0  # examples behind it, in shares where an example has several maps
    failed: int = 0
    reason: str = ""  # of the last failure
    unit: str | None = None  # at work
    step: str | None = None  # at work, where examples are taken one by one


class Counts:
    """The folder `<store>/.progress`: what each worker says of itself, and the request to stop.

    In remote storage, where each word is a request, it is written and looked at every ten seconds.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self._folder = place(store) / ".progress"
        self._remote = is_remote(self._folder)
        self._own = Report(socket.gethostname(), os.getpid())
        self._written = self._read = self._asked = -math.inf
        self._last: list[Report] = []

    def begin(self) -> None:
        """For the driver, before the workers."""
        self.clear()
        with writing(self._folder.parent):
            if not self._remote:
                self._folder.mkdir()

    def clear(self) -> None:
        if not self._remote:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with contextlib.suppress(FileNotFoundError):
            each(lambda path: path.unlink(missing_ok=True), list(self._folder.glob("*")), self._folder)
        self._last = []

    def enter(self, unit: str | None, step: str | None = None) -> None:
        """For a worker: what it is at from now on."""
        self._own = dataclasses.replace(self._own, unit=unit, step=step)
        self.flush()

    def add(self, done: float, failed: int = 0, reason: str = "") -> None:
        """For a worker: so many more examples are behind, failed ones among them. Raises Stopped when asked to stop."""
        own = self._own
        self._own = dataclasses.replace(
            own, done=own.done + done, failed=own.failed + failed, reason=reason or own.reason
        )
        if time.monotonic() - self._written > (_SECONDS_BETWEEN_REQUESTS if self._remote else 0.1):
            self.flush()
        if self._due(self._asked):
            self._asked = time.monotonic()
            if (self._folder / "stop").exists():
                raise Stopped("the run was stopped")

    def flush(self) -> None:
        self._written = time.monotonic()
        path = self._folder / f"{self._own.host}-{self._own.process}-{id(self)}"
        with contextlib.suppress(Exception if self._remote else OSError):  # the driver sees to the folder
            if self._remote:
                path.write_text(json.dumps(dataclasses.asdict(self._own)), encoding="utf-8")
                return
            temporary = path.with_name(f".{path.name}")
            temporary.write_text(json.dumps(dataclasses.asdict(self._own)), encoding="utf-8")
            temporary.replace(path)

    def stop(self) -> None:
        """For the driver: ask all workers to stop after the map they are at."""
        if self._remote or self._folder.is_dir():
            (self._folder / "stop").touch()

    def reports(self, now: bool = False) -> list[Report]:
        """For the driver: the last word of every worker, in remote storage as of a while ago unless it is needed `now`.
        StoreError if the folder, and so the store, is gone."""
        if not (now or self._due(self._read)):
            return self._last
        self._read = time.monotonic()
        if not self._remote and not self._folder.is_dir():
            raise StoreError(f"{self._folder.parent} was removed while the run was writing to it; run again")
        names = list(self._folder.glob("[!.]*-*"))  # not those that are being written
        self._last = [report for report in each(_report, names, self._folder) if report]
        return self._last

    def _due(self, last: float) -> bool:
        return not self._remote or time.monotonic() - last > _SECONDS_BETWEEN_REQUESTS


def _report(path: Path) -> Report | None:
    with contextlib.suppress(Exception if is_remote(path) else FileNotFoundError):  # heard the next time
        return Report(**json.loads(read_text(path)))
    return None


def note(text: str) -> None:
    """Say on a terminal what takes a while without telling how far it is."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


class Display:
    """A progress bar on a terminal, now and then a line anywhere else; on standard error."""

    def __init__(self, total: int, already: int = 0) -> None:
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", style="progress.data.speed"),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            TextColumn("{task.fields[failed]}", style="red"),
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=_SECONDS_OF_RATE,
        )
        id_ = self._bar.add_task("starting", total=total, completed=already, rate="", left="", failed="")
        self._task = next(task for task in self._bar.tasks if task.id == id_)
        self._already, self._last, self._wait = already, time.monotonic(), _SECONDS_BETWEEN_LINES[0]

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def restart(self, already: int) -> None:
        """What was done but not finished is lost with a worker; and the time that others take to start is no work."""
        self._already = already
        self._bar.reset(self._task.id, completed=already, description="starting", rate="", left="", failed="")

    def update(self, done: float, failed: int) -> None:
        at = int(self._already + done)
        failures = f"{failed:,} failed" if failed else ""
        self._bar.update(self._task.id, completed=at, failed=failures)
        speed, seconds = self._task.speed, self._task.time_remaining
        if speed and seconds is not None:
            left = f"{duration(seconds)} left" if seconds else ""
            self._bar.update(self._task.id, description="explaining", rate=_rate(speed), left=left)
        if not self._console.is_terminal and time.monotonic() - self._last > self._wait:
            self._last, self._wait = time.monotonic(), min(2 * self._wait, _SECONDS_BETWEEN_LINES[1])
            fields = self._task.fields
            told = [f"explained {at:,} of {self._task.total:,.0f} examples", fields["rate"], fields["left"], failures]
            self.say(", ".join(filter(None, told)))

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """As one says it: 4.2 s, 3 min 20 s, 5 h 7 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, below, small, size in (("min", 60, "s", 1), ("h", 24, "min", 60), ("d", 10**9, "h", 3600)):
        larger = size * (24 if unit == "d" else 60)
        if seconds < below * larger:
            return f"{int(seconds // larger)} {unit} {int(seconds % larger // size)} {small}"
    raise AssertionError(seconds)


def _rate(speed: float) -> str:
    """Examples in a second, or seconds for an example, whichever is above one."""
    return f"{duration(1 / speed)} each" if speed < 1 else f"{speed:,.1f}/s" if speed < 100 else f"{speed:,.0f}/s"
