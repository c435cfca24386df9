"""How far a run is: workers say so in a folder beside the shards, the driver adds it up and shows it.

Files, because they work the same for a thread of this process and for a process of its own, and because a
runner reports its own metrics only when it has finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tb_deepexplain.errors import StoreError

_SECONDS_BETWEEN_LINES = 10.0


class Stopped(Exception):
    """The driver asked its workers to stop."""


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
    """The folder `<store>/.progress`: what each worker says of itself, and the request to stop."""

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self._folder = Path(store) / ".progress"
        self._own = Report(socket.gethostname(), os.getpid())
        self._written = 0.0

    def begin(self) -> None:
        """For the driver, before the workers."""
        self.clear()
        try:
            self._folder.mkdir()
        except OSError as error:
            raise StoreError(f"cannot write to {self._folder.parent}: {error.strerror or error}") from error

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

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
        if time.monotonic() - self._written > 0.1:
            self.flush()
        if (self._folder / "stop").exists():
            raise Stopped("the run was stopped")

    def flush(self) -> None:
        self._written = time.monotonic()
        path = self._folder / f"{self._own.host}-{self._own.process}-{id(self)}"
        temporary = path.with_name(f".{path.name}")
        with contextlib.suppress(OSError):  # no reason to stop working: the driver sees to the folder
            temporary.write_text(json.dumps(dataclasses.asdict(self._own)), encoding="utf-8")
            temporary.replace(path)

    def stop(self) -> None:
        """For the driver: ask all workers to stop after the map they are at."""
        if self._folder.is_dir():
            (self._folder / "stop").touch()

    def reports(self) -> list[Report]:
        """For the driver: the last word of every worker. StoreError if the folder, and so the store, is gone."""
        if not self._folder.is_dir():
            raise StoreError(f"{self._folder.parent} was removed while the run was writing to it; run again")
        found = []
        for path in self._folder.glob("*-*"):
            with contextlib.suppress(FileNotFoundError):
                found.append(Report(**json.loads(path.read_text(encoding="utf-8"))))
        return found


def note(text: str) -> None:
    """Say on a terminal what takes a while without telling how far it is."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


class Display:
    """A progress bar on a terminal, now and then a line anywhere else; on standard error."""

    def __init__(self, total: int, already: int = 0) -> None:
        self._total, self._already, self._start, self._last = total, already, time.monotonic(), time.monotonic()
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("explaining"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=already, rate="", failed="")

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def restart(self, already: int) -> None:
        """What was done but not finished is lost with a worker."""
        self._already, self._start = already, time.monotonic()

    def update(self, done: float, failed: int) -> None:
        elapsed = time.monotonic() - self._start
        rate = done / elapsed if elapsed else 0.0
        failures = f"[red]{failed} failed[/red]" if failed else ""
        self._bar.update(self._task, completed=int(self._already + done), rate=_speed(rate), failed=failures)
        if not self._console.is_terminal and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            left = f", {(self._total - self._already - done) / rate:.0f} s left" if rate else ""
            self.say(
                f"explained {int(self._already + done)} of {self._total} examples, {_speed(rate)}{left}, {failed} failed"
            )

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _speed(rate: float) -> str:
    """Examples in a second, or seconds for an example, whichever is above one."""
    return f"{1 / rate:.1f} s each" if 0 < rate < 1 else f"{rate:.1f}/s"
