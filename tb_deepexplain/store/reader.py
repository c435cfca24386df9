"""Reads a committed store: its manifest, its index, and maps, inputs and curves by their locations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import is_remote, map_files, open_parquet, read_table, to_path
from tb_deepexplain.store import version_1
from tb_deepexplain.store.index import Location
from tb_deepexplain.store.layout import MANIFEST, shard_file
from tb_deepexplain.store.manifest import read_manifest
from tb_deepexplain.store.map_encoding import decode_map
from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, ERROR_SCHEMA, INPUT_SCHEMA, curve_fields
from tb_deepexplain.store.row_groups import read_row_group
from tb_deepexplain.store.shard_checks import check_input, check_shard, take_rows

_MAP_SCHEMA = pa.schema([ATTRIBUTION_SCHEMA.field(name) for name in ("attribution", "dtype", "scale", "shape")])
_FOOTERS_CACHED = 16  # of up to two megabytes each


class Store:
    """A committed store. Older format versions are returned as version 2. `format_version` is that of its files.

    StoreError if the directory holds no committed store, one whose manifest does not fit, or one of a newer version.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = to_path(directory)
        try:
            self.manifest, self.format_version = read_manifest(self.directory)
        except FileNotFoundError:
            raise not_committed(self.directory) from None
        except StoreError:
            raise
        except Exception as error:  # of a remote filesystem: each has others
            if not is_remote(self.directory):
                raise
            raise StoreError(
                f"{self.directory} cannot be read ({error}); check its name and your credentials"
            ) from error
        self._footers: dict[Path, pq.FileMetaData] = {}

    @cached_property
    def index(self) -> pa.Table:
        """One row for each map, with every column but the map itself, and the locations of the map and its input."""
        return pa.concat_tables(map(version_1.upgrade_index, map(self._read_table, self.manifest["index"])))

    def maps(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The float32 maps of these rows of `index`, in the order of `rows`."""
        return self.maps_at(self._locations(rows, "shard", "row_group", "row", "example_id"))

    def inputs(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The inputs (the columns of `records.INPUT_SCHEMA`) of these rows of `index`, in the order of `rows`."""
        return self.inputs_at(self._locations(rows, "input_shard", "input_row_group", "input_row", "example_id"))

    def maps_at(self, locations: Sequence[Location]) -> list[np.ndarray]:
        """The float32 maps at these locations, in their order. For callers that hold no index in memory."""
        rows = self._read_rows("attributions", locations, _MAP_SCHEMA)
        return [decode_map(row["attribution"], row["dtype"], row["scale"], row["shape"]) for row in rows]

    def curves_at(self, locations: Sequence[Location], measures: Sequence[str]) -> list[dict[str, Any]]:
        """The curves (`records.curve_fields`) of these measures of the maps at these locations, in their order."""
        return self._read_rows("attributions", locations, pa.schema(curve_fields(measures)))

    def inputs_at(self, locations: Sequence[Location]) -> list[dict[str, Any]]:
        """The inputs at these locations, in their order."""
        is_old = self.format_version == 1
        stored = self._read_rows("inputs", locations, version_1.INPUT_SCHEMA if is_old else INPUT_SCHEMA)
        # The first stores of version 2 have no column of parts.
        rows = [version_1.upgrade_input(row) if is_old else {"parts": None, **row} for row in stored]
        return [check_input(row, self.manifest.get("modality")) for row in rows]

    def errors(self) -> pa.Table:
        """The examples that could not be explained."""
        names = [shard_file(self.directory, "errors", unit).name for unit in self.manifest["units"]]
        tables = map_files(self._read_table, names, self.directory)
        return pa.concat_tables(tables) if tables else ERROR_SCHEMA.empty_table()

    def _read_table(self, name: str) -> pa.Table:
        return read_file(self.directory / name)

    def _cache_footer(self, path: Path, footer: pq.FileMetaData) -> None:
        """The footer of a file with many row groups takes longer to read than one of them."""
        self._footers[path] = footer
        while len(self._footers) > _FOOTERS_CACHED:
            self._footers.pop(next(iter(self._footers)), None)  # another thread may have removed it

    def _locations(self, rows: Sequence[int], *names: str) -> list[Location]:
        columns = self.index.select(names).take(pa.array(rows, pa.int64())).columns
        return [Location(*values) for values in zip(*(column.to_pylist() for column in columns), strict=True)]

    def _read_rows(self, table: str, locations: Sequence[Location], schema: pa.Schema) -> list[dict[str, Any]]:
        # Row groups are read directly: engines that plan a scan take ten times as long for a page of maps.
        by_group: dict[tuple[str, int], list[int]] = {}
        for position, location in enumerate(locations):
            by_group.setdefault((location.shard, location.row_group), []).append(position)
        rows: list[Any] = [None] * len(locations)
        for (shard, group), positions in sorted(by_group.items()):
            path = shard_file(self.directory, table, shard)
            try:
                with open_parquet(path, self._footers.get(path)) as file:
                    columns = check_shard(file, path, shard, schema)
                    self._cache_footer(path, file.metadata)
                    content = read_row_group(file, path, group, columns)
            except (OSError, ValueError, pa.ArrowException) as error:  # a name that no file can have is a ValueError
                raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error
            for position, row in zip(
                positions, take_rows(content, path, [locations[position] for position in positions]), strict=True
            ):
                rows[position] = row
        return rows


def read_file(path: Path) -> pa.Table:
    """A whole file of a store. StoreError if it cannot be read."""
    try:
        return read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error


def not_committed(directory: Path) -> StoreError:
    """The error of a directory that has no manifest."""
    return StoreError(f"{directory} holds no committed store (no {MANIFEST}); finish its run first")
