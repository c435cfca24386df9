"""Writes and commits a store: `with writer.shard(unit) as shard: shard.add(...)` for each work unit, then `writer.commit(...)`.

A store does not count before its manifest, which `commit` writes last, and a unit does not count before its file of maps. Both
appear by an atomic rename: a crash at any moment leaves a store that can be resumed or ignored, never a wrong one.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import atomic_write, make_directory, map_files, open_parquet, remove_file, to_path
from tb_deepexplain.store import version_1
from tb_deepexplain.store.index import ROW_GROUP_ROWS, Duplicates, ExampleIds, index_unit, write_index
from tb_deepexplain.store.layout import (
    DUPLICATES,
    MANIFEST,
    TABLES,
    new_index_name,
    shard_file,
    shard_files,
    unit_of,
)
from tb_deepexplain.store.measure_means import MeasureMeans
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import FORMAT_VERSION, Failure, ModelInput, curve_fields
from tb_deepexplain.store.shard_writer import ShardWriter
from tb_deepexplain.store.slice_columns import describe_columns
from tb_deepexplain.store.slice_features import MANIFEST_KEY
from tb_deepexplain.store.write_errors import as_store_error


class StoreWriter:
    """Writes the shards, the index and the manifest of one store."""

    def __init__(
        self, directory: str | os.PathLike[str], *, directory_exists: bool = False, measures: Sequence[str] = ()
    ) -> None:
        """`directory_exists`: do not make the directory, not even after somebody removed it. `measures` have columns."""
        self.directory, self._directory_exists, self._measures = to_path(directory), directory_exists, tuple(measures)
        self._previous_index: list[str] = []

    def begin(self) -> None:
        """Make the directory."""
        with as_store_error(self.directory):
            make_directory(self.directory)
        self._directory_exists = True

    def shard(self, unit: str, inputs_of: str | None = None) -> ShardWriter:
        """The writer of a unit's shard. `inputs_of`: the unit that has the inputs of its maps, if it is another one."""
        if not self._directory_exists:
            self.begin()
        return ShardWriter(self.directory, unit, self._measures, inputs_of)

    def notes(self, unit: str) -> dict[str, str]:
        """The notes of a finished unit."""
        with open_parquet(shard_file(self.directory, "errors", unit)) as file:
            metadata = file.metadata.metadata or {}
        return {name.decode(): text.decode() for name, text in metadata.items()}

    def count_rows(self, table: str, units: Iterable[str]) -> list[int]:
        """How many rows of "attributions", "inputs" or "errors" each of these finished units has."""
        return map_files(_count_rows, [shard_file(self.directory, table, unit) for unit in units], self.directory)

    def first_input(self, unit: str) -> tuple[str, list[ModelInput]] | None:
        """The modality and the model's inputs of the first example of a finished unit; None if it has none."""
        with open_parquet(shard_file(self.directory, "inputs", unit)) as file:
            if not file.metadata.num_rows:
                return None
            row = file.read_row_group(0, ["modality", "inputs"]).slice(0, 1).to_pylist()[0]
        return row["modality"], row["inputs"]

    def is_finished(self, unit: str) -> bool:
        return shard_file(self.directory, "attributions", unit).exists()

    def finished_units(self) -> set[str]:
        return set(map(unit_of, shard_files(self.directory, "attributions")))

    def commit(self, units: Sequence[str], manifest: dict[str, Any]) -> dict[str, Any]:
        """Index these units and write the manifest; returns the manifest as written.

        An example whose id an earlier unit has becomes an error. The slice features are those that the manifest names; StoreError if
        there are examples, but none has one of them.
        """
        missing = set(units) - self.finished_units()
        if missing:
            raise StoreError(f"{self.directory}: units {sorted(missing)[:5]} have no shard; run again to finish them")
        slices = describe_columns(self.directory, units, [one["name"] for one in manifest.get(MANIFEST_KEY) or ()])
        if slices:
            manifest = {**manifest, MANIFEST_KEY: [feature.describe() for feature in slices]}
        old_index = self._committed_index()
        index_name = new_index_name()
        if not self._directory_exists:
            self.begin()
        with as_store_error(self.directory), atomic_write(self.directory / index_name) as temporary:
            duplicates, means = write_index(temporary, self.directory, units, self._measures, slices=slices)
            if duplicates:
                _, means = write_index(temporary, self.directory, units, self._measures, duplicates, slices)
            map_count = _count_rows(temporary)
        examples = sum(self.count_rows("inputs", units)) - sum(map(len, duplicates.values()))
        if duplicates:
            units = [*units, self._write_duplicates(duplicates)]
        errors = sum(self.count_rows("errors", units))
        if self._measures:
            manifest = {"faithfulness": means.describe(), **manifest}
        counts = {"examples": examples, "maps": map_count, "errors": errors}
        written = self._write_manifest(manifest, counts, units, index_name)
        for name in old_index:  # no others: another process may be committing the same units
            remove_file(self.directory / name)
        return written

    def append(self, unit: str, manifest: dict[str, Any], version: str) -> dict[str, Any]:
        """Commit one more unit, whose inputs are in another unit: for a store that grows while it is read.

        Reads only the index of the other units. StoreError if the store is no longer of `version`: another program writes it.
        """
        committed = self._read_committed(version)
        rows = index_unit(self.directory, self._measures, unit)
        rows = rows.drop_columns([field.name for field in curve_fields(self._measures)])
        ExampleIds(self.directory).add(rows)
        if unit in committed.manifest["units"] or pc.any(pc.equal(rows["input_shard"], rows["shard"])).as_py():
            raise StoreError(f"{self.directory}: unit {unit} is there already or has inputs; commit all units")
        index_name = new_index_name()
        index = pa.concat_tables([committed.index.select(rows.column_names), rows])
        with as_store_error(self.directory), atomic_write(self.directory / index_name) as temporary:
            pq.write_table(index, temporary, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        counts = {
            "examples": committed.manifest["counts"]["examples"],
            "maps": index.num_rows,
            "errors": committed.manifest["counts"]["errors"] + sum(self.count_rows("errors", [unit])),
        }
        written = self._write_manifest(manifest, counts, [*committed.manifest["units"], unit], index_name)
        for name in self._previous_index:
            remove_file(self.directory / name)
        # Kept until the next commit, for readers of the old manifest.
        self._previous_index = committed.manifest["index"]
        return written

    def means(self, unit: str) -> dict[str, Any]:
        """The means of the measures over a finished unit, as `faithfulness` of a manifest."""
        means = MeasureMeans(self._measures)
        means.add(index_unit(self.directory, self._measures, unit))
        return means.describe()

    def rewrite_manifest(self, manifest: dict[str, Any], version: str) -> dict[str, Any]:
        """Write another manifest for the same units. StoreError as in `append`."""
        committed = self._read_committed(version).manifest
        return self._write_manifest(manifest, committed["counts"], committed["units"], *committed["index"])

    def _read_committed(self, version: str) -> Store:
        store = Store(self.directory)
        if store.format_version != FORMAT_VERSION:
            version_1.refuse_to_continue(self.directory)
        if store.manifest["version"] != version:
            raise StoreError(
                f"{self.directory} was committed by another program meanwhile; give each another run or name"
            )
        return store

    def _committed_index(self) -> list[str]:
        with contextlib.suppress(StoreError):
            return list(Store(self.directory).manifest["index"])
        return []

    def _write_manifest(
        self, manifest: dict[str, Any], counts: dict[str, int], units: Sequence[str], index_name: str
    ) -> dict[str, Any]:
        written = {
            "format_version": FORMAT_VERSION,
            "version": uuid.uuid4().hex[:12],  # changes with every commit: answers about one version can be cached
            **manifest,
            "counts": counts,
            "units": list(units),
            "index": [index_name],
        }
        with as_store_error(self.directory), atomic_write(self.directory / MANIFEST) as temporary:
            temporary.write_text(json.dumps(written, indent=1), encoding="utf-8")
        return written

    def _write_duplicates(self, duplicates: Duplicates) -> str:
        """Write a unit of errors alone; returns its name."""
        for table in TABLES:
            remove_file(shard_file(self.directory, table, DUPLICATES))
        with self.shard(DUPLICATES) as shard:
            shard.add(errors=[duplicate_error(id_, unit) for ids in duplicates.values() for id_, unit in ids.items()])
        return DUPLICATES


def duplicate_error(example_id: str, unit: str) -> Failure:
    """The error of an example whose id another one has; readers would show one under the name of the other."""
    message = f"an example in unit {unit} has its id; give every example its own"
    return Failure(example_id, "write", "DuplicateId", message)


def _count_rows(path: Path) -> int:
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)
