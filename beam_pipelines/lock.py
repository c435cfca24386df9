"""One live run for one store: a lock that the operating system drops when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tb_deepexplain.errors import StoreError

_FILE = ".lock"


def refuse_if_locked(directory: Path) -> None:
    """StoreError if another run holds the store now; for a word before anything is loaded."""
    if (directory / _FILE).exists():
        with locked(directory):
            pass


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the store; StoreError names the run that does. The directory is made, and left without a trace of the lock."""
    path = directory / _FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    except BlockingIOError:
        raise StoreError(
            f"{directory} is being written by {_holder(path)}; wait for it or stop it, or give --name for another store"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot write to {directory}: {error.strerror or error}; choose another --logdir") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_current(file, path):
                path.unlink()
        os.close(file)  # now only: who waits for the file must find that it is gone
        with contextlib.suppress(OSError):
            directory.rmdir()  # if nothing came of it


def _acquire(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(file, path):  # not removed by a run that ended in between
                now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                os.ftruncate(file, 0)
                with contextlib.suppress(OSError):  # a full disk is noticed where it matters
                    os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_current(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another run"
    except OSError:
        return "another run"
