"""The rows of the index for some examples: those of a page, of a sample, or by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tb_deepexplain.plugin.duckdb_engine import identifier
from tb_deepexplain.plugin.errors import NotFound
from tb_deepexplain.plugin.example_order import MAX_SPAN, Order, field_expression, order_of
from tb_deepexplain.plugin.filter_sql import CHANGE, STATES, Bindings
from tb_deepexplain.plugin.index_source import finite
from tb_deepexplain.plugin.parameters import ExampleQuery, Selection
from tb_deepexplain.plugin.selection_sql import selected_rows, unnest
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.store.index import Location
from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, Part

_COLUMNS = {  # of one example, over its selected rows
    "id": "example_id",
    "label": "max(label)",
    "label_name": "max(label_name)",
    "predicted": "max(predicted)",
    "misclassified": STATES["error"],
    "target": "arg_min(target, r)",
    "target_name": "arg_min(target_label, r)",
    "gap": f"max({finite('abs(gap)')})",
    "relative_gap": "max(relative_gap)",
}
_LOCATION_COLUMNS = {"shard", "row_group", "row", "input_shard", "input_row_group", "input_row", "dtype", "scale"}


class IndexRow(NamedTuple):
    """One map: its row of the index."""

    example_id: str
    step: int
    method: str
    target: int | None
    target_label: str | None
    target_index: list[int] | None
    score_function: str | None
    label: int | None
    label_name: str | None
    predicted: int | None
    misclassified: bool
    score: float | None
    probability: float | None
    baseline_score: float | None
    gap: float | None
    relative_gap: float | None
    evaluations: int | None
    warnings: list[str] | None
    parts: list[Part] | None
    slices: dict[str, float | str | None] | None  # values of the slice features by name
    shard: str
    row_group: int
    row: int
    input_shard: str
    input_row_group: int
    input_row: int

    @property
    def map_location(self) -> Location:
        return Location(self.shard, self.row_group, self.row, self.example_id)

    @property
    def input_location(self) -> Location:
        return Location(self.input_shard, self.input_row_group, self.input_row, self.example_id)


RowsById = dict[str, list[IndexRow]]


def page_rows(store: ServedStore, query: ExampleQuery) -> tuple[RowsById, int]:
    """The rows of the examples of a page by id, in order and by all methods; and the number of examples of the filter."""
    order = order_of(store, query)
    ranks = np.arange(len(order.rows))[query.offset : query.offset + query.limit]
    return _rows_at(store, order, ranks, query.selection), len(order.rows)


def page_ids(store: ServedStore, query: ExampleQuery) -> tuple[list[str], int]:
    """The ids of the examples of a page, in order, and the number of examples of the filter."""
    order = order_of(store, query)
    rows = order.rows[query.offset : query.offset + query.limit].tolist()
    sql = f"SELECT r, example_id FROM {store.index.sql} WHERE r IN (SELECT unnest($rows))"
    ids = dict(store.engine.rows(sql, {"rows": rows})) if rows else {}
    return [ids[row] for row in rows], len(order.rows)


def sample_rows(store: ServedStore, query: ExampleQuery, size: int) -> list[list[IndexRow]]:
    """The rows of at most `size` examples, evenly spread over the order of a query."""
    order = order_of(store, query)
    count = len(order.rows)
    ranks = np.unique(np.linspace(0, count - 1, min(size, count)).round().astype(int))
    return list(_rows_at(store, order, ranks, query.selection).values())


def rows_by_id(
    store: ServedStore,
    ids: Sequence[str],
    selection: Selection,
    methods: Sequence[str] | None = None,
    every: Literal["step", "target"] | None = None,
) -> RowsById:
    """The rows of these examples by id: of the selected step and target, or of `every` step or target."""
    bindings = Bindings()
    selected = selected_rows(store, selection, bindings, ids=unnest(bindings, ids), every=every)
    condition = f" WHERE method IN ({unnest(bindings, methods)})" if methods is not None else ""
    sql = f"WITH {selected} SELECT {', '.join(IndexRow._fields)} FROM selected{condition} ORDER BY r"
    by_id: RowsById = {example_id: [] for example_id in ids}
    for values in store.engine.rows(sql, bindings.values) if ids else ():
        row = IndexRow(*values)
        by_id[row.example_id].append(row)
    return by_id


def example_columns(
    store: ServedStore, ids: Sequence[str], selection: Selection, names: Sequence[str]
) -> dict[str, list[Any]]:
    """Columns of these examples, in their order."""
    bindings = Bindings()
    names = list(dict.fromkeys(("id", *names)))
    expressions = [_COLUMNS.get(name) or field_expression(store, name, bindings) for name in names]
    listed = ", ".join(f"{expression} AS c{i}" for i, expression in enumerate(expressions))
    selected = selected_rows(store, selection, bindings, ids=unnest(bindings, ids), with_change=CHANGE in names)
    sql = f"WITH {selected} SELECT {listed} FROM selected GROUP BY example_id"
    by_id = {row[0]: row for row in (store.engine.rows(sql, bindings.values) if ids else ())}
    columns = {name: [by_id[example_id][i] for example_id in ids] for i, name in enumerate(names)}
    if "target" in columns:
        columns["target"] = [unit if unit is not None and unit >= 0 else None for unit in columns["target"]]
    for name_column, unit_column in (("label_name", "label"), ("target_name", "target")):
        if name_column in columns and unit_column in columns:
            pairs = zip(columns[name_column], columns[unit_column], strict=True)
            columns[name_column] = [name or store.unit_name(unit) for name, unit in pairs]
    return columns


def stored_numbers(store: ServedStore, example_id: str) -> list[dict[str, Any]]:
    """All numbers stored about one example, a dict for each of its maps. NotFound if there is no such example."""
    in_schema = [field.name for field in ATTRIBUTION_SCHEMA if field.name in store.fields.columns]
    names = [*in_schema, *sorted(store.fields.columns - set(in_schema))]
    names = [name for name in names if name not in _LOCATION_COLUMNS]
    sql = f"SELECT {', '.join(map(identifier, names))} FROM {store.index.sql} WHERE example_id = $id ORDER BY r"
    maps = [dict(zip(names, values, strict=True)) for values in store.engine.rows(sql, {"id": example_id})]
    if not maps:
        raise NotFound(f"no example {example_id!r} in this store")
    return maps


def _rows_at(store: ServedStore, order: Order, ranks: np.ndarray, selection: Selection) -> RowsById:
    """The rows of the examples at these ranks of an order, in their order."""
    if not len(ranks):
        return {}
    firsts, spans = order.rows[ranks].tolist(), order.spans[ranks].tolist()
    examples = _rows_nearby(store, order, firsts, spans, selection) if max(spans) < MAX_SPAN else {}
    if not examples or not (order.all_methods or all(len(r) == len(store.methods) for r in examples.values())):
        bindings = Bindings()
        ids = f"SELECT example_id FROM {store.index.sql} WHERE r IN ({unnest(bindings, firsts)})"
        examples = _examples_by_row(store, selected_rows(store, selection, bindings, ids=ids), bindings, firsts)
    return {examples[first][0].example_id: examples[first] for first in firsts}


def _rows_nearby(
    store: ServedStore, order: Order, firsts: Sequence[int], spans: Sequence[int], selection: Selection
) -> Mapping[int, list[IndexRow]]:
    """The rows of examples by their first row, from the neighbourhood of those rows alone: no search of the whole index."""
    margin = 0 if order.all_methods else len(store.methods) - 1
    ranges = [range(row - margin, row + span + margin + 1) for row, span in zip(firsts, spans, strict=True)]
    bindings = Bindings()
    selected = selected_rows(store, selection, bindings, rows=sorted(set().union(*ranges)))
    return _examples_by_row(store, selected, bindings, firsts)


def _examples_by_row(
    store: ServedStore, selected: str, bindings: Bindings, rows: Sequence[int]
) -> Mapping[int, list[IndexRow]]:
    """The selected rows of each example that has one of `rows`, by that."""
    requested = set(rows)
    by_id: RowsById = {}
    by_row: dict[int, list[IndexRow]] = {}
    sql = f"WITH {selected} SELECT r, {', '.join(IndexRow._fields)} FROM selected ORDER BY r"
    for number, *values in store.engine.rows(sql, bindings.values):
        row = IndexRow(*values)
        members = by_id.setdefault(row.example_id, [])
        members.append(row)
        if number in requested:
            by_row[number] = members
    return by_row
