"""The worker processes of a local run: notices which died, and ends those that are left.

Beam waits forever for a worker process that dies while it starts, seven seconds and more for one that dies later, and
abandons the others in both cases. So every worker registers its process id in a folder of the driver, and exits when the
folder or the driver is gone.
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

_VARIABLE = "TB_DEEPEXPLAIN_WORKERS"  # worker processes inherit it: the driver's process id and the folder
_BEAM_THREAD = "run_worker"  # Beam starts one for each worker process; it raises when the process fails
_SECONDS_TO_CLOSE = 15.0  # after an ordinary end of workers, until the runner reports it


class WorkerDied(Exception):
    """A worker process ended unexpectedly."""


class WorkerProcesses:
    """The worker processes of one attempt, a context manager: those that are left when it exits are killed.

    Within the context, errors of Beam's threads that wait for worker processes are recorded instead of printed.
    """

    def __enter__(self) -> WorkerProcesses:
        self._folder = Path(tempfile.mkdtemp(prefix="tb_deepexplain-workers-"))
        self._first_seen_ended: dict[int, float] = {}
        self._return_code: str | None = None
        self._excepthook = threading.excepthook
        threading.excepthook = self._record_return_code
        os.environ[_VARIABLE] = f"{os.getpid()} {self._folder}"
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop(_VARIABLE, None)
        process_ids = self.process_ids()
        shutil.rmtree(self._folder, ignore_errors=True)  # a worker that is still starting exits by itself
        for process_id in process_ids:
            if _is_running_child(process_id):
                os.kill(process_id, signal.SIGKILL)
        for thread in threading.enumerate():
            if thread.name == _BEAM_THREAD:
                thread.join(_SECONDS_TO_CLOSE)
        threading.excepthook = self._excepthook

    def process_ids(self) -> list[int]:
        """All workers that have registered."""
        return [int(path.name) for path in self._folder.glob("*")] if self._folder.is_dir() else []

    def ended(self) -> list[int]:
        """The process ids of workers that have ended."""
        return [process_id for process_id in self.process_ids() if not _is_running_child(process_id)]

    def find_death(self) -> WorkerDied | None:
        """The error to report if a worker died, else None."""
        if self._return_code is not None:
            cause = ": killed, perhaps out of memory" if self._return_code in ("9", "137") else ""
            return WorkerDied(f"a worker process died (return code {self._return_code}{cause})")
        now = time.monotonic()
        times = [self._first_seen_ended.setdefault(process_id, now) for process_id in self.ended()]
        if times and now - min(times) > _SECONDS_TO_CLOSE:
            return WorkerDied("a worker process ended before its work was done")
        return None

    def _record_return_code(self, args: threading.ExceptHookArgs) -> None:
        if args.thread is not None and args.thread.name == _BEAM_THREAD:
            self._return_code = self._return_code or re.sub(r"\D*", "", str(args.exc_value)) or "unknown"
        else:
            self._excepthook(args)


def register_worker() -> None:
    """In a worker process, before anything else: register it, and exit with its driver."""
    if _VARIABLE not in os.environ:
        return
    driver, folder = os.environ[_VARIABLE].split(" ", 1)
    with contextlib.suppress(FileNotFoundError):  # the attempt is over: the thread below exits at once
        (Path(folder) / str(os.getpid())).touch()
    threading.Thread(target=_exit_with_driver, args=(int(driver), Path(folder)), daemon=True).start()


@contextlib.contextmanager
def limited_workers(direct_options: object, most: int) -> Iterator[None]:
    """Within, the local runner has this number of workers. `direct_options`: Beam's DirectOptions."""
    workers = direct_options.direct_num_workers  # type: ignore[attr-defined]
    direct_options.direct_num_workers = most  # type: ignore[attr-defined]
    try:
        yield
    finally:
        direct_options.direct_num_workers = workers  # type: ignore[attr-defined]


def _exit_with_driver(driver: int, folder: Path) -> None:
    while os.getppid() == driver and folder.is_dir():
        time.sleep(0.3)
    os._exit(1)


def _is_running_child(process_id: int) -> bool:
    """Whether the process runs and is a child of this one: the id of a process that ended may be another's by now."""
    try:
        return os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
