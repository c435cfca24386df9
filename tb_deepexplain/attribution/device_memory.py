"""The device that TensorFlow computes on now, its memory, and what to say where that is too small."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from typing import Any, NamedTuple

import tensorflow as tf

_lock = threading.Lock()
_limits: dict[str, int] = {}  # bytes that this process can use of a device, when it was first looked at
_peaks: dict[str, int] = {}


class MemoryUse(NamedTuple):
    """The bytes of a device that this process's tensors take."""

    current: int
    peak: int


def current_device() -> str:
    """The name of the device on which TensorFlow computes floats in this thread; without GPUs, all are one CPU."""
    if not tf.config.list_logical_devices("GPU"):
        return "/device:CPU:0"
    return str(tf.math.add(0.0, 0.0).device)


def device_type(device: str) -> str:
    """ "CPU", "GPU", ..."""
    return str(tf.DeviceSpec.from_string(device).device_type)


def memory_use(device: str) -> MemoryUse | None:
    """None of a device whose allocator does not count, such as a CPU's."""
    if device_type(device) == "CPU":
        return None
    try:
        info = tf.config.experimental.get_memory_info(device)
    except (ValueError, tf.errors.OpError):
        return None
    with _lock:
        _peaks[device] = max(_peaks.get(device, 0), info["peak"])
        return MemoryUse(info["current"], info["peak"])


def free_memory(device: str) -> int | None:
    """The bytes of a device that this process can still use, also if other processes use it; None if that is not known.

    On a CPU it is not known: what a process can use there without swapping depends on all others.
    """
    use = memory_use(device)
    if use is None:
        return None
    if not _grows(device) and (allocated := _allocator_bytes(device)) is not None:
        return max(0, allocated - use.current)  # TensorFlow took it when it started
    logical_limit, on_device = _logical_limit(device), _free_on_device(device)
    # TensorFlow's allocator keeps what tensors leave: it has its peak.
    usable = None if on_device is None else on_device + max(_peaks[device], use.peak) - use.current
    if logical_limit is not None:
        return max(0, min(logical_limit - use.current, *([] if usable is None else [usable])))
    if usable is None:
        return None
    with _lock:
        limit = _limits.setdefault(device, usable + use.current - _reserve(usable + use.current))
    return max(0, min(limit - use.current, usable))


def fail_without_waiting() -> None:
    """A GPU's memory that is not free is refused at once: TensorFlow would wait ten seconds for it at each request.

    For a process of ours, whose batches are halved then. Does nothing if TensorFlow is already initialized, or has no such setting.
    """
    with contextlib.suppress(Exception):  # TensorFlow has this setting, but no public function for it
        from tensorflow.core.protobuf import config_pb2
        from tensorflow.python.eager import context

        if not context.context()._initialized:  # noqa: SLF001
            config = context.context()._config or config_pb2.ConfigProto()  # noqa: SLF001
            config.gpu_options.experimental.disallow_retry_on_allocation_failure = True
            context.context()._config = config  # noqa: SLF001


def format_bytes(number: float) -> str:
    """With one digit after the point, in GB or MB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _physical_device(device: str) -> tuple[Any, int]:
    """The GPU that has this logical device (None: no GPU), and the logical device's number among those of that GPU."""
    number = int(tf.DeviceSpec.from_string(device).device_index or 0)
    for gpu in tf.config.get_visible_devices("GPU"):
        count = max(1, len(tf.config.get_logical_device_configuration(gpu) or ()))
        if number < count:
            return gpu, number
        number -= count
    return None, 0


def _grows(device: str) -> bool:
    """Whether TensorFlow takes memory of the GPU as it needs it, and not all at the start, which is its default."""
    if _logical_limit(device) is not None:
        return True  # if the pipeline has set it: by an environment variable, which it put back
    gpu, _ = _physical_device(device)
    forced = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")
    if forced in ("true", "false"):
        return forced == "true"
    return gpu is None or bool(tf.config.experimental.get_memory_growth(gpu))


@functools.cache
def _allocator_bytes(device: str) -> int | None:
    """The bytes that TensorFlow's allocator has for the device, or may get; None if TensorFlow does not say."""
    from tensorflow.python import pywrap_tfe  # there is no public function for it
    from tensorflow.python.client import pywrap_tf_session as session
    from tensorflow.python.eager import context

    with contextlib.suppress(Exception):
        devices = pywrap_tfe.TFE_ContextListDevices(context.context()._handle)  # noqa: SLF001
        try:
            for i in range(session.TF_DeviceListCount(devices)):
                if session.TF_DeviceListName(devices, i).rpartition("/")[2] == device.rpartition("/")[2]:
                    return int(session.TF_DeviceListMemoryBytes(devices, i)) or None
        finally:
            session.TF_DeleteDeviceList(devices)
    return None


def _logical_limit(device: str) -> int | None:
    """The bytes to which `tf.config.set_logical_device_configuration` limits the device."""
    gpu, number = _physical_device(device)
    configurations = tf.config.get_logical_device_configuration(gpu) if gpu else None
    limit = configurations[number].memory_limit if configurations else None
    return None if limit is None else int(limit) << 20


def _reserve(free: int) -> int:
    """At most what TensorFlow leaves to CUDA of the memory that was free when it started."""
    return 225 << 20 if free < 2 << 30 else min(1800 << 20, free // 2)


def _free_on_device(device: str) -> int | None:
    """The bytes of the GPU that no process has allocated, by CUDA's driver; None if there is no such driver."""
    gpu, _ = _physical_device(device)
    if gpu is None:
        return None
    with contextlib.suppress(OSError, AttributeError):
        cuda = ctypes.CDLL("libcuda.so.1")
        handle, context, free, total = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
        ordinal = int(gpu.name.rpartition(":")[2])
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(handle), ordinal):
            return None
        if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle):  # which TensorFlow uses, too
            return None
        try:
            if cuda.cuCtxPushCurrent_v2(context):
                return None
            failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
            return None if failed else int(free.value)
        finally:
            (getattr(cuda, "cuDevicePrimaryCtxRelease_v2", None) or cuda.cuDevicePrimaryCtxRelease)(handle)
    return None
