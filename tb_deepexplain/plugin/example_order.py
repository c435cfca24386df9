"""The examples that pass a filter, in their order."""

from __future__ import annotations

import dataclasses

import numpy as np

from tb_deepexplain import filter_grammar
from tb_deepexplain.plugin import filter_sql
from tb_deepexplain.plugin.errors import BadRequest
from tb_deepexplain.plugin.parameters import ExampleQuery
from tb_deepexplain.plugin.selection_sql import selected_rows
from tb_deepexplain.plugin.served_store import ServedStore

MAX_SPAN = 255  # rows; an example whose maps lie within this distance is read without a search of the index


@dataclasses.dataclass(frozen=True)
class Order:
    """The examples of a query in order, one item each.

    `rows` are the first rows of the examples in the index, `spans` the distances to their last rows (at most MAX_SPAN), and
    `keys` the values of the sort field, if that is a number. `all_methods` is false where only the rows of the methods that
    the query needs were looked at; rows and spans are then theirs.
    """

    rows: np.ndarray
    spans: np.ndarray
    keys: np.ndarray | None
    all_methods: bool


def order_of(store: ServedStore, query: ExampleQuery) -> Order:
    """The order of a query; kept by the store for the next request."""
    key = (query.selection, query.filter, query.sort, query.descending)
    return store.cached_order(key, lambda: _compute(store, query))


def field_expression(store: ServedStore, name: str, bindings: filter_sql.Bindings) -> str:
    """A field such as `gap`, `METHOD.gap` or `slice.plan` as SQL; BadRequest if the store lacks it."""
    method, _, field = name.rpartition(".")
    try:
        return filter_sql.expression(store.fields, field, method or None, bindings)
    except filter_grammar.FilterError as error:
        raise BadRequest(str(error)) from None


def _compute(store: ServedStore, query: ExampleQuery) -> Order:
    bindings, fields = filter_sql.Bindings(), store.fields
    try:
        terms = filter_grammar.parse(query.filter)
        condition = filter_sql.condition(fields, terms, bindings)
    except filter_grammar.FilterError as error:
        raise BadRequest(f"filter: {error}") from None
    if fields.text_search and any(term.field in (None, "text") for term in terms):
        store.index.copy_texts()
    keys, is_number = _sort_keys(store, query.sort, bindings)
    methods = filter_sql.needed_methods(fields, query.sort, terms) if store.is_complete else fields.methods
    with_change = f"max({filter_sql.CHANGE})" in f"{keys} {condition}"
    selected = selected_rows(store, query.selection, bindings, methods=methods, with_change=with_change)
    key_columns = ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))
    direction = "DESC" if query.descending else "ASC"
    order = ", ".join(f"k{i} {direction} NULLS LAST" for i in range(len(keys)))
    # Grouping by a number takes half the time; with one method each example has one row.
    one_row = len(methods) == 1 and store.is_complete and "example_id" not in f"{key_columns} {condition}"
    group = "r" if one_row else "example_id"
    location = f"min(r)::UINTEGER AS first, least(max(r) - min(r), {MAX_SPAN})::UTINYINT AS span"
    examples = f"SELECT {location}, {key_columns} FROM selected GROUP BY {group} HAVING {condition}"
    columns = "first, span" + (", k0::FLOAT" if is_number else "")
    sql = f"WITH {selected}, examples AS ({examples}) SELECT {columns} FROM examples ORDER BY {order}, first"
    rows, spans, *values = store.engine.columns(sql, bindings.values)
    return Order(rows, spans, values[0] if is_number else None, len(methods) == len(fields.methods))


def _sort_keys(store: ServedStore, sort: str, bindings: filter_sql.Bindings) -> tuple[list[str], bool]:
    """The sort keys as SQL, and whether the first is a number that a histogram can show."""
    if sort == "errors":
        return [filter_sql.STATES["error"], "max(relative_gap)"], False
    if sort == "id":
        return ["try_cast(example_id AS BIGINT)", "example_id"], False
    feature = store.fields.find_slice(sort)
    if feature and not feature.is_number:
        return [f"lower({feature.value})", feature.value], False
    return [field_expression(store, sort, bindings)], True
