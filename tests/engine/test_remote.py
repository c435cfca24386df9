"""Stores in remote storage: a real S3 server on this machine, and what works without one."""

from __future__ import annotations

import collections
import dataclasses
import re
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from upath import UPath
from werkzeug.serving import WSGIRequestHandler

from beam_pipelines.cli.explain import main
from beam_pipelines.engine import progress_folder
from beam_pipelines.engine import store_lock as store_lock_module
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.store_lock import store_lock
from beam_pipelines.engine.unit_worker import UnitWorker
from tb_deepexplain.errors import ParameterError, Stopped, StoreError
from tb_deepexplain.storage import read_text, to_path
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import Run, assert_same, pictures, write_records

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@dataclasses.dataclass(frozen=True)
class RemoteRun(Run):
    """As Run, to a logdir such as s3://bucket/logs."""

    logdir: str  # type: ignore[assignment]

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = pictures(12)
    rows[7] = {"image": rows[7]["image"][:4]}
    return write_records(tmp_path / "a.tfrecord", rows)


@pytest.mark.slow
def test_worker_processes_write_the_store_to_s3(image: Run, logs: str, source: Path) -> None:
    assert image(source, "--unit_size=3") == 1
    remote = RemoteRun(image.model, logs)
    assert remote(source, "--unit_size=3", *PROCESSES) == 1
    assert_same(image, remote)
    assert remote.store.errors().to_pylist() == image.store.errors().to_pylist()
    assert remote.store.manifest["spent"]["examples"] == 11
    (unit, *_) = remote.store.manifest["units"]
    shards = [f"{table}-{unit[:-1]}{i}.parquet" for table in ("attributions", "errors", "inputs") for i in range(4)]
    (index,) = remote.store.manifest["index"]
    assert remote.files == sorted([*shards, index, "configuration.json", "manifest.json"])
    (event,) = (to_path(logs) / "r").glob("events.out.*")
    (local,) = (image.logdir / "r").glob("events.out.*")
    assert len(event.read_bytes()) == len(local.read_bytes())


