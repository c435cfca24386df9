"""The devices that this process explains on: GPUs that it leases, or else the CPU.

A lease is a lock on a file of this machine. The operating system drops it with the process, however that ends, so two
processes never share a GPU by accident. CUDA_VISIBLE_DEVICES limits the GPUs, as usual.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tb_deepexplain.errors import ParameterError

SECONDS_TO_WAIT = 30.0  # for the GPUs of processes that are about to end
_acquire_lock = threading.Lock()
_acquired: tuple[str, ...] = ()
_leases: dict[str, int] = {}  # GPU → its lock file, which stays open as long as the lease


def acquire_devices(gpus: int | None = None, alone: bool = False) -> tuple[str, ...]:
    """The names of this process's devices, such as "/device:GPU:0". The first call decides for the whole process.

    `gpus`: how many; 0 for the CPU; None for one if the machine has any, or for all free ones if the process is `alone`
    on the machine. Memory grows as needed, unless TensorFlow is already initialized. Raises ParameterError if there are
    fewer GPUs, or if other processes hold them.
    """
    global _acquired
    with _acquire_lock:
        if not _acquired:
            _acquired = _acquire(gpus, alone)
        count = sum("GPU" in name for name in _acquired)
        if gpus not in (None, count):
            raise ParameterError(f"gpus={gpus}: this process already uses {count}; start another process")
        return _acquired


def _acquire(gpus: int | None, alone: bool) -> tuple[str, ...]:
    visible = tf.config.get_visible_devices("GPU")
    if len(visible) < (gpus or 0):
        raise ParameterError(
            f"gpus={gpus}: this process sees {len(visible)} (nvidia-smi, CUDA_VISIBLE_DEVICES); 0 explains on the CPU"
        )
    least = min(1 if gpus is None else gpus, len(visible))
    leased = lease_gpus(_gpu_names(len(visible)), least, len(visible) if gpus is None and alone else least)
    try:
        tf.config.set_visible_devices([visible[i] for i in leased], "GPU")
        for i in leased:
            tf.config.experimental.set_memory_growth(visible[i], True)
        names = [device.name for device in tf.config.list_logical_devices("GPU")]
    except RuntimeError:  # TensorFlow is already initialized, with all GPUs that it sees
        names = [tf.config.list_logical_devices("GPU")[i].name for i in leased]
    return tuple(names or [device.name for device in tf.config.list_logical_devices("CPU")])


def lease_gpus(names: Sequence[str], least: int, most: int) -> list[int]:
    """Lease at least `least` and at most `most` of these GPUs; their positions in `names`.

    Waits a while for other processes. Raises ParameterError, and leases none, if they hold too many.
    """
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while True:
        for name in names:
            if len(_leases) < most and name not in _leases and (file := _lock(name)) is not None:
                _leases[name] = file
        if len(_leases) >= least:
            return [i for i, name in enumerate(names) if name in _leases]
        if time.monotonic() > deadline:
            while _leases:
                os.close(_leases.popitem()[1])
            holders = "; ".join(f"{name}: {_holder(name)}" for name in names)
            raise ParameterError(
                f"this process needs {least} of the GPUs, but others hold them ({holders}); start at most as many "
                "processes as there are GPUs (--direct_num_workers), or explain on the CPU (--gpus 0)"
            )
        time.sleep(0.2)


def enable_mixed_precision() -> None:
    """Compute matrix products and convolutions of this process in half precision from now on: float16 on GPUs, bfloat16
    on CPUs. Raises ParameterError if TensorFlow cannot do so here."""
    device = acquire_devices()[0]
    option = "auto_mixed_precision" if "GPU" in device else "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({option: True})
    x = tf.random.stateless_uniform([64, 64], [0, 0])

    def product(y: tf.Tensor) -> tf.Tensor:
        for _ in range(4):  # TensorFlow does not optimise smaller graphs
            y = tf.nn.relu(y @ y) / 16
        return y

    with tf.device(device):
        if (tf.function(product, autograph=False)(x).numpy() == product(x).numpy()).all():
            raise ParameterError(
                "--mixed_precision: TensorFlow has no half precision here; it needs a GPU of compute capability 7 or "
                "more, or a CPU with AVX-512"
            )


def _gpu_names(count: int) -> list[str]:
    """The machine's names of the GPUs that TensorFlow sees, which are the same for every process."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return names[:count] if len(names) >= count else [str(i) for i in range(count)]


def _lock_path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"tb_deepexplain-gpu-{name.replace('/', '_')}.lock"


def _lock(name: str) -> int | None:
    """The open lock file of a GPU; None if another process holds it."""
    path = _lock_path(name)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        path.chmod(0o666)  # other users may lock it, too
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()}".encode())
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _holder(name: str) -> str:
    with contextlib.suppress(OSError):
        return _lock_path(name).read_text(encoding="utf-8") or "another process"
    return "another process"
