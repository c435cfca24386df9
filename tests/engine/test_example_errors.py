"""Examples that fail: the error rate, retries, outputs that are not finite."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.engine.run_limits import RunLimits
from tb_deepexplain.errors import StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.map_rows import finite_maps
from tb_deepexplain.recording.request import make_request
from tests.pipeline_runs import Run, assert_same, pictures, write_records


def test_too_many_errors_end_the_run_early(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*pictures(1), *([b"no example"] * 399)]
    assert image(write_records(tmp_path / "a.tfrecord", rows), "--unit_size=10") == 2
    output = capsys.readouterr().err
    assert "failed, more than --max_error_rate 0.5 allows (one of them: the record is not a tf.Example" in output
    assert not (image.directory / "manifest.json").exists()
    assert image(tmp_path / "a.tfrecord", "--unit_size=10", "--resume", "--max_error_rate=1") == 1
    assert image.store.manifest["counts"] == {"examples": 1, "maps": 2, "errors": 399}


@pytest.mark.parametrize(
    ("examples", "failed", "rate", "ends"),
    [(99, 99, 0.5, False), (100, 50, 0.5, False), (100, 51, 0.5, True), (100, 100, 1, False), (100, 1, 0, True)],
)
def test_the_error_rate(examples: int, failed: int, rate: float, ends: bool) -> None:
    with pytest.raises(StoreError) if ends else contextlib.nullcontext():
        RunLimits(rate, 600).check_error_rate(examples, failed, "why")


def test_examples_of_earlier_runs_count_in_the_error_rate(image: Run, tmp_path: Path) -> None:
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


def test_an_error_rate_is_also_checked_at_the_end(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", [*pictures(8), b"no example", b"nor this"])
    assert image(source, "--max_error_rate=0.1") == 2
    assert "2 of 10 examples failed, more than --max_error_rate 0.1 allows" in capsys.readouterr().err
    assert not (image.directory / "manifest.json").exists()
    assert image(source, "--max_error_rate=0.2", "--resume") == 1
    assert image.store.manifest["spent"]["errors"] == {"parse": 2}


def test_only_units_with_errors_are_retried(image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    [(1.0, 1.0, True), (np.inf, 1.0, False), (np.nan, 1.0, False), (1.0, -np.inf, False)],
)
def test_a_map_is_written_if_it_and_its_score_are_finite(score: float, values: float, finite: bool) -> None:
    maps = np.array([[0, 1], [0, values]], np.float32)
    assert finite_maps({"x": maps}, np.array([1, score])).tolist() == [True, finite]
    assert finite_maps({"x": list(maps)}, np.array([1, score])).tolist() == [True, finite]
    of_explained = finite_maps({"x": maps, "y": np.full((2, 1), np.nan)}, np.array([1, score]), ["x"])
    assert of_explained.tolist() == [True, finite]


def test_an_output_with_a_nan_in_another_class_is_an_error(image: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = BatchExplainer._predict

    def predicted(self: BatchExplainer, xs: dict[str, np.ndarray]) -> Any:
        predictions = predict(self, xs)
        outputs = np.array(predictions.outputs)
        outputs[1, 2] = np.nan
        return dataclasses.replace(predictions, outputs=outputs)

    monkeypatch.setattr(BatchExplainer, "_predict", predicted)
    explainer = BatchExplainer(make_request(image.model, ["saliency"], target=0))
    records = explainer.explain([Example(str(i), {"image": np.ones((8, 8, 3), np.float32)}) for i in range(3)])
    assert [shown.example_id for shown in records.inputs] == ["0", "2"]
    assert [(failure.example_id, failure.error) for failure in records.errors] == [("1", "NotFinite")]


def test_an_output_that_is_not_finite_is_an_error(image: Run, tmp_path: Path) -> None:
    rows = pictures(5)
    rows[2]["image"] = np.full((8, 8, 3), np.nan, np.float32)
    rows[3]["image"] = np.full((8, 8, 3), np.inf, np.float32)
    assert image(write_records(tmp_path / "a.tfrecord", rows)) == 1
    errors = {e["example_id"]: (e["stage"], e["error"]) for e in image.store.errors().to_pylist()}
    assert errors == {f"a:{i:06d}": ("explain", "NotFinite") for i in (2, 3)}
    assert np.isfinite(image.store.index.column("score").to_numpy()).all()
