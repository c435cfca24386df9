"""The GPU benchmark runs on a CPU with small numbers, so that it is ready when a GPU is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import exactness, models, runs, throughput


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "METHODS", ("gradient_x_input", "occlusion"))
    monkeypatch.setattr(throughput, "FIXED_BATCHES", (64,))
    monkeypatch.setattr(runs, "STEPS", 2)


def measure(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    gpu.main([*options, "--timing", "0.01", "--json", str(tmp_path / "gpu.json")])
    rows: list[dict[str, Any]] = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["device"] for row in rows} == {"CPU"}
    assert not [row for row in rows if "error" in row]
    return rows


@pytest.mark.slow
def test_exactness_and_throughput_without_a_gpu(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = ["--examples", "64", "--cases", "3", "--net", "textcnn", "--method", "gradient_x_input"]
    rows = measure(tmp_path, "exactness", "throughput", *numbers)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")] == rows
    errors = {row["maps"]: row["worst_percent"] for row in rows if "worst_percent" in row}
    assert errors.keys() == {"textcnn gradient_x_input", "textcnn occlusion"}
    assert 0 < max(errors.values()) < 0.1  # float32 against float64 on one processor
    assert [(row["held"], row["of"], row["failed"]) for row in rows if "golden" in row] == [(3, 3, [])]
    rates = [row for row in rows if row["part"] == "throughput"]
    assert all(row["evaluations_per_second"] > 0 for row in rates)
    assert {(row["net"], row["batch"], "goal" in row) for row in rates if "method" in row} == {
        ("textcnn", batch, batch == "chosen by itself") for batch in ("chosen by itself", 64)
    }
    floors = {(row["net"], row["floor"], row["precision"], row["compiled"]) for row in rates if "floor" in row}
    assert len(floors) == 2 * 4


def test_the_pipeline_is_measured_without_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(rows=lambda _: iter([{"error": "the process ended with status 1"}]))
    watched = runs.Watched(samples=[(1.0, 0.0, 0.0), (2.0, 100.0, 1.0), (3.0, 300.0, 1.0)])
    monkeypatch.setattr(runs, "Worker", lambda *_, **__: ended)
    monkeypatch.setattr(runs, "prepare", lambda *_: [])
    monkeypatch.setattr(runs, "watch", lambda *_: watched)
    error, figures = runs.measure_pipeline(1.0, True, 300, 0.1)
    assert error == {"error": "the process ended with status 1"}
    assert (figures["examples_per_second"], figures["busy"], figures["reached"]) == (200, 1, False)
    assert "floor" not in figures


@pytest.mark.slow
def test_runs_of_the_pipeline_without_a_gpu(tmp_path: Path, small: None) -> None:
    rows = measure(tmp_path, "pipeline", "processes", "full_card", "--pictures", "64", "--seconds", "300")
    assert [(row["part"], row["status"], row["was_stopped"]) for row in rows] == [
        (part, 0, False) for part in ("pipeline", "processes", "full_card")
    ]
    assert rows[0]["evaluations_per_second"] > 0
    assert 0 < rows[0]["busy"] <= 1
    assert rows[1]["processes_at_work"] == 2


def test_a_run_is_judged_while_it_is_at_work() -> None:
    run = runs.Watched(samples=[(0, 0, 0.0), (10, 0, 0.0), (12, 20, 1.0), (14, 60, 0.8), (16, 60, 0.0)])
    assert run.examples_per_second == 20
    assert run.busy == pytest.approx(0.9)
    assert (runs.Watched().examples_per_second, runs.Watched().busy) == (0, 0)


@pytest.fixture
def seconds_passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of the clock of the exactness, on which maps of eight examples take 1 second in float32 and 2 in float64, a golden case 1 second."""
    passed = [0.0]

    def explainer(method: str, model: Any, precision: str, **parameters: Any) -> Any:
        def run(x: np.ndarray, target: int) -> np.ndarray:
            passed[0] += 2 if precision == "float64" else 1
            return x + (precision == "float32")

        return SimpleNamespace(run=run)

    def failure(case: dict[str, Any], precision: str) -> None:
        passed[0] += 1

    def clock(seconds: float) -> Any:
        end = passed[0] + seconds
        return SimpleNamespace(left=lambda: end - passed[0])

    def load(name: str, most: int) -> Any:
        return SimpleNamespace(name=name, model=None, x=np.ones((most, 2)))

    monkeypatch.setattr(exactness.dx, "Explainer", explainer)
    monkeypatch.setattr(exactness, "Clock", clock)
    monkeypatch.setattr(exactness, "failure", failure)
    monkeypatch.setattr(models, "load", load)
    return passed


def test_exactness_keeps_its_time_and_gives_each_figure_at_once(seconds_passed: list[float]) -> None:
    rows, times = [], []
    for row in exactness.measure(20.0, False, ["cnn28", "resnet"], examples=16, cases=8):
        rows.append(row)
        times.append(seconds_passed[0])
    # From 15 seconds on it is the golden cases' turn: of the third maps, each precision has its first examples.
    assert times == [6, 12, 17, 21, 21]
    assert [(row["maps"], row["examples"], row["worst_percent"]) for row in rows[:3]] == [
        ("cnn28 gradient_x_input", 16, 100),
        ("cnn28 deeplift", 16, 100),
        ("cnn28 occlusion", 8, 100),
    ]
    assert (rows[3]["golden"], rows[3]["cases_left_out"]) == ("4 of 4 hold", 4)
    left = ["cnn28 integrated_gradients", *(f"resnet {method}" for method in exactness.METHODS)]
    assert rows[4] == {"left_out": [f"CPU float32 {each}" for each in left], "seconds": 20}


def test_exactness_of_the_chosen_nets(seconds_passed: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["exactness", "--net", "textcnn", "--examples", "2", "--cases", "1"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["maps"] for row in rows if "maps" in row] == [f"textcnn {method}" for method in exactness.METHODS]
    assert not [row for row in rows if "left_out" in row]


def test_figures_wait_for_the_reference_only(tmp_path: Path) -> None:
    def row(device: str, precision: str, value: float) -> dict[str, Any]:
        file = tmp_path / f"{device} {precision}.npy"
        np.save(file, np.full((2, 3), value))
        return {"device_of_maps": device, "precision": precision, "maps": "cnn28 deeplift", "file": str(file)}

    read = []

    def rows() -> Any:
        for each in (row("GPU", "mixed", 1.5), row("CPU", "float64", 1), row("GPU", "float32", 1)):
            read.append(each["precision"])
            yield each

    figures = [(each["precision"], each["worst_percent"], len(read)) for each in exactness._compare(rows())]
    assert figures == [("mixed", 50, 2), ("float32", 0, 3)]


def test_golden_cases_are_of_all_nets_in_turn() -> None:
    first = exactness.golden_cases(12)
    assert len({case["model"] for case in first}) == 12


def test_a_map_that_is_off_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.attribution import golden

    case = exactness.golden_cases(1)[0]
    off = {"x": np.ones(3)}, {"x": np.array([1, 1, 2.0])}
    monkeypatch.setattr(golden, "explain", lambda *_, **__: off)
    assert exactness.failure(case, "float32") == "off by 5.0e-01 of the largest value"
    monkeypatch.setattr(golden, "explain", lambda *_, **__: (off[0], off[0]))
    assert exactness.failure(case, "float32") is None


def test_random_examples_fit_their_nets() -> None:
    for name in models.NETS:
        net = models.load(name, 2)
        assert net.model(net.x[:2]).shape[0] == 2
