"""A machine with GPUs, as TensorFlow would show it: logical CPU devices stand in for them.

A test's worker processes get it through `sitecustomize`, which Python imports when it starts.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

_IN_WORKERS = """
import sys
if "beam_pipelines.engine.worker_main" in sys.orig_argv:
    import pytest
    from beam_pipelines.engine import explain_unit
    from tests.engine.fake_gpus import Machine
    Machine({gpus}, pytest.MonkeyPatch(), logical_cpus=True)
    explain_unit.SECONDS_TO_WAIT = {seconds}
    explain_unit._SECONDS_IDLE = 2.0
"""


class Machine:
    """Patches TensorFlow's view of the machine; records how it is configured."""

    def __init__(
        self, gpus: int, patch: pytest.MonkeyPatch, is_initialized: bool = False, logical_cpus: bool = False
    ) -> None:
        self.gpus = [SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(gpus)]
        self.visible, self.growing, self.bounds = list(self.gpus), list[Any](), dict[str, Any]()
        self._is_initialized, self._type = is_initialized, "CPU" if logical_cpus else "GPU"
        self._list_physical, self._list_logical = tf.config.list_physical_devices, tf.config.list_logical_devices
        if logical_cpus:
            (cpu,) = tf.config.list_physical_devices("CPU")
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * max(gpus, 1))
        patch.setattr(tf.config, "list_physical_devices", self._physical)
        patch.setattr(tf.config, "get_visible_devices", lambda device_type: list(self.gpus))
        patch.setattr(tf.config, "set_visible_devices", self._set_visible)
        patch.setattr(tf.config, "get_logical_device_configuration", lambda gpu: self.bounds.get(gpu.name))
        patch.setattr(tf.config, "set_logical_device_configuration", self._bound)
        patch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: self.growing.append(gpu))
        patch.setattr(tf.config, "list_logical_devices", self._logical)

    def _physical(self, device_type: str | None = None) -> list[Any]:
        return list(self.gpus) if device_type == "GPU" else self._list_physical(device_type)

    def _set_visible(self, chosen: list[Any], device_type: str) -> None:
        if self._is_initialized:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = chosen

    def _bound(self, gpu: Any, configurations: list[Any]) -> None:
        self.bounds[gpu.name] = [each.memory_limit for each in configurations]

    def _logical(self, device_type: str | None = None) -> list[Any]:
        if device_type != "GPU":
            return self._list_logical(device_type)
        return [SimpleNamespace(name=f"/device:{self._type}:{i}") for i in range(len(self.visible))]


def write_sitecustomize(folder: Any, gpus: int, seconds: float) -> None:
    """Make worker processes that have `folder` in their PYTHONPATH see GPUs, and wait `seconds` for a free one."""
    (folder / "sitecustomize.py").write_text(_IN_WORKERS.format(gpus=gpus, seconds=seconds))
