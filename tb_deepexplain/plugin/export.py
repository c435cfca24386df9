"""The numbers of many examples as a file; no HTTP here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from tb_deepexplain.plugin import filter_sql
from tb_deepexplain.plugin.query_string import COLUMNS, Window
from tb_deepexplain.plugin.store_query import Grid
from tb_deepexplain.plugin.views import query

FORMATS = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
MOST = 100_000


def export(grid: Grid, window: Window, form: str) -> str:
    """A line for each example of the window: what the page says of it, and of each method its gap and its measures."""
    found = query(grid, window, list(_columns(grid)))
    names = [name for name, values in found.items() if isinstance(values, list)]
    rows = zip(*(found[name] for name in names), strict=True)
    if form == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _columns(grid: Grid) -> Iterator[str]:
    yield from (name for name in COLUMNS if name not in ("gap", "relative_gap"))
    known = grid.known
    yield from (name for name in known.numbers if name in filter_sql.WHOLE and name not in COLUMNS)
    for method in grid.methods:
        own = ["gap"] if method.get("sums_to") else []
        own += [name for name in known.numbers if name not in filter_sql.WHOLE and name not in ("gap", "evaluations")]
        yield from (f"{method['id']}.{name}" for name in own)


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
