"""A committed store as the page sees it: which examples, in what order, and where each of their maps lies."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import filter_grammar, filter_sql
from tb_deepexplain.plugin.duckdb_engine import Engine, literal
from tb_deepexplain.plugin.query_string import BadRequest, NotFound, Selection, Window
from tb_deepexplain.storage import is_remote, open_parquet, whole
from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, INPUT_SCHEMA
from tb_deepexplain.store.store import Place, Store

_REQUIRED = ("kind", "methods", "index", "units", "version")
_TEXTS = "texts.parquet"
_TEXT_SCHEMA = pa.schema([INPUT_SCHEMA.field(name) for name in ("example_id", "tokens")])
_ORDERS_KEPT = 6  # of 9 bytes an example each
_NEAR = 255  # rows of the index: an example whose maps lie as near each other is read without a search
_ONE_TARGET = ("predicted", "label", "sum")
_FIRST = "arg_min({}, r)"
_COLUMNS = {  # of one example, over the rows shown
    "id": "example_id",
    "label": "max(label)",
    "label_name": "max(label_name)",
    "predicted": "max(predicted)",
    "misclassified": filter_sql.STATES["error"],
    "target": _FIRST.format("target"),
    "target_name": _FIRST.format("target_label"),
    "gap": f"max({filter_sql.finite('abs(gap)')})",
    "relative_gap": "max({})".format(filter_sql.OF_MAPS["gap"][1]),
}


class Cell(NamedTuple):
    """One map: its row of the index."""

    example_id: str
    step: int
    method: str
    target: int | None
    target_label: str | None
    label: int | None
    label_name: str | None
    predicted: int | None
    score: float | None
    probability: float | None
    baseline_score: float | None
    gap: float | None
    evaluations: int | None
    warnings: list[str] | None
    shard: str
    row_group: int
    row: int
    input_shard: str
    input_row_group: int
    input_row: int

    @property
    def map_place(self) -> Place:
        return Place(self.shard, self.row_group, self.row)

    @property
    def input_place(self) -> Place:
        return Place(self.input_shard, self.input_row_group, self.input_row)


@dataclasses.dataclass(frozen=True)
class Order:
    """The examples of a window's filter in its order: the first row of the index of each and how far behind it the last one
    lies, of all its maps or of those by the methods that had to be looked at; and its sort key."""

    rows: np.ndarray
    spans: np.ndarray
    keys: np.ndarray | None
    whole: bool


class Grid:
    """A committed store. Questions go to the engine; in memory are the manifest and a few orders."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self._engine = engine
        self.store = Store(directory)
        manifest = self.manifest = self.store.manifest
        lacking = [key for key in _REQUIRED if key not in manifest]
        if lacking:
            raise StoreError(f"{directory}: its manifest lacks {lacking[0]!r}; run the pipeline again")
        _refuse_paths(directory, manifest["index"])
        self.methods: list[dict[str, Any]] = manifest["methods"]
        self._copies = engine.folder() if is_remote(directory) else None
        self._source, names = _source([self._local(name) for name in manifest["index"]])
        shards, homes = (
            [name for (name,) in engine.rows(f"SELECT DISTINCT {column} FROM {self._source}")]
            for column in ("shard", "input_shard")
        )
        _refuse_paths(directory, [*shards, *homes])
        labels = tuple(map(str, manifest.get("labels") or ()))
        measures = tuple(m["id"] for m in manifest.get("measures") or () if re.fullmatch(r"[a-z][a-z0-9_]*", m["id"]))
        self._homes = homes or list(manifest["units"])
        text = self._text_search() if manifest["kind"] == "text" else None
        ids = tuple(method["id"] for method in self.methods)
        self.steps = [step for (step,) in engine.rows(f"SELECT DISTINCT step FROM {self._source} ORDER BY 1")]
        summing = tuple(method["id"] for method in self.methods if method.get("sums_to"))
        self.known = filter_sql.Known(frozenset(names), ids, measures, labels, len(self.steps), summing, text)
        self._orders: collections.OrderedDict[Any, Order] = collections.OrderedDict()
        self._lock = threading.Lock()

    def _local(self, name: str) -> Path:
        """A file of the store where the engine can read it: of a remote one a copy."""
        path = self.store.directory / name
        if self._copies is None:
            return path
        copy = Path(self._copies.name) / name
        path.fs.get_file(path.path, str(copy))  # type: ignore[attr-defined]
        return copy

    def _text_search(self) -> str:
        """A query for the ids of examples whose tokens, put together to a text, hold {0}."""
        inputs = [self.store.directory / f"inputs-{unit}.parquet" for unit in self._homes]
        files = literal(list(map(str, inputs if self._copies is None else [Path(self._copies.name) / _TEXTS])))
        text = "replace(replace(array_to_string(list_filter(tokens, lambda t: t <> ''), ' '), ' ##', ''), '▁', '')"
        files = files.replace("{", "{{").replace("}", "}}")
        return f"SELECT example_id FROM read_parquet({files}) WHERE contains(lower({text}), {{0}})"

    def _copy_texts(self) -> None:
        """Of a remote store, for the first filter that may look into texts: its tokens, without anything else of the inputs."""
        if self._copies is None or self.known.text is None or (Path(self._copies.name) / _TEXTS).exists():
            return
        with whole(Path(self._copies.name) / _TEXTS) as draft, pq.ParquetWriter(draft, _TEXT_SCHEMA) as writer:
            for unit in self._homes:
                with open_parquet(self.store.directory / f"inputs-{unit}.parquet") as file:
                    writer.write_table(file.read(_TEXT_SCHEMA.names).cast(_TEXT_SCHEMA))

    @functools.cached_property
    def targets(self) -> list[dict[str, Any]] | None:
        """The output units explained, with names; None where each map exists for one target only."""
        target = str(self.manifest.get("target", ""))
        single = target in _ONE_TARGET or target.isdigit()
        maps, most = self._counted
        if maps <= most:
            twice = f"SELECT 1 FROM {self._source} GROUP BY example_id, method, step HAVING count(*) > 1 LIMIT 1"
            if single or not self._engine.rows(twice):
                return None
        found = f"SELECT target, max(target_label) FROM {self._source} WHERE target >= 0 GROUP BY 1 ORDER BY 1"
        return [{"id": unit, "name": name or self.name(unit)} for unit, name in self._engine.rows(found)]

    @property
    def _counted(self) -> tuple[int, int]:
        """How many maps there are; and how many there were if each example had one by each method, for each step."""
        counts = self.manifest.get("counts", {})
        return counts.get("maps", 0), counts.get("examples", 0) * len(self.methods) * len(self.steps)

    @functools.cached_property
    def _complete(self) -> bool:
        """Whether every example has one map by each method, for each step: what is the same in all is then in those by one."""
        maps, most = self._counted
        return 0 < maps == most and self.targets is None

    def name(self, unit: int | None) -> str | None:
        """The name of an output unit, where the store has names."""
        return self.known.labels[unit] if unit is not None and 0 <= unit < len(self.known.labels) else None

    def step(self, asked: int | None) -> int | None:
        """The latest step, or the latest that is not after the one asked for."""
        return max((step for step in self.steps if asked is None or step <= asked), default=None)

    def shown(self, window: Window) -> tuple[dict[str, list[Cell]], int]:
        """The maps of the examples of a page by id, in order, by all methods; and how many examples there are in all."""
        order = self.order(window)
        page = slice(window.offset, window.offset + window.limit)
        return self._around(order, np.arange(len(order.rows))[page], window.selection), len(order.rows)

    def _around(self, order: Order, ranks: np.ndarray, selection: Selection) -> dict[str, list[Cell]]:
        """The maps of the examples of these ranks, in their order."""
        if not len(ranks):
            return {}
        rows, spans = order.rows[ranks].tolist(), order.spans[ranks].tolist()
        found: dict[int, list[Cell]] = {}
        if max(spans) < _NEAR:  # they need not be looked for in the whole index
            beside = 0 if order.whole else len(self.methods) - 1
            ranges = [range(r - beside, r + span + beside + 1) for r, span in zip(rows, spans, strict=True)]
            bind = filter_sql.Bindings()
            near = self._shown(selection, bind, rows=sorted(set().union(*ranges)))
            found = self._read(near, bind, rows)
        if not found or not (order.whole or all(len(cells) == len(self.methods) for cells in found.values())):
            bind = filter_sql.Bindings()
            ids = f"SELECT example_id FROM {self._source} WHERE r IN (SELECT unnest({bind.add(rows)}))"
            found = self._read(self._shown(selection, bind, ids), bind, rows)
        return {found[row][0].example_id: found[row] for row in rows}

    def _read(self, shown: str, bind: filter_sql.Bindings, rows: list[int]) -> dict[int, list[Cell]]:
        """Of the maps shown, those of the examples that have one of these rows, by it."""
        asked = set(rows)
        by_id: dict[str, list[Cell]] = {}
        found: dict[int, list[Cell]] = {}
        for row, *values in self._engine.rows(
            f"WITH {shown} SELECT r, {', '.join(Cell._fields)} FROM m ORDER BY r", bind.values
        ):
            cell = Cell(*values)
            cells = by_id.setdefault(cell.example_id, [])
            cells.append(cell)
            if row in asked:
                found[row] = cells
        return found

    def spread(self, window: Window, most: int) -> list[list[Cell]]:
        """The maps of at most so many examples, evenly through the order of the window."""
        order = self.order(window)
        count = len(order.rows)
        ranks = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        return list(self._around(order, ranks, window.selection).values())

    def window(self, window: Window) -> tuple[list[str], int]:
        """The ids of the examples of a page, in order, and how many there are in all."""
        order = self.order(window)
        rows = order.rows[window.offset : window.offset + window.limit].tolist()
        asked = f"SELECT r, example_id FROM {self._source} WHERE r IN (SELECT unnest($rows))"
        ids = dict(self._engine.rows(asked, {"rows": rows})) if rows else {}
        return [ids[row] for row in rows], len(order.rows)

    def order(self, window: Window) -> Order:
        key = (window.selection, window.filter, window.sort, window.descending)
        with self._lock:  # of two that ask for the same, one computes it
            if key not in self._orders:
                self._orders[key] = self._sort(window)
                while len(self._orders) > _ORDERS_KEPT:
                    self._orders.popitem(last=False)
            self._orders.move_to_end(key)
            return self._orders[key]

    def columns(self, ids: Sequence[str], selection: Selection, names: Sequence[str]) -> dict[str, list[Any]]:
        """Columns of these examples, in their order."""
        bind = filter_sql.Bindings()
        asked = dict.fromkeys(("id", *names))
        sql = [_COLUMNS.get(name) or self._expression(name, bind) for name in asked]
        listed = ", ".join(f"{one} AS c{i}" for i, one in enumerate(sql))
        shown = self._shown(selection, bind, _unnest(bind, ids), change=filter_sql.CHANGE in asked)
        query = f"WITH {shown} SELECT {listed} FROM m GROUP BY example_id"
        found = {row[0]: row for row in (self._engine.rows(query, bind.values) if ids else ())}
        columns = {name: [found[id_][i] for id_ in ids] for i, name in enumerate(asked)}
        if "target" in columns:
            columns["target"] = [unit if unit is not None and unit >= 0 else None for unit in columns["target"]]
        for name, unit in (("label_name", "label"), ("target_name", "target")):
            if name in columns and unit in columns:
                columns[name] = [n or self.name(u) for n, u in zip(columns[name], columns[unit], strict=True)]
        return columns

    def cells(
        self, ids: Sequence[str], selection: Selection, methods: Sequence[str] | None = None, every: str | None = None
    ) -> dict[str, list[Cell]]:
        """The maps of these examples by id: of the step and the target selected, or of `every` "step" or "target"."""
        bind = filter_sql.Bindings()
        shown = self._shown(selection, bind, _unnest(bind, ids), every)
        only = f" WHERE method IN (SELECT unnest({bind.add(list(methods))}))" if methods is not None else ""
        query = f"WITH {shown} SELECT {', '.join(Cell._fields)} FROM m{only} ORDER BY r"
        found: dict[str, list[Cell]] = {id_: [] for id_ in ids}
        for row in self._engine.rows(query, bind.values) if ids else ():
            cell = Cell(*row)
            found[cell.example_id].append(cell)
        return found

    def everything(self, example: str) -> list[dict[str, Any]]:
        """All numbers stored about one example, a dict for each of its maps."""
        hidden = {"shard", "row_group", "row", "input_shard", "input_row_group", "input_row", "dtype", "scale", "r"}
        names = [name for name in self._names if name not in hidden]
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        query = f"SELECT {quoted} FROM {self._source} WHERE example_id = $id ORDER BY r"
        found = [dict(zip(names, row, strict=True)) for row in self._engine.rows(query, {"id": example})]
        if not found:
            raise NotFound(f"no example {example!r} in this store")
        return found

    @functools.cached_property
    def _names(self) -> list[str]:
        stored = [field.name for field in ATTRIBUTION_SCHEMA if field.name in self.known.columns]
        return stored + sorted(self.known.columns - set(stored))

    def _sort(self, window: Window) -> Order:
        bind = filter_sql.Bindings()
        direction = "DESC" if window.descending else "ASC"
        if window.filter:
            self._copy_texts()
        try:
            terms = filter_grammar.parse(window.filter)
            only = filter_sql.condition(self.known, terms, bind)
        except filter_grammar.FilterError as error:
            raise BadRequest(f"filter: {error}") from None
        key, value = self._key(window.sort, bind)
        methods = filter_sql.methods(self.known, window.sort, terms) if self._complete else self.known.methods
        change = f"max({filter_sql.CHANGE})" in f"{key} {only}"
        shown = self._shown(window.selection, bind, change=change, methods=methods)
        keys = ", ".join(f"{k} AS k{i}" for i, k in enumerate(key))
        ordered = ", ".join(f"k{i} {direction} NULLS LAST" for i in range(len(key)))
        alone = len(methods) == 1 and self._complete and "example_id" not in f"{keys} {only}"
        group = "r" if alone else "example_id"  # of numbers it takes half the time
        place = f"min(r)::UINTEGER AS first, least(max(r) - min(r), {_NEAR})::UTINYINT AS span"
        each = f"SELECT {place}, {keys} FROM m GROUP BY {group} HAVING {only}"
        what = "first, span" + (", k0::FLOAT" if value else "")
        query = f"WITH {shown}, e AS ({each}) SELECT {what} FROM e ORDER BY {ordered}, first"
        found = self._engine.columns(query, bind.values)
        return Order(found[0], found[1], found[2] if value else None, len(methods) == len(self.known.methods))

    def _key(self, sort: str, bind: filter_sql.Bindings) -> tuple[list[str], bool]:
        """What to sort by, and whether the first of it is a number worth a histogram."""
        if sort == "errors":
            return [filter_sql.STATES["error"], f"max({filter_sql.OF_MAPS['gap'][1]})"], False
        if sort == "id":
            return ["try_cast(example_id AS BIGINT)", "example_id"], False
        return [self._expression(sort, bind)], True

    def _expression(self, name: str, bind: filter_sql.Bindings) -> str:
        method, _, field = name.rpartition(".")
        try:
            return filter_sql.expression(self.known, field, method or None, bind)
        except filter_grammar.FilterError as error:
            raise BadRequest(str(error)) from None

    def _shown(
        self,
        selection: Selection,
        bind: filter_sql.Bindings,
        ids: str | None = None,
        every: str | None = None,
        change: bool = False,
        rows: list[int] | None = None,
        methods: Sequence[str] | None = None,
    ) -> str:
        """The rows `m` of a selection: one step, and of each example and method one target; of all examples, or those of which
        the query `ids` tells; if they are given, only these `rows` and `methods`; with the change of each score where it is asked
        for."""
        must = [f"method IN (SELECT unnest({bind.add(list(methods or self.known.methods))}))"]
        if ids is not None:
            must.append(f"example_id IN ({ids})")
        if rows is not None:
            must.append(f"r IN (SELECT unnest({bind.add(rows)}))")
        if every != "step":
            must.append(f"step = {bind.add(self.step(selection.step))}")
        target = selection.target if every != "target" else "every"
        match target:
            case "predicted":
                must.append("target = predicted")
            case "label":
                must.append("target = label")
            case "sum":
                must.append("(target IS NULL OR target < 0)")
            case int(unit):
                must.append(f"target = {bind.add(unit)}")
        source = self._with_change() if change else self._source
        found = f"SELECT * FROM {source} WHERE {' AND '.join(must)}"
        if target is None and self.targets:  # that of the predicted class, where it is there
            best = "PARTITION BY example_id, method, step ORDER BY (target IS NOT DISTINCT FROM predicted) DESC, r"
            found += f" QUALIFY row_number() OVER ({best}) = 1"
        return f"m AS ({found})"

    def _with_change(self) -> str:
        """The rows of the index, and beside each how far the score of its target moved from the first step to the last."""
        moved = "abs(arg_max(score, step) - arg_min(score, step))"
        whole = f"SELECT example_id, target, {moved} AS {filter_sql.CHANGE} FROM {self._source} WHERE isfinite(score) GROUP BY ALL"
        same = "s.example_id = c.example_id AND s.target IS NOT DISTINCT FROM c.target"
        return f"(SELECT s.*, c.{filter_sql.CHANGE} FROM {self._source} s LEFT JOIN ({whole}) c ON {same})"


def _unnest(bind: filter_sql.Bindings, ids: Sequence[str]) -> str:
    """A query that tells of these ids."""
    return f"SELECT unnest({bind.add(list(ids))})"


def _source(files: Sequence[Path]) -> tuple[str, list[str]]:
    """The rows of the index as SQL, numbered `r` through all its files; and its columns."""
    parts, start, columns = [], 0, []
    for path in files:
        try:
            file = pq.ParquetFile(path)
        except Exception as error:
            raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error
        with file:
            columns = file.schema_arrow.names
            rows = file.metadata.num_rows
        home = (
            "" if "input_shard" in columns else "shard AS input_shard, "
        )  # in older stores the inputs are with the maps
        numbered = f"read_parquet({literal(str(path))}, file_row_number = true)"
        parts.append(f"SELECT *, {home}file_row_number + {start} AS r FROM {numbered}")
        start += rows
    return f"({' UNION ALL BY NAME '.join(parts)})", columns


def _refuse_paths(directory: Path, names: Sequence[Any]) -> None:
    """A store reads its own files only."""
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise StoreError(f"{directory}: it names the file {name!r} outside itself; run the pipeline again")
