"""The attribution store: Parquet shards, one index, and a manifest that is written last.

A store is a directory `<logdir>/<run>/plugins/deepexplain/<name>/`. Nothing in it counts until
`manifest.json` stands, and a work unit counts when its `attributions-<unit>.parquet` stands: both appear
by an atomic rename, so a crash at any moment leaves a store that can be resumed or ignored, never a
wrong one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import (
    draft,
    each,
    is_remote,
    make,
    open_parquet,
    place,
    publish,
    read_table,
    read_text,
    whole,
)
from tb_deepexplain.store import version_1
from tb_deepexplain.store.marker import PLUGIN_NAME
from tb_deepexplain.store.measure_means import Faithfulness
from tb_deepexplain.store.records import (
    ATTRIBUTION_SCHEMA,
    ERROR_SCHEMA,
    FORMAT_VERSION,
    INPUT_SCHEMA,
    Attribution,
    Failure,
    Input,
    ModelInput,
    curve_fields,
    decode_map,
    measure_fields,
)

MANIFEST = "manifest.json"
DUPLICATES = "duplicates"  # the unit of examples whose ids others have
ROW_GROUP_BYTES = 512 * 1024  # any one row is then one small read; measured best between 0.25 and 1 MiB
_FOOTERS_KEPT = 16  # of files read from: two megabytes each
_INDEX_ROWS, _UNITS_AT_ONCE = 65_536, 64  # in a row group of the index; looked at
_KINDS = {"attributions": ATTRIBUTION_SCHEMA, "inputs": INPUT_SCHEMA, "errors": ERROR_SCHEMA}
_Homes: TypeAlias = Mapping[str, Mapping[str, str]]  # unit → id → the unit that has it, too
_LOCATION = ["shard", "row_group", "row", "input_shard", "input_row_group", "input_row"]
_INPUTS_OF = "inputs_of"  # in the metadata of a shard of maps: the unit that has their inputs, if it is another


def store_path(logdir: str | os.PathLike[str], run: str, name: str) -> Path:
    return place(logdir) / run / "plugins" / PLUGIN_NAME / name


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Within, an error of the file system is a StoreError that says what to do. Those of remote ones are of many kinds."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError) or not (isinstance(error, OSError) or is_remote(directory)):
            raise
        if not isinstance(error, OSError) or is_remote(directory):
            said = f"cannot write to {directory}: {type(error).__name__}: {error}; check its name and your credentials"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            said = f"the disk that holds {directory} is full ({os.strerror(error.errno)}); make room"
        elif error.errno == errno.ENOENT:
            said = f"{directory} is gone: it was removed while it was being written; run again"
        else:
            said = f"cannot write to {directory}: {error.strerror or error}"
        raise StoreError(said) from error


class ShardWriter:
    """Writes one work unit's three files under temporary names; `close` renames them into place."""

    def __init__(self, directory: Path, unit: str, measures: Sequence[str] = (), inputs_of: str | None = None) -> None:
        self._directory, self._unit, self._inputs_of = directory, unit, inputs_of
        more = [*measure_fields(measures), *curve_fields(measures)]
        self._schemas = _KINDS | {"attributions": pa.schema([*ATTRIBUTION_SCHEMA, *more])}
        self._places = {kind: directory / f"{kind}-{unit}.parquet" for kind in _KINDS}
        self._drafts = {kind: draft(path) for kind, path in self._places.items()}
        self._notes: dict[str, str] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._pending: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
        self._pending_bytes = dict.fromkeys(_KINDS, 0)

    def add(
        self, attributions: Iterable[Attribution] = (), inputs: Iterable[Input] = (), errors: Iterable[Failure] = ()
    ) -> None:
        for kind, records in (("attributions", attributions), ("inputs", inputs), ("errors", errors)):
            for record in records:
                row = record.row()
                self._pending[kind].append(row)
                self._pending_bytes[kind] += 256 + sum(len(v) for v in row.values() if isinstance(v, bytes))
                if self._pending_bytes[kind] >= ROW_GROUP_BYTES:
                    self._flush(kind)

    def note(self, name: str, text: str) -> None:
        """Keep a text beside the unit's errors; `StoreWriter.notes` reads it."""
        self._notes[name] = text

    def close(self) -> None:
        """Commit the unit. A unit that a twin committed first keeps the twin's files."""
        try:
            self._close()
        except BaseException:
            self.discard()
            raise

    def _close(self) -> None:
        for kind in _KINDS:
            self._flush(kind)
        with writing(self._directory):
            self._writer("errors").add_key_value_metadata(self._notes)
            if self._inputs_of:
                self._writer("attributions").add_key_value_metadata({_INPUTS_OF: self._inputs_of})
            for kind in _KINDS:
                self._writer(kind).close()
            if self._places["attributions"].exists():
                self.discard()
                return
            for kind in ("inputs", "errors", "attributions"):  # attributions last: it is what makes the unit count
                publish(self._drafts[kind], self._places[kind])

    def discard(self) -> None:
        for kind in _KINDS:
            with contextlib.suppress(OSError):  # to close is to write, for which a full disk has no room
                if kind in self._writers:
                    self._writers[kind].close()
            with contextlib.suppress(OSError):
                self._drafts[kind].unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.discard() if error else self.close()

    def _writer(self, kind: str) -> pq.ParquetWriter:
        if kind not in self._writers:
            with writing(self._directory):
                # Questions go to the index; here statistics would only make every footer three times as long to read.
                more = {"compression": "zstd", "write_statistics": False}
                self._writers[kind] = pq.ParquetWriter(self._drafts[kind], self._schemas[kind], **more)
        return self._writers[kind]

    def _flush(self, kind: str) -> None:
        rows = self._pending[kind]
        if rows:
            writer = self._writer(kind)
            with writing(self._directory):  # one call, one row group
                writer.write_table(pa.Table.from_pylist(rows, self._schemas[kind]), row_group_size=len(rows))
            self._pending[kind], self._pending_bytes[kind] = [], 0


