"""Worker processes outside the engine: Beam's worker pool (`pool`), which starts a worker on request; ports."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ENGINES = Path(__file__).parents[2] / ".engines"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def wait_for(port: int, seconds: float = 300) -> None:
    """Wait until a server listens at the port."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens at port {port} after {seconds} s")


@contextlib.contextmanager
def pool(log: Path) -> Iterator[str]:
    """HOST:PORT of a worker pool."""
    port = free_port()
    command = [sys.executable, "-m", "tests.runners.worker_pool", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it starts `python`
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, env={**os.environ, "PATH": path, "PYTHONPATH": os.getcwd()}, stdout=file, stderr=file
        ) as process,
    ):
        try:
            wait_for(port)
            yield f"localhost:{port}"
        finally:
            process.terminate()
