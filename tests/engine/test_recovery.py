"""What goes wrong around the examples: workers that die, a store in use, disks and permissions, too many errors."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_pipelines.engine import recovery, store_lock, trial
from beam_pipelines.engine.progress import Counts, Report
from beam_pipelines.engine.unit_worker import Task, UnitWorker
from beam_pipelines.engine.worker_processes import WorkerDied
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Request
from tb_deepexplain.recording.batch_explainer import _is_finite as is_finite
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.records import Attribution
from tb_deepexplain.store.store import StoreWriter
from tests.pipeline_runs import Run, assert_same, pictures, write_records

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


# Workers that die


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes every worker process run this before anything else."""

    def install(code: str) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        guard = "import os, sys, pathlib\nif 'beam_pipelines.engine.worker_main' in sys.orig_argv:\n    "
        (folder / "sitecustomize.py").write_text(guard + code)
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}")

    return install


def test_workers_that_all_die_while_starting_end_the_run_soon(
    image: Run, tmp_path: Path, starting: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    starting("os._exit(7)")
    begun = time.monotonic()
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2", *PROCESSES) == 2
    assert time.monotonic() - begun < 60
    said = capsys.readouterr().err
    assert "a worker process died (return code 7), 3 times without a unit finished, while starting" in said
    assert "--resume goes on" in said
    assert not (image.directory / "manifest.json").exists()
    assert not (image.directory / ".lock").exists()


@pytest.mark.skipif("KILLS" not in os.environ, reason="half a minute of workers that start: make test-kills")
def test_a_worker_that_dies_while_starting_is_replaced(
    image: Run, tmp_path: Path, starting: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    once = tmp_path / "died"
    starting(f"p = pathlib.Path({str(once)!r}); d = p.exists(); p.touch(); d or os._exit(7)")
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2", *PROCESSES) == 0
    assert "return code 7); going on with what is left, 3 units" in capsys.readouterr().err
    assert image.store.manifest["counts"]["examples"] == 6


@pytest.mark.skipif("KILLS" not in os.environ, reason="most of a minute of waiting: make test-kills")
def test_workers_that_fall_silent_are_replaced(
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
    source = write_records(
        tmp_path / "a.tfrecord", [{**row, "label": 2 * (i == 4)} for i, row in enumerate(pictures(6))]
    )
    flags = ["--unit_size=2", "--preprocess=sleepy:parse", "--direct_num_workers=1", PROCESSES[1], "--stall_timeout=25"]
    assert image(source, *flags) == 0
    said = capsys.readouterr().err
    assert "00000-00002; going on with what is left, 1 unit\n" in said
    assert image.store.manifest["counts"]["examples"] == 6


def test_a_process_that_falls_silent_itself_ends_the_run(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, awake = UnitWorker.work, threading.Event()

    def falls_asleep(self: UnitWorker, task: Task, counts: Counts) -> Metrics:
        if task.unit.id.endswith("00000-00001"):
            counts.enter(task.unit.id)
            awake.wait(60)
        return work(self, task, counts)

    monkeypatch.setattr(UnitWorker, "work", falls_asleep)
    monkeypatch.setattr(recovery, "_SECONDS_TO_STOP", 0.1)
    source = write_records(tmp_path / "a.tfrecord", pictures(6))
    assert image(source, "--unit_size=2", "--stall_timeout=3") == 2
    awake.set()
    said = capsys.readouterr().err
    assert "-00000-00001; what is finished is kept: the same command with --resume goes on" in said
    assert "with a longer --stall_timeout than 3" in said


class Died(BaseException):
    """In the place of a process's death."""


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> list[list[Task]]:
    """Attempts end where Died is raised, as they do where a process dies; the tasks of each attempt."""
    attempts: list[list[Task]] = []

    def run(self: Any, runner: Any, options: Any, tasks: Sequence[Task], do: Callable[[], Any]) -> WorkerDied | None:
        attempts.append(list(tasks))
        self._counts.begin()
        function = copy.copy(do().fn)
        function.setup()
        try:
            for task in tasks:
                list(function.process(task))
        except Died:
            self.reports = self.at_work = function._counts.reports()
            return WorkerDied("a worker process died")
        finally:
            self._counts.clear()
        return None

    monkeypatch.setattr(recovery._Attempt, "run", run)
    return attempts


@pytest.mark.parametrize("stage", ["parse", "explain"])
def test_an_example_that_kills_its_worker_each_time_is_found_and_costs_itself(
    image: Run, tmp_path: Path, mortal: list[list[Task]], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    rows = pictures(12)
    rows[6] = {"image": np.full((8, 8, 3), 7, np.float32), "id": "deadly"}
    parse, attempt = UnitWorker.parsed, BatchExplainer.attempt

    def parsed(self: UnitWorker, unit: Any, steps: Any = None) -> Any:
        if not getattr(self, "_patched", False):
            self._patched, real = True, self._parse

            def deadly(payload: Any, position: str) -> Any:
                if position == "a:000006":
                    raise Died
                return real(payload, position)

            self._parse = deadly
        return parse(self, unit, steps)

    def attempted(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id == "deadly" for example in examples):
            raise Died
        return attempt(self, examples, *rest)

    if stage == "parse":
        monkeypatch.setattr(UnitWorker, "parsed", parsed)
    else:
        monkeypatch.setattr(BatchExplainer, "attempt", attempted)
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=4") == 1
    assert image.store.manifest["counts"]["examples"] == 11
    (error,) = image.store.errors().to_pylist()
    name = "a:000006" if stage == "parse" else "deadly"
    assert (error["example_id"], error["stage"], error["error"]) == (name, stage, "WorkerDied")
    # Two deaths with all that is left, the unit at fault last; two with it alone; then without its example.
    assert [[task.unit.id[-1] for task in tasks] for tasks in mortal] == [list("012"), list("21"), ["1"], ["1"], ["1"]]
    assert [tasks[0].one_by_one for tasks in mortal] == [False, False, True, True, True]
    assert image.store.manifest["spent"]["units_retried"] == 4


def test_two_examples_of_one_unit_that_kill_their_workers_are_both_found(
    image: Run, tmp_path: Path, mortal: list[list[Task]], monkeypatch: pytest.MonkeyPatch
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


def test_workers_that_die_as_long_as_units_are_finished_end_nothing(
    image: Run, tmp_path: Path, mortal: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = UnitWorker.work

    def dies_behind(self: UnitWorker, task: Task, counts: Counts) -> Metrics:
        work(self, task, counts)
        raise Died

    monkeypatch.setattr(UnitWorker, "work", dies_behind)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=1") == 0
    assert [len(tasks) for tasks in mortal] == [6, 5, 4, 3, 2, 1]


def test_a_runner_that_does_nothing_is_not_asked_for_ever(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recovery, "start", lambda *_: SimpleNamespace(wait_until_finish=lambda: None))
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert "the runner ended without an error and left 3 units; what is finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize(("one_by_one", "workers"), [(True, 1), (False, 4)])
def test_who_looks_for_an_example_at_fault_has_one_worker(
    tmp_path: Path, one_by_one: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    options = PipelineOptions(["--direct_num_workers=4"])

    def start(runner: Any, options: Any, *_: Any) -> Any:
        seen.append(options.view_as(DirectOptions).direct_num_workers)
        return SimpleNamespace(wait_until_finish=lambda: None)

    monkeypatch.setattr(recovery, "start", start)
    attempt = recovery._Attempt(Counts(tmp_path), recovery.Limits(0.5, 600), recovery.Display(1), (0, 0))
    tasks = [Task(WorkUnit(id="u", path="a", id_prefix="a", first=0, count=1), one_by_one)]
    assert attempt.run(None, options, tasks, lambda: None) is None
    assert seen == [workers]
    assert options.view_as(DirectOptions).direct_num_workers == 4


def test_a_run_that_is_asked_to_stop_before_it_begins_explains_nothing(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, explained = Counts.begin, list[Any]()
    monkeypatch.setattr(Counts, "begin", lambda self: (begin(self), self.stop()))
    monkeypatch.setattr(BatchExplainer, "explain", lambda *given: explained.append(given))
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert explained == []
    assert not list(image.directory.glob("*.parquet"))


def test_a_unit_that_is_put_off_is_not_forgotten(
    image: Run, tmp_path: Path, mortal: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = UnitWorker.work

    def deadly(self: UnitWorker, task: Task, counts: Counts) -> Metrics:
        if task.unit.id.endswith("00000-00001") and not task.one_by_one:
            counts.enter(task.unit.id)
            raise Died
        return work(self, task, counts)

    monkeypatch.setattr(UnitWorker, "work", deadly)
    monkeypatch.setattr(recovery.Suspects, "tasks", _reversed(recovery.Suspects.tasks))  # runners keep no order
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 0
    assert [[task.unit.id[-1] for task in tasks] for tasks in mortal] == [list("210"), list("10"), ["0"], ["1"]]
    assert image.store.manifest["spent"]["units_retried"] == 2


def _reversed(tasks: Callable[..., list[Task]]) -> Callable[..., list[Task]]:
    return lambda *given: tasks(*given)[::-1]


def test_what_a_killed_run_left_is_removed_even_if_nothing_is_left_to_do(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source) == 0
    (image.directory / ".progress").mkdir()
    (image.directory / ".progress" / "host-1-2").write_text("{}")
    (image.directory / ".attributions-00000-00000.dead.tmp").touch()
    assert image(source, "--resume") == 0
    assert not [path for path in image.directory.iterdir() if path.name.startswith(".")]


def test_metrics_of_a_unit_that_was_begun_anew_count_once(
    image: Run, tmp_path: Path, mortal: list[list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, dead = UnitWorker.work, []

    def dies_at_the_end(self: UnitWorker, task: Task, counts: Counts) -> Metrics:
        found = work(self, task, counts)
        if not dead:
            dead.append(task)
            raise Died
        return found

    monkeypatch.setattr(UnitWorker, "work", dies_at_the_end)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 0
    assert image.store.manifest["spent"]["examples"] == 6


def test_a_suspect_unit_comes_last() -> None:
    suspects = recovery.Suspects()
    assert not suspects.blame([Report("h", 1, unit="a")])
    assert suspects.blame([Report("h", 1, unit="a", step="explain x")])


def test_a_step_that_is_fatal_in_one_unit_is_none_in_another() -> None:
    suspects, units = (
        recovery.Suspects(),
        [WorkUnit(id=name, path=name, id_prefix=name, first=0, count=1) for name in "ab"],
    )
    for name, step in (("a", "explain x"), ("a", "explain x"), ("b", "explain x"), ("b", "parse y")):
        suspects.blame([Report("h", 1, unit=name, step=step)])
    assert [(task.unit.id, list(task.fatal)) for task in suspects.tasks(units)] == [("a", ["explain x"]), ("b", [])]


# The lock


def test_a_store_that_another_run_writes_is_refused(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    with store_lock.locked(image.directory):
        for options in ((), ("--resume",), ("--overwrite",)):
            assert image(source, *options) == 2
            said = capsys.readouterr().err
            assert f"is being written by process {os.getpid()} on " in said
            assert "--name for another store" in said
        assert image(source, "--name=other") == 0
    assert not image.directory.exists()
    assert image(source) == 0


def test_the_lock_of_a_killed_run_is_taken_over(image: Run, tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from beam_pipelines.engine import store_lock
with store_lock.locked(pathlib.Path({str(image.directory)!r})):
    print("held", flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        source = write_records(tmp_path / "a.tfrecord", pictures(2))
        assert image(source) == 2
        other.send_signal(signal.SIGKILL)
    assert (image.directory / ".lock").exists()
    assert image(source) == 0
    assert not (image.directory / ".lock").exists()


def test_the_store_is_locked_as_long_as_it_is_written(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, commit, refused = UnitWorker.work, StoreWriter.commit, list[str]()

    def try_lock(what: str) -> None:
        try:
            store_lock.refuse_if_locked(image.directory)
        except StoreError:
            refused.append(what)

    monkeypatch.setattr(UnitWorker, "work", lambda *given: (try_lock("work"), work(*given))[1])
    monkeypatch.setattr(StoreWriter, "commit", lambda *given: (try_lock("commit"), commit(*given))[1])
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 0
    assert refused == ["work", "commit"]


def test_a_lock_whose_file_was_removed_before_it_was_held_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, files = fcntl.flock, list[int]()

    def flock(file: int, how: int) -> None:
        real(file, how)
        files.append(file)
        if len(files) == 1:  # the run before ends
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with store_lock.locked(tmp_path), pytest.raises(StoreError, match="is being written by"):
        store_lock.refuse_if_locked(tmp_path)


def test_a_lock_that_is_another_runs_by_now_is_left_alone(tmp_path: Path) -> None:
    mine = store_lock.locked(tmp_path)
    mine.__enter__()
    (tmp_path / ".lock").unlink()  # someone removes the folder, say
    with store_lock.locked(tmp_path):
        mine.__exit__(None, None, None)
        with pytest.raises(StoreError, match="is being written by"):
            store_lock.refuse_if_locked(tmp_path)


def test_a_store_that_another_run_began_in_the_meantime_is_refused(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_workers = trial.load_workers

    def other(*given: Any) -> UnitWorker:
        image.directory.mkdir(parents=True)
        (image.directory / "configuration.json").write_text('{"target": "9"}')
        return load_workers(*given)

    monkeypatch.setattr("beam_pipelines.cli.explain.load_workers", other)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 2
    assert 'target was "9", now "predicted"' in capsys.readouterr().err
    assert {path.name for path in image.directory.iterdir()} == {"configuration.json"}


# Disks and permissions


def test_a_full_disk_ends_the_run_and_what_was_finished_is_kept(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = pictures(4), pictures(4, seed=1)
    rng = np.random.default_rng(0)
    noise = [{**row, "id": f"{i}" + rng.bytes(20_000).hex()} for i, row in enumerate(large)]  # does not compress
    source = write_records(tmp_path / "a.tfrecord", [*small, *noise])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        assert image(source, "--unit_size=4") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert "is full (File too large); make room" in said
    assert "--resume goes on" in said
    assert sorted(re.sub("-.{6}-", "-", p.name) for p in image.directory.iterdir()) == [
        "attributions-00000-00000.parquet",
        "configuration.json",
        "errors-00000-00000.parquet",
        "inputs-00000-00000.parquet",
    ]
    assert image(source, "--unit_size=4", "--resume") == 0
    assert image.store.manifest["counts"]["examples"] == 8


@pytest.mark.parametrize("at", ["attributions-.*-00000-00001", "index", "manifest"])
def test_permission_lost_on_the_way(
    image: Run, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(6))
    real = os.replace

    def replace(old: Any, new: Any) -> None:
        if re.match(at, Path(new).name):
            raise PermissionError(13, "Permission denied")
        real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        assert image(source, "--unit_size=2") == 2
    said = capsys.readouterr().err
    assert f"cannot write to {image.directory}: Permission denied" in said
    assert not (image.directory / "manifest.json").exists()
    assert not [p for p in image.directory.iterdir() if p.name.endswith(".tmp")]
    assert image(source, "--unit_size=2", "--resume") == 0
    assert image.store.manifest["counts"]["examples"] == 6


def test_a_store_removed_on_the_way_is_not_made_anew(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = UnitWorker.work

    def work(self: UnitWorker, task: Task, counts: Counts) -> Metrics:
        if task.unit.id.endswith("00000-00001"):
            subprocess.run(["rm", "-r", str(image.directory)], check=True)
        return real(self, task, counts)

    monkeypatch.setattr(UnitWorker, "work", work)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert "removed while" in capsys.readouterr().err
    assert not image.directory.exists()


# Errors of examples


def test_too_many_errors_end_the_run_early(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*pictures(1), *([b"no example"] * 399)]
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=10") == 2
    said = capsys.readouterr().err
    assert "failed, more than --max_error_rate 0.5 allows (one of them: the record is not a tf.Example" in said
    assert not (image.directory / "manifest.json").exists()
    assert image(tmp_path / "a.tfrecord", "--unit_size=10", "--resume", "--max_error_rate=1") == 1
    assert image.store.manifest["counts"] == {"examples": 1, "maps": 2, "errors": 399}


@pytest.mark.parametrize(
    ("examples", "failed", "rate", "ends"),
    [(99, 99, 0.5, False), (100, 50, 0.5, False), (100, 51, 0.5, True), (100, 100, 1, False), (100, 1, 0, True)],
)
def test_what_too_many_errors_are(examples: int, failed: int, rate: float, ends: bool) -> None:
    with pytest.raises(StoreError) if ends else contextlib.nullcontext():
        recovery.Limits(rate, 600).check(examples, failed, "why")


def test_examples_that_are_behind_count_in_the_error_rate(image: Run, tmp_path: Path) -> None:
    bad = write_records(tmp_path / "a.tfrecord", [*pictures(30), *([b"no example"] * 90), *pictures(2)])
    assert image(bad, "--unit_size=60", "--max_error_rate=1") == 1
    next(image.directory.glob("attributions-*00000-00002.parquet")).unlink()  # 2 examples, both good
    assert image(bad, "--unit_size=60", "--resume") == 2
    mostly = [*pictures(150), *([b"no example"] * 110)]
    other = Run(image.model, tmp_path / "mostly")
    source = write_records(tmp_path / "b.tfrecord", mostly)
    assert other(source, "--unit_size=150", "--max_error_rate=1") == 1
    next(other.directory.glob("attributions-*00000-00001.parquet")).unlink()  # 110 examples, all bad
    assert other(source, "--unit_size=150", "--resume") == 1


def test_a_given_error_rate_is_also_looked_at_at_the_end(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", [*pictures(8), b"no example", b"nor this"])
    assert image(source, "--max_error_rate=0.1") == 2
    assert "2 of 10 examples failed, more than --max_error_rate 0.1 allows" in capsys.readouterr().err
    assert not (image.directory / "manifest.json").exists()
    assert image(source, "--max_error_rate=0.2", "--resume") == 1
    assert image.store.manifest["spent"]["errors"] == {"parse": 2}


def test_errors_are_retried_and_nothing_else(image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(9))
    whole = Run(image.model, tmp_path / "whole")
    assert whole(source, "--unit_size=3") == 0
    real = BatchExplainer.attempt

    def attempt(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id == "a:000004" for example in examples):
            raise RuntimeError("the GPU fell off the bus")
        return real(self, examples, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(BatchExplainer, "attempt", attempt)
        assert image(source, "--unit_size=3") == 1
    assert image(source, "--unit_size=3", "--resume") == 1  # finished; errors stay errors
    kept = {p.name: p.stat().st_mtime_ns for p in image.directory.glob("*-00000-0000[02].parquet")}
    assert image(source, "--unit_size=3", "--resume", "--retry_errors") == 0
    assert {p.name: p.stat().st_mtime_ns for p in image.directory.glob("*-00000-0000[02].parquet")} == kept
    assert_same(whole, image)


@pytest.mark.parametrize(
    ("score", "values", "finite"),
    [(1.0, 1.0, True), (None, 1.0, False), (np.inf, 1.0, False), (np.nan, 1.0, False), (1.0, -np.inf, False)],
)
def test_a_map_is_written_if_it_and_its_score_are_numbers(score: float | None, values: float, finite: bool) -> None:
    row = Attribution("a", "saliency", np.array([0, values], np.float32), score=score)
    assert is_finite(row) == finite


def test_an_output_of_which_another_class_is_not_a_number_is_an_error(
    image: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = BatchExplainer._predict

    def predicted(self: BatchExplainer, xs: dict[str, np.ndarray]) -> Any:
        found = predict(self, xs)
        outputs = np.array(found.outputs)
        outputs[1, 2] = np.nan
        return dataclasses.replace(found, outputs=outputs)

    monkeypatch.setattr(BatchExplainer, "_predict", predicted)
    explainer = BatchExplainer(Request(str(image.model), (("saliency", {}),), Target("class", 0)))
    records = explainer.explain([Example(str(i), {"image": np.ones((8, 8, 3), np.float32)}) for i in range(3)])
    assert [shown.example_id for shown in records.inputs] == ["0", "2"]
    assert [(failure.example_id, failure.error) for failure in records.errors] == [("1", "NotFinite")]


def test_an_output_that_is_not_a_number_is_an_error(image: Run, tmp_path: Path) -> None:
    rows = pictures(5)
    rows[2]["image"] = np.full((8, 8, 3), np.nan, np.float32)
    rows[3]["image"] = np.full((8, 8, 3), np.inf, np.float32)
    assert image(write_records(tmp_path / "a.tfrecord", rows)) == 1
    errors = {e["example_id"]: (e["stage"], e["error"]) for e in image.store.errors().to_pylist()}
    assert errors == {f"a:{i:06d}": ("explain", "NotFinite") for i in (2, 3)}
    assert np.isfinite(image.store.index.column("score").to_numpy()).all()


class Engine:
    """A runner whose job goes on until it is cancelled."""

    cancelled = False

    def wait_until_finish(self) -> None:
        while not self.cancelled:
            time.sleep(0.05)

    def cancel(self) -> None:
        self.cancelled = True


def test_a_job_on_an_engine_does_not_go_on_without_its_driver(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine()
    monkeypatch.setattr(recovery, "start", lambda *_: engine)
    monkeypatch.setattr(recovery, "_SECONDS_TO_STOP", 0.2)
    monkeypatch.setattr("beam_pipelines.engine.runners.choose", lambda flags: (object(), PipelineOptions([])))
    monkeypatch.setattr(Counts, "reports", lambda self, now=False: [Report("h", 1, done=200, failed=150)])
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 2
    assert "more than --max_error_rate" in capsys.readouterr().err
    assert engine.cancelled