class StoreWriter:
    """Writes a store: `with writer.shard(unit) as shard: shard.add(...)` per unit, then `commit`."""

    def __init__(self, directory: str | os.PathLike[str], *, begun: bool = False, measures: Sequence[str] = ()) -> None:
        """`begun`: the directory is there; it is not made anew if someone removes it. `measures` have columns of their own."""
        self.directory, self._begun, self._measures = place(directory), begun, tuple(measures)
        self._outdated: list[str] = []

    def begin(self) -> None:
        with writing(self.directory):
            make(self.directory)
        self._begun = True

    def shard(self, unit: str, inputs_of: str | None = None) -> ShardWriter:
        """`inputs_of`: the unit that has the inputs of this one's maps, where it has none itself: of a model at another step."""
        if not self._begun:
            self.begin()
        return ShardWriter(self.directory, unit, self._measures, inputs_of)

    def notes(self, unit: str) -> dict[str, str]:
        """What was noted of a finished unit."""
        with open_parquet(self.directory / f"errors-{unit}.parquet") as file:
            found = file.metadata.metadata or {}
        return {name.decode(): text.decode() for name, text in found.items()}

    def rows(self, kind: str, units: Iterable[str]) -> list[int]:
        """How many rows the shards of these finished units have; `kind`: "attributions", "inputs" or "errors"."""
        paths = [self.directory / f"{kind}-{unit}.parquet" for unit in units]
        return each(_rows_of, paths, self.directory)

    def first_input(self, unit: str) -> tuple[str, list[ModelInput]] | None:
        """The modality and the model's inputs of the first example of a finished unit; None if it has none."""
        with open_parquet(self.directory / f"inputs-{unit}.parquet") as file:
            rows = (
                file.read_row_group(0, ["modality", "inputs"]).slice(0, 1).to_pylist() if file.metadata.num_rows else []
            )
        return (rows[0]["modality"], rows[0]["inputs"]) if rows else None

    def is_finished(self, unit: str) -> bool:
        return (self.directory / f"attributions-{unit}.parquet").exists()

    def finished_units(self) -> set[str]:
        return {path.stem.removeprefix("attributions-") for path in self.directory.glob("attributions-*.parquet")}

    def commit(self, units: Sequence[str], manifest: dict[str, Any]) -> dict[str, Any]:
        """Index the given units and write the manifest; returns the manifest as written."""
        missing = set(units) - self.finished_units()
        if missing:
            raise StoreError(f"{self.directory}: units {sorted(missing)[:5]} have no shard; run again to finish them")
        before = self._committed_index()
        index_name = f"index-{uuid.uuid4().hex[:8]}.parquet"
        if not self._begun:
            self.begin()
        with writing(self.directory), whole(self.directory / index_name) as temporary:
            twice, found = self._write_index(temporary, units)
            if twice:
                _, found = self._write_index(temporary, units, twice)
            maps = _rows_of(temporary)
        examples = sum(self.rows("inputs", units)) - sum(map(len, twice.values()))
        if twice:
            units = [*units, self._write_duplicates(twice)]
        errors = sum(self.rows("errors", units))
        described = {**manifest, **({"faithfulness": found.described()} if self._measures else {})}
        written = self._write_manifest(
            described, {"examples": examples, "maps": maps, "errors": errors}, units, index_name
        )
        for old in before:  # only those: another process may just be committing the same units
            (self.directory / old).unlink(missing_ok=True)
        return written

    def append(self, unit: str, manifest: dict[str, Any], version: str) -> dict[str, Any]:
        """Commit one unit more, which has no inputs of its own: for a store that grows while it is read, without measures.

        Of the other units only the index is read, however many there are. StoreError if the store is no longer of
        `version`: someone else writes it, too.
        """
        before = self._committed(version)
        rows = _index_of(self.directory, (), unit)
        _Ids(self.directory).add(rows)
        if unit in before.manifest["units"] or pc.any(pc.equal(rows["input_shard"], rows["shard"])).as_py():
            raise StoreError(
                f"{self.directory}: unit {unit} is there already or has inputs of its own; commit all units"
            )
        index_name = f"index-{uuid.uuid4().hex[:8]}.parquet"
        index = pa.concat_tables([before.index.select(rows.column_names), rows])
        with writing(self.directory), whole(self.directory / index_name) as temporary:
            pq.write_table(index, temporary, compression="zstd", row_group_size=_INDEX_ROWS)
        counts = before.manifest["counts"]
        errors = counts["errors"] + sum(self.rows("errors", [unit]))
        written = self._write_manifest(
            manifest,
            {"examples": counts["examples"], "maps": index.num_rows, "errors": errors},
            [*before.manifest["units"], unit],
            index_name,
        )
        for old in self._outdated:
            (self.directory / old).unlink(missing_ok=True)
        self._outdated = before.manifest["index"]  # until the next: who has just read the manifest looks for it
        return written

    def describe(self, manifest: dict[str, Any], version: str) -> dict[str, Any]:
        """Write the manifest anew, for the same units. StoreError as in `append`."""
        before = self._committed(version).manifest
        return self._write_manifest(manifest, before["counts"], before["units"], *before["index"])

    def _committed(self, version: str) -> Store:
        store = Store(self.directory)
        if store.format_version != FORMAT_VERSION:
            version_1.refuse_to_continue(self.directory)
        if store.manifest["version"] != version:
            raise StoreError(
                f"{self.directory} was committed by another program meanwhile; give each a run or name of its own"
            )
        return store

    def _write_manifest(
        self, manifest: dict[str, Any], counts: dict[str, int], units: Sequence[str], index: str
    ) -> dict[str, Any]:
        written = {
            "format_version": FORMAT_VERSION,
            "version": uuid.uuid4().hex[:12],  # changes with every commit: makes answers about the store cacheable
            **manifest,
            "counts": counts,
            "units": list(units),
            "index": [index],
        }
        with writing(self.directory), whole(self.directory / MANIFEST) as temporary:
            temporary.write_text(json.dumps(written, indent=1), encoding="utf-8")
        return written

    def _committed_index(self) -> list[str]:
        with contextlib.suppress(StoreError):
            return list(Store(self.directory).manifest["index"])
        return []

    def _write_index(
        self, path: Path, units: Sequence[str], without: _Homes = MappingProxyType({})
    ) -> tuple[_Homes, Faithfulness]:
        """Write it without the maps of these examples; of its rows only some are in memory at any time. Returns what it
        holds twice: in each unit the ids that another unit has, too, and which that is; and what its measures say."""
        schema = _index_schema(self._measures)
        ids, found, waiting = _Ids(self.directory), Faithfulness(self._measures), [schema.empty_table()]
        curves = [field.name for field in curve_fields(self._measures)]
        index_of = functools.partial(_index_of, self.directory, self._measures)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for start in range(0, len(units), _UNITS_AT_ONCE):
                some = units[start : start + _UNITS_AT_ONCE]
                tables = each(index_of, some, self.directory)
                for unit, table in zip(some, tables, strict=True):
                    home = table.column("input_shard")[0].as_py() if table.num_rows else unit
                    left_out = pa.array(list(without.get(home, ())), pa.string())
                    kept = table.filter(pc.invert(pc.is_in(table.column("example_id"), left_out)))
                    ids.add(kept)
                    found.add(kept)
                    waiting.append(kept.drop_columns(curves))
                if sum(table.num_rows for table in waiting) >= _INDEX_ROWS or some[-1] == units[-1]:
                    writer.write_table(pa.concat_tables(waiting), row_group_size=_INDEX_ROWS)
                    waiting = []
        return ({} if without else ids.twice(units)), found

    def _write_duplicates(self, twice: _Homes) -> str:
        """A unit of errors alone."""
        for kind in ("attributions", "inputs", "errors"):
            (self.directory / f"{kind}-{DUPLICATES}.parquet").unlink(missing_ok=True)
        with self.shard(DUPLICATES) as shard:
            shard.add(errors=[duplicate(id_, home) for ids in twice.values() for id_, home in ids.items()])
        return DUPLICATES


