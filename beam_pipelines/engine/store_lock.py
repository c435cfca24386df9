"""One live run for one store.

On this machine by a lock that the operating system drops when its process ends, however it ends. In remote storage, which
has none, by an object that its run writes anew every few seconds: who finds it unchanged after a while takes it over.
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
from tb_deepexplain.store.store import writing

SECONDS_BETWEEN_BEATS = 10.0
_FILE = ".lock"


def refuse_if_locked(directory: Path) -> None:
    """StoreError if another run holds the store now; for a word before anything is loaded."""
    if not is_remote(directory) and (directory / _FILE).exists():
        with locked(directory):
            pass


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the store; StoreError names the run that does. The directory is made, and left without a trace of the lock."""
    with _locked_remotely(directory) if is_remote(directory) else _locked_here(directory):
        yield


@contextlib.contextmanager
def _locked_here(directory: Path) -> Iterator[None]:
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
        os.close(file)  # now only: who waits for the file must find that it is gone
        with contextlib.suppress(OSError):
            directory.rmdir()  # if nothing came of it


def _acquire(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(file, path):  # not removed by a run that ended in between
                os.ftruncate(file, 0)
                with contextlib.suppress(OSError):  # a full disk is noticed where it matters
                    os.write(file, _name().encode())
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


@contextlib.contextmanager
def _locked_remotely(directory: Path) -> Iterator[None]:
    path, name, ended = directory / _FILE, f"{_name()} ({uuid.uuid4().hex[:8]})", threading.Event()
    with writing(directory):
        while not _create(path, f"{name}\n0"):
            found = _read(path)
            time.sleep(2.5 * SECONDS_BETWEEN_BEATS)  # no clocks are compared: those of two machines differ
            if (now := _read(path)) and now != found:
                raise _refusal(directory, now.partition("\n")[0])
            if now:  # its run is dead
                path.unlink(missing_ok=True)

    def beat() -> None:
        number = 0
        while not ended.wait(SECONDS_BETWEEN_BEATS):
            number += 1
            with contextlib.suppress(Exception):  # the next will do
                if _read(path).startswith(name):
                    path.write_text(f"{name}\n{number}", encoding="utf-8")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # then it is found unchanged
            if _read(path).startswith(name):
                path.unlink()


def _create(path: Path, text: str) -> bool:
    """Whether the object was not there and is now."""
    try:
        path.fs.pipe_file(path.path, text.encode(), mode="create")  # type: ignore[attr-defined]
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another run"
    except OSError:
        return "another run"


def _name() -> str:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"


def _refusal(directory: Path, holder: str) -> StoreError:
    return StoreError(
        f"{directory} is being written by {holder}; wait for it or stop it, or give --name for another store"
    )
