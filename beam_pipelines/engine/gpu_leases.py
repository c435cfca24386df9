"""Leases of GPUs between the processes of this machine: whole GPUs, or equal shares of one.

A process leases 1/N of a GPU, where N is --processes_per_gpu. The shares of a GPU never add up to more than one: while one
process holds a fourth, no other gets the whole, and the other way round. A lease is a lock on a file, which the operating
system drops with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from beam_pipelines.engine import gpu_driver
from tb_deepexplain.errors import ParameterError

SECONDS_TO_WAIT = 30.0  # for the GPUs of processes that are about to end
SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_TO_LOCK = 1.0  # the file of a GPU, which others lock for milliseconds


class NoFreeGpuError(ParameterError):
    """Other processes hold the GPUs."""


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right of this process to use a share of a GPU."""

    file: int  # its lock file, which stays open as long as the lease
    memory: int | None  # bytes of the share; None if the driver does not say


_leases: dict[str, Lease] = {}  # of this process, by GPU


def lease_gpus(
    names: Sequence[str],
    least: int,
    most: int,
    processes_per_gpu: int = 1,
    keep_waiting: Callable[[str], bool] | None = None,
) -> dict[int, Lease]:
    """Lease a share of at least `least` and at most `most` of these GPUs: position in `names` → lease.

    GPUs with the most room come first. While other processes hold too many, `keep_waiting(reason)` decides how long to wait;
    by default half a minute. Then NoFreeGpuError is raised, and nothing is leased.
    """
    keep_waiting = keep_waiting or waiting_for(SECONDS_TO_WAIT)
    while True:
        for others in range(processes_per_gpu):
            for name in names:
                if len(_leases) < most and name not in _leases and (lease := _lease(name, processes_per_gpu, others)):
                    _leases[name] = lease
        if len(_leases) >= least:
            return {i: _leases[name] for i, name in enumerate(names) if name in _leases}
        reason = describe_holders(names, least)
        try:
            if not keep_waiting(reason):
                raise NoFreeGpuError(reason)
        except BaseException:
            release_gpus()
            raise
        time.sleep(SECONDS_BETWEEN_TRIES)


def release_gpus() -> None:
    """Drop all leases of this process."""
    while _leases:
        os.close(_leases.popitem()[1].file)


def count_free(name: str, processes_per_gpu: int) -> int:
    """How many processes can lease 1/`processes_per_gpu` of this GPU now."""
    with _locked(name) as file:
        return 0 if file is None else int((1 - sum(map(_share, _live_leases(name)))) * processes_per_gpu)


def waiting_for(seconds: float) -> Callable[[str], bool]:
    """A `keep_waiting` that ends after these seconds."""
    deadline = time.monotonic() + seconds
    return lambda _: time.monotonic() < deadline


def describe_holders(names: Sequence[str], gpus: int) -> str:
    """Why a process cannot have its GPUs, who has them, and what to do."""
    holders = "; ".join(f"{name}: {', '.join(_holders(name)) or 'free'}" for name in names)
    return (
        f"this process needs {gpus} of the GPUs, but others hold them ({holders}); start at most as many processes as there "
        "are GPUs (--direct_num_workers), let several share a GPU (--processes_per_gpu), or explain on the CPU (--gpus 0)"
    )


def _lease(name: str, processes_per_gpu: int, others: int) -> Lease | None:
    """A share of a GPU of which others lease at most `others` such shares; None if they lease more."""
    with _locked(name) as gpu_file:
        if gpu_file is None:
            return None
        live = _live_leases(name)
        if sum(map(_share, live)) > Fraction(others, processes_per_gpu):
            return None
        if not live:  # the memory that is free now is divided among all that come until the GPU is free again
            memory = gpu_driver.memory(name)
            os.ftruncate(gpu_file, 0)
            os.pwrite(gpu_file, str(memory.free if memory else "").encode(), 0)
        free = os.pread(gpu_file, 100, 0).decode()
        file, path = tempfile.mkstemp(".share", f"{_prefix(name).name}-")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).chmod(0o666)  # other users may see whether it is locked
        of_gpu = "" if processes_per_gpu == 1 else f"1/{processes_per_gpu} by "
        os.write(file, f"{of_gpu}process {os.getpid()}".encode())
    return Lease(file, int(free) // processes_per_gpu if free.isdecimal() else None)


def _holders(name: str) -> list[str]:
    with _locked(name) as gpu_file:
        return ["another process"] if gpu_file is None else _live_leases(name)


def _live_leases(name: str) -> list[str]:
    """The leases of a GPU, as their files say: "process 7" or "1/4 by process 7". Files of ended processes are removed.

    Only for who has locked the GPU: for a moment the file of a new lease looks like that of an ended process.
    """
    live = []
    for path in glob.glob(f"{glob.escape(str(_prefix(name)))}-*.share"):
        with contextlib.suppress(OSError):  # removed in the meantime
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            except BlockingIOError:
                live.append(os.read(file, 100).decode() or "another process")
            finally:
                os.close(file)
    return sorted(live)


def _share(lease: str) -> Fraction:
    return Fraction(lease.split()[0]) if lease[0].isdecimal() else Fraction(1)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[int | None]:
    """The open file of a GPU, which only one process at a time has; None if another process keeps it."""
    path = Path(f"{_prefix(name)}.lock")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        path.chmod(0o666)  # other users may lock it, too
    file, deadline = os.open(path, os.O_RDWR), time.monotonic() + _SECONDS_TO_LOCK
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield None
                    return
                time.sleep(0.005)
            else:
                yield file
                return
    finally:
        os.close(file)


def _prefix(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"tb_deepexplain-gpu-{name.replace('/', '_')}"
