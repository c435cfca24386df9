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


def test_a_worker_that_fails_leaves_the_rows_of_the_others() -> None:
    ready, ended, damaged = (workers.Worker(function, {}, to=1) for function in (count, _unknown, print_damaged))
    assert ended._process.wait() == 1  # before its rows are read
    rows = list(workers.rows_of_all([ready, ended, damaged], 5))
    assert [row["number"] for row in rows if "number" in row] == [0]
    errors = sorted(row["error"] for row in rows if "error" in row)
    assert len(errors) == 2
    assert errors[0].startswith("JSONDecodeError")
    assert errors[1] == "the process ended with status 1"


def _unknown() -> Any:
    """A function that the process does not have."""


_unknown.__name__ = "absent"


def print_damaged(seconds: float, to: int) -> Any:
    """A line that is no row, for the test above."""
    print("row {")
    yield from ()


def count(seconds: float, to: int) -> Any:
    """Rows for the test above."""
    for number in range(to):
        yield {"number": number, "seconds": seconds}
