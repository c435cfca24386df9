"""What a GPU has free, by TensorFlow and by CUDA's driver, neither of which is here."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from tb_deepexplain.attribution import device_memory
from tb_deepexplain.attribution.device_memory import free_memory

GB = 10**9
DEVICE = "/job:localhost/replica:0/task:0/device:GPU:1"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two GPUs; of the second: bytes in use and at most in use here, bytes free for all, a logical limit; whether memory grows, and
    what TensorFlow's allocator has."""
    card = SimpleNamespace(current=0, peak=0, free=140 * GB, limit=None, grows=True, pool=None)
    gpus = [SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(2)]
    configured: Any = lambda gpu: [SimpleNamespace(memory_limit=card.limit)] if gpu is gpus[1] and card.limit else None  # noqa: E731
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: gpus)
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", configured)
    monkeypatch.setattr(tf.config.experimental, "get_memory_growth", lambda _: card.grows)
    monkeypatch.setattr(device_memory, "_allocator_bytes", lambda _: card.pool)
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda _: {"current": card.current, "peak": card.peak}
    )
    monkeypatch.setattr(device_memory, "_free_on_device", lambda device: card.free if device == DEVICE else 0)
    monkeypatch.setattr(device_memory, "_limits", {})
    monkeypatch.setattr(device_memory, "_peaks", {})
    return card


def test_a_part_of_a_free_card_is_left_to_cuda(card: SimpleNamespace) -> None:
    assert 138 * GB < free_memory(DEVICE) < 140 * GB  # type: ignore[operator]
    card.current = card.peak = 100 * GB
    card.free = 40 * GB
    assert 38 * GB < free_memory(DEVICE) < 40 * GB  # type: ignore[operator]


def test_a_nearly_full_card(card: SimpleNamespace) -> None:
    card.free = int(1.6 * GB)
    assert 1.3 * GB < free_memory(DEVICE) < 1.4 * GB  # type: ignore[operator]


def test_memory_that_tensors_have_left_is_free_again(card: SimpleNamespace) -> None:
    first = free_memory(DEVICE)
    card.peak, card.free = 60 * GB, 80 * GB
    assert free_memory(DEVICE) == first  # the allocator keeps 60 GB
    card.peak = 0  # somebody has reset TensorFlow's statistics
    assert free_memory(DEVICE) == first


def test_memory_that_other_processes_take_is_not_free(card: SimpleNamespace) -> None:
    free_memory(DEVICE)
    card.free = 10 * GB
    assert free_memory(DEVICE) == 10 * GB


def test_a_logical_limit_bounds(card: SimpleNamespace) -> None:
    card.limit, card.current, card.peak = 2048, GB, GB
    assert free_memory(DEVICE) == (2048 << 20) - GB


def test_a_cpu_says_nothing() -> None:
    assert free_memory(device_memory.current_device()) is None
    assert device_memory.memory_use(device_memory.current_device()) is None


def test_the_driver_is_not_needed() -> None:
    assert device_memory._free_on_device("/job:localhost/replica:0/task:0/device:GPU:0") is None


@pytest.mark.slow
def test_a_process_of_ours_does_not_wait_for_memory() -> None:
    """TensorFlow's setting, before it is initialized."""
    code = (
        "from tb_deepexplain.attribution.device_memory import fail_without_waiting\n"
        "import tensorflow as tf\n"
        "from tensorflow.python.eager import context\n"
        "fail_without_waiting()\n"
        "tf.zeros(1)\n"
        "fail_without_waiting()\n"
        "print(context.context().config.gpu_options.experimental.disallow_retry_on_allocation_failure)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == "True"


def test_without_growth_all_but_the_tensors_is_free(card: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's default, as in a notebook: it takes nearly the whole card at its start."""
    card.grows, card.pool, card.free = False, 130 * GB, GB
    card.current = card.peak = 10 * GB
    assert free_memory(DEVICE) == 120 * GB
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    assert free_memory(DEVICE) < GB  # type: ignore[operator]
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    card.grows = True
    assert free_memory(DEVICE) == 120 * GB
    card.pool = None  # TensorFlow does not say
    assert free_memory(DEVICE) < GB  # type: ignore[operator]


def test_tensorflow_says_how_much_its_allocator_has() -> None:
    assert device_memory._allocator_bytes(device_memory.current_device()) == 256 << 20  # what it says of any CPU
