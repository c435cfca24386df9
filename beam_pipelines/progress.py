"""How far a run is: workers leave counts in a folder beside the shards, the driver adds them up and shows them.

Files, because they work the same for a thread of this process and for a process of its own, and because a
runner reports its own metrics only when it has finished.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


class Stopped(Exception):
    """The driver asked its workers to stop."""


class Counts:
    """The folder `<store>/.progress`: one file of counts for each process, and the request to stop."""

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self._folder = Path(store) / ".progress"
        self._done, self._failed, self._written = 0.0, 0, 0.0

    def begin(self) -> None:
        """For the driver, before the workers."""
        self.clear()
        self._folder.mkdir(parents=True)

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, done: float, failed: int = 0) -> None:
        """For a worker: so many more examples are behind, failed ones among them. Raises Stopped when asked to stop."""
        self._done += done
        self._failed += failed
        if time.monotonic() - self._written > 0.1:
            self.flush()
        if (self._folder / "stop").exists():
            raise Stopped("the run was stopped")

    def flush(self) -> None:
        self._written = time.monotonic()
        if self._folder.is_dir():
            # One short write in place, never truncated: a reader sees the old counts or the new ones.
            file = os.open(self._folder / f"{socket.gethostname()}-{os.getpid()}-{id(self)}", os.O_WRONLY | os.O_CREAT)
            try:
                os.write(file, f"{self._done:20.3f} {self._failed:12d}".encode())
            finally:
                os.close(file)

    def stop(self) -> None:
        """For the driver: ask all workers to stop after the map they are at."""
        if self._folder.is_dir():
            (self._folder / "stop").touch()

    def total(self) -> tuple[float, int]:
        """For the driver: examples done and failed, over all workers."""
        done, failed = 0.0, 0
        for path in self._folder.glob("*-*"):
            fields = path.read_text(encoding="ascii").split()
            if len(fields) == 2:
                done, failed = done + float(fields[0]), failed + int(fields[1])
        return done, failed


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
        self._bar.console.print(text, highlight=False, markup=False)


def _speed(rate: float) -> str:
    """Examples in a second, or seconds for an example, whichever is above one."""
    return f"{1 / rate:.1f} s each" if 0 < rate < 1 else f"{rate:.1f}/s"


def watch(wait: Callable[[float], bool], counts: Counts, display: Display) -> bool:
    """Show the counts until `wait(seconds)` says that the work has ended; whether Ctrl-C stopped it.

    A first Ctrl-C lets the workers finish what they are at; a second one goes through.
    """
    interrupted = False
    while True:
        try:
            ended = wait(0.2)
            display.update(*counts.total())
            if ended:
                return interrupted
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            counts.stop()
            display.say("stopping after the maps being computed; Ctrl-C again stops at once")
