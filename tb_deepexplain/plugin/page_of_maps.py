"""A page of examples with inputs and maps, in the binary form that docs/http_api.md describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tb_deepexplain.plugin import thumbnails, tile_encoding
from tb_deepexplain.plugin.json_numbers import number
from tb_deepexplain.plugin.query_string import BadRequest, Window
from tb_deepexplain.plugin.store_query import Cell, Grid
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS, read_places
from tb_deepexplain.plugin.views import describe_method, find_methods
from tb_deepexplain.store.marker import FORMAT_VERSION
from tb_deepexplain.store.store import Place

T = TypeVar("T")
MAX_COLUMNS = 16


class Look(NamedTuple):
    """What the columns are: all of one kind, and of the other kinds one each."""

    pivot: str = "methods"
    methods: Sequence[str] | None = None  # of another pivot than methods, the first
    targets: Sequence[int] | None = None
    runs: Mapping[str, Grid] = {}
    change: bool = False  # a column of the last map less the first


class _Column(NamedTuple):
    """One column of maps: the cell of each example that has one."""

    key: str
    title: str
    method: dict[str, Any]
    grid: Grid
    cells: Mapping[str, Cell]


def page(grid: Grid, window: Window, look: Look, size: int) -> bytes:
    """The examples of a window; pictures and their maps have no side longer than `size`."""
    found, total = grid.shown(window)
    columns = list(_columns(grid, found, window, look))
    maps: dict[int, dict[Place, np.ndarray | str]] = {}
    for of in {id(c.grid): c.grid for c in columns}.values():
        places = [cell.map_place for c in columns if c.grid is of for cell in c.cells.values()]
        maps[id(of)] = read_places(places, of.store.maps_at)
    inputs = read_places((cells[0].input_place for cells in found.values()), grid.store.inputs_at)
    writer = _Writer(grid.manifest["kind"], size)
    rows = []
    for example, cells in found.items():
        row = _example(grid, cells)
        record = inputs[cells[0].input_place]
        row["input"] = _attempt(record, writer.input)
        values = [maps[id(c.grid)][c.cells[example].map_place] if example in c.cells else None for c in columns]
        row["maps"] = []
        for column, value in zip(columns, values, strict=True):
            if value is None:
                row["maps"].append(None)
                continue
            facts = _facts(column.grid, column.cells[example])
            row["maps"].append({**facts, **_attempt(value, writer.map_of(record, column.method["signed"]))})
        if look.change:
            row["maps"].append(_change(values, writer.map_of(record, True)))
        rows.append(row)
    header = {
        "format_version": FORMAT_VERSION,
        "version": grid.manifest["version"],
        "total": total,
        "offset": window.offset,
        "kind": grid.manifest["kind"],
        "pivot": look.pivot,
        "columns": [_describe(grid, column) for column in columns]
        + ([_describe_change(grid, columns)] if look.change else []),
        "methods": [describe_method(method, grid.manifest["kind"]) for method in grid.methods],
        "fields": grid.known.numbers,
        "steps": grid.steps,
        "targets": grid.targets,
        "rows": rows,
    }
    return writer.answer.finish(header)


def _columns(grid: Grid, shown: Mapping[str, list[Cell]], window: Window, look: Look) -> Iterator[_Column]:
    methods = find_methods(grid, look.methods)
    ids, selection = list(shown), window.selection
    if look.pivot == "methods":
        found = shown
        for method in methods:
            yield _Column(method["id"], method["title"], method, grid, _where(found, "method", method["id"]))
        return
    if not methods:
        raise BadRequest("this store has no methods")
    method = methods[0]
    match look.pivot:
        case "steps":
            found = grid.cells(ids, selection, [method["id"]], every="step")
            for step in _spread(grid.steps):
                yield _Column(str(step), f"step {step:,}", method, grid, _where(found, "step", step))
        case "targets":
            found = grid.cells(ids, selection, [method["id"]], every="target")
            for unit in look.targets or _frequent(found):
                name = grid.name(unit) or next((n for n in _names(found, unit) if n), None)
                yield _Column(str(unit), name or f"class {unit}", method, grid, _where(found, "target", unit))
        case _:
            for run, other in look.runs.items():
                its = next((m for m in other.methods if m["id"] == method["id"]), None)
                found = other.cells(ids, selection, [method["id"]]) if its else {}
                cells = {i: of[0] for i, of in found.items() if of}
                if its and (cells or other is grid):  # of a run that knows none of them there is nothing to compare
                    yield _Column(run, run, its, other, cells)


def _where(found: Mapping[str, list[Cell]], name: str, value: Any) -> dict[str, Cell]:
    at = Cell._fields.index(name)
    return {example: cell for example, cells in found.items() for cell in cells if cell[at] == value}


def _spread(steps: Sequence[int]) -> list[int]:
    """At most MAX_COLUMNS of them, the first and the last among them."""
    if len(steps) <= MAX_COLUMNS:
        return list(steps)
    return [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, MAX_COLUMNS).round().astype(int))]


def _frequent(found: Mapping[str, list[Cell]]) -> list[int]:
    """The targets that most of these examples have, the most frequent first."""
    counts: dict[int, int] = {}
    for cells in found.values():
        for cell in cells:
            if cell.target is not None and cell.target >= 0:
                counts[cell.target] = counts.get(cell.target, 0) + 1
    return sorted(counts, key=lambda unit: (-counts[unit], unit))[:MAX_COLUMNS]


def _names(found: Mapping[str, list[Cell]], unit: int) -> Iterator[str | None]:
    return (cell.target_label for cells in found.values() for cell in cells if cell.target == unit)


def _describe(grid: Grid, column: _Column) -> dict[str, Any]:
    return {"key": column.key, "title": column.title, "method": describe_method(column.method, grid.manifest["kind"])}


def _describe_change(grid: Grid, columns: Sequence[_Column]) -> dict[str, Any]:
    first, last = columns[0], columns[-1]
    method = {**first.method, "signed": True, "sums_to": None}
    return {
        **_describe(grid, first._replace(key="change", title=f"{last.title} − {first.title}", method=method)),
        "change": True,
    }


def _change(
    values: Sequence[np.ndarray | str | None], write: Callable[[np.ndarray], dict[str, Any]]
) -> dict[str, Any] | None:
    """The map of the last column less that of the first; None where one is not there, or of another shape."""
    first, last = values[0], values[-1]
    if not (isinstance(first, np.ndarray) and isinstance(last, np.ndarray) and first.shape == last.shape):
        return None
    nothing = dict.fromkeys(
        ("target", "target_name", "score", "probability", "baseline_score", "gap", "evaluations", "step")
    )
    return {**nothing, "warnings": [], **_attempt(last - first, write)}


class _Writer:
    """Puts inputs and maps into the answer and says in the header where they lie."""

    def __init__(self, kind: str, size: int) -> None:
        self._kind, self._size = kind, size
        self.answer = tile_encoding.Answer()

    def input(self, record: dict[str, Any]) -> dict[str, Any]:
        match record["kind"]:
            case "image":
                data, media_type, shape = thumbnails.thumbnail(record["image"] or b"", self._size)
                return {"type": media_type, "full": list(shape), "data": self.answer.add(data)}
            case "text":
                return {"type": "text", "tokens": record["tokens"], "word_ids": record["word_ids"]}
            case "tabular":
                values = [number(value) for value in record["values"]]
                return {"type": "tabular", "features": record["features"], "values": values}
        raise ValueError(f"an input of kind {record['kind']!r}; expected image, text or tabular")

    def map_of(self, record: dict[str, Any] | str, signed: bool) -> Callable[[np.ndarray], dict[str, Any]]:
        """What writes a map of this input."""
        if self._kind == "image":
            return lambda values: self._picture(tile_encoding.flatten(values, signed))
        return lambda values: self._line(values.reshape(-1), _padding(record))

    def _picture(self, flat: np.ndarray) -> dict[str, Any]:
        # Scale marks come from the map at full size: they do not change with the size of the tiles.
        small = tile_encoding.shrink(flat, self._size)
        codes, scale = tile_encoding.compand(small)
        sides = {"shape": list(small.shape), "full": list(flat.shape)}
        return {**sides, **_look(flat), "scale": scale, "codes": self.answer.add(codes.tobytes())}

    def _line(self, values: np.ndarray, padding: np.ndarray | None) -> dict[str, Any]:
        if padding is not None and len(padding) != len(values):
            raise ValueError(f"the map has {len(values)} values for {len(padding)} tokens or features")
        seen = values if padding is None else values[~padding]
        scale = float(np.abs(seen[np.isfinite(seen)]).max(initial=0))
        data = values.astype("<f4").tobytes()
        return {"length": len(values), **_look(seen), "scale": scale, "values": self.answer.add(data)}


def _look(values: np.ndarray) -> dict[str, Any]:
    """What the page must know before it draws: all zero, not finite, where to clip."""
    bad = int(values.size - np.isfinite(values).sum())
    return {"zero": not bad and not values.any(), "not_finite": bad, "quantiles": tile_encoding.marks(values)}


def _padding(record: dict[str, Any] | str) -> np.ndarray | None:
    """Which tokens are padding (stored as empty strings); of features none is."""
    if isinstance(record, str):
        return None
    names = record["tokens"] if record["kind"] == "text" else record["features"]
    return np.array([record["kind"] == "text" and name == "" for name in names or []], bool)


def _attempt(found: T | str, write: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    try:
        return write(found)
    except READ_ERRORS as error:
        return {"error": str(error)}


def _example(grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """What is known of an example as a whole."""
    label, predicted = (
        next((v for c in cells if (v := getattr(c, n)) is not None), None) for n in ("label", "predicted")
    )
    names = {c.label_name for c in cells if c.label_name}
    return {
        "id": cells[0].example_id,
        "label": label,
        "label_name": min(names) if names else grid.name(label),
        "predicted": predicted,
        "predicted_name": grid.name(predicted),
        "misclassified": label is not None
        and predicted is not None
        and min(label, predicted) >= 0
        and label != predicted,
    }


def _facts(grid: Grid, cell: Cell) -> dict[str, Any]:
    """The numbers beside a map."""
    plain = {name: number(getattr(cell, name)) for name in ("score", "probability", "baseline_score", "gap")}
    return {
        "target": cell.target if cell.target is not None and cell.target >= 0 else None,
        "target_name": cell.target_label or grid.name(cell.target),
        **plain,
        "evaluations": cell.evaluations,
        "warnings": cell.warnings or [],
        "step": cell.step,
    }
