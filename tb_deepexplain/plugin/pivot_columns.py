"""The columns of a page of maps: methods, steps, targets or runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tb_deepexplain.plugin.errors import BadRequest
from tb_deepexplain.plugin.index_rows import IndexRow, RowsById, rows_by_id
from tb_deepexplain.plugin.parameters import Selection
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.views import select_methods

MAX_COLUMNS = 16


class ColumnChoice(NamedTuple):
    """What the columns are. Every pivot but "methods" shows one method: the first of `methods`, or of the store."""

    pivot: str = "methods"
    methods: Sequence[str] | None = None
    targets: Sequence[int] | None = None
    runs: Mapping[str, ServedStore] = {}
    change: bool = False  # one column more: the map of the last less that of the first


class PivotColumn(NamedTuple):
    """One column of maps: the store that they lie in, and the row of each example that has one."""

    key: str
    title: str
    method: dict[str, Any]
    store: ServedStore
    rows: Mapping[str, IndexRow]


def pivot_columns(
    store: ServedStore, examples: RowsById, selection: Selection, choice: ColumnChoice
) -> Iterator[PivotColumn]:
    """The columns for the examples of a page."""
    methods = select_methods(store, choice.methods)
    if choice.pivot == "methods":
        for method in methods:
            yield PivotColumn(method["id"], method["title"], method, store, _where(examples, "method", method["id"]))
        return
    if not methods:
        raise BadRequest("this store has no methods")
    method, ids = methods[0], list(examples)
    match choice.pivot:
        case "steps":
            yield from _step_columns(store, method, ids, selection)
        case "targets":
            yield from _target_columns(store, method, ids, selection, choice.targets)
        case _:
            yield from _run_columns(store, method, ids, selection, choice.runs)


def _step_columns(
    store: ServedStore, method: dict[str, Any], ids: Sequence[str], selection: Selection
) -> Iterator[PivotColumn]:
    rows = rows_by_id(store, ids, selection, [method["id"]], every="step")
    for step in _spread(store.steps):
        yield PivotColumn(str(step), f"step {step:,}", method, store, _where(rows, "step", step))


def _target_columns(
    store: ServedStore, method: dict[str, Any], ids: Sequence[str], selection: Selection, targets: Sequence[int] | None
) -> Iterator[PivotColumn]:
    rows = rows_by_id(store, ids, selection, [method["id"]], every="target")
    for unit in targets or _most_frequent_targets(rows):
        title = store.unit_name(unit) or _stored_name(rows, unit) or f"class {unit}"
        yield PivotColumn(str(unit), title, method, store, _where(rows, "target", unit))


def _run_columns(
    store: ServedStore,
    method: dict[str, Any],
    ids: Sequence[str],
    selection: Selection,
    runs: Mapping[str, ServedStore],
) -> Iterator[PivotColumn]:
    for run, other in runs.items():
        same_method = next((m for m in other.methods if m["id"] == method["id"]), None)
        if same_method is None:
            continue
        rows = rows_by_id(other, ids, selection, [method["id"]])
        first = {example_id: members[0] for example_id, members in rows.items() if members}
        if first or other is store:  # a run without any of these examples has nothing to compare
            yield PivotColumn(run, run, same_method, other, first)


def _where(examples: RowsById, field: str, value: Any) -> dict[str, IndexRow]:
    """The row of each example in which a field has this value."""
    position = IndexRow._fields.index(field)
    return {example_id: row for example_id, rows in examples.items() for row in rows if row[position] == value}


def _spread(steps: Sequence[int]) -> list[int]:
    """At most MAX_COLUMNS steps, evenly chosen, the first and the last among them."""
    if len(steps) <= MAX_COLUMNS:
        return list(steps)
    return [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, MAX_COLUMNS).round().astype(int))]


def _most_frequent_targets(examples: RowsById) -> list[int]:
    """The targets that most of these examples have, the most frequent first."""
    counts: dict[int, int] = {}
    for rows in examples.values():
        for row in rows:
            if row.target is not None and row.target >= 0:
                counts[row.target] = counts.get(row.target, 0) + 1
    return sorted(counts, key=lambda unit: (-counts[unit], unit))[:MAX_COLUMNS]


def _stored_name(examples: RowsById, unit: int) -> str | None:
    names = (row.target_label for rows in examples.values() for row in rows if row.target == unit)
    return next((name for name in names if name), None)
