"""Why examples failed: the most common messages in the errors of finished units."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tb_deepexplain.storage import each, read_table
from tb_deepexplain.store.store import StoreWriter

_MESSAGES_SHOWN = 3


def summarize(errors: Iterable[Mapping[str, str]]) -> str:
    """The most common messages of rows as in `records.ERROR_SCHEMA`, each with its count."""
    counts = collections.Counter(row["message"] for row in errors)
    shown = "; ".join(f"{count} × {message}" for message, count in counts.most_common(_MESSAGES_SHOWN))
    return shown + ("; ..." if len(counts) > _MESSAGES_SHOWN else "")


def summarize_units(directory: Path, units: Sequence[str]) -> str:
    """The most common messages of these finished units."""
    tables = each(read_table, [directory / f"errors-{unit}.parquet" for unit in units], directory)
    return summarize(row for table in tables for row in table.to_pylist())


def summarize_if_all_failed(directory: Path, units: Sequence[str]) -> str | None:
    """The most common messages if no example was explained, else None."""
    if any(StoreWriter(directory).rows("inputs", [unit]) != [0] for unit in units):
        return None
    return summarize_units(directory, units)
