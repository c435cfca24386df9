"""--dry_run tells what the run then takes, and leaves no trace."""

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


def number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    assert found, said
    return float(found[1].replace(",", ""))


def test_evaluations_and_bytes_are_those_of_the_run(
    image: Run, tmp_path: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(1000))
    assert image(source, "--unit_size=200", "--dry_run", methods="integrated_gradients") == 0
    said = capsys.readouterr().out
    assert not image.logdir.exists()
    assert not list(scratch.iterdir())
    assert said.startswith("explain   1,000 examples")
    assert said.endswith("nothing was written; the same command without --dry_run starts the run\n")
    assert image(source, "--unit_size=200", methods="integrated_gradients") == 0
    evaluations = image.store.manifest["spent"]["evaluations"]
    assert number(r"([\d,]+) evaluations\n", said) == pytest.approx(evaluations, rel=0.1)
    size = sum(path.stat().st_size for path in image.directory.glob("*.parquet"))
    assert number(r"disk +([\d.]+) kB", said) * 1e3 == pytest.approx(size, rel=0.15)
    assert number(r"([\d.]+) ms", said) > 0


def test_only_what_is_left_counts(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_failures_are_told_and_when_all_fail_it_says_so(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(exported("binary"), tmp_path / "logs")
    rows = [{"x": [0.5] * (4 if i % 4 else 3)} for i in range(80)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path / "a.jsonl", "--dry_run") == 0
    assert "; 25.0% failed" in capsys.readouterr().out
    assert run(tmp_path / "a.jsonl", "--dry_run", "--target=label", "--batch_size=8") == 2  # there are no labels
    assert "none of the examples of the sample could be explained; run without" in capsys.readouterr().err


def test_what_cannot_be_read_counts_and_workers_are_those_of_the_run(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    source.write_bytes(source.read_bytes()[:-10])
    assert image(source, "--dry_run", "--direct_num_workers=3", "--direct_running_mode=multi_processing") == 0
    said = capsys.readouterr().out
    assert said.startswith("explain   5 examples")
    assert "sample    5 examples: " in said
    assert "; 20.0% failed" in said
    assert " with 3 worker processes, " in said


def test_the_sample_of_a_folder_has_as_many_names_as_pictures_and_damage_at_its_end() -> None:
    names = tuple(f"{i}.png" for i in range(20))
    found = _sample(
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
    assert [len(part.pictures) for part in found] == [part.count for part in found] == [4, 4, 8, 16, 20]
    assert [part.damage for part in found] == [None, None, None, None, "cut off"]


@pytest.mark.parametrize(
    ("units", "records", "batch"), [(1, 3, 16), (1, 256, 16), (2, 256, 16), (50, 256, 16), (9, 5, 64)]
)
def test_the_sample_is_spread_over_the_input_and_grows_to_a_unit(units: int, records: int, batch: int) -> None:
    found = _sample(
        [WorkUnit(id=f"{i}", path=f"file{i}", id_prefix="a", first=0, count=records) for i in range(units)], batch
    )
    counts = [part.count for part in found]
    assert counts[0] == counts[1] == min(batch, records)
    assert counts == sorted(counts)
    assert counts[-1] == records
    assert len({part.id for part in found}) == len(found)
    assert {found[0].path, found[-1].path} == {"file0", f"file{units - 1}"}


def test_workers_beyond_the_cores_are_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5e11))
    found = Estimate(1000, 100, 0.0, 5000, 10, 100, cores=2, bytes=1e12)
    assert [found.seconds(n) for n in (0, 1, 2, 4, 8)] == [110, 120, 70, 45, 45]  # workers start when this one has
    assert "1.0 TB of 500.0 GB free: not enough\n" in found.describe(Path("/"), 4)
    assert "500.0 GB free\n" in dataclasses.replace(found, bytes=5e11).describe(Path("/"), 4)
    assert "45 s with 4 worker processes, including 20 s to start" in found.describe(Path("/"), 4)
    assert "1 min 50 s with one process, including 10 s to start" in found.describe(Path("/"), 0)