def test_few_requests(image: Run, logs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: collections.Counter[str] = collections.Counter()

    def count(self: WSGIRequestHandler, *_: object) -> None:
        counts[f"{self.command} {re.split('[-?]', self.path.rsplit('/', 1)[-1])[0]}"] += 1

    monkeypatch.setattr(WSGIRequestHandler, "log_request", count)
    assert RemoteRun(image.model, logs)(write_records(tmp_path / "a.tfrecord", pictures(40)), "--unit_size=2") == 0
    print(counts)
    units = 20
    assert sum(counts.values()) < 25 * units + 60


@pytest.mark.slow
def test_a_run_that_ended_early_is_resumed(
    image: Run, logs: str, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote, work, done = RemoteRun(image.model, logs), UnitWorker.explain_unit, []

    def fail_at_third_unit(self: UnitWorker, task: object, progress: object) -> object:
        done.append(task.unit.id)  # type: ignore[attr-defined]
        if len(done) == 3:
            raise StoreError("the network is gone")
        return work(self, task, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(UnitWorker, "explain_unit", fail_at_third_unit)
    assert remote(source, "--unit_size=3") == 2
    assert "the network is gone; finished units are kept" in capsys.readouterr().err
    assert not (remote.directory / "manifest.json").exists()
    assert len(StoreWriter(remote.directory).finished_units()) == 2
    assert remote(source, "--unit_size=3") == 2
    assert "partly finished store" in capsys.readouterr().err
    assert remote(source, "--unit_size=3", "--resume") == 1
    assert len(done) == len(set(done)) + 1 == 5
    assert remote.store.manifest["counts"]["examples"] == 11
    assert image(source, "--unit_size=3") == 1
    assert_same(image, remote)
    assert remote(source, "--unit_size=6", "--overwrite") == 1  # and leaves nothing of the old one
    assert len([name for name in remote.files if name.startswith("attributions")]) == 2
    assert remote(source, "--unit_size=6", "--resume", "--retry_errors") == 1
    assert ".lock" not in remote.files


def test_files_of_another_process_are_listed(logs: str) -> None:
    writer = StoreWriter(store_path(logs, "r", "default"))
    with writer.shard("a"):
        pass
    assert writer.finished_units() == {"a"}
    assert list(writer.directory.iterdir())  # where fsspec keeps listings, it now has one
    other = UPath(writer.directory, use_listings_cache=False, skip_instance_cache=True)
    with StoreWriter(other).shard("b"):
        pass
    assert writer.finished_units() == {"a", "b"}
    assert writer.is_finished("b")


def test_no_temporary_files_are_left(logs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writer = StoreWriter(store_path(logs, "r", "default"))
    with writer.shard("a") as shard:
        shard.add(errors=[Failure("x", "parse", "InputError", "no")])
    writer.commit(["a"], {"methods": []})
    assert not list(tmp_path.iterdir())


def test_the_first_of_two_shards_of_one_unit_is_kept(logs: str) -> None:
    directory = store_path(logs, "r", "default")
    with StoreWriter(directory).shard("u") as shard:
        shard.note("which", "first")
    with StoreWriter(directory).shard("u") as shard:
        shard.note("which", "second")
    assert StoreWriter(directory).notes("u")["which"] == "first"


def test_a_discarded_shard_leaves_nothing(logs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = store_path(logs, "r", "default")
    shard = StoreWriter(directory).shard("u")
    shard.add(errors=[Failure("x", "parse", "InputError", "no")])
    shard.discard()
    assert not list(directory.glob("*"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_one_run_at_a_time(
    scheme: str, logs: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(store_lock_module, "SECONDS_BETWEEN_BEATS", 0.2)
    directory = to_path(logs if scheme == "s3" else f"memory://{uuid.uuid4().hex}/logs")
    with (
        store_lock(directory),
        pytest.raises(StoreError, match=r"is being written by process \d+ on .*wait for it or stop it"),
        store_lock(directory),
    ):
        pass
    assert not (directory / ".lock").exists()
    (directory / ".lock").write_text("process 1 on another machine since yesterday\n7")  # that was killed
    with store_lock(directory):
        assert "another machine" not in read_text(directory / ".lock")
        deadline = time.monotonic() + 60
        while read_text(directory / ".lock").endswith("\n0"):
            assert time.monotonic() < deadline, "the lock does not beat"
            time.sleep(0.05)
    assert not (directory / ".lock").exists()


def test_a_lock_that_was_taken_over_is_not_removed(logs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock_module, "SECONDS_BETWEEN_BEATS", 0.1)
    with store_lock(to_path(logs)):
        (to_path(logs) / ".lock").write_text("another")
        threading.Event().wait(0.3)
    assert (to_path(logs) / ".lock").read_text() == "another"


def test_reports_of_workers_are_read(logs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_folder, "_SECONDS_BETWEEN_REQUESTS", 0.0)
    driver, worker = ProgressFolder(logs), ProgressFolder(logs)
    driver.create()
    worker.report_unit("u")
    worker.report_examples(3, 1, "no")
    (report,) = driver.read_reports()
    assert (report.unit, report.done, report.failed, report.reason) == ("u", 3, 1, "no")
    driver.request_stop()
    with pytest.raises(Stopped):
        worker.report_examples(1)
    driver.clear()
    assert driver.read_reports() == []


def test_reports_of_workers_are_read_every_ten_seconds(logs: str) -> None:
    driver, worker = ProgressFolder(logs), ProgressFolder(logs)
    driver.create()
    assert driver.read_reports() == []
    worker.report_unit("u")
    assert driver.read_reports() == []
    assert [report.unit for report in driver.read_reports(now=True)] == ["u"]


def test_a_bucket_that_does_not_exist(image: Run, logs: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert RemoteRun(image.model, "s3://no-such-bucket/logs")(source) == 2
    output = capsys.readouterr().err
    assert output.startswith("tb-deepexplain: cannot write to s3://no-such-bucket/logs/r/plugins/deepexplain/default: ")
    assert "check its name and your credentials" in output


def test_a_scheme_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ParameterError, match=r"gs://b: .*gcsfs.*pip install 'tensorboard-plugin-deepexplain\[gcp\]'"):
        to_path("gs://b/x")
    with pytest.raises(ParameterError, match="there is no filesystem nowhere://; give a folder, gs:// or s3://"):
        to_path("nowhere://b/x")


def test_model_and_labels_may_be_remote(exported: object, logs: str, source: Path) -> None:
    model = UPath(logs).parent / "models" / "m"
    local = exported("image")  # type: ignore[operator]
    for file in local.rglob("*"):
        if file.is_file():
            (model / str(file.relative_to(local))).write_bytes(file.read_bytes())
    (model.parent / "labels.txt").write_text("cat\ndog\nfish\n")
    flags = [f"--model={model}", f"--input={source}", f"--logdir={logs}", "--methods=saliency", "--run=r"]
    assert main([*flags, f"--labels={model.parent}/labels.txt"]) == 1
    assert Store(store_path(logs, "r", "default")).manifest["labels"] == ["cat", "dog", "fish"]


def test_a_dry_run_of_a_remote_store(image: Run, logs: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert RemoteRun(image.model, logs)(source, "--dry_run") == 0
    assert "are free" not in capsys.readouterr().out
    assert not to_path(logs).fs.find(logs)
