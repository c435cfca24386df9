"""The engine that answers questions about indices: DuckDB over their Parquet files, nothing of which stays in memory."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from tb_deepexplain.errors import StoreError

MEMORY = "256MB"  # what does not fit goes to the temporary directory
THREADS = 4


class Engine:
    """One DuckDB for all stores below `directories`; it reads no other file and takes no setting from a query."""

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

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        """A new one of this machine, for copies of what lies elsewhere; it goes with its owner."""
        return tempfile.TemporaryDirectory(dir=self._scratch.name)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._run(sql, parameters).fetchall()
        return found

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[np.ndarray]:
        """The columns of numbers of an answer; what is null is NaN."""
        found = self._run(sql, parameters).fetchnumpy()
        return [np.ma.filled(c, np.nan) if isinstance(c, np.ma.MaskedArray) else c for c in found.values()]

    def _run(self, sql: str, parameters: Mapping[str, Any] | None) -> Any:
        with self._lock:
            cursor = self._database.cursor()  # one a question: they may come from many threads
        try:
            return cursor.execute(sql, dict(parameters or {}))
        except duckdb.Error as error:
            raise StoreError(
                f"the index cannot be read ({str(error).splitlines()[0]}); run the pipeline again"
            ) from error


def literal(value: Any) -> str:
    """A value of our own as SQL; what comes from people goes into parameters instead."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"
