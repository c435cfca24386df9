"""What the page asks for, as plain data and bytes over a store; no HTTP here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tb_deepexplain.errors import StoreError
from tb_deepexplain.marker import FORMAT_VERSION
from tb_deepexplain.plugin import pictures, tiles
from tb_deepexplain.plugin.catalogue import READ_ERRORS, Catalogue, Place
from tb_deepexplain.plugin.grid import Grid
from tb_deepexplain.plugin.params import BadRequest, NotFound, Selection, Window
from tb_deepexplain.store import Store

T = TypeVar("T")


def describe_stores(catalogue: Catalogue, places: Sequence[Place]) -> dict[str, Any]:
    """Every announced store from its manifest alone; what is wrong with a store is said in its `error`."""
    return {"logdir": catalogue.logdir, "stores": [_describe(catalogue, place) for place in places]}


def _describe(catalogue: Catalogue, place: Place) -> dict[str, Any]:
    try:
        directory = catalogue.directory(place)
        catalogue.manifest_signature(directory)
        manifest = Store(directory).manifest
        counts = manifest["counts"]
        return {
            "run": place.run,
            "store": place.store,
            "version": manifest["version"],
            "kind": manifest["kind"],
            "target": manifest.get("target"),
            "created": manifest.get("created"),
            "examples": counts["examples"],
            "maps": counts["maps"],
            "errors": counts["errors"],
            "methods": [describe_method(method, manifest["kind"]) for method in manifest["methods"]],
        }
    except READ_ERRORS as error:
        message = str(error) if isinstance(error, StoreError) else f"its manifest is damaged ({error!r}); run the pipeline again"
        return {"run": place.run, "store": place.store, "error": message}


def describe_method(method: dict[str, Any], kind: str) -> dict[str, Any]:
    """A method's row of the manifest, and how the page makes one number of a pixel's channels."""
    reduction = ("sum" if method["signed"] else "max |a|") if kind == "image" else None
    return {**{k: method.get(k) for k in ("id", "title", "family", "signed", "sums_to", "parameters")}, "reduction": reduction}


def query(grid: Grid, window: Window, columns: Sequence[str]) -> dict[str, Any]:
    """One array per column for the examples of a window."""
    examples, total = grid.window(window)
    cells = grid.cells(window.selection)
    first, rows = cells.first[examples], cells.rows[examples]
    compute: dict[str, Callable[[], list[Any]]] = {
        "id": lambda: grid.ids.take(pa.array(examples)).to_pylist(),
        "label": lambda: _units(grid.label[first]),
        "label_name": lambda: _label_names(grid, first),
        "predicted": lambda: _units(grid.predicted[first]),
        "predicted_name": lambda: [grid.name(int(unit)) for unit in grid.predicted[first]],
        "misclassified": lambda: grid.misclassified(first).tolist(),
        "target": lambda: _units(grid.target[first]),
        "target_name": lambda: _target_names(grid, first),
        "score": lambda: _finite(grid.score[first]),
        "probability": lambda: _finite(grid.probability[first]),
        "gap": lambda: _finite(grid.largest(np.abs(grid.gap[rows]), rows)),
        "relative_gap": lambda: _finite(grid.largest(grid.relative_gap(rows), rows)),
    }
    wanted = dict.fromkeys(["id", *columns])
    return {"version": grid.manifest["version"], "total": total, "offset": window.offset, **{c: compute[c]() for c in wanted}}


def page(grid: Grid, window: Window, methods: Sequence[str] | None, size: int) -> bytes:
    """A page of examples with inputs and maps, in the binary form that docs/http_api.md describes."""
    at = _method_numbers(grid, methods)
    found = query(grid, window, ("label", "label_name", "predicted", "predicted_name", "misclassified"))
    examples, _ = grid.window(window)
    cells = grid.cells(window.selection)
    rows = cells.rows[examples][:, at]
    maps = read_rows(grid, rows[rows >= 0], "row_group", grid.store.maps)
    inputs = read_rows(grid, cells.first[examples], "input_row_group", grid.store.inputs)
    facts = _map_facts(grid, rows[rows >= 0])
    answer = tiles.Answer()
    header_rows = []
    for place, example in enumerate(examples):
        row = {name: values[place] for name, values in found.items() if isinstance(values, list)}
        shown = inputs[int(cells.first[example])]
        row["input"] = _try(shown, lambda record: _input(record, size, answer))
        padding = _padding(shown)
        row["maps"] = [
            None if number < 0 else {**facts[int(number)], **_try(
                maps[int(number)], lambda values, m=m: _map(values, grid, grid.methods[m], size, padding, answer)
            )}
            for m, number in zip(at, rows[place], strict=True)
        ]  # fmt: skip
        header_rows.append(row)
    return answer.finish(
        {
            "format_version": FORMAT_VERSION,
            **{k: v for k, v in found.items() if not isinstance(v, list)},
            "kind": grid.manifest["kind"],
            "methods": [describe_method(grid.methods[m], grid.manifest["kind"]) for m in at],
            "steps": grid.steps,
            "targets": grid.targets,
            "rows": header_rows,
        }
    )


def one_map(grid: Grid, example_id: str, method: str, selection: Selection, flat: bool) -> np.ndarray:
    """One float32 map at full size, as stored or, for pictures, with its channels made one number."""
    [number] = _method_numbers(grid, [method])
    row = int(grid.cells(selection).rows[_example(grid, example_id), number])
    if row < 0:
        raise NotFound(f"example {example_id!r} has no map by {method} for this step and target")
    [values] = read_rows(grid, np.array([row]), "row_group", grid.store.maps).values()
    if isinstance(values, str):
        raise StoreError(values)
    if flat and grid.manifest["kind"] == "image":
        return tiles.flatten(values, grid.methods[number]["signed"])
    return values


def example(grid: Grid, example_id: str) -> dict[str, Any]:
    """All numbers stored about one example, and what made them."""
    _example(grid, example_id)
    mine = grid.index.filter(pc.equal(grid.index["example_id"], example_id))
    hidden = {"shard", "row_group", "row", "input_row_group", "input_row", "dtype", "scale", "example_id"}
    maps = mine.select([name for name in mine.column_names if name not in hidden]).to_pylist()
    kept = {k: grid.manifest.get(k) for k in ("version", "name", "kind", "methods", "model", "options", "versions", "created")}
    return {"id": example_id, "maps": [{k: _number(v) for k, v in m.items()} for m in maps], **kept}


def read_rows(grid: Grid, rows: np.ndarray, group: str, read: Callable[[Sequence[int]], list[T]]) -> dict[int, T | str]:
    """What `read` gives for each index row, or a sentence where it cannot be read: one bad shard spoils its rows only."""
    place = pa.table({k: grid.index[k].take(pa.array(rows, pa.int64())) for k in ("shard", group)})
    keys = list(zip(place["shard"].to_pylist(), place[group].to_pylist(), strict=True))
    together: dict[tuple[str, int], list[int]] = {}
    for key, row in zip(keys, rows.tolist(), strict=True):
        together.setdefault(key, []).append(row)
    found: dict[int, T | str] = {}
    for (shard, _), members in together.items():
        try:
            found.update(zip(members, read(members), strict=True))
        except READ_ERRORS as error:
            found.update(dict.fromkeys(members, str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"))
    return found


def _map(values: np.ndarray, grid: Grid, method: dict[str, Any], size: int, padding: np.ndarray | None, answer: tiles.Answer) -> dict[str, Any]:
    if grid.manifest["kind"] != "image":
        line = np.asarray(values, np.float32).reshape(-1)
        if padding is not None and len(padding) != len(line):
            raise ValueError(f"the map has {len(line)} values for {len(padding)} tokens or features")
        seen = line if padding is None else line[~padding]
        finite = seen[np.isfinite(seen)]
        return {"length": len(line), **_flags(seen), "scale": float(np.abs(finite).max(initial=0)), "quantiles": tiles.marks(seen),
                "values": answer.add(line.astype("<f4").tobytes())}  # fmt: skip
    flat = tiles.flatten(values, method["signed"])
    small = tiles.shrink(flat, size)
    codes, scale = tiles.compand(small)
    return {"shape": list(small.shape), "full": list(flat.shape), **_flags(flat), "scale": scale, "quantiles": tiles.marks(flat),
            "codes": answer.add(codes.tobytes())}  # fmt: skip


def _flags(values: np.ndarray) -> dict[str, Any]:
    finite = np.isfinite(values)
    return {"zero": bool(finite.all() and not values.any()), "not_finite": int(values.size - finite.sum())}


def _input(record: dict[str, Any], size: int, answer: tiles.Answer) -> dict[str, Any]:
    match record["kind"]:
        case "image":
            data, media_type, shape = pictures.thumbnail(record["image"] or b"", size)
            return {"type": media_type, "full": list(shape), "data": answer.add(data)}
        case "text":
            return {"type": "text", "tokens": record["tokens"], "word_ids": record["word_ids"]}
        case "tabular":
            return {"type": "tabular", "features": record["features"], "values": [_number(v) for v in record["values"]]}
    raise ValueError(f"an input of kind {record['kind']!r}; expected image, text or tabular")


def _padding(record: dict[str, Any] | str) -> np.ndarray | None:
    """Which tokens are padding (stored as empty strings); for features none is."""
    if isinstance(record, str) or record["kind"] == "image":
        return None
    return np.array([record["kind"] == "text" and not name for name in record["tokens"] or record["features"] or []], bool)


def _try(found: T | str, build: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    try:
        return build(found)
    except READ_ERRORS as error:
        return {"error": str(error)}


def _map_facts(grid: Grid, rows: np.ndarray) -> dict[int, dict[str, Any]]:
    """The numbers beside each map, by index row."""
    stored = grid.index.select(["evaluations", "warnings"]).take(pa.array(rows, pa.int64()))
    columns = {
        "target": _units(grid.target[rows]),
        "target_name": _target_names(grid, rows),
        "score": _finite(grid.score[rows]),
        "probability": _finite(grid.probability[rows]),
        "baseline_score": _finite(grid.baseline_score[rows]),
        "gap": _finite(grid.gap[rows]),
        "evaluations": stored["evaluations"].to_pylist(),
        "warnings": [found or [] for found in stored["warnings"].to_pylist()],
    }
    return {int(row): {k: v[i] for k, v in columns.items()} for i, row in enumerate(rows)}


def _method_numbers(grid: Grid, methods: Sequence[str] | None) -> list[int]:
    ids = [method["id"] for method in grid.methods]
    unknown = [m for m in methods or () if m not in ids]
    if unknown:
        raise BadRequest(f"unknown method {unknown[0]!r}; this store has {', '.join(ids)}")
    return [ids.index(m) for m in methods] if methods else list(range(len(ids)))


def _example(grid: Grid, example_id: str) -> int:
    found: int = pc.index(grid.ids, example_id).as_py()
    if found < 0:
        raise NotFound(f"no example {example_id!r} in this store")
    return found


def _label_names(grid: Grid, rows: np.ndarray) -> list[str | None]:
    stored = grid.index["label_name"].take(pa.array(rows, pa.int64())).to_pylist()
    return [name or grid.name(int(unit)) for name, unit in zip(stored, grid.label[rows], strict=True)]


def _target_names(grid: Grid, rows: np.ndarray) -> list[str | None]:
    stored = grid.index["target_label"].take(pa.array(rows, pa.int64())).to_pylist()
    return [name or grid.name(int(unit)) for name, unit in zip(stored, grid.target[rows], strict=True)]


def _units(numbers: np.ndarray) -> list[int | None]:
    return [None if n < 0 else n for n in numbers.tolist()]


def _finite(numbers: np.ndarray) -> list[float | None]:
    return [_number(n) for n in numbers.tolist()]


def _number(value: Any) -> Any:
    """JSON has no NaN: what is not finite becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
