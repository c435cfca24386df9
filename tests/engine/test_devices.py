"""Devices: leases between real processes, several logical devices in one process, half precision."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines.engine import devices, local_workers
from beam_pipelines.engine.device_pool import DevicePool
from beam_pipelines.engine.runners import choose_runner
from tb_deepexplain.errors import ParameterError
from tests.pipeline_runs import Run, assert_same, pictures, write_records

pytestmark = pytest.mark.slow

_HOLD = """
import sys, time
from beam_pipelines.engine import devices
print(devices.lease_gpus(sys.argv[1].split(","), 1, int(sys.argv[2])), flush=True)
time.sleep(600)
"""
_TWO_DEVICES = """
import json, sys, threading
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from beam_pipelines.cli.explain import main
from beam_pipelines.engine.unit_worker import UnitWorker
met, used = threading.Barrier(2), set()  # no unit ends before two are at work
def explain_unit(self, task, progress, really=UnitWorker.explain_unit):
    captured = {t.device for t in self.explainer.graph._captures.values()}
    used.add((threading.get_ident(), tf.zeros(()).device[-5:], *(d[-5:] for d in captured)))
    if len(used) < 3:
        met.wait(600)
    return really(self, task, progress)
UnitWorker.explain_unit = explain_unit
status = main(json.loads(sys.argv[1]))
print(json.dumps([status, sorted(each[1:] for each in used)]))
"""


@pytest.fixture(autouse=True)
def separate_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lock files in a folder of the test; leases are dropped when it ends."""
    (tmp_path / "leases").mkdir()
    monkeypatch.setattr(devices.tempfile, "tempdir", str(tmp_path / "leases"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "leases"))
    monkeypatch.setattr(devices, "_leases", {})
    monkeypatch.setattr(devices, "_acquired", ())
    monkeypatch.setattr(devices, "SECONDS_TO_WAIT", 0.5)
    yield
    forget_devices()


def forget_devices() -> None:
    """Make this process release its devices."""
    devices._acquired = ()
    while devices._leases:
        os.close(devices._leases.popitem()[1])


def start_holder(keys: str, most: int) -> tuple[subprocess.Popen[str], list[int]]:
    """Another process, and the positions of the GPUs that it has leased."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, keys, str(most)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


def test_no_two_processes_get_one_gpu() -> None:
    other, theirs = start_holder("0,1,2", 1)
    try:
        assert theirs == [0]
        assert devices.lease_gpus(["0", "1", "2"], 1, 1) == [1]
        assert devices.lease_gpus(["0", "1", "2"], 1, 3) == [1, 2]  # as many as are free
        with pytest.raises(ParameterError, match=rf"needs 3 of the GPUs.*\(0: process {other.pid};.*--gpus 0"):
            devices.lease_gpus(["0", "1", "2"], 3, 3)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert devices.lease_gpus(["0"], 1, 1) == [0]  # the lease of a process ends with it, however that ends


def test_a_process_that_cannot_lease_enough_leases_none() -> None:
    other, _ = start_holder("0,1", 1)
    with pytest.raises(ParameterError, match="needs 2 of the GPUs"):
        devices.lease_gpus(["0", "1"], 2, 2)
    other.kill()
    other.wait()
    third, theirs = start_holder("0,1", 2)
    third.kill()
    third.wait()
    assert theirs == [0, 1]


class Machine:
    """TensorFlow's view of a machine with GPUs; records how it is configured."""

    def __init__(self, gpus: int, monkeypatch: pytest.MonkeyPatch, begun: bool = False) -> None:
        self.gpus = [SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(gpus)]
        self.visible, self.growing, self._begun = list(self.gpus), [], begun
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda device_type: list(self.gpus))
        monkeypatch.setattr(tf.config, "set_visible_devices", self._set_visible)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: self.growing.append(gpu))
        monkeypatch.setattr(tf.config, "list_logical_devices", self._logical)

    def _set_visible(self, chosen: list[Any], device_type: str) -> None:
        if self._begun:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = chosen

    def _logical(self, device_type: str) -> list[SimpleNamespace]:
        number = len(self.visible) if device_type == "GPU" else 1
        return [SimpleNamespace(name=f"/device:{device_type}:{i}") for i in range(number)]


