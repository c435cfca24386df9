"""The worker processes of a local run: which there are, which died, and an end to all of them.

Beam waits for ever for a worker process that dies while it starts, seven seconds and more for one that dies at work,
and forgets the others in both cases. So every worker leaves its process number in a folder of the driver's, and ends
when the folder or the driver is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "TB_DEEPEXPLAIN_WORKERS"  # what a worker process inherits: the driver's process number and the folder
_SECONDS_TO_CLOSE = 15.0  # of an ordinary end, in which workers end before the runner says so


class WorkerDied(Exception):
    """A worker process ended that should not have."""


class Workers:
    """Those of one attempt; `with Workers() as workers:` ends what is left of them."""

    def __enter__(self) -> Workers:
        self._folder = Path(tempfile.mkdtemp(prefix="tb_deepexplain-workers-"))
        self._seen_gone: dict[int, float] = {}
        self._code: str | None = None
        self._before = threading.excepthook
        threading.excepthook = self._hear
        os.environ[_VARIABLE] = f"{os.getpid()} {self._folder}"
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop(_VARIABLE, None)
        numbers = self.numbers()
        shutil.rmtree(self._folder, ignore_errors=True)  # a worker that is only starting ends by itself
        for number in numbers:
            if _is_child(number):
                os.kill(number, signal.SIGKILL)
        for thread in threading.enumerate():  # Beam's, one beside each process; they may still report
            if thread.name == "run_worker":
                thread.join(_SECONDS_TO_CLOSE)
        threading.excepthook = self._before

    def gone(self) -> list[int]:
        """Process numbers of workers that have ended."""
        return [number for number in self.numbers() if not _is_child(number)]

    def death(self) -> WorkerDied | None:
        """What is known of a worker that died, if one has."""
        if self._code is not None:
            why = ": killed, perhaps for want of memory" if self._code in ("9", "137") else ""
            return WorkerDied(f"a worker process died (return code {self._code}{why})")
        now = time.monotonic()
        since = [self._seen_gone.setdefault(number, now) for number in self.gone()]
        if since and now - min(since) > _SECONDS_TO_CLOSE:
            return WorkerDied("a worker process ended before its work was done")
        return None

    def _hear(self, end: threading.ExceptHookArgs) -> None:
        if end.thread is not None and end.thread.name == "run_worker":
            self._code = self._code or re.sub(r"\D*", "", str(end.exc_value)) or "unknown"
        else:
            self._before(end)

    def numbers(self) -> list[int]:
        """Process numbers of all workers that have begun."""
        return [int(path.name) for path in self._folder.glob("*")] if self._folder.is_dir() else []


def register() -> None:
    """For a worker process, first of all: say that it is there, and end with its driver."""
    if _VARIABLE not in os.environ:
        return
    driver, folder = os.environ[_VARIABLE].split(" ", 1)
    with contextlib.suppress(FileNotFoundError):  # ended before it began: the loop below sees to it
        (Path(folder) / str(os.getpid())).touch()
    threading.Thread(target=_end_with, args=(int(driver), Path(folder)), daemon=True).start()


def _end_with(driver: int, folder: Path) -> None:
    while os.getppid() == driver and folder.is_dir():
        time.sleep(0.3)
    os._exit(1)


def _is_child(number: int) -> bool:
    """Whether the process runs and is this one's own: the number of one that ended may be another's by now."""
    try:
        return os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


@contextlib.contextmanager
def alone(direct: object) -> Iterator[None]:
    """Within, the local runner has one worker. `direct`: Beam's DirectOptions."""
    before = direct.direct_num_workers  # type: ignore[attr-defined]
    direct.direct_num_workers = 1  # type: ignore[attr-defined]
    try:
        yield
    finally:
        direct.direct_num_workers = before  # type: ignore[attr-defined]
