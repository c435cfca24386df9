"""Keeps two runs from writing one store.

On this machine the lock is one that the operating system drops when its process ends, however it ends. Remote storage has
none: there it is an object that its run rewrites every few seconds. One that has not changed for a while is stale, and the
next run takes it over.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import is_remote, read_text
from tb_deepexplain.store.write_errors import as_store_error

SECONDS_BETWEEN_BEATS = 10.0
_FILE = ".lock"


def check_not_locked(directory: Path) -> None:
    """Raise StoreError if another run holds the store now, before anything is loaded. Remote stores are not checked."""
    if not is_remote(directory) and (directory / _FILE).exists():
        with store_lock(directory):
            pass


@contextlib.contextmanager
def store_lock(directory: Path) -> Iterator[None]:
    """Lock the store. The directory is created if necessary, and removed if nothing was written to it.

    Raises StoreError, which names the other run, if the store is locked.
    """
    with _remote_lock(directory) if is_remote(directory) else _local_lock(directory):
        yield


@contextlib.contextmanager
def _local_lock(directory: Path) -> Iterator[None]:
    path = directory / _FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    except BlockingIOError:
        raise _refusal(directory, _holder(path)) from None
    except OSError as error:
        raise StoreError(f"cannot write to {directory}: {error.strerror or error}; choose another --logdir") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_current(file, path):
                path.unlink()
        os.close(file)  # after the removal: a run that waits for the file must see that it is gone
        with contextlib.suppress(OSError):
            directory.rmdir()  # if it is empty


def _acquire(path: Path) -> int:
    """The locked file, open. Raises BlockingIOError if another process holds it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(file, path):  # a run that ended in between may have removed it
                os.ftruncate(file, 0)
                with contextlib.suppress(OSError):  # a full disk is reported when the store is written
                    os.write(file, _describe_run().encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_current(file: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _remote_lock(directory: Path) -> Iterator[None]:
    path, run, ended = directory / _FILE, f"{_describe_run()} ({uuid.uuid4().hex[:8]})", threading.Event()
    with as_store_error(directory):
        while not _create(path, f"{run}\n0"):
            before = _read(path)
            time.sleep(2.5 * SECONDS_BETWEEN_BEATS)  # the clocks of two machines may differ, so times are not compared
            after = _read(path)
            if after and after != before:
                raise _refusal(directory, after.partition("\n")[0])
            if after:  # stale: its run has died
                path.unlink(missing_ok=True)

    def beat() -> None:
        count = 0
        while not ended.wait(SECONDS_BETWEEN_BEATS):
            count += 1
            with contextlib.suppress(Exception):  # the next beat may succeed
                if _read(path).startswith(run):
                    path.write_text(f"{run}\n{count}", encoding="utf-8")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # otherwise it becomes stale
            if _read(path).startswith(run):
                path.unlink()


def _create(path: Path, text: str) -> bool:
    """Create the object; False if it exists."""
    try:
        path.fs.pipe_file(path.path, text.encode(), mode="create")  # type: ignore[attr-defined]
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str:
    """The text, or "" if there is no such object."""
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another run"
    except OSError:
        return "another run"


def _describe_run() -> str:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"


def _refusal(directory: Path, run: str) -> StoreError:
    return StoreError(
        f"{directory} is being written by {run}; wait for it or stop it, or give --name for another store"
    )
