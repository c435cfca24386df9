"""What NVIDIA's driver says, from a stand-in for its library."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.engine import gpu_driver


class Library:
    """NVML of a machine with two GPUs."""

    def __init__(self, models: tuple[bytes, bytes] = (b"H200", b"H200")) -> None:
        self._models = models

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802 - NVML's name
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        handle._obj.value = index + 1
        return 0 if index < 2 else 6

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 2
        return 0 if uuid == b"GPU-2" else 6

    def nvmlDeviceGetName(self, handle: Any, name: Any, size: int) -> int:  # noqa: N802
        name.value = self._models[handle.value - 1]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: N802
        memory._obj.total, memory._obj.free = 100 * handle.value, 60 * handle.value
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:  # noqa: N802
        rates._obj.gpu = 85
        return 0 if handle.value == 1 else 3  # as of a part of a GPU


def test_the_driver_knows_gpus_by_number_and_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_driver, "_library", Library)
    assert gpu_driver.memory("0") == (60, 100)
    assert gpu_driver.memory("1") == gpu_driver.memory("GPU-2") == (120, 200)
    assert gpu_driver.memory("2") is gpu_driver.memory("GPU-3") is None
    assert (gpu_driver.utilization("0"), gpu_driver.utilization("1")) == (0.85, None)


def test_numbers_of_different_gpus_are_those_of_cuda_only_if_it_counts_by_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_driver, "_library", lambda: Library((b"L4", b"H200")))
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert gpu_driver.memory("0") is None
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert gpu_driver.memory("0") == (60, 100)


def test_a_machine_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setattr(gpu_driver, "_library", missing)
    assert gpu_driver.memory("0") is gpu_driver.utilization("0") is None
