"""Writes the shard of one work unit: three Parquet files that appear together or not at all."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.storage import move_into_place, temporary_path
from tb_deepexplain.store.columns import Columns, make_table
from tb_deepexplain.store.index import INPUTS_OF, UNIT_OF
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
    measure_fields,
)
from tb_deepexplain.store.write_errors import as_store_error

ROW_GROUP_BYTES = 512 * 1024  # so that one row is one small read; the best measured between 0.25 and 1 MiB
_ROW_BYTES = 256  # of a row's numbers
_LARGE_COLUMNS = ("attribution", "image")  # of different values: a dictionary would only copy them
_TABLES: dict[str, tuple[type, Callable[[Any], dict[str, list[Any]]]]] = {
    "attributions": (Attribution, attribution_columns),
    "inputs": (Input, input_columns),
    "errors": (Failure, failure_columns),
}


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
        self._pending: dict[str, list[Any]] = {table: [] for table in TABLES}  # lists of records, and Arrow's tables
        self._pending_bytes = dict.fromkeys(TABLES, 0)

    def add(
        self, attributions: Iterable[Attribution] = (), inputs: Iterable[Input] = (), errors: Iterable[Failure] = ()
    ) -> None:
        """Add rows; full row groups are written at once."""
        for table, records in (("attributions", attributions), ("inputs", inputs), ("errors", errors)):
            self._add(table, records if isinstance(records, Columns) else list(records))

    def _add(self, table: str, records: Sequence[Any]) -> None:
        sizes, start = _SIZES[table](records), 0
        rows = self._make_rows(table, records) if isinstance(records, Columns) and sizes else records
        for i, size in enumerate(sizes):
            self._pending_bytes[table] += _ROW_BYTES + size
            if self._pending_bytes[table] >= ROW_GROUP_BYTES:
                self._wait_for(table, rows[start : i + 1])
                self._flush(table)
                start = i + 1
        if start < len(sizes):
            self._wait_for(table, rows[start:])

    def _wait_for(self, table: str, rows: Any) -> None:
        """Keep a list of records, or a table, until the row group is full."""
        pending = self._pending[table]
        if isinstance(rows, list) and pending and isinstance(pending[-1], list):
            pending[-1] += rows  # they become columns together
        else:
            pending.append(rows)

    def _make_rows(self, table: str, records: Sequence[Any]) -> pa.Table:
        record_type, make_columns = _TABLES[table]
        return make_table(make_columns(Columns.of(record_type, records)), self._schemas[table])

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
            for table in ("attributions", "inputs"):
                self._writer(table).add_key_value_metadata({UNIT_OF: self._unit})
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

    def _writer(self, table: str, rows: pa.Table | None = None) -> pq.ParquetWriter:
        """The writer of a table; `rows`: its first row group."""
        if table not in self._writers:
            with as_store_error(self._directory):
                # Queries read the index; statistics in a shard would only make its footer three times as long.
                schema = self._schemas[table]
                empty = [] if rows is None else [name for name in schema.names if rows[name].null_count == len(rows)]
                self._writers[table] = pq.ParquetWriter(
                    self._temporary[table],
                    schema,
                    compression=_compression(schema, tuple(empty)),
                    write_statistics=False,
                    use_dictionary=[name for name in schema.names if name not in _LARGE_COLUMNS],
                )
        return self._writers[table]

    def _flush(self, table: str) -> None:
        if self._pending[table]:
            parts = [self._make_rows(table, part) if isinstance(part, list) else part for part in self._pending[table]]
            rows = pa.concat_tables(parts)
            writer = self._writer(table, rows)
            with as_store_error(self._directory):  # one call writes one row group
                writer.write_table(rows, row_group_size=rows.num_rows)
            self._pending[table], self._pending_bytes[table] = [], 0


@functools.cache
def _compression(schema: pa.Schema, empty: Sequence[str] = ()) -> dict[str, str]:
    """The codec of each column of a file: none for single numbers, where zstd takes more time than it saves bytes, and for `empty` columns,
    of which all pages together take zstd half of the time of a row group. (Later row groups may fill them.)"""
    buffer = pa.BufferOutputStream()
    pq.ParquetWriter(buffer, schema).close()
    file = pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema
    columns = [file.column(i) for i in range(len(file))]
    plain = {
        one.path
        for one in columns
        if (one.physical_type != "BYTE_ARRAY" and not one.max_repetition_level) or one.path.partition(".")[0] in empty
    }
    return {one.path: "none" if one.path in plain else "zstd" for one in columns}


def _map_bytes(attributions: Sequence[Attribution]) -> list[int]:
    """About the bytes of each map, as float16."""
    return [2 * values.size for values in _values_of(attributions, "values")]


def _picture_bytes(inputs: Sequence[Input]) -> list[int]:
    """The bytes of the pictures of each example."""
    pairs = zip(_values_of(inputs, "image"), _values_of(inputs, "parts"), strict=True)
    return [len(image or b"") + sum(len(part.image or b"") for part in parts or ()) for image, parts in pairs]


def _values_of(records: Sequence[Any], name: str) -> Sequence[Any]:
    if isinstance(records, Columns):
        return records.values[name]
    return [getattr(record, name) for record in records]


_SIZES: dict[str, Callable[[Any], Sequence[int]]] = {
    "attributions": _map_bytes,
    "inputs": _picture_bytes,
    "errors": lambda failures: [0] * len(failures),
}
