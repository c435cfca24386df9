"""The index of a store: one row for each map, with every number but the map, and the locations of the map and its input.

Queries read the index alone. It is also where two examples with one id are noticed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import map_files, open_parquet, read_columns
from tb_deepexplain.store import version_1
from tb_deepexplain.store.layout import shard_file
from tb_deepexplain.store.measure_means import MeasureMeans
from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, curve_fields, measure_fields
from tb_deepexplain.store.slice_columns import SliceFeature, read_column
from tb_deepexplain.store.slice_features import column_name

ROW_GROUP_ROWS = 65_536
UNIT_OF = "unit"  # metadata of a shard: the unit that it was written for
INPUTS_OF = "inputs_of"  # metadata of a shard whose inputs are in another unit: the name of that unit
_UNITS_READ_TOGETHER = 64
_LOCATION = ["shard", "row_group", "row", "input_shard", "input_row_group", "input_row"]
Duplicates: TypeAlias = Mapping[str, Mapping[str, str]]  # by unit: ids, and the earlier unit that has the same id
_NO_DUPLICATES: Duplicates = MappingProxyType({})


class Location(NamedTuple):
    """Where a map or an input is stored: the unit of the shard, a row group of its file, a row of the group, and the id of the
    example that must be there (None: any)."""

    shard: str
    row_group: int
    row: int
    example_id: str | None = None


def index_schema(measures: Sequence[str], slices: Sequence[SliceFeature] = ()) -> pa.Schema:
    """The columns of an index, without curves."""
    columns = [field for field in ATTRIBUTION_SCHEMA if field.name != "attribution"]
    location = [pa.field(name, pa.string() if name.endswith("shard") else pa.int32()) for name in _LOCATION]
    of_slices = [pa.field(column_name(feature.name), feature.dtype) for feature in slices]
    return pa.schema([*columns, *measure_fields(measures), *of_slices, *location])


def index_unit(directory: Path, measures: Sequence[str], unit: str, slices: Sequence[SliceFeature] = ()) -> pa.Table:
    """The rows of the index for a unit, and the curves of its measures."""
    path = shard_file(directory, "attributions", unit)
    schema = pa.schema([*index_schema(measures, slices), *curve_fields(measures)])
    of_inputs = {column_name(feature.name): feature.dtype for feature in slices}
    with open_parquet(path) as file:
        if "target_index" not in file.schema_arrow.names:
            version_1.refuse_to_continue(directory)
        table = read_columns(file, [name for name in schema.names if name not in _LOCATION and name not in of_inputs])
        group, row = _positions(file)
        input_unit = (file.metadata.metadata or {}).get(INPUTS_OF.encode(), unit.encode()).decode()
    with open_parquet(shard_file(directory, "inputs", input_unit)) as file:
        inputs = read_columns(file, ["example_id", *(["extras"] if slices else [])])
        input_group, input_row = _positions(file)
    position_of = {example_id: position for position, example_id in enumerate(inputs["example_id"].to_pylist())}
    try:
        positions = np.array([position_of[id_] for id_ in table.column("example_id").to_pylist()], np.int64)
    except KeyError as missing:
        raise StoreError(
            f"{path} holds a map of example {missing} but not the example; add an Input for every example"
        ) from None
    shard, input_shard = (pa.array([name] * table.num_rows, pa.string()) for name in (unit, input_unit))
    location = [shard, group, row, input_shard, input_group[positions], input_row[positions]]
    columns = dict(zip(table.column_names, table.columns, strict=True)) | dict(zip(_LOCATION, location, strict=True))
    for feature in slices:
        values = read_column(inputs["extras"], feature)
        columns[column_name(feature.name)] = values.take(pa.array(positions))
    return pa.table([columns[field.name] for field in schema], schema=schema)


def write_index(
    path: Path,
    directory: Path,
    units: Sequence[str],
    measures: Sequence[str],
    excluded: Duplicates = _NO_DUPLICATES,
    slices: Sequence[SliceFeature] = (),
) -> tuple[Duplicates, MeasureMeans]:
    """Write the index of these units, without the maps of the `excluded` examples; only some rows are in memory at a time.

    Returns the examples whose id an earlier unit has (none are looked for if some are excluded), and the means of the measures.
    """
    schema = index_schema(measures, slices)
    ids, means, pending = ExampleIds(directory), MeasureMeans(measures), [schema.empty_table()]
    curves = [field.name for field in curve_fields(measures)]
    index_of = functools.partial(index_unit, directory, measures, slices=slices)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(units), _UNITS_READ_TOGETHER):
            some_units = units[start : start + _UNITS_READ_TOGETHER]
            tables = map_files(index_of, some_units, directory)
            for unit, table in zip(some_units, tables, strict=True):
                input_unit = table.column("input_shard")[0].as_py() if table.num_rows else unit
                excluded_ids = pa.array(list(excluded.get(input_unit, ())), pa.string())
                rows = table.filter(pc.invert(pc.is_in(table.column("example_id"), excluded_ids)))
                ids.add(rows)
                means.add(rows)
                pending.append(rows.drop_columns(curves))
            if sum(table.num_rows for table in pending) >= ROW_GROUP_ROWS or some_units[-1] == units[-1]:
                writer.write_table(pa.concat_tables(pending), row_group_size=ROW_GROUP_ROWS)
                pending = []
    return ({} if excluded else ids.duplicates(units)), means


class ExampleIds:
    """Finds examples with the same id. Holds eight bytes of each id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hashes: dict[str, np.ndarray] = {}  # by the unit that has the inputs

    def add(self, index: pa.Table) -> None:
        """Add the rows of one unit. StoreError if the unit itself has two examples with one id."""
        if not index.num_rows:
            return
        keys = index.select(["example_id", "method", "target", "score_function", "step"])
        if pc.any(pc.and_(pc.is_null(index["target"]), pc.is_valid(index["target_index"]))).as_py():
            targets = pa.array(list(map(str, index["target_index"].to_pylist())))  # Arrow groups by no lists
            keys = keys.append_column("target_index", targets)
        counts = keys.group_by(keys.column_names).aggregate([([], "count_all")])
        repeated = counts.filter(pc.greater(counts.column("count_all"), 1))
        if repeated.num_rows:
            example, unit = repeated.column("example_id")[0], index.column("shard")[0]
            raise StoreError(
                f"{self._directory}: example id {str(example)!r} is in unit {unit} twice; give every example its own id"
            )
        ids, input_unit = index.column("example_id").unique().to_pylist(), index.column("input_shard")[0].as_py()
        hashes = self._hashes.get(input_unit, np.zeros(0, np.int64))
        self._hashes[input_unit] = np.union1d(hashes, np.fromiter(map(hash, ids), np.int64, len(ids)))

    def duplicates(self, units: Sequence[str]) -> Duplicates:
        """After all units were added: the ids in each that an earlier unit has."""
        values, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *self._hashes.values()]), return_counts=True)
        suspects = set(values[counts > 1].tolist())
        first_unit: dict[str, str] = {}
        duplicates: dict[str, dict[str, str]] = {}
        for unit in units if suspects else ():
            with open_parquet(shard_file(self._directory, "inputs", unit)) as file:
                ids = read_columns(file, ["example_id"]).column(0).to_pylist()
            for example_id in (id_ for id_ in ids if hash(id_) in suspects):
                if example_id in first_unit:
                    duplicates.setdefault(unit, {})[example_id] = first_unit[example_id]
                first_unit.setdefault(example_id, unit)
        return duplicates


def _positions(file: pq.ParquetFile) -> tuple[np.ndarray, np.ndarray]:
    """(row group, row within the group) of every row."""
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(n) for n in sizes]) if sizes else np.zeros(0, np.int64)
    return group.astype(np.int32), row.astype(np.int32)
