"""One value for each device of this process, such as a loaded model, shared by its threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, cast

import tensorflow as tf

from beam_pipelines.engine import devices
from tb_deepexplain.attribution import device_memory
from tb_deepexplain.attribution.precision import check_mixed
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.request import Request

_T = TypeVar("_T")


class DevicePool(Generic[_T]):
    """Values of `make()`, one for each device. Each is made when its device is first used."""

    def __init__(self, device_names: Sequence[str], make: Callable[[], _T]) -> None:
        self.device_names, self._make = tuple(device_names), make
        self._selection_lock = threading.Lock()
        self._users = [0] * len(self.device_names)
        self._make_locks = [threading.Lock() for _ in self.device_names]
        self._values: list[_T | None] = [None] * len(self.device_names)

    @contextlib.contextmanager
    def least_busy(self) -> Iterator[_T]:
        """The value of the device with the fewest users. Within the context, TensorFlow computes on that device."""
        with self._selection_lock:
            i = self._users.index(min(self._users))
            self._users[i] += 1
        try:
            with tf.device(self.device_names[i]):
                with self._make_locks[i]:
                    if self._values[i] is None:
                        self._values[i] = self._make()
                yield cast(_T, self._values[i])
        finally:
            with self._selection_lock:
                self._users[i] -= 1


def explainer_pool(request: Request, graph: ModelGraph | None = None) -> DevicePool[BatchExplainer]:
    """An explainer for each device of this process. `graph`: the request's model for one of them, if it is loaded already."""
    loaded = [] if graph is None else [graph]
    return DevicePool(prepare_devices(request), lambda: BatchExplainer(request, loaded.pop() if loaded else None))


def prepare_devices(request: Request, keep_waiting: Callable[[str], bool] | None = None) -> tuple[str, ...]:
    """Acquire this process's devices as the request configures them; their names. `keep_waiting`: as in `lease_gpus`."""
    device_memory.fail_without_waiting()
    names = devices.acquire_devices(
        request.gpus, request.alone, request.processes_per_gpu, request.gpu_memory, keep_waiting
    )
    if request.precision == "mixed":
        with tf.device(names[0]):
            check_mixed()
    return names
