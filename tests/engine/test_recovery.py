"""Workers that die or stall: the run continues without losing examples, and ends if it cannot."""

from __future__ import annotations

import copy
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_pipelines.engine import pipeline_attempt
from beam_pipelines.engine.pipeline_attempt import PipelineAttempt
from beam_pipelines.engine.progress_display import ProgressDisplay
from beam_pipelines.engine.progress_folder import ProgressFolder, WorkerReport
from beam_pipelines.engine.run_limits import RunLimits
from beam_pipelines.engine.suspects import Suspects
from beam_pipelines.engine.unit_worker import Task, UnitWorker
from beam_pipelines.engine.worker_processes import WorkerDied
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.work_metrics import Metrics
from tests.pipeline_runs import Run, pictures, write_records

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture
def worker_startup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes every worker process run this code first."""

    def install(code: str) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        guard = "import os, sys, pathlib\nif 'beam_pipelines.engine.worker_main' in sys.orig_argv:\n    "
        (folder / "sitecustomize.py").write_text(guard + code)
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}")

    return install


def test_workers_that_all_die_while_starting_end_the_run_soon(
    image: Run, tmp_path: Path, worker_startup: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    worker_startup("os._exit(7)")
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2", *PROCESSES) == 2
    output = capsys.readouterr().err
    assert "a worker process died (return code 7), 3 times without a unit finished, while starting" in output
    assert "--resume continues" in output
    assert not (image.directory / "manifest.json").exists()
    assert not (image.directory / ".lock").exists()


@pytest.mark.skipif("KILLS" not in os.environ, reason="half a minute of workers that start: make test-kills")
def test_a_worker_that_dies_while_starting_is_replaced(
    image: Run, tmp_path: Path, worker_startup: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    once = tmp_path / "died"
    worker_startup(f"p = pathlib.Path({str(once)!r}); d = p.exists(); p.touch(); d or os._exit(7)")
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2", *PROCESSES) == 0
    assert "return code 7); continuing with 3 units left" in capsys.readouterr().err
    assert image.store.manifest["counts"]["examples"] == 6


@pytest.mark.skipif("KILLS" not in os.environ, reason="half a minute of workers that start: make test-kills")
def test_stalled_workers_are_replaced(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once = tmp_path / "slept"
    (tmp_path / "sleepy.py").write_text(
        "import pathlib, time\n"
        "def parse(record):\n"
        f"    once = pathlib.Path({str(once)!r})\n"
        "    if record['label'] == 2 and not once.exists():\n"
        "        once.touch()\n"
        "        time.sleep(600)\n"
        "    return {'image': record['image'].reshape(8, 8, 3)}\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("beam_pipelines.engine.trial.explain_one", lambda *_: None)  # it would fall asleep here
    jumps = iter(range(0, 2000, 100))
    skipped = 0

    def monotonic() -> float:
        """The time; the first 20 calls after the worker fell asleep are 100 s apart."""
        nonlocal skipped
        if once.exists():
            skipped = next(jumps, skipped)
        return time.monotonic() + skipped

    monkeypatch.setattr(pipeline_attempt, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    source = write_records(
        tmp_path / "a.tfrecord", [{**row, "label": 2 * (i == 4)} for i, row in enumerate(pictures(6))]
    )
    flags = [
        "--unit_size=2",
        "--preprocess=sleepy:parse",
        "--direct_num_workers=1",
        PROCESSES[1],
        "--stall_timeout=1400",
    ]
    assert image(source, *flags) == 0
    output = capsys.readouterr().err
    assert "00000-00002; continuing with 1 unit left\n" in output
    assert image.store.manifest["counts"]["examples"] == 6


def test_a_stalled_thread_of_this_process_ends_the_run(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, awake, asleep = UnitWorker.explain_unit, threading.Event(), threading.Event()
    skipped = iter(range(0, 10**9, 100))

    def monotonic() -> float:
        """The time; once the worker sleeps, each call is 100 s after the one before."""
        return time.monotonic() + (next(skipped) if asleep.is_set() else 0)

    def sleep_at_second_unit(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        if task.unit.id.endswith("00000-00001"):
            progress.report_unit(task.unit.id)
            asleep.set()
            awake.wait(300)
        return work(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", sleep_at_second_unit)
    monkeypatch.setattr(pipeline_attempt, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    monkeypatch.setattr(pipeline_attempt, "_SECONDS_TO_STOP", 0.1)
    source = write_records(tmp_path / "a.tfrecord", pictures(6))
    assert image(source, "--unit_size=2", "--stall_timeout=600") == 2
    awake.set()
    output = capsys.readouterr().err
    assert "-00000-00001; finished units are kept: the same command with --resume continues" in output
    assert "with a longer --stall_timeout than 600" in output


class Died(BaseException):
    """Simulates the death of a process."""


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[list[Task]]:
    """Attempts in this process that end where Died is raised, as if their worker had died; the tasks of each attempt."""
    tasks_of_attempts: list[list[Task]] = []

    def run(
        self: Any,
        runner: Any,
        options: Any,
        tasks: Sequence[Task],
        make_transform: Callable[[], Any],
        limit: int | None,
    ) -> WorkerDied | None:
        tasks_of_attempts.append(list(tasks))
        self._progress.create()
        function = copy.copy(make_transform().fn)
        function.setup()
        function.start_bundle()
        try:
            for task in tasks:
                list(function.process(task))
            list(function.finish_bundle())
        except Died:
            self.reports = self.dead_workers = function._progress.read_reports()
            return WorkerDied("a worker process died")
        finally:
            function.teardown()
            self._progress.clear()
        return None

    monkeypatch.setattr(PipelineAttempt, "run", run)
    return tasks_of_attempts


@pytest.mark.parametrize("stage", ["parse", "explain"])
def test_an_example_that_kills_its_worker_each_time_becomes_an_error(
    image: Run, tmp_path: Path, attempts: list[list[Task]], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    rows = pictures(12)
    rows[6] = {"image": np.full((8, 8, 3), 7, np.float32), "id": "deadly"}
    attempt = BatchExplainer.attempt

    parse = ExampleParser.parse

    def die_while_parsing(self: ExampleParser, payload: Any, position: str) -> Any:
        if position == "a:000006":
            raise Died
        return parse(self, payload, position)

    def die_while_explaining(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id == "deadly" for example in examples):
            raise Died
        return attempt(self, examples, *rest)

    if stage == "parse":
        monkeypatch.setattr(ExampleParser, "parse", die_while_parsing)
    else:
        monkeypatch.setattr(BatchExplainer, "attempt", die_while_explaining)
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=4") == 1
    assert image.store.manifest["counts"]["examples"] == 11
    (error,) = image.store.errors().to_pylist()
    name = "a:000006" if stage == "parse" else "deadly"
    assert (error["example_id"], error["stage"], error["error"]) == (name, stage, "WorkerDied")
    # Two deaths with all that is left, the unit at fault last; two with it alone; then without its example.
    assert [[task.unit.id[-1] for task in tasks] for tasks in attempts] == [
        list("012"),
        list("21"),
        ["1"],
        ["1"],
        ["1"],
    ]
    assert [tasks[0].one_by_one for tasks in attempts] == [False, False, True, True, True]
    assert image.store.manifest["spent"]["units_retried"] == 4


def test_two_examples_of_one_unit_that_kill_their_workers_both_become_errors(
    image: Run, tmp_path: Path, attempts: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = BatchExplainer.attempt

    def attempted(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if {"a:000001", "a:000002"} & {example.id for example in examples}:
            raise Died
        return attempt(self, examples, *rest)

    monkeypatch.setattr(BatchExplainer, "attempt", attempted)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(5)), "--unit_size=5") == 1
    assert [row["example_id"] for row in image.store.errors().to_pylist()] == ["a:000001", "a:000002"]
    assert image.store.manifest["counts"]["examples"] == 3


def test_deaths_do_not_end_the_run_as_long_as_units_are_finished(
    image: Run, tmp_path: Path, attempts: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = UnitWorker.explain_unit

    def die_after_the_unit(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        work(self, task, progress)
        raise Died

    monkeypatch.setattr(UnitWorker, "explain_unit", die_after_the_unit)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=1") == 0
    numbers = [len(tasks) for tasks in attempts]
    assert numbers[0] == 6
    assert all(1 <= before - after <= 2 for before, after in itertools.pairwise(numbers))  # two units are in flight
    assert len(numbers) >= 3


def test_a_runner_that_does_nothing_ends_the_run(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline_attempt, "start_pipeline", lambda *_: SimpleNamespace(wait_until_finish=lambda: None))
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert "the runner ended without an error and left 3 units; finished units are kept" in capsys.readouterr().err


@pytest.mark.parametrize(("one_by_one", "workers"), [(True, 1), (False, 4)])
def test_examples_one_by_one_have_a_single_worker(
    tmp_path: Path, one_by_one: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    options = PipelineOptions(["--direct_num_workers=4"])

    def start(runner: Any, options: Any, *_: Any) -> Any:
        seen.append(options.view_as(DirectOptions).direct_num_workers)
        return SimpleNamespace(wait_until_finish=lambda: None)

    monkeypatch.setattr(pipeline_attempt, "start_pipeline", start)
    attempt = PipelineAttempt(ProgressFolder(tmp_path), RunLimits(0.5, 600), ProgressDisplay(1), (0, 0))
    tasks = [Task(WorkUnit(id="u", path="a", id_prefix="a", first=0, count=1), one_by_one)]
    assert attempt.run(None, options, tasks, lambda: None) is None
    assert seen == [workers]
    assert options.view_as(DirectOptions).direct_num_workers == 4


def test_a_run_that_is_stopped_before_it_begins_explains_nothing(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, explained = ProgressFolder.create, list[Any]()
    monkeypatch.setattr(ProgressFolder, "create", lambda self: (create(self), self.request_stop()))
    monkeypatch.setattr(BatchExplainer, "explain", lambda *arguments: explained.append(arguments))
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert explained == []
    assert not list(image.directory.glob("*.parquet"))


def test_a_unit_that_is_left_out_comes_later(
    image: Run, tmp_path: Path, attempts: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = UnitWorker.explain_unit

    def deadly(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        if task.unit.id.endswith("00000-00001") and not task.one_by_one:
            progress.report_unit(task.unit.id)
            raise Died
        return work(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", deadly)
    monkeypatch.setattr(Suspects, "next_tasks", _reversed(Suspects.next_tasks))  # runners keep no order
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 0
    assert [[task.unit.id[-1] for task in tasks] for tasks in attempts] == [list("210"), list("10"), ["0"], ["1"]]
    assert image.store.manifest["spent"]["units_retried"] == 2


def _reversed(tasks: Callable[..., list[Task]]) -> Callable[..., list[Task]]:
    return lambda *arguments: tasks(*arguments)[::-1]


def test_leftovers_of_a_killed_run_are_removed_even_if_all_is_finished(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source) == 0
    (image.directory / ".progress").mkdir()
    (image.directory / ".progress" / "host-1-2").write_text("{}")
    (image.directory / ".attributions-00000-00000.dead.tmp").touch()
    assert image(source, "--resume") == 0
    assert not [path for path in image.directory.iterdir() if path.name.startswith(".")]


def test_metrics_of_a_unit_that_was_repeated_count_once(
    image: Run, tmp_path: Path, attempts: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, dead = UnitWorker.explain_unit, []

    def die_at_the_end(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        metrics = work(self, task, progress)
        if not dead:
            dead.append(task)
            raise Died
        return metrics

    monkeypatch.setattr(UnitWorker, "explain_unit", die_at_the_end)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 0
    assert image.store.manifest["spent"]["examples"] == 6


def test_a_step_narrows_the_cause() -> None:
    suspects = Suspects()
    assert not suspects.blame([WorkerReport("h", 1, unit="a")])
    assert suspects.blame([WorkerReport("h", 1, unit="a", step="explain x")])


def test_a_step_that_is_fatal_in_one_unit_is_not_left_out_in_another() -> None:
    suspects, units = (
        Suspects(),
        [WorkUnit(id=name, path=name, id_prefix=name, first=0, count=1) for name in "ab"],
    )
    for name, step in (("a", "explain x"), ("a", "explain x"), ("b", "explain x"), ("b", "parse y")):
        suspects.blame([WorkerReport("h", 1, unit=name, step=step)])
    assert [(task.unit.id, list(task.fatal)) for task in suspects.next_tasks(units)] == [
        ("a", ["explain x"]),
        ("b", []),
    ]


class Engine:
    """The result of a runner whose job continues until it is cancelled."""

    cancelled = False

    def wait_until_finish(self) -> None:
        while not self.cancelled:
            time.sleep(0.05)

    def cancel(self) -> None:
        self.cancelled = True


def test_a_job_on_an_engine_is_cancelled_with_its_driver(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine()
    monkeypatch.setattr(pipeline_attempt, "start_pipeline", lambda *_: engine)
    monkeypatch.setattr(pipeline_attempt, "_SECONDS_TO_STOP", 0.2)
    monkeypatch.setattr("beam_pipelines.cli.explain.choose_runner", lambda *_: (object(), PipelineOptions([])))
    monkeypatch.setattr(
        ProgressFolder, "read_reports", lambda self, now=False: [WorkerReport("h", 1, done=200, failed=150)]
    )
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 2
    assert "more than --max_error_rate" in capsys.readouterr().err
    assert engine.cancelled