def test_which_devices_a_process_acquires(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(4, monkeypatch)
    other, _ = start_holder("0,1,2,3", 1)
    assert devices.acquire_devices() == ("/device:GPU:0",)  # as this process counts those that it sees
    assert machine.visible == machine.growing == [machine.gpus[1]]
    assert devices.acquire_devices() == ("/device:GPU:0",)
    with pytest.raises(ParameterError, match="gpus=2: this process already uses 1"):
        devices.acquire_devices(2)
    forget_devices()
    assert len(devices.acquire_devices(alone=True)) == 3
    assert machine.visible == machine.gpus[1:]
    forget_devices()
    assert devices.acquire_devices(0) == ("/device:CPU:0",)
    assert machine.visible == []  # not even looked at
    forget_devices()
    with pytest.raises(ParameterError, match="gpus=5: this process sees 4"):
        devices.acquire_devices(5)
    other.kill()
    other.wait()


def test_gpus_are_identified_by_their_names_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    other, theirs = start_holder("0,1,2,3", 3)  # this one sees the whole machine
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    machine = Machine(2, monkeypatch)
    assert theirs == [0, 1, 2]
    devices.acquire_devices()
    assert machine.visible == [machine.gpus[1]]
    other.kill()
    other.wait()


def test_a_process_that_has_used_tensorflow_before(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(3, monkeypatch, begun=True)
    other, _ = start_holder("0", 1)
    assert devices.acquire_devices() == ("/device:GPU:1",)  # it sees all, and uses the one that it leased
    other.kill()
    other.wait()


def test_the_pool_selects_the_least_busy_device() -> None:
    made: list[int] = []
    pool = DevicePool(["/device:CPU:0"] * 3, lambda: made.append(len(made)) or len(made) - 1)
    with pool.least_busy() as first, pool.least_busy() as second:
        assert (first, second) == (0, 1)
        seen = []
        left, in_use = threading.Event(), threading.Event()

        def use() -> None:
            with pool.least_busy() as third:
                seen.append(third)
                in_use.set()
                left.wait(600)

        thread = threading.Thread(target=use)
        thread.start()
        in_use.wait(600)
        with pool.least_busy() as fourth:
            assert (seen, fourth) == ([2], 0)
        left.set()
        thread.join()
    assert made == [0, 1, 2]


def test_one_process_drives_several_devices(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(40))
    assert image(source, "--unit_size=5") == 0
    other = Run(image.model, tmp_path / "two")
    flags = [f"--model={image.model}", f"--input={source}", f"--logdir={other.logdir}", "--run=r", "--unit_size=5"]
    command = [sys.executable, "-c", _TWO_DEVICES, json.dumps([*flags, "--methods=saliency,gradient_x_input"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, used = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    # (where the model runs, where its weights are)
    assert {tuple(each) for each in used} == {("CPU:0", "CPU:0"), ("CPU:1", "CPU:1")}
    assert_same(image, other)


def test_worker_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=3"]
    assert local_workers.threads_per_process(flags) == 2
    assert local_workers.threads_per_process([]) is None
    runner, _ = choose_runner(flags)
    assert (
        b"TF_NUM_INTRAOP_THREADS=2 TF_NUM_INTEROP_THREADS=2"
        in runner._default_environment.to_runner_api(
            None  # type: ignore[arg-type]
        ).payload
    )
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    runner, _ = choose_runner(flags)
    assert (
        b"TF_NUM_INTRAOP_THREADS=5 TF_NUM_INTEROP_THREADS=2"
        in runner._default_environment.to_runner_api(
            None  # type: ignore[arg-type]
        ).payload
    )


@pytest.mark.parametrize(
    ("flags", "here", "alone"),
    [
        ([], True, True),
        (["--runner=DirectRunner", "--direct_running_mode=multi_threading"], True, True),
        (["--direct_running_mode=multi_processing"], False, False),
        (["--runner=PrismRunner"], True, True),
        (["--runner=PrismRunner", "--environment_type=EXTERNAL"], False, False),
        (["--runner=FlinkRunner", "--environment_type=EXTERNAL"], False, False),
        (["--runner=DataflowRunner"], False, False),
        (["--runner=DataflowRunner", "--accelerator=type:nvidia-l4;count:2"], False, True),
    ],
)
def test_where_a_run_explains_and_whether_alone(flags: list[str], here: bool, alone: bool) -> None:
    assert (local_workers.explains_here(flags), local_workers.is_alone(flags)) == (here, alone)


def test_mixed_precision(exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    source = write_records(tmp_path / "a.tfrecord", [{"x": each} for each in numbers])
    full, half = (Run(exported("binary"), tmp_path / name) for name in ("full", "half"))
    assert full(source, "--target=0") == 0
    flags = [f"--model={half.model}", f"--input={source}", f"--logdir={half.logdir}", "--run=r", "--target=0"]
    command = [sys.executable, "-m", "beam_pipelines.attribute", *flags, "--methods=saliency,gradient_x_input"]
    run = subprocess.run([*command, "--mixed_precision"], check=False, capture_output=True, text=True)
    if "TensorFlow has no half precision here" in run.stderr:
        assert (run.returncode, half.directory.exists()) == (2, False)
        pytest.skip("this CPU has no bfloat16 for TensorFlow (AVX-512)")
    assert run.returncode == 0, run.stderr
    assert half.store.manifest["mixed_precision"] is True
    assert full.store.manifest["mixed_precision"] is False
    exact, mixed = ({key: row[1] for key, row in run.maps().items()} for run in (full, half))
    apart = [np.abs(exact[key] - mixed[key]).max() / np.abs(exact[key]).max() for key in exact]
    assert 1e-4 < max(apart) < 0.05  # bfloat16 has three digits
    assert half(source, "--target=0", "--resume") == 2
    assert "mixed_precision was true, now absent" in capsys.readouterr().err


def test_half_precision_without_effect_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_acquired", ("/device:CPU:0",))
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", lambda _: None)
    with pytest.raises(ParameterError, match="no half precision here"):
        devices.enable_mixed_precision()
