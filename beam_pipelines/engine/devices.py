"""The devices that this process explains on: GPUs that it leases, or else the CPU.

A lease is a lock on a file of this machine that the operating system drops with the process, however it ends, so that
two processes never share a GPU by accident. CUDA_VISIBLE_DEVICES says which GPUs there are, as it does everywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

import tensorflow as tf

from tb_deepexplain.errors import ParameterError

SECONDS_TO_WAIT = 30.0  # for the GPUs of processes that are just ending
_T = TypeVar("_T")
_taking = threading.Lock()
_taken: tuple[str, ...] = ()
_leases: dict[str, int] = {}  # GPU → its open file: what is locked stays so as long as that is


def take(gpus: int | None = None, alone: bool = False) -> tuple[str, ...]:
    """The names of this process's devices, such as "/device:GPU:0"; the first call decides.

    `gpus`: how many; 0 is the CPU; None is one if the machine has any, or for a process that is `alone` on it all that
    are free. Memory is taken as it is needed, unless TensorFlow has begun before. ParameterError if there are not so
    many GPUs, or other processes keep them.
    """
    global _taken
    with _taking:
        if not _taken:
            _taken = _take(gpus, alone)
        has = sum("GPU" in name for name in _taken)
        if gpus not in (None, has):
            raise ParameterError(f"gpus={gpus}: this process has begun with {has}; start another")
        return _taken


def _take(gpus: int | None, alone: bool) -> tuple[str, ...]:
    visible = tf.config.get_visible_devices("GPU")
    if len(visible) < (gpus or 0):
        raise ParameterError(
            f"gpus={gpus}: this process sees {len(visible)} (nvidia-smi, CUDA_VISIBLE_DEVICES); 0 explains on the CPU"
        )
    least = min(1 if gpus is None else gpus, len(visible))
    chosen = lease(_keys(len(visible)), least, len(visible) if gpus is None and alone else least)
    try:
        tf.config.set_visible_devices([visible[i] for i in chosen], "GPU")
        for i in chosen:
            tf.config.experimental.set_memory_growth(visible[i], True)
        names = [device.name for device in tf.config.list_logical_devices("GPU")]
    except RuntimeError:  # TensorFlow has begun, with all that it saw
        names = [tf.config.list_logical_devices("GPU")[i].name for i in chosen]
    return tuple(names or [device.name for device in tf.config.list_logical_devices("CPU")])


def lease(keys: Sequence[str], least: int, most: int) -> list[int]:
    """Lock `least` to `most` of the GPUs of these names; their positions. ParameterError if others keep them."""
    limit = time.monotonic() + SECONDS_TO_WAIT
    while True:
        for key in keys:
            if len(_leases) < most and key not in _leases and (file := _lock(key)) is not None:
                _leases[key] = file
        if len(_leases) >= least:
            return [i for i, key in enumerate(keys) if key in _leases]
        if time.monotonic() > limit:
            while _leases:  # part of what was wanted is of no use
                os.close(_leases.popitem()[1])
            held = "; ".join(f"{key}: {_holder(key)}" for key in keys)
            raise ParameterError(
                f"this process needs {least} of the GPUs, which others keep ({held}); give no more processes than GPUs "
                "(--direct_num_workers), or explain on the CPU (--gpus 0)"
            )
        time.sleep(0.2)


def mix_precision() -> None:
    """Matrix products and convolutions in half precision from now on, in all of this process: float16 on GPUs, bfloat16 on
    CPUs. ParameterError if TensorFlow would do nothing of the kind here."""
    on = "auto_mixed_precision" if "GPU" in take()[0] else "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({on: True})
    x = tf.random.stateless_uniform([64, 64], [0, 0])

    def product(y: tf.Tensor) -> tf.Tensor:
        for _ in range(4):  # of a smaller graph nothing is optimised
            y = tf.nn.relu(y @ y) / 16
        return y

    with tf.device(take()[0]):
        if (tf.function(product, autograph=False)(x).numpy() == product(x).numpy()).all():
            raise ParameterError(
                "--mixed_precision: TensorFlow has no half precision here; it needs a GPU of compute capability 7 or "
                "more, or a CPU with AVX-512"
            )


class Pool(Generic[_T]):
    """What `make()` makes, one for each device of this process, when it is first needed."""

    def __init__(self, devices: Sequence[str], make: Callable[[], _T]) -> None:
        self.devices, self._make = tuple(devices), make
        self._choosing = threading.Lock()
        self._users = [0] * len(self.devices)
        self._making = [threading.Lock() for _ in self.devices]
        self._made: list[_T | None] = [None] * len(self.devices)

    @contextlib.contextmanager
    def one(self) -> Iterator[_T]:
        """That of the least busy device; within, TensorFlow works there."""
        with self._choosing:
            i = self._users.index(min(self._users))
            self._users[i] += 1
        try:
            with tf.device(self.devices[i]):
                with self._making[i]:
                    if self._made[i] is None:
                        self._made[i] = self._make()
                yield cast(_T, self._made[i])
        finally:
            with self._choosing:
                self._users[i] -= 1


def _keys(number: int) -> list[str]:
    """What the machine, rather than this process, calls the GPUs that TensorFlow sees."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:number] if len(named) >= number else [str(i) for i in range(number)]


def _path(key: str) -> Path:
    return Path(tempfile.gettempdir()) / f"tb_deepexplain-gpu-{key.replace('/', '_')}.lock"


def _lock(key: str) -> int | None:
    """The open file, which holds the GPU; None if another process does."""
    path = _path(key)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        path.chmod(0o666)  # for other users, too
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()}".encode())
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _holder(key: str) -> str:
    with contextlib.suppress(OSError):
        return _path(key).read_text(encoding="utf-8") or "another process"
    return "another process"
