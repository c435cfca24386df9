"""The devices that this process explains on: GPUs, or shares of them, that it leases, or else the CPU.

CUDA_VISIBLE_DEVICES limits the GPUs, as usual.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from beam_pipelines.engine import gpu_driver, gpu_leases
from beam_pipelines.engine.gpu_leases import Lease, NoFreeGpuError
from tb_deepexplain.attribution.precision import note_first_computation
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.request import LEAST_GPU_MEMORY

GIGABYTE = 1 << 30
_SECONDS_TO_RELEASE = 3.0  # for leases of processes that were ended
_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
_acquire_lock = threading.Lock()
_acquired: tuple[str, ...] = ()
_acquired_memory: float | None = None  # the bound of each GPU, in gigabytes, that was requested


def acquire_devices(
    gpus: int | None = None,
    alone: bool = False,
    processes_per_gpu: int = 1,
    gpu_memory: float | None = None,
    keep_waiting: Callable[[str], bool] | None = None,
) -> tuple[str, ...]:
    """The names of this process's devices, such as "/device:GPU:0". The first call decides for the whole process.

    `gpus`: how many; 0 for the CPU; None for one if the machine has any, or for all free ones if the process is `alone`
    on the machine. `processes_per_gpu`: how many processes may share each of them; this one uses at most its share of the
    memory that is free when the first comes. `gpu_memory`: gigabytes of 2**30 bytes of each GPU that it uses at most.
    `keep_waiting`: as in `lease_gpus`. Memory grows as needed, unless TensorFlow is already initialized. Raises
    ParameterError if there are fewer GPUs, if other processes hold them, or if their memory cannot be bounded.
    """
    global _acquired, _acquired_memory
    with _acquire_lock:
        if not _acquired:
            _acquired = _acquire(gpus, alone, processes_per_gpu, gpu_memory, keep_waiting)
            _acquired_memory = gpu_memory
        count = sum("GPU" in name for name in _acquired)
        if gpus not in (None, count):
            raise ParameterError(f"gpus={gpus}: this process already uses {count}; start another process")
        if gpu_memory not in (None, _acquired_memory):
            raise ParameterError(
                f"gpu_memory={gpu_memory:g}: this process already uses its devices with another bound; start another process"
            )
        return _acquired


def check_machine(gpus: int | None, gpu_memory: float | None) -> None:
    """ParameterError if processes of this machine would see too few GPUs for these options. Acquires none."""
    _check_visible(len(tf.config.list_physical_devices("GPU")), gpus, gpu_memory)


def count_process_slots(most: int, gpus: int | None, processes_per_gpu: int) -> int:
    """How many processes, `most` or fewer, can acquire their devices now. Raises NoFreeGpuError if none can for half a minute."""
    names = _gpu_names(len(tf.config.list_physical_devices("GPU")))
    if gpus == 0 or not names or (gpus or 1) > len(names):  # the CPU has room for all; too many GPUs are refused by all
        return most
    needed, started, keep_waiting = gpus or 1, time.monotonic(), gpu_leases.waiting_for(gpu_leases.SECONDS_TO_WAIT)
    possible = min(most, _processes([processes_per_gpu] * len(names), needed))
    while True:
        slots = min(most, _processes([gpu_leases.count_free(name, processes_per_gpu) for name in names], needed))
        if slots == possible or (slots and time.monotonic() - started > _SECONDS_TO_RELEASE):
            return slots
        reason = gpu_leases.describe_holders(names, needed)
        if not slots and not keep_waiting(reason):
            raise NoFreeGpuError(reason)
        time.sleep(gpu_leases.SECONDS_BETWEEN_TRIES)


def _processes(free: list[int], gpus: int) -> int:
    """How many processes fit that each take a share of `gpus` different GPUs, with so many shares `free` of each."""
    count = 0
    while sum(min(shares, count + 1) for shares in free) >= (count + 1) * gpus:
        count += 1
    return count


def _acquire(
    gpus: int | None,
    alone: bool,
    processes_per_gpu: int,
    gpu_memory: float | None,
    keep_waiting: Callable[[str], bool] | None,
) -> tuple[str, ...]:
    visible = tf.config.get_visible_devices("GPU")
    _check_visible(len(visible), gpus, gpu_memory)
    names = _gpu_names(len(visible))
    least = min(1 if gpus is None else gpus, len(visible))
    most = len(visible) if gpus is None and alone else least
    leases = gpu_leases.lease_gpus(names, least, most, processes_per_gpu, keep_waiting)
    try:
        limits = [_memory_limit(names[i], lease, processes_per_gpu, gpu_memory) for i, lease in leases.items()]
        logical = _configure([visible[i] for i in leases], limits)
        note_first_computation()  # TensorFlow was not initialized
    except RuntimeError as error:  # TensorFlow is already initialized, with all GPUs that it sees
        if gpu_memory is not None or processes_per_gpu > 1:
            gpu_leases.release_gpus()
            option = f"processes_per_gpu={processes_per_gpu}" if gpu_memory is None else f"gpu_memory={gpu_memory:g}"
            raise ParameterError(
                f"{option}: TensorFlow is already initialized in this process, and its memory can no longer be bounded; "
                "start another process"
            ) from error
        logical = [tf.config.list_logical_devices("GPU")[i] for i in leases]
    except ParameterError:
        gpu_leases.release_gpus()
        raise
    return tuple(device.name for device in logical or tf.config.list_logical_devices("CPU"))


def _check_visible(visible: int, gpus: int | None, gpu_memory: float | None) -> None:
    if visible < (gpus or 0):
        raise ParameterError(
            f"gpus={gpus}: this process sees {visible} (nvidia-smi, CUDA_VISIBLE_DEVICES); 0 explains on the CPU"
        )
    if gpu_memory is not None and not visible:
        raise ParameterError(
            f"gpu_memory={gpu_memory:g}: this process sees no GPU (nvidia-smi, CUDA_VISIBLE_DEVICES); leave it out"
        )


def _configure(gpus: list[Any], limits: list[int | None]) -> list[Any]:
    """Make these GPUs the only ones that TensorFlow sees, each with a limit of bytes or None; they as logical devices.

    Memory grows as needed, below a limit too, for which TensorFlow has only an environment variable. RuntimeError if it is
    already initialized.
    """
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu, limit in zip(gpus, limits, strict=True):
        if limit is None and tf.config.get_logical_device_configuration(gpu) is None:  # no bound of the process itself
            tf.config.experimental.set_memory_growth(gpu, True)
        elif limit is not None:
            bound = tf.config.LogicalDeviceConfiguration(memory_limit=limit // (1 << 20))
            tf.config.set_logical_device_configuration(gpu, [bound])
    before = os.environ.get(_GROWTH)
    if any(limit is not None for limit in limits):
        os.environ[_GROWTH] = "true"
    try:
        devices: list[Any] = tf.config.list_logical_devices("GPU")
        return devices
    finally:
        if before is None:
            os.environ.pop(_GROWTH, None)
        else:
            os.environ[_GROWTH] = before


def _memory_limit(name: str, lease: Lease, processes_per_gpu: int, gpu_memory: float | None) -> int | None:
    """The bytes of a GPU that TensorFlow may use here; None for all that are free."""
    if gpu_memory is not None:
        memory = gpu_driver.memory(name)
        if memory and gpu_memory * GIGABYTE > memory.total:
            raise ParameterError(
                f"gpu_memory={gpu_memory:g}: GPU {name} has {memory.total / GIGABYTE:.1f} GB; expected less"
            )
        return int(gpu_memory * GIGABYTE)
    if processes_per_gpu == 1 or lease.memory is None:
        return None
    limit = lease.memory - max(lease.memory // 10, GIGABYTE // 2)  # CUDA takes memory, too
    if limit < LEAST_GPU_MEMORY * GIGABYTE:
        raise ParameterError(
            f"processes_per_gpu={processes_per_gpu}: each process would have {lease.memory / GIGABYTE:.1f} GB of GPU {name}, "
            "of which CUDA needs about half a gigabyte; expected fewer processes"
        )
    return limit


def _gpu_names(count: int) -> list[str]:
    """The machine's names of the GPUs that TensorFlow sees, which are the same for every process."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return names[:count] if len(names) >= count else [str(i) for i in range(count)]
