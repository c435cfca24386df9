"""What is asked about stores, as plain data; no HTTP here. The page of maps itself is made in page.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import tiles
from tb_deepexplain.plugin.catalogue import Catalogue, Place
from tb_deepexplain.plugin.grid import Grid
from tb_deepexplain.plugin.params import BadRequest, NotFound, Selection, Window
from tb_deepexplain.plugin.plain import finite, number, units
from tb_deepexplain.plugin.reading import READ_ERRORS, read_rows
from tb_deepexplain.store import Store


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
            "complete": manifest.get("complete", True),  # False while it grows
            "examples": counts["examples"],
            "maps": counts["maps"],
            "errors": counts["errors"],
            "methods": [describe_method(method, manifest["kind"]) for method in manifest["methods"]],
        }
    except READ_ERRORS as error:
        message = (
            str(error)
            if isinstance(error, StoreError)
            else f"its manifest is damaged ({error!r}); run the pipeline again"
        )
        return {"run": place.run, "store": place.store, "error": message}


def describe_method(method: dict[str, Any], kind: str) -> dict[str, Any]:
    """A method's row of the manifest, and how the page makes one number of a pixel's channels."""
    reduction = ("sum" if method["signed"] else "max |a|") if kind == "image" else None
    return {
        **{k: method.get(k) for k in ("id", "title", "family", "signed", "sums_to", "parameters")},
        "reduction": reduction,
    }


def query(grid: Grid, window: Window, columns: Sequence[str]) -> dict[str, Any]:
    """One array per column for the examples of a window."""
    examples, total = grid.window(window)
    cells = grid.cells(window.selection)
    first, rows = cells.first[examples], cells.rows[examples]
    compute: dict[str, Callable[[], list[Any]]] = {
        "id": lambda: grid.ids.take(pa.array(examples)).to_pylist(),
        "label": lambda: units(grid.label[first]),
        "label_name": lambda: grid.label_names(first),
        "predicted": lambda: units(grid.predicted[first]),
        "predicted_name": lambda: [grid.name(int(unit)) for unit in grid.predicted[first]],
        "misclassified": lambda: grid.misclassified(first).tolist(),
        "target": lambda: units(grid.target[first]),
        "target_name": lambda: grid.target_names(first),
        "score": lambda: finite(grid.score[first]),
        "probability": lambda: finite(grid.probability[first]),
        "gap": lambda: finite(grid.largest(np.abs(grid.gap[rows]), rows)),
        "relative_gap": lambda: finite(grid.largest(grid.relative_gap(rows), rows)),
    }
    wanted = dict.fromkeys(["id", *columns])
    return {
        "version": grid.manifest["version"],
        "total": total,
        "offset": window.offset,
        **{c: compute[c]() for c in wanted},
    }


def one_map(grid: Grid, example_id: str, method: str, selection: Selection, flat: bool) -> np.ndarray:
    """One float32 map at full size, as stored or, for pictures, with its channels made one number."""
    [at] = method_numbers(grid, [method])
    row = int(grid.cells(selection).rows[_example(grid, example_id), at])
    if row < 0:
        raise NotFound(f"example {example_id!r} has no map by {method} for this step and target")
    [values] = read_rows(grid, np.array([row]), "row_group", grid.store.maps).values()
    if isinstance(values, str):
        raise StoreError(values)
    if flat and grid.manifest["kind"] == "image":
        return tiles.flatten(values, grid.methods[at]["signed"])
    return values


def example(grid: Grid, example_id: str) -> dict[str, Any]:
    """All numbers stored about one example, and what made them."""
    _example(grid, example_id)
    mine = grid.index.filter(pc.equal(grid.index["example_id"], example_id))
    hidden = {
        "shard",
        "row_group",
        "row",
        "input_shard",
        "input_row_group",
        "input_row",
        "dtype",
        "scale",
        "example_id",
    }
    maps = mine.select([name for name in mine.column_names if name not in hidden]).to_pylist()
    kept = {
        k: grid.manifest.get(k)
        for k in ("version", "name", "kind", "methods", "model", "options", "versions", "created")
    }
    return {"id": example_id, "maps": [{k: number(v) for k, v in m.items()} for m in maps], **kept}


def method_numbers(grid: Grid, methods: Sequence[str] | None) -> list[int]:
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
