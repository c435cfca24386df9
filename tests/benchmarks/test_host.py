"""The benchmark of the host runs with small numbers, and its stages are functions that a run calls."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import host


@pytest.mark.slow
def test_every_stage_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, explain = list[host.Run](), host.explain

    def explain_and_keep(*arguments: Any) -> host.Run:
        runs.append(explain(*arguments))
        return runs[-1]

    monkeypatch.setattr(host, "explain", explain_and_keep)
    row = host.measure(host.CASES[0], 1, 0.01)
    assert row["examples"] == 600
    assert row["stages"].keys() == host.STAGES.keys()
    for run in runs[-2:]:  # differences between two short runs may be noise
        assert {stage: seconds for stage, seconds in run.stages.items() if seconds <= 0} == {}
