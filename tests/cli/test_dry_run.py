"""--dry_run: the estimate agrees with the run, and no file remains."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from beam_pipelines.cli.dry_run import Estimate, _sample
from beam_pipelines.reading.work_unit import WorkUnit
from tests.pipeline_runs import Run, pictures, write_records


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made during the test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def read_number(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    assert match, output
    return float(match[1].replace(",", ""))


def test_evaluations_and_bytes_are_those_of_the_run(
    image: Run, tmp_path: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(1000))
    assert image(source, "--unit_size=200", "--dry_run", methods="integrated_gradients") == 0
    output = capsys.readouterr().out
    assert not image.logdir.exists()
    assert not list(scratch.iterdir())
    assert output.startswith("explain   1,000 examples")
    assert output.endswith("nothing was written; the same command without --dry_run starts the run\n")
    assert image(source, "--unit_size=200", methods="integrated_gradients") == 0
    evaluations = image.store.manifest["spent"]["evaluations"]
    assert read_number(r"([\d,]+) evaluations\n", output) == pytest.approx(evaluations, rel=0.1)
    size = sum(path.stat().st_size for path in image.directory.glob("*.parquet"))
    assert read_number(r"disk +([\d.]+) kB", output) * 1e3 == pytest.approx(size, rel=0.15)
    assert read_number(r"([\d.]+) ms", output) > 0


def test_finished_units_do_not_count(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(12))
    assert image(source, "--unit_size=4") == 0
    next(image.directory.glob("attributions-*-00000-00001.parquet")).unlink()
    before = {path: path.stat().st_mtime_ns for path in image.directory.iterdir()}
    assert image(source, "--unit_size=4", "--resume", "--dry_run") == 0
    assert "explain   4 examples" in capsys.readouterr().out
    assert image(source, "--unit_size=4", "--overwrite", "--dry_run") == 0
    assert "explain   12 examples" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in image.directory.iterdir()} == before
    assert image(source, "--unit_size=4", "--resume") == 0
    capsys.readouterr()
    assert image(source, "--unit_size=4", "--resume", "--dry_run") == 0
    assert capsys.readouterr().out == "nothing is left to explain\n"


def test_failed_examples_are_reported(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(exported("binary"), tmp_path / "logs")
    rows = [{"x": [0.5] * (4 if i % 4 else 3)} for i in range(80)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path / "a.jsonl", "--dry_run") == 0
    assert "; 25.0% failed" in capsys.readouterr().out
    assert run(tmp_path / "a.jsonl", "--dry_run", "--target=label", "--batch_size=8") == 2  # there are no labels
    assert "none of the examples of the sample could be explained; run without" in capsys.readouterr().err


def test_each_example_of_the_sample_counts_once(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(exported("binary"), tmp_path / "logs")
    rows = [{"x": [0.5] * (3 if i < 8 else 4)} for i in range(64)]  # the first ones fail
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path / "a.jsonl", "--dry_run", "--batch_size=8") == 0
    output = capsys.readouterr().out
    assert "sample    64 examples: " in output and "; 12.5% failed" in output


def test_damage_counts_as_a_failure_and_workers_are_those_of_the_run(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    source.write_bytes(source.read_bytes()[:-10])
    assert image(source, "--dry_run", "--direct_num_workers=3", "--direct_running_mode=multi_processing") == 0
    output = capsys.readouterr().out
    assert output.startswith("explain   5 examples")
    assert "sample    5 examples: " in output
    assert "; 20.0% failed" in output
    assert " with 3 worker processes, " in output


def test_the_sample_of_a_folder_of_pictures() -> None:
    names = tuple(f"{i}.png" for i in range(20))
    parts = _sample(
        [
            WorkUnit(
                id="u",
                path="folder",
                id_prefix="",
                first=0,
                count=20,
                damage="cut off",
                format="pictures",
                pictures=names,
            )
        ],
        4,
    )
    assert [len(part.pictures) for part in parts] == [part.count for part in parts] == [4, 4, 8, 16, 20]
    assert [part.damage for part in parts] == [None, None, None, None, "cut off"]


@pytest.mark.parametrize(
    ("units", "records", "batch"), [(1, 3, 16), (1, 256, 16), (2, 256, 16), (50, 256, 16), (9, 5, 64)]
)
def test_the_sample_is_spread_over_the_input_and_grows_to_a_unit(units: int, records: int, batch: int) -> None:
    parts = _sample(
        [WorkUnit(id=f"{i}", path=f"file{i}", id_prefix="a", first=0, count=records) for i in range(units)], batch
    )
    counts = [part.count for part in parts]
    assert counts[0] == counts[1] == min(batch, records)
    assert counts == sorted(counts)
    assert counts[-1] == records
    assert len({part.id for part in parts}) == len(parts)
    assert {parts[0].path, parts[-1].path} == {"file0", f"file{units - 1}"}


def test_more_workers_than_cores_save_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5e11))
    estimate = Estimate(1000, 100, 0.0, 0.0, 5000, 10, 100, cores=2, bytes=1e12)
    assert [estimate.seconds(n) for n in (0, 1, 2, 4, 8)] == [110, 120, 70, 45, 45]  # workers start after this process
    assert "1.0 TB of 500.0 GB free: not enough\n" in estimate.describe(Path("/"), 4)
    assert "500.0 GB free\n" in dataclasses.replace(estimate, bytes=5e11).describe(Path("/"), 4)
    assert "45 s with 4 worker processes, including 20 s to start" in estimate.describe(Path("/"), 4)
    assert "1 min 50 s with one process, including 10 s to start" in estimate.describe(Path("/"), 0)
