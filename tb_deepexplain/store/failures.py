"""The most common errors of a run, in a few words."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tb_deepexplain.storage import map_files
from tb_deepexplain.store.layout import shard_file
from tb_deepexplain.store.reader import read_file
from tb_deepexplain.store.writer import StoreWriter

_MESSAGES_SHOWN = 3


def summarize(errors: Iterable[Mapping[str, str]]) -> str:
    """The most common messages of these rows (the columns of `records.ERROR_SCHEMA`), each with its count."""
    counts = collections.Counter(row["message"] for row in errors)
    messages = "; ".join(f"{count} × {message}" for message, count in counts.most_common(_MESSAGES_SHOWN))
    return messages + ("; ..." if len(counts) > _MESSAGES_SHOWN else "")


def summarize_units(directory: Path, units: Sequence[str]) -> str:
    """The most common messages of these finished units."""
    tables = map_files(read_file, [shard_file(directory, "errors", unit) for unit in units], directory)
    return summarize(row for table in tables for row in table.to_pylist())


def summarize_if_all_failed(directory: Path, units: Sequence[str]) -> str | None:
    """The most common messages if no example of these finished units was explained, else None."""
    writer = StoreWriter(directory)
    if any(writer.count_rows("inputs", [unit]) != [0] for unit in units):
        return None
    return summarize_units(directory, units)