def duplicate(example: str, unit: str) -> Failure:
    """What becomes of an example whose id another one has: readers would show one under the other's name."""
    return Failure(example, "write", "DuplicateId", f"an example in unit {unit} has its id; give every example its own")


class _Ids:
    """Finds one id for two examples. Holds eight bytes of each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hashes: dict[str, np.ndarray] = {}  # by the unit that has the inputs

    def add(self, index: pa.Table) -> None:
        """The rows of one unit."""
        if not index.num_rows:
            return
        keys = index.select(["example_id", "method", "target", "score_function", "step"])
        if pc.any(pc.and_(pc.is_null(index["target"]), pc.is_valid(index["target_index"]))).as_py():
            targets = pa.array(list(map(str, index["target_index"].to_pylist())))  # Arrow groups by no lists
            keys = keys.append_column("target_index", targets)
        counts = keys.group_by(keys.column_names).aggregate([([], "count_all")])
        twice = counts.filter(pc.greater(counts.column("count_all"), 1))
        if twice.num_rows:
            example, unit = twice.column("example_id")[0], index.column("shard")[0]
            raise StoreError(
                f"{self._directory}: example id {str(example)!r} is in unit {unit} twice; give every example its own id"
            )
        ids, home = index.column("example_id").unique().to_pylist(), index.column("input_shard")[0].as_py()
        known = self._hashes.get(home, np.zeros(0, np.int64))
        self._hashes[home] = np.union1d(known, np.fromiter(map(hash, ids), np.int64, len(ids)))

    def twice(self, units: Sequence[str]) -> _Homes:
        """When all units are added: in each the ids that an earlier one has, and which."""
        values, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *self._hashes.values()]), return_counts=True)
        suspect = set(values[counts > 1].tolist())
        homes: dict[str, str] = {}
        found: dict[str, dict[str, str]] = {}
        for unit in units if suspect else ():
            with open_parquet(self._directory / f"inputs-{unit}.parquet") as file:
                ids = file.read(["example_id"]).column(0).to_pylist()
            for example in (example for example in ids if hash(example) in suspect):
                if example in homes:
                    found.setdefault(unit, {})[example] = homes[example]
                homes.setdefault(example, unit)
        return found


class Place(NamedTuple):
    """Where a map or an input lies: a shard's name, a row group of its file, a row of that."""

    shard: str
    row_group: int
    row: int


