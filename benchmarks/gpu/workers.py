"""Work in processes of its own: a plan of a convolution once made outlives a change of precision, and allocators keep memory.

python -m benchmarks.gpu.workers MODULE:FUNCTION OPTIONS     # a generator of rows; OPTIONS: its keyword arguments as JSON
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]
_MARK = "row "
_SECONDS_TO_END = 20.0  # beyond its time, before a worker is killed


class Worker:
    """A process that runs a function, a generator of rows: it starts now, and begins when its rows are read."""

    def __init__(self, function: Callable[..., Iterator[Row]], environment: dict[str, str], **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, f"{function.__module__}:{function.__name__}", json.dumps(options)],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rows(self, seconds: float) -> Iterator[Row]:
        """Its rows as they come. The function is told to end after `seconds`, and killed if it does not."""
        timer = threading.Timer(seconds + _SECONDS_TO_END, self._process.kill)
        timer.daemon = True
        timer.start()
        with self._process as process:
            assert process.stdin
            assert process.stdout
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # the process may have ended
                stdin.write(f"{time.time() + seconds}\n")
            for line in process.stdout:
                if line.startswith(_MARK):
                    yield json.loads(line.removeprefix(_MARK))
        timer.cancel()
        if process.returncode:
            yield {"error": f"the process ended with status {process.returncode}"}


def rows_of_all(workers: Sequence[Worker], seconds: float) -> Iterator[Row]:
    """The rows of workers that run side by side. One that fails ends with an error as its row."""
    rows: queue.Queue[Row | None] = queue.Queue()

    def read(worker: Worker) -> None:
        try:
            for row in worker.rows(seconds):
                rows.put(row)
        except Exception as error:  # the rows of the others come all the same
            rows.put({"error": f"{type(error).__name__}: {error}"})
        finally:
            rows.put(None)

    for worker in workers:
        threading.Thread(target=read, args=(worker,), daemon=True).start()
    for _ in workers:
        yield from iter(rows.get, None)


@contextlib.contextmanager
def turn(path: str | None) -> Iterator[None]:
    """Within, no other process has its turn, which is a lock on this file: only one at a time measures."""
    with contextlib.ExitStack() as stack:
        if path is not None:
            fcntl.flock(stack.enter_context(open(path, "a", encoding="utf-8")), fcntl.LOCK_EX)
        yield


class Clock:
    """How much time is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()


def main() -> None:
    """Run the function of the command line."""
    module, _, function = sys.argv[1].partition(":")
    generator = getattr(importlib.import_module(module), function)  # imports TensorFlow, whose time counts
    end = float(sys.stdin.readline())
    for row in generator(seconds=end - time.time(), **json.loads(sys.argv[2])):
        print(_MARK + json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
