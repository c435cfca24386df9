"""TensorBoard as a process, for the browser tests."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

_START_S = 300


class Server:
    """`tensorboard` with these flags, on a free port."""

    def __init__(self, logdir: Path, *flags: str) -> None:
        command = [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--logdir",
            str(logdir),
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            *flags,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._address: str | None = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        assert self._ready.wait(_START_S) and self._address, "TensorBoard did not start:\n" + "".join(self._lines[-20:])
        return self._address

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            if match := re.search(r"(http://[^ ]+?)/? \(Press", line):
                self._address = match[1]
                self._ready.set()
        self._ready.set()
