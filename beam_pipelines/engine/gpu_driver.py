"""What NVIDIA's driver says about the GPUs of this machine (its library NVML), without a process becoming their user."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from typing import Any, NamedTuple


class Memory(NamedTuple):
    """Memory of a GPU, of all processes, in bytes."""

    free: int
    total: int


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def memory(name: str) -> Memory | None:
    """The memory of a GPU; None where the driver does not say. `name`: as in CUDA_VISIBLE_DEVICES."""
    values = _Memory()
    is_known = _ask("nvmlDeviceGetMemoryInfo", name, values)
    return Memory(values.free, values.total) if is_known else None


def utilization(name: str) -> float | None:
    """The share of the last moments (a sixth of a second to a second) in which the GPU was at work."""
    values = _Utilization()
    return values.gpu / 100 if _ask("nvmlDeviceGetUtilizationRates", name, values) else None


def _ask(function: str, name: str, values: ctypes.Structure) -> bool:
    """Call a function of NVML that fills `values` for the GPU; whether it did."""
    with contextlib.suppress(OSError, AttributeError):  # no driver, or an old one
        handle = _handle(_library(), name)
        return handle is not None and getattr(_library(), function)(handle, ctypes.byref(values)) == 0
    return False


@functools.cache
def _library() -> Any:
    library = ctypes.CDLL("libnvidia-ml.so.1")
    library.nvmlInit_v2()
    return library


def _handle(library: Any, name: str) -> ctypes.c_void_p | None:
    """The GPU, by its number or its UUID."""
    handle = ctypes.c_void_p()
    if not name.isdecimal():
        return handle if library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) == 0 else None
    # NVML counts by slot, CUDA puts the fastest first unless it is told to count like that.
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len(_models(library)) > 1:
        return None
    return handle if library.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle)) == 0 else None


def _models(library: Any) -> set[bytes]:
    """The models of all GPUs of the machine."""
    count, handle, model, models = ctypes.c_uint(), ctypes.c_void_p(), ctypes.create_string_buffer(96), set()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for i in range(count.value):
        library.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(handle))
        library.nvmlDeviceGetName(handle, model, len(model))
        models.add(model.value)
    return models
