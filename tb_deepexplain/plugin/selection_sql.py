"""Selections as SQL: the rows of the index for one step and one target of each example and method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tb_deepexplain.plugin.filter_sql import CHANGE, Bindings
from tb_deepexplain.plugin.parameters import Selection
from tb_deepexplain.plugin.served_store import ServedStore


def selected_rows(
    store: ServedStore,
    selection: Selection,
    bindings: Bindings,
    *,
    ids: str | None = None,
    rows: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    every: Literal["step", "target"] | None = None,
    with_change: bool = False,
) -> str:
    """The table `selected` for a WITH clause: the rows of a selection, of all examples or those in the query `ids`.

    `rows` and `methods` limit it further; `every` lifts the limit to one step or target. With `with_change` every row has the
    column CHANGE.
    """
    conditions = [f"method IN ({unnest(bindings, methods or store.fields.methods)})"]
    if ids is not None:
        conditions.append(f"example_id IN ({ids})")
    if rows is not None:
        conditions.append(f"r IN ({unnest(bindings, rows)})")
    if every != "step":
        conditions.append(f"step = {bindings.add(store.latest_step(selection.step))}")
    if every != "target":
        conditions += _target_condition(selection.target, bindings)
    source = _with_change(store.index.sql) if with_change else store.index.sql
    sql = f"SELECT * FROM {source} WHERE {' AND '.join(conditions)}"
    if selection.target is None and every != "target" and store.targets:
        # The predicted class where it was explained, else the first target.
        ranked = "PARTITION BY example_id, method, step ORDER BY (target IS NOT DISTINCT FROM predicted) DESC, r"
        sql += f" QUALIFY row_number() OVER ({ranked}) = 1"
    return f"selected AS ({sql})"


def unnest(bindings: Bindings, values: Sequence[str] | Sequence[int]) -> str:
    """A query that gives these values."""
    return f"SELECT unnest({bindings.add(list(values))})"


def _target_condition(target: str | int | None, bindings: Bindings) -> list[str]:
    match target:
        case None:
            return []
        case "predicted" | "label":
            return [f"target = {target}"]
        case "sum":
            return ["coalesce(target, -1) < 0"]  # of no single class: the sum of all units, or a score function
    return [f"target = {bindings.add(target)}"]


def _with_change(source: str) -> str:
    """The rows of the index, each with the change of its target's score from the first step to the last."""
    change = "abs(arg_max(score, step) - arg_min(score, step))"
    changes = f"SELECT example_id, target, {change} AS {CHANGE} FROM {source} WHERE isfinite(score) GROUP BY ALL"
    same = "i.example_id = c.example_id AND i.target IS NOT DISTINCT FROM c.target"
    return f"(SELECT i.*, c.{CHANGE} FROM {source} i LEFT JOIN ({changes}) c ON {same})"
