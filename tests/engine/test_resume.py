"""A run that ends early keeps finished units, and the next one explains only the others."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.engine.explain_unit import ExplainUnit
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.unit_worker import Task, UnitWorker
from tb_deepexplain.errors import StoreError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store import configuration
from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import Run, assert_same, pictures, write_records


@pytest.fixture
def begun_units(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the units that workers began."""
    unit_ids: list[str] = []
    explain_unit = UnitWorker.explain_unit

    def work(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        unit_ids.append(task.unit.id)
        return explain_unit(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", work)
    return unit_ids


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch, begun_units: list[str]) -> Callable[[str | None], None]:
    """Makes the worker fail in the middle of writing the named unit, or heals it."""
    explain_unit = UnitWorker.explain_unit

    def install(unit_id: str | None) -> None:
        def work(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
            if unit_id and task.unit.id.endswith(unit_id):
                with self._writer.shard(task.unit.id) as shard:
                    shard.add(errors=())
                    shard._writer("attributions")
                    raise OSError("the disk is gone")
            return explain_unit(self, task, progress)

        monkeypatch.setattr(UnitWorker, "explain_unit", work)

    return install


def test_after_a_crash_resume_does_the_rest_and_gives_the_same_store(
    exported: Callable[[str], Path],
    tmp_path: Path,
    crash: Callable[[str | None], None],
    begun_units: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(20))
    whole, broken = (Run(exported("image"), tmp_path / f"logs{i}") for i in range(2))
    assert whole(source, "--unit_size=4") == 0

    crash("00000-00003")
    assert broken(source, "--unit_size=4") == 2
    output = capsys.readouterr().err
    assert "the disk is gone" in output
    assert "--resume" in output
    assert "Traceback" not in output
    assert not (broken.directory / "manifest.json").exists()
    assert not list((broken.logdir / "r").glob("events.out.*"))
    with pytest.raises(StoreError):
        _ = broken.store
    finished = {p.name: p.stat().st_mtime_ns for p in broken.directory.glob("*.parquet")}
    assert len(finished) == 3 * 3
    (broken.directory / ".attributions-00000-00003.dead.tmp").write_bytes(b"left by a worker that was killed")

    crash(None)
    begun_units.clear()
    assert broken(source, "--unit_size=4", "--resume") == 0
    assert [unit[-11:] for unit in begun_units] == ["00000-00003", "00000-00004"]
    assert_same(whole, broken)
    after = {p.name: p.stat().st_mtime_ns for p in broken.directory.iterdir()}
    assert finished.items() <= after.items()
    assert not [name for name in after if name.startswith(".")]


def test_a_finished_store_is_left_alone(
    image: Run, tmp_path: Path, begun_units: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    assert image(source) == 0
    version = image.store.manifest["version"]
    begun_units.clear()
    assert image(source, "--resume") == 0
    assert begun_units == []
    assert image.store.manifest["version"] == version
    assert "nothing was left to explain" in capsys.readouterr().out


def test_a_store_of_the_same_name_is_not_changed(
    image: Run, tmp_path: Path, begun_units: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    assert image(source) == 0
    version = image.store.manifest["version"]
    begun_units.clear()
    for options, reason in [
        ((), "finished store of the same configuration; --resume continues it"),
        (("--resume", "--target=1"), 'target was "predicted", now "1"'),
        (("--resume", "--occlusion.step=2"), "--occlusion.step: occlusion is not among"),
        (("--resume", "--unit_size=3"), "unit_size was 256, now 3"),
    ]:
        assert image(source, *options) == 2
        assert reason in capsys.readouterr().err
    write_records(source, pictures(5, seed=1))  # other content under the same name, of the same length
    assert image(source, "--resume") == 2
    assert "input was" in capsys.readouterr().err
    assert begun_units == []
    assert image.store.manifest["version"] == version


def test_a_store_is_only_resumed_with_the_same_configuration(
    image: Run,
    tmp_path: Path,
    begun_units: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(3))
    small, large = "--occlusion.window_shape=4,4,3", "--occlusion.window_shape=8,8,3"
    assert image(source, small, methods="saliency,occlusion") == 0
    (tmp_path / "words").write_text("cat\ndog\nfish\n")
    for options, reason in [
        ((f"--labels={tmp_path / 'words'}",), 'labels was absent, now ["cat", "dog", "fish"]'),
        ((f"--vocab={tmp_path / 'words'}",), 'vocab was absent, now ["cat", "dog", "fish"]'),
        (("--step=3",), "step was 0, now 3"),
        (("--label_feature=class",), 'label_feature was "label", now "class"'),
        (("--id_feature=key",), 'id_feature was "id", now "key"'),
        (("--feature=image=image",), 'features.image was absent, now "image"'),
        (("--resize",), 'resize was absent, now "bilinear"'),
        (("--check_model=no",), "check_model was true, now false"),
        (("--check_batch=no",), "check_batch was true, now false"),
        ((large,), "methods.occlusion.window_shape was [4, 4, 3], now [8, 8, 3]"),
    ]:
        assert image(source, small, "--resume", *options, methods="saliency,occlusion") == 2
        assert reason in capsys.readouterr().err
    assert image(source, "--resume", methods="saliency") == 2
    assert "methods.occlusion was {" in capsys.readouterr().err
    shutil.copytree(image.model, tmp_path / "model")
    (tmp_path / "model" / "assets" / "more").write_text("")
    assert Run(tmp_path / "model", image.logdir)(source, small, "--resume", methods="saliency,occlusion") == 2
    assert "model was" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr("beam_pipelines.cli.run_configuration.__version__", "0.0.1")
        assert image(source, small, "--resume", methods="saliency,occlusion") == 2
    assert 'now "0.0.1"' in capsys.readouterr().err
    begun_units.clear()
    assert image(source, small, "--resume", "--batch_size=2", methods="saliency,occlusion") == 0
    assert begun_units == []


def test_a_store_of_another_program_is_not_resumed(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source) == 0
    (image.directory / "configuration.json").unlink()
    for committed in (True, False):  # or its shards alone
        assert image(source, "--resume") == 2
        assert "holds a store that another program made; --overwrite replaces it" in capsys.readouterr().err
        if committed:
            (image.directory / "manifest.json").unlink()
    assert image(source, "--overwrite") == 0


def test_overwrite_replaces_the_store_and_nothing_else(image: Run, tmp_path: Path) -> None:
    assert image(write_records(tmp_path / "a.tfrecord", pictures(9)), "--unit_size=3") == 0
    (image.directory / "notes.txt").write_text("mine")
    assert image(write_records(tmp_path / "b.tfrecord", pictures(2)), "--overwrite") == 0
    assert image.store.manifest["counts"]["examples"] == 2
    assert {p.name.split("-")[0] for p in image.directory.iterdir()} == {
        "attributions", "inputs", "errors", "index", "manifest.json", "configuration.json", "notes.txt",
    }  # fmt: skip
    assert len(list(image.directory.glob("attributions-*"))) == 1


@pytest.mark.parametrize("change", [configuration.clear, configuration.remove_failed_units])
def test_a_partly_removed_store_does_not_count(
    image: Run, tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*pictures(3), b"no example", *pictures(2, seed=1)]
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=2") == 1
    real = Path.unlink
    for killed_after in range(8):
        copy = tmp_path / str(killed_after)
        shutil.copytree(image.directory, copy)
        left = iter(range(killed_after))

        def unlink(path: Path, missing_ok: bool = False, left: Iterator[int] = left) -> None:
            if path.exists() and next(left, None) is None:
                raise KeyboardInterrupt
            real(path, missing_ok=missing_ok)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink)
            with contextlib.suppress(KeyboardInterrupt):
                change(copy)
        names = {path.name for path in copy.iterdir()} if copy.exists() else set()
        assert ("manifest.json" in names) == (killed_after == 0)
        for unit in StoreWriter(copy).finished_units():
            if killed_after and change is configuration.remove_failed_units:  # which the next run builds upon
                assert {f"{table}-{unit}.parquet" for table in ("inputs", "errors")} <= names


def test_a_failing_overwrite_keeps_the_old_store(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source) == 0
    assert image(source, "--overwrite", "--target=7") == 2
    assert image.store.manifest["counts"]["examples"] == 2


def test_another_name_is_another_store(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(2))
    assert image(source) == 0
    assert image(source, "--name=second", "--target=0") == 0
    assert {p.name for p in image.directory.parent.iterdir()} == {"default", "second"}
    assert len(list((image.logdir / "r").glob("events.out.*"))) == 2


def test_if_all_examples_fail_no_store_is_left(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = np.zeros((8, 8, 3), np.float32)
    source = write_records(tmp_path / "a.tfrecord", [{"image": good}] * 20)
    assert image(source, "--target=label") == 2
    output = capsys.readouterr().err
    assert "none of the examples could be explained: 20 × it has no label" in output
    assert not image.directory.exists()


def test_a_repeated_bundle_explains_nothing_twice(image: Run, tmp_path: Path, begun_units: list[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(4))
    real, functions = ExplainUnit.process, []

    def twice(self: ExplainUnit, task: Task) -> Iterator[str]:
        yield from real(self, task)
        yield from self._finish(0)
        functions.append(list(real(self, task)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ExplainUnit, "process", twice)
        assert image(source, "--unit_size=2") == 0
    assert len(begun_units) == 2
    assert functions == [[unit] for unit in begun_units]


def test_shards_of_an_abandoned_run_are_no_part_of_another(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(4))
    assert image(source, "--unit_size=2") == 0
    old = {path.name: path.read_bytes() for path in image.directory.glob("*-00000-0000?.parquet")}
    assert image(source, "--unit_size=2", "--target=0", "--overwrite") == 0
    for name, content in old.items():  # its workers stopped late
        (image.directory / name).write_bytes(content)
    (image.directory / "manifest.json").unlink()
    assert image(source, "--unit_size=2", "--target=0", "--resume") == 0
    assert set(image.store.index.column("target").to_pylist()) == {0}
    assert image.store.manifest["counts"]["examples"] == 4


def test_an_id_in_two_units_is_an_error_of_the_example(image: Run, tmp_path: Path) -> None:
    rows = [{**row, "id": f"p{i % 3}"} for i, row in enumerate(pictures(4))]
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=2") == 1
    assert image.store.manifest["counts"] == {"examples": 3, "maps": 6, "errors": 1}
    (error,) = image.store.errors().to_pylist()
    assert (error["example_id"], error["error"]) == ("p0", "DuplicateId")
