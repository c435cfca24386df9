"""Shows the progress of a run on standard error."""

from __future__ import annotations

import sys
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_FIRST_INTERVAL, _LONGEST_INTERVAL = 10.0, 60.0  # seconds between lines, if standard error is not a terminal
_SECONDS_OF_RATE = 30.0  # from which rate and remaining time are estimated


class ProgressDisplay:
    """A progress bar on a terminal; anywhere else a line now and then."""

    def __init__(self, total: int, finished: int = 0) -> None:
        """`total`: examples; `finished`: those of an earlier run."""
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
        )
        id_ = self._bar.add_task("starting", total=total, completed=finished, rate="", left="", failed="")
        self._task = next(task for task in self._bar.tasks if task.id == id_)
        self._finished, self._last_line, self._interval = finished, time.monotonic(), _FIRST_INTERVAL
        # (time, examples done) of the first update and of those with progress.
        self._changes: deque[tuple[float, float]] = deque()

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def restart(self, finished: int) -> None:
        """Reset to the examples that are in shards, after a worker died; the rate is measured from here on."""
        self._finished = finished
        self._changes.clear()
        self._bar.reset(self._task.id, completed=finished, description="starting", rate="", left="", failed="")

    def update(self, done: float, failed: int) -> None:
        """Show the examples done since the last `restart`, and those that failed."""
        completed = int(self._finished + done)
        failures = f"{failed:,} failed" if failed else ""
        self._bar.update(self._task.id, completed=completed, failed=failures)
        if speed := self._rate(done):
            remaining = (self._task.total or 0) - completed
            left = f"{format_duration(remaining / speed)} left" if remaining > 0 else ""
            self._bar.update(self._task.id, description="explaining", rate=_format_rate(speed), left=left)
        if not self._console.is_terminal and time.monotonic() - self._last_line > self._interval:
            self._last_line, self._interval = time.monotonic(), min(2 * self._interval, _LONGEST_INTERVAL)
            fields = self._task.fields
            counts = f"explained {completed:,} of {self._task.total:,.0f} examples"
            self.print(", ".join(filter(None, [counts, fields["rate"], fields["left"], failures])))

    def _rate(self, done: float) -> float:
        """Examples in a second, of the last half minute or, if examples take longer, since the progress before the last; 0 before any.

        Examples that are done together count from the progress before them, the first ones from the start: so the rate falls while
        nothing is done.
        """
        now = time.monotonic()
        if not self._changes or self._changes[-1][1] != done:
            self._changes.append((now, done))
        while len(self._changes) > 2 and self._changes[1][0] < now - _SECONDS_OF_RATE and self._changes[1][1] < done:
            self._changes.popleft()
        start, done_before = self._changes[0]
        return (done - done_before) / (now - start) if now > start else 0.0

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print on a terminal what is being done, where it takes a while without a progress bar."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def format_duration(seconds: float) -> str:
    """In one or two units: 4.2 s, 3 min 20 s, 5 h 7 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, below, smaller_unit, smaller in (("min", 60, "s", 1), ("h", 24, "min", 60), ("d", 10**9, "h", 3600)):
        larger = smaller * (24 if unit == "d" else 60)
        if seconds < below * larger:
            return f"{int(seconds // larger)} {unit} {int(seconds % larger // smaller)} {smaller_unit}"
    raise AssertionError(seconds)


def _format_rate(speed: float) -> str:
    """Examples in a second or, below one, seconds for an example."""
    if speed < 1:
        return f"{format_duration(1 / speed)} each"
    return f"{speed:,.1f}/s" if speed < 100 else f"{speed:,.0f}/s"
