"""Two units in flight: one is read or written while the model explains the other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.progress_folder import ProgressFolder, WorkerReport
from beam_pipelines.engine.suspects import Suspects
from beam_pipelines.engine.unit_worker import Task, UnitWorker
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.recording.device_encoding import encode_on_device
from tb_deepexplain.recording.work_metrics import Metrics
from tests.pipeline_runs import Run, assert_same, pictures, write_records


class Count:
    """How many threads are in a block at once, at most."""

    def __init__(self) -> None:
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


def count_units(monkeypatch: pytest.MonkeyPatch) -> Count:
    """How many units are explained at once. Each takes a moment."""
    work, count = UnitWorker.explain_unit, Count()

    def explain(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        with count:
            time.sleep(0.05)
            return work(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", explain)
    return count


def test_two_units_are_in_flight_and_the_model_computes_one_batch_at_a_time(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(10))
    alone = Run(image.model, tmp_path / "alone")
    with monkeypatch.context() as patched:
        patched.setattr("beam_pipelines.engine.explain_unit._UNITS_AT_ONCE", 1)
        assert alone(source, "--unit_size=2") == 0
    run, passes = Explainer.run, Count()

    def slow(self: Explainer, *arguments: Any, **options: Any) -> Any:
        with passes:
            time.sleep(0.02)
            return run(self, *arguments, **options)

    monkeypatch.setattr(Explainer, "run", slow)
    units = count_units(monkeypatch)
    assert image(source, "--unit_size=2") == 0
    assert (units.most, passes.most) == (2, 1)
    assert_same(alone, image)
    assert image.store.manifest["spent"]["examples"] == 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ExplainUnit")]


def test_an_error_of_one_unit_is_raised_when_the_other_has_ended(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, failed = UnitWorker.explain_unit, threading.Event()
    begun: list[str] = []

    def explain(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        begun.append(task.unit.id[-1])
        if task.unit.id.endswith("1"):
            failed.set()
            raise OSError("the disk is gone")
        if task.unit.id.endswith("0"):
            assert failed.wait(30)
            time.sleep(0.1)
        return work(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", explain)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(8)), "--unit_size=2") == 2
    assert "the disk is gone" in capsys.readouterr().err
    assert sorted(begun) == ["0", "1"]
    assert [path.stem[-1] for path in image.directory.glob("attributions-*.parquet")] == ["0"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ExplainUnit")]


def test_a_unit_at_which_a_worker_died_is_explained_alone(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspects, units = Suspects(), [WorkUnit(id=id_, path="a", id_prefix="a", first=0, count=1) for id_ in "abc"]
    suspects.blame([WorkerReport("h", 1, unit="a"), WorkerReport("h", 1, unit="b")])
    tasks = suspects.next_tasks(units)
    assert [(task.unit.id, task.alone) for task in tasks] == [("c", False), ("a", True), ("b", True)]
    monkeypatch.setattr(Suspects, "next_tasks", lambda _, units: [Task(unit, is_suspect=True) for unit in units])
    count = count_units(monkeypatch)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 0
    assert count.most == 1


def test_a_gpu_encodes_the_maps_that_it_computes(image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU that counts as a GPU."""
    source, alone = write_records(tmp_path / "a.tfrecord", pictures(10)), Run(image.model, tmp_path / "host")
    assert alone(source, methods="gradient_x_input") == 0
    encoded = list[int]()

    def count_and_encode(order: Any, maps: Any) -> Any:
        encoded.append(len(maps[0]))
        return encode_on_device(order, maps)

    monkeypatch.setattr("tb_deepexplain.recording.batch_explainer.encode_on_device", count_and_encode)
    monkeypatch.setattr("tb_deepexplain.attribution.precision.computes_on_gpu", lambda: True)
    assert image(source, methods="gradient_x_input") == 0
    assert encoded[-1] == 10
    assert_same(alone, image)
