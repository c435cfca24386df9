"""Workers that get no GPU: they wait while others work, hand their units back, and end no run that has a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.options.pipeline_options import DirectOptions

from beam_pipelines.engine import devices, explain_unit, gpu_leases, pipeline_attempt
from beam_pipelines.engine.explain_unit import ExplainUnit, WaitForGpu
from beam_pipelines.engine.gpu_leases import NoFreeGpuError
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.unit_worker import Task
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import Stopped
from tests.engine.fake_gpus import Machine, write_sitecustomize
from tests.pipeline_runs import Run, pictures, write_records

PROCESSES = ("--direct_num_workers=3", "--direct_running_mode=multi_processing")
HELD = "this process needs 1 of the GPUs, but others hold them"


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(explain_unit, "time", clock)
    return clock


@pytest.fixture
def progress(tmp_path: Path) -> ProgressFolder:
    folder = ProgressFolder(tmp_path)
    folder.create()
    return folder


def test_a_worker_waits_half_a_minute_where_none_is_at_work(clock: Clock, progress: ProgressFolder) -> None:
    wait = WaitForGpu(progress)
    waits = [wait("held") for clock.now in (0, 29, 31)]
    assert waits == [True, True, False]
    assert [report.waiting for report in progress.read_reports()] == ["held"]


def test_a_worker_waits_as_long_as_another_is_at_work(clock: Clock, progress: ProgressFolder, tmp_path: Path) -> None:
    other, wait = ProgressFolder(tmp_path), WaitForGpu(progress)
    for clock.now in range(0, 1000, 100):  # type: ignore[assignment]
        other.report_unit(f"u{clock.now}")
        assert wait("held")
    other.report_unit(None)
    waits = [wait("held") for clock.now in (904, 906)]
    assert waits == [True, False]


def test_a_report_that_never_changes_is_that_of_a_dead_worker(
    clock: Clock, progress: ProgressFolder, tmp_path: Path
) -> None:
    ProgressFolder(tmp_path).report_unit("u")
    wait = WaitForGpu(progress)
    waits = [wait("held") for clock.now in (0, 500, 700)]
    assert waits == [True, True, False]


def test_a_worker_that_waits_can_be_stopped(clock: Clock, progress: ProgressFolder) -> None:
    progress.request_stop()
    with pytest.raises(Stopped):
        WaitForGpu(progress)("held")


def test_a_worker_without_a_gpu_hands_its_units_back(
    clock: Clock, progress: ProgressFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def no_gpu(job: Any, keep_waiting: WaitForGpu) -> Any:
        tries.append("try")
        clock.now += 31
        assert not keep_waiting("held")
        raise NoFreeGpuError("held")

    monkeypatch.setattr(explain_unit, "unit_worker_pool", no_gpu)
    shared = SimpleNamespace(acquire=lambda make: make())
    step = ExplainUnit(SimpleNamespace(directory=str(tmp_path)), shared)  # type: ignore[arg-type]
    step.setup()
    for bundle in range(2):
        step.start_bundle()
        for number in range(3):
            unit = WorkUnit(id=f"{bundle}{number}", path="a", id_prefix="a", first=0, count=1)
            assert list(step.process(Task(unit))) == []
    assert tries == ["try"] * 2  # once for each bundle


def lazy_workers(finish: int) -> Any:
    """A `start_pipeline` whose workers explain `finish` of the units, and of which one finds no GPU."""
    start = pipeline_attempt.start_pipeline
    seen: list[tuple[int, int, int]] = []

    def start_some(runner: Any, options: Any, tasks: Any, make_transform: Any) -> Any:
        command = runner._default_environment.to_runner_api(None).payload.decode()
        threads = int(command.partition("TF_NUM_INTRAOP_THREADS=")[2].split()[0])
        seen.append((len(tasks), options.view_as(DirectOptions).direct_num_workers, threads))
        waiting = ProgressFolder(Path(make_transform().fn._job.directory))
        waiting.report_waiting(HELD)
        if not finish:
            return SimpleNamespace(wait_until_finish=lambda: None)
        direct = options.view_as(DirectOptions)
        direct.direct_running_mode, direct.direct_num_workers = "in_memory", 1
        return start(pipeline_attempt.FnApiRunner(), options, tasks[:finish], make_transform)

    start_some.seen = seen  # type: ignore[attr-defined]
    return start_some


@pytest.mark.slow
def test_units_that_are_handed_back_are_explained_by_the_others(
    image: Run, tmp_path: Path, leases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    slots = iter([3, 1, 1])
    monkeypatch.setattr(devices, "count_process_slots", lambda *_: next(slots))
    monkeypatch.setattr(pipeline_attempt, "start_pipeline", start := lazy_workers(2))
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=1", *PROCESSES) == 0
    assert start.seen == [(6, 3, 2), (4, 1, 6), (2, 1, 6)]  # units, workers, threads of each
    assert image.store.manifest["counts"]["examples"] == 6
    output = capsys.readouterr().err
    assert f"a worker waits for a GPU, the others go on: {HELD}" in output
    assert output.count("GPUs are free for 1 of 3 worker processes (--direct_num_workers); 1 starts") == 1


@pytest.mark.slow
def test_a_run_of_which_no_worker_gets_a_gpu_ends_with_the_reason(
    image: Run, tmp_path: Path, leases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(6))
    monkeypatch.setattr(pipeline_attempt, "start_pipeline", lazy_workers(0))
    assert image(source, "--unit_size=1", *PROCESSES) == 2
    assert f"{HELD}; finished units are kept" in capsys.readouterr().err
    # Somebody holds the GPU from the beginning: no worker starts.
    Machine(1, monkeypatch)
    lease = gpu_leases.lease_gpus(["0"], 1, 1)
    assert image(source, "--unit_size=1", "--resume", *PROCESSES) == 2
    assert f"{HELD} (0: process {os.getpid()})" in capsys.readouterr().err
    assert lease


@pytest.mark.skipif("KILLS" not in os.environ, reason="half a minute of workers that start: make test-kills")
def test_more_processes_than_gpus(
    image: Run, tmp_path: Path, leases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real worker processes: the second of two finds the GPU taken, and the first goes on."""
    Machine(1, monkeypatch)
    (tmp_path / "site").mkdir()
    write_sitecustomize(tmp_path / "site", gpus=1, seconds=20)
    path = f"{tmp_path / 'site'}:{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", path)
    count, counts = devices.count_process_slots, list[int]()

    def count_late(most: int, *options: Any) -> int:
        counts.append(count(most, *options) if counts else most)  # at first another process is about to take the GPU
        return counts[-1]

    monkeypatch.setattr(devices, "count_process_slots", count_late)
    monkeypatch.setattr(devices, "_acquired", ())
    source = write_records(tmp_path / "a.tfrecord", pictures(8))
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert image(source, "--unit_size=2", *processes) == 0
    assert counts == [2, 1]
    assert image.store.manifest["counts"]["examples"] == 8
    output = capsys.readouterr().err
    assert "a worker waits for a GPU, the others go on: this process needs 1 of the GPUs" in output
    assert "GPUs are free for 1 of 2 worker processes" in output
