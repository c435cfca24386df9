"""DuckDB over the Parquet files of indices. Nothing of them stays in memory."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from tb_deepexplain.errors import StoreError

MEMORY = "256MB"  # what exceeds it goes to the temporary directory
THREADS = 4


class Engine:
    """One DuckDB for all stores below `directories`. It reads no other file, and no query can change its settings."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="deepexplain-")
        self._lock = threading.Lock()
        self._database = duckdb.connect()
        settings = {
            "threads": min(THREADS, os.cpu_count() or 1),
            "memory_limit": MEMORY,
            "temp_directory": self._scratch.name,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allowed_directories": [*directories, self._scratch.name],
            "enable_external_access": False,
            "lock_configuration": True,  # last
        }
        for name, value in settings.items():
            self._database.execute(f"SET {name} = {literal(value)}")

    def local_directory(self) -> tempfile.TemporaryDirectory[str]:
        """A new directory on this machine that DuckDB may read, for copies of remote files; its owner removes it."""
        return tempfile.TemporaryDirectory(dir=self._scratch.name)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of the result."""
        return self._fetch(sql, parameters, "fetchall")

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[np.ndarray]:
        """The columns of a result that holds numbers; null becomes NaN."""
        columns = self._fetch(sql, parameters, "fetchnumpy").values()
        return [np.ma.filled(c, np.nan) if isinstance(c, np.ma.MaskedArray) else c for c in columns]

    def _fetch(self, sql: str, parameters: Mapping[str, Any] | None, fetch: str) -> Any:
        with self._lock:
            cursor = self._database.cursor()  # one for each query: they may come from many threads
        try:
            return getattr(cursor.execute(sql, dict(parameters or {})), fetch)()
        except (duckdb.Error, UnicodeError) as error:  # of the files, or of what people typed
            raise StoreError(
                f"the index cannot be read ({str(error).splitlines()[0]}); run the pipeline again"
            ) from error


def identifier(name: str) -> str:
    """A name of a column as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A trusted value as SQL; values that people type go into parameters instead."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"
