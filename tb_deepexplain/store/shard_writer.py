"""Writes the shard of one work unit: three Parquet files that appear together or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.storage import move_into_place, temporary_path
from tb_deepexplain.store.index import INPUTS_OF
from tb_deepexplain.store.layout import TABLES, shard_file
from tb_deepexplain.store.records import (
    ATTRIBUTION_SCHEMA,
    ERROR_SCHEMA,
    INPUT_SCHEMA,
    Attribution,
    Failure,
    Input,
    attribution_columns,
    curve_fields,
    failure_columns,
    input_columns,
    make_table,
    measure_fields,
)
from tb_deepexplain.store.write_errors import as_store_error

ROW_GROUP_BYTES = 512 * 1024  # so that one row is one small read; the best measured between 0.25 and 1 MiB
_ROW_BYTES = 256  # of a row's numbers
_LARGE_COLUMNS = ("attribution", "image")  # of different values: a dictionary would only copy them
_COLUMNS: dict[str, Callable[[Any], dict[str, list[Any]]]] = {
    "attributions": attribution_columns, "inputs": input_columns, "errors": failure_columns,
}  # fmt: skip


class ShardWriter:
    """Writes a unit's files under temporary names. `close` renames them, the maps last: a unit counts when they are there."""

    def __init__(self, directory: Path, unit: str, measures: Sequence[str] = (), inputs_of: str | None = None) -> None:
        self._directory, self._unit, self._inputs_of = directory, unit, inputs_of
        attributions = pa.schema([*ATTRIBUTION_SCHEMA, *measure_fields(measures), *curve_fields(measures)])
        self._schemas = {"attributions": attributions, "inputs": INPUT_SCHEMA, "errors": ERROR_SCHEMA}
        self._paths = {table: shard_file(directory, table, unit) for table in TABLES}
        self._temporary = {table: temporary_path(path) for table, path in self._paths.items()}
        self._notes: dict[str, str] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._pending: dict[str, list[Any]] = {table: [] for table in TABLES}  # records; their rows are made together
        self._pending_bytes = dict.fromkeys(TABLES, 0)

    def add(
        self, attributions: Iterable[Attribution] = (), inputs: Iterable[Input] = (), errors: Iterable[Failure] = ()
    ) -> None:
        """Add rows; full row groups are written at once."""
        for table, records in (("attributions", attributions), ("inputs", inputs), ("errors", errors)):
            for record in records:
                self._pending[table].append(record)
                self._pending_bytes[table] += _ROW_BYTES + _count_bytes(record)
                if self._pending_bytes[table] >= ROW_GROUP_BYTES:
                    self._flush(table)

    def note(self, name: str, text: str) -> None:
        """Keep a text with the unit; `StoreWriter.notes` reads it."""
        self._notes[name] = text

    def close(self) -> None:
        """Finish the unit. If another writer has finished the same unit before, its files stay and these are discarded."""
        try:
            self._close()
        except BaseException:
            self.discard()
            raise

    def _close(self) -> None:
        for table in TABLES:
            self._flush(table)
        with as_store_error(self._directory):
            self._writer("errors").add_key_value_metadata(self._notes)
            if self._inputs_of:
                self._writer("attributions").add_key_value_metadata({INPUTS_OF: self._inputs_of})
            for table in TABLES:
                self._writer(table).close()
            if self._paths["attributions"].exists():
                self.discard()
                return
            for table in ("inputs", "errors", "attributions"):  # attributions last: they make the unit count
                move_into_place(self._temporary[table], self._paths[table])

    def discard(self) -> None:
        """Remove the temporary files."""
        for table in TABLES:
            with contextlib.suppress(OSError):  # closing writes, and fails on a full disk
                if table in self._writers:
                    self._writers[table].close()
            with contextlib.suppress(OSError):
                self._temporary[table].unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.discard() if error else self.close()

    def _writer(self, table: str) -> pq.ParquetWriter:
        if table not in self._writers:
            with as_store_error(self._directory):
                # Queries read the index; statistics in a shard would only make its footer three times as long.
                schema = self._schemas[table]
                self._writers[table] = pq.ParquetWriter(
                    self._temporary[table],
                    schema,
                    compression="zstd",
                    write_statistics=False,
                    use_dictionary=[name for name in schema.names if name not in _LARGE_COLUMNS],
                )
        return self._writers[table]

    def _flush(self, table: str) -> None:
        records = self._pending[table]
        if records:
            rows = make_table(_COLUMNS[table](records), self._schemas[table])
            writer = self._writer(table)
            with as_store_error(self._directory):  # one call writes one row group
                writer.write_table(rows, row_group_size=rows.num_rows)
            self._pending[table], self._pending_bytes[table] = [], 0


def _count_bytes(record: Attribution | Input | Failure) -> int:
    """Bytes of the map or of the pictures of a row, about."""
    if isinstance(record, Attribution):
        return 2 * record.values.size  # of float16
    if isinstance(record, Failure):
        return 0
    return sum(len(shown.image or b"") for shown in (record, *(record.parts or ())))
