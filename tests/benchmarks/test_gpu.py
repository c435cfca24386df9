"""The GPU benchmark runs on a CPU with small numbers, so that it is ready when a GPU is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_runs_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "NETS", {"cnn28": ((28, 28, 1), 64)})
    monkeypatch.setattr(gpu, "BATCHES", (None,))
    gpu.main(["--examples", "4", "--seconds", "0.01", "--json", str(tmp_path / "gpu.json")])
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    errors = {row["method"]: row["worst"] for row in rows if row["part"] == "exactness"}
    assert errors.keys() == gpu.METHODS.keys()
    assert max(errors.values()) < 1e-4  # float32 against float64 on one processor
    assert all(row["evaluations_per_second"] > 0 for row in rows if row["part"] == "throughput")
