"""The numbers of many examples as a CSV or JSON Lines file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from tb_deepexplain.plugin import filter_sql, views
from tb_deepexplain.plugin.api import EXAMPLE_COLUMNS
from tb_deepexplain.plugin.parameters import ExampleQuery
from tb_deepexplain.plugin.served_store import ServedStore


def export(store: ServedStore, query: ExampleQuery, file_format: str) -> str:
    """One line for each example of the query: its columns on the page, and the gap and measures of each method.

    `file_format` is "csv" or "jsonl".
    """
    columns = views.columns(store, query, list(_column_names(store)))
    names = [name for name, values in columns.items() if isinstance(values, list)]
    rows = zip(*(columns[name] for name in names), strict=True)
    if file_format == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([_csv_value(value) for value in row] for row in rows)
    return file.getvalue()


def _column_names(store: ServedStore) -> Iterator[str]:
    yield from (name for name in EXAMPLE_COLUMNS if name not in ("gap", "relative_gap"))
    numbers = store.fields.numbers
    yield from (name for name in numbers if name in filter_sql.EXAMPLE_FIELDS and name not in EXAMPLE_COLUMNS)
    of_maps = [n for n in numbers if n not in filter_sql.EXAMPLE_FIELDS and n not in ("gap", "evaluations")]
    for method in store.methods:
        fields = ["gap", *of_maps] if method.get("sums_to") else of_maps
        yield from (f"{method['id']}.{name}" for name in fields)


def _csv_value(value: Any) -> Any:
    """The value; text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
