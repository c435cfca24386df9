"""Processes that measure. This file imports no TensorFlow, because they import it."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu import workers


def test_rows_of_processes_come_as_they_are_measured() -> None:
    ready = [workers.Worker(count, {}, to=to) for to in (2, 3)]
    rows = list(workers.rows_of_all(ready, 5))
    assert sorted(row.get("number", -1) for row in rows) == [0, 0, 1, 1, 2]
    assert all(0 < row["seconds"] <= 5 for row in rows)
    assert "status" in list(workers.Worker(count, {}, to="?").rows(5))[-1]["error"]


def count(seconds: float, to: int) -> Any:
    """Rows for the test above."""
    for number in range(to):
        yield {"number": number, "seconds": seconds}
