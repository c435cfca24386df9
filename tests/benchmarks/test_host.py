"""The benchmark of the host runs with small numbers, and its stages are functions that a run calls."""

from __future__ import annotations

import pytest

from benchmarks import host


@pytest.mark.slow
def test_every_stage_is_measured() -> None:
    row = host.measure(host.CASES[0], 1, 0.01)
    assert row["examples"] == 600
    assert row["stages"].keys() == host.STAGES.keys()
    assert all(seconds > 0 for name, seconds in row["stages"].items() if name != "commit")