class Store:
    """Reads a committed store."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = place(directory)
        try:
            manifest: dict[str, Any] = json.loads(read_text(self.directory / MANIFEST))
        except FileNotFoundError:
            raise StoreError(
                f"{self.directory} holds no committed store (no {MANIFEST}); finish its run first"
            ) from None
        except ValueError as error:
            raise StoreError(f"{self.directory / MANIFEST} is not JSON ({error}); run the pipeline again") from None
        self._footers: dict[Path, pq.FileMetaData] = {}
        self.format_version = manifest.get("format_version")
        if self.format_version not in (1, FORMAT_VERSION):
            newer = isinstance(self.format_version, int) and self.format_version > FORMAT_VERSION
            advice = "upgrade tensorboard-plugin-deepexplain" if newer else "run the pipeline again"
            raise StoreError(
                f"{self.directory} has store format {self.format_version}; this version reads formats 1 to {FORMAT_VERSION}: "
                f"{advice}"
            )
        self.manifest = version_1.upgrade_manifest(manifest)

    @cached_property
    def index(self) -> pa.Table:
        """Every column of every map but the map itself, plus where the map and its input lie."""
        return pa.concat_tables(map(version_1.upgrade_index, map(self._read, self.manifest["index"])))

    def maps(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The float32 maps of these rows of `index`, in the order asked."""
        return self.maps_at(self._places(rows, "shard", "row_group", "row"))

    def inputs(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The inputs (as in `record.INPUT_SCHEMA`) of these rows of `index`, in the order asked."""
        return self.inputs_at(self._places(rows, "input_shard", "input_row_group", "input_row"))

    def maps_at(self, places: Sequence[Place]) -> list[np.ndarray]:
        """The float32 maps that lie at these places, in the order asked; for those who hold no index in memory."""
        return [
            decode_map(**row) for row in self._rows("attributions", places, ["attribution", "dtype", "scale", "shape"])
        ]

    def curves_at(self, places: Sequence[Place], measures: Sequence[str]) -> list[dict[str, Any]]:
        """The curves of these measures (as in `record.curve_fields`) of the maps that lie at these places, in the order asked."""
        return self._rows("attributions", places, [field.name for field in curve_fields(measures)])

    def inputs_at(self, places: Sequence[Place]) -> list[dict[str, Any]]:
        """The inputs that lie at these places, in the order asked."""
        if self.format_version == 1:
            return [version_1.upgrade_input(row) for row in self._rows("inputs", places, list(version_1.INPUT_COLUMNS))]
        return self._rows("inputs", places, INPUT_SCHEMA.names)

    def errors(self) -> pa.Table:
        names = [f"errors-{unit}.parquet" for unit in self.manifest["units"]]
        tables = each(self._read, names, self.directory)
        return pa.concat_tables(tables) if tables else ERROR_SCHEMA.empty_table()

    def _read(self, name: str) -> pa.Table:
        try:
            return read_table(self.directory / name)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.directory / name} cannot be read ({error}); run the pipeline again") from error

    def _keep_footer(self, path: Path, footer: pq.FileMetaData) -> None:
        """Of a file with many row groups it takes longer to read than one of them."""
        self._footers[path] = footer
        while len(self._footers) > _FOOTERS_KEPT:
            self._footers.pop(next(iter(self._footers)), None)  # another thread may have been first

    def _places(self, rows: Sequence[int], *names: str) -> list[Place]:
        taken = self.index.select(names).take(pa.array(rows, pa.int64()))
        return [Place(*values) for values in zip(*(column.to_pylist() for column in taken.columns), strict=True)]

    def _rows(self, kind: str, places: Sequence[Place], columns: list[str]) -> list[dict[str, Any]]:
        # Row groups are read directly: engines that plan a scan take ten times as long for a page of maps.
        groups: dict[tuple[str, int], list[int]] = {}
        for position, at in enumerate(places):
            groups.setdefault((at.shard, at.row_group), []).append(position)
        found: list[Any] = [None] * len(places)
        for (shard, number), positions in sorted(groups.items()):
            path = self.directory / f"{kind}-{shard}.parquet"
            try:
                with open_parquet(path, self._footers.get(path)) as file:
                    self._keep_footer(path, file.metadata)
                    table = file.read_row_group(
                        number, columns=columns, use_threads=False
                    )  # which cost more than they save
            except (OSError, pa.ArrowException) as error:
                raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error
            taken = table.take(pa.array([places[p].row for p in positions], pa.int64()))
            taken = taken.to_pylist(maps_as_pydicts="strict")
            for position, record in zip(positions, taken, strict=True):
                found[position] = record
        return found


def _index_schema(measures: Sequence[str]) -> pa.Schema:
    kept = [field for field in ATTRIBUTION_SCHEMA if field.name != "attribution"]
    where = [pa.field(name, pa.string() if name.endswith("shard") else pa.int32()) for name in _LOCATION]
    return pa.schema([*kept, *measure_fields(measures), *where])


def _rows_of(path: Path) -> int:
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)


def _index_of(directory: Path, measures: Sequence[str], unit: str) -> pa.Table:
    """The rows of the index for a unit, and the curves of its measures."""
    path = directory / f"attributions-{unit}.parquet"
    schema = pa.schema([*_index_schema(measures), *curve_fields(measures)])
    with open_parquet(path) as file:
        if "target_index" not in file.schema_arrow.names:
            version_1.refuse_to_continue(directory)
        table = file.read([n for n in schema.names if n not in _LOCATION])
        group, row = _positions(file)
        home = (file.metadata.metadata or {}).get(_INPUTS_OF.encode(), unit.encode()).decode()
    with open_parquet(directory / f"inputs-{home}.parquet") as file:
        ids = file.read(["example_id"]).column(0).to_pylist()
        input_group, input_row = _positions(file)
    at = {example_id: i for i, example_id in enumerate(ids)}
    try:
        order = np.array([at[example_id] for example_id in table.column("example_id").to_pylist()], np.int64)
    except KeyError as missing:
        raise StoreError(
            f"{path} holds a map of example {missing} but not the example; add an Input for every example"
        ) from None
    shard, input_shard = (pa.array([name] * table.num_rows, pa.string()) for name in (unit, home))
    location = [shard, group, row, input_shard, input_group[order], input_row[order]]
    columns = dict(zip(table.column_names, table.columns, strict=True)) | dict(zip(_LOCATION, location, strict=True))
    return pa.table([columns[field.name] for field in schema], schema=schema)


def _positions(file: pq.ParquetFile) -> tuple[np.ndarray, np.ndarray]:
    """(row group, row within it) of every row."""
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(n) for n in sizes]) if sizes else np.zeros(0, np.int64)
    return group.astype(np.int32), row.astype(np.int32)
