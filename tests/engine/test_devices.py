"""Devices: which a process acquires and with how much memory, several logical devices in one process, half precision."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines.engine import devices, gpu_driver, gpu_leases, local_workers, trial
from beam_pipelines.engine.device_pool import DevicePool
from beam_pipelines.engine.devices import GIGABYTE
from beam_pipelines.engine.runners import choose_runner
from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.request import make_request
from tests.engine.fake_gpus import Machine
from tests.pipeline_runs import Run, assert_same, pictures, write_records

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
def separate_leases(leases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_acquired", ())
    monkeypatch.setattr(devices, "_acquired_memory", None)
    monkeypatch.setattr(devices, "_SECONDS_TO_RELEASE", 0.2)
    monkeypatch.setattr(gpu_driver, "memory", lambda _: gpu_driver.Memory(40 * GIGABYTE, 80 * GIGABYTE))


def forget_devices() -> None:
    """Make this process release its devices."""
    devices._acquired = ()
    gpu_leases.release_gpus()


@contextlib.contextmanager
def held_by_another(names: list[str], processes_per_gpu: int = 1) -> Iterator[None]:
    """Within, somebody else leases these GPUs."""
    mine, gpu_leases._leases = gpu_leases._leases, {}
    gpu_leases.lease_gpus(names, len(names), len(names), processes_per_gpu)
    theirs, gpu_leases._leases = gpu_leases._leases, mine
    yield
    for lease in theirs.values():
        os.close(lease.file)


def test_which_devices_a_process_acquires(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(4, monkeypatch)
    with held_by_another(["0"]):
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


def test_gpus_are_identified_by_their_names_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    machine = Machine(2, monkeypatch)
    with held_by_another(["0", "1", "2"]):  # this one sees the whole machine
        devices.acquire_devices()
    assert machine.visible == [machine.gpus[1]]


def test_a_process_that_has_used_tensorflow_before(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(3, monkeypatch, is_initialized=True)
    with held_by_another(["0"]):
        assert devices.acquire_devices() == ("/device:GPU:1",)  # it sees all, and uses the one that it leased
    forget_devices()
    for bound in ({"gpu_memory": 4.0}, {"processes_per_gpu": 2}):
        with pytest.raises(
            ParameterError, match=r"\w+=\d: TensorFlow is already initialized .* can no longer be bounded"
        ):
            devices.acquire_devices(**bound)  # type: ignore[arg-type]
    assert gpu_leases.count_free("0", 1) == 1  # a process that is refused keeps no lease


def test_processes_that_share_a_gpu_have_their_share_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, bounds = Machine(1, monkeypatch), []
    allows_growth = []
    list_logical = tf.config.list_logical_devices
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda device_type: (
            allows_growth.append(os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")),
            list_logical(device_type),
        )[1],
    )
    with held_by_another(["0"], 4):
        assert devices.acquire_devices(processes_per_gpu=4) == ("/device:GPU:0",)
    bounds = machine.bounds["/physical_device:GPU:0"]
    assert bounds == [9 * 1024]  # a fourth of 40 GB, of which CUDA gets a tenth
    assert machine.growing == []  # TensorFlow refuses both for one device,
    assert allows_growth == ["true"]  # but for this variable,
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in os.environ  # which the process gets back as it was


@pytest.mark.parametrize("processes_per_gpu", [1, 4])
def test_the_memory_of_a_process_is_bounded(processes_per_gpu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(2, monkeypatch)
    devices.acquire_devices(2, processes_per_gpu=processes_per_gpu, gpu_memory=1.5)
    assert list(machine.bounds.values()) == [[1536], [1536]]
    assert devices.acquire_devices(2, gpu_memory=1.5)
    with pytest.raises(ParameterError, match="gpu_memory=2: this process already uses its devices with another bound"):
        devices.acquire_devices(2, gpu_memory=2)


def test_memory_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(1, monkeypatch)
    with pytest.raises(ParameterError, match=r"gpu_memory=90: GPU 0 has 80\.0 GB; expected less"):
        devices.acquire_devices(gpu_memory=90)
    with pytest.raises(ParameterError, match=r"processes_per_gpu=64: each process would have 0\.6 GB of GPU 0"):
        devices.acquire_devices(processes_per_gpu=64)
    assert gpu_leases.count_free("0", 1) == 1
    Machine(0, monkeypatch)
    with pytest.raises(ParameterError, match="gpu_memory=4: this process sees no GPU"):
        devices.acquire_devices(gpu_memory=4)
    for options, message in [
        ({"gpus": 0, "gpu_memory": 4.0}, "gpu_memory=4: gpus=0 explains on the CPU"),
        ({"gpus": 0, "processes_per_gpu": 2}, "processes_per_gpu=2: gpus=0 explains on the CPU; leave one of them out"),
        ({"gpu_memory": 0.01}, r"gpu_memory=0\.01: expected at least 0\.25"),
        ({"processes_per_gpu": 0}, "processes_per_gpu=0: expected at least 1"),
    ]:
        with pytest.raises(ParameterError, match=message):
            make_request("m", ["saliency"], **options)


@pytest.mark.parametrize(
    ("runner", "option", "message"),
    [
        ("FnApiRunner", "--gpu_memory=4", "gpu_memory=4: this process sees no GPU"),
        ("FnApiRunner", "--gpus=2", "gpus=2: this process sees 0"),
        ("PortableRunner", "--gpu_memory=4", "the run goes on"),  # on other machines
    ],
)
def test_gpus_that_this_machine_has_not_are_refused_before_worker_processes_start(
    runner: str,
    option: str,
    message: str,
    exported: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def start(*_: object) -> None:
        raise ParameterError("the run goes on")

    Machine(0, monkeypatch)
    monkeypatch.setattr(trial, "unit_worker_pool", start)
    source, run = (
        write_records(tmp_path / "a.tfrecord", [{"x": [1.0, 2.0, 3.0, 4.0]}]),
        Run(exported("binary"), tmp_path),
    )
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    workers = processes if runner == "FnApiRunner" else ["--job_endpoint=localhost:1", "--environment_type=EXTERNAL"]
    assert run(source, "--target=0", option, f"--runner={runner}", *workers) == 2
    assert message in capsys.readouterr().err
    assert not run.directory.exists()


def test_a_bound_that_the_process_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(1, monkeypatch)
    machine.bounds["/physical_device:GPU:0"] = [100]
    devices.acquire_devices()
    assert machine.growing == []  # TensorFlow would raise ValueError


@pytest.mark.parametrize(
    ("most", "gpus", "processes_per_gpu", "slots"),
    [
        (8, None, 1, 3),
        (2, 1, 1, 2),
        (8, 2, 1, 1),
        (8, None, 2, 6),
        (8, 2, 2, 3),
        (8, 3, 4, 4),
        (8, 0, 1, 8),
        (8, 5, 1, 8),
    ],
)
def test_how_many_processes_can_start(
    most: int, gpus: int | None, processes_per_gpu: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(4, monkeypatch)
    with held_by_another(["2"]):
        assert devices.count_process_slots(most, gpus, processes_per_gpu) == slots


def test_no_process_starts_while_others_hold_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(0, monkeypatch)
    assert devices.count_process_slots(8, None, 1) == 8  # on the CPU
    Machine(1, monkeypatch)
    with held_by_another(["0"], 4), pytest.raises(ParameterError, match=r"others hold them \(0: 1/4 by process \d+\)"):
        devices.count_process_slots(8, None, 1)


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert (half.store.manifest["precision"], full.store.manifest["precision"]) == ("mixed", "float32")
    assert full.store.manifest["precision_error"] == {}
    errors = half.store.manifest["precision_error"]
    assert {method: (error["examples"], 0 < error["median"] < 0.05) for method, error in errors.items()} == {
        "saliency": (8, True),
        "gradient_x_input": (8, True),
    }
    assert re.search(r"precision mixed: maps of Saliency differ from float32 by 0\.\d+ % \(median\), ", run.stdout)
    exact, mixed = ({key: row[1] for key, row in run.maps().items()} for run in (full, half))
    apart = [np.abs(exact[key] - mixed[key]).max() / np.abs(exact[key]).max() for key in exact]
    assert 1e-4 < max(apart) < 0.05  # bfloat16 has three digits
    assert half(source, "--target=0", "--resume") == 2
    assert 'precision was "mixed", now "float32"' in capsys.readouterr().err


def test_a_store_is_resumed_only_in_its_precision(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = (
        write_records(tmp_path / "a.tfrecord", [{"x": [1.0, 2.0, 3.0, 4.0]}]),
        Run(exported("binary"), tmp_path),
    )
    assert run(source, "--target=0") == 0
    shards = sorted(run.directory.iterdir())
    assert run(source, "--target=0", "--resume", "--precision=tf32") == 2
    assert 'precision was "float32", now "tf32"' in capsys.readouterr().err
    settings = run.directory / "configuration.json"
    contents = json.loads(settings.read_text())
    assert contents.pop("precision") == "float32"
    for earlier, precision in ((None, "float32"), (True, "mixed")):  # as earlier versions wrote it
        settings.write_text(json.dumps({**contents, "mixed_precision": earlier}))
        assert run(source, "--target=0", "--resume", f"--precision={precision}") == 2
        assert f'precision was TensorFlow\'s (TF32 on a GPU), now "{precision}"' in capsys.readouterr().err
    assert sorted(run.directory.iterdir()) == shards


def test_a_model_that_cannot_be_in_float64_is_refused_before_worker_processes_start(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: ModelGraph) -> ModelGraph:
        raise UnsupportedModelError("does not know the op NoSuchOp")

    source, model = write_records(tmp_path / "a.tfrecord", [{"x": [1.0, 2.0, 3.0, 4.0]}]), exported("binary")
    monkeypatch.setattr(local_workers, "explains_here", lambda _: False)
    monkeypatch.setattr(ModelGraph, "in_float64", refuse)
    run = Run(model, tmp_path / "logs")
    assert run(source, "--target=0", "--precision=float64") == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("does not know the op NoSuchOp")
    assert not run.directory.exists()


def test_tf32_on_a_cpu_is_float32(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    source = write_records(tmp_path / "a.tfrecord", [{"x": each} for each in numbers])
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(source, "--target=0", "--precision=tf32") == 0
    assert (run.store.manifest["precision"], run.store.manifest["precision_error"]) == ("tf32", {})
    assert "precision TF32 changes nothing on a CPU: 10 examples in float32" in capsys.readouterr().out
    assert not any(run.store.index["warnings"].to_pylist())


def test_the_manifest_names_the_precision_of_the_workers(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of worker processes tries the model on the CPU, in float32."""
    monkeypatch.setattr(local_workers, "explains_here", lambda _: False)
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source, "--target=0", "--precision=tf32") == 0
    assert image.store.manifest["precision"] == "tf32"


def test_the_example_that_is_tried_before_the_run_is_compared_once(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source, "--target=0", "--precision=float64") == 0
    assert {error["examples"] for error in image.store.manifest["precision_error"].values()} == {2}
