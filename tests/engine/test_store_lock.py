"""Two runs never write one store."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine import trial
from beam_pipelines.engine.store_lock import check_not_locked, store_lock
from beam_pipelines.engine.unit_worker import UnitWorker
from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import Run, pictures, write_records


def test_a_locked_store_is_rejected(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    with store_lock(image.directory):
        for options in ((), ("--resume",), ("--overwrite",)):
            assert image(source, *options) == 2
            output = capsys.readouterr().err
            assert f"is being written by process {os.getpid()} on " in output
            assert "--name for another store" in output
        assert image(source, "--name=other") == 0
    assert not image.directory.exists()
    assert image(source) == 0


def test_a_stale_lock_is_taken_over(image: Run, tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from beam_pipelines.engine.store_lock import store_lock
with store_lock(pathlib.Path({str(image.directory)!r})):
    print("held", flush=True)
    time.sleep(600)
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
    work, commit, rejected = UnitWorker.explain_unit, StoreWriter.commit, list[str]()

    def try_lock(stage: str) -> None:
        try:
            check_not_locked(image.directory)
        except StoreError:
            rejected.append(stage)

    monkeypatch.setattr(UnitWorker, "explain_unit", lambda *arguments: (try_lock("work"), work(*arguments))[1])
    monkeypatch.setattr(StoreWriter, "commit", lambda *arguments: (try_lock("commit"), commit(*arguments))[1])
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 0
    assert rejected == ["work", "commit"]


def test_a_lock_file_removed_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, files = fcntl.flock, list[int]()

    def flock(file: int, how: int) -> None:
        real(file, how)
        files.append(file)
        if len(files) == 1:  # the run before ends
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with store_lock(tmp_path), pytest.raises(StoreError, match="is being written by"):
        check_not_locked(tmp_path)


def test_the_lock_of_another_run_is_not_removed(tmp_path: Path) -> None:
    first = store_lock(tmp_path)
    first.__enter__()
    (tmp_path / ".lock").unlink()  # someone removes the folder, say
    with store_lock(tmp_path):
        first.__exit__(None, None, None)
        with pytest.raises(StoreError, match="is being written by"):
            check_not_locked(tmp_path)


def test_a_store_that_another_run_began_meanwhile_is_rejected(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_workers = trial.load_workers

    def begin_another(*arguments: Any) -> Any:
        image.directory.mkdir(parents=True)
        (image.directory / "configuration.json").write_text('{"format_version": 2, "target": "9"}')
        return load_workers(*arguments)

    monkeypatch.setattr("beam_pipelines.cli.explain.load_workers", begin_another)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(2))) == 2
    assert 'target was "9", now "predicted"' in capsys.readouterr().err
    assert {path.name for path in image.directory.iterdir()} == {"configuration.json"}
