"""Full disks, lost permissions and removed stores end a run with a message; finished units are kept."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.unit_worker import Task, UnitWorker
from tb_deepexplain.recording.work_metrics import Metrics
from tests.pipeline_runs import Run, pictures, write_records


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
    output = capsys.readouterr().err
    assert "is full (File too large); make room" in output
    assert "--resume continues" in output
    assert sorted(re.sub("-.{6}-", "-", p.name) for p in image.directory.iterdir()) == [
        "attributions-00000-00000.parquet",
        "configuration.json",
        "errors-00000-00000.parquet",
        "inputs-00000-00000.parquet",
    ]
    assert image(source, "--unit_size=4", "--resume") == 0
    assert image.store.manifest["counts"]["examples"] == 8


@pytest.mark.parametrize("at", ["attributions-.*-00000-00001", "index", "manifest"])
def test_write_permission_lost_during_the_run(
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
    output = capsys.readouterr().err
    assert f"cannot write to {image.directory}: Permission denied" in output
    assert not (image.directory / "manifest.json").exists()
    assert not [p for p in image.directory.iterdir() if p.name.endswith(".tmp")]
    assert image(source, "--unit_size=2", "--resume") == 0
    assert image.store.manifest["counts"]["examples"] == 6


def test_a_store_removed_during_the_run_is_not_created_again(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = UnitWorker.explain_unit

    def work(self: UnitWorker, task: Task, progress: ProgressFolder) -> Metrics:
        if task.unit.id.endswith("00000-00001"):
            subprocess.run(["rm", "-r", str(image.directory)], check=True)
        return real(self, task, progress)

    monkeypatch.setattr(UnitWorker, "explain_unit", work)
    assert image(write_records(tmp_path / "a.tfrecord", pictures(6)), "--unit_size=2") == 2
    assert "removed while" in capsys.readouterr().err
    assert not image.directory.exists()
