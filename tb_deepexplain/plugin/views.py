"""What is asked about stores, as plain data; no HTTP here. The page of maps itself is made in page.py."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.plugin.catalogue import Catalogue, Place
from tb_deepexplain.plugin.json_numbers import number
from tb_deepexplain.plugin.query_string import BadRequest, NotFound, Selection, Window
from tb_deepexplain.plugin.store_query import Grid
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS, read_places
from tb_deepexplain.store.store import Store


def describe_stores(catalogue: Catalogue, places: Sequence[Place]) -> dict[str, Any]:
    """Every announced store from its manifest alone; what is wrong with a store is said in its `error`."""
    return {"logdir": catalogue.logdir, "stores": [_describe(catalogue, place) for place in places]}


def _describe(catalogue: Catalogue, place: Place) -> dict[str, Any]:
    try:
        directory = catalogue.directory(place)
        catalogue.manifest_signature(directory)
        manifest = Store(directory).manifest
        counts = manifest["counts"]
        measures = manifest.get("measures") or []
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
            "complete": manifest.get("complete", True),
            "measures": [{k: m.get(k) for k in ("id", "title", "better")} for m in measures],
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
    ids, total = grid.window(window)
    asked = dict.fromkeys(("id", *columns))
    needed = ["predicted" if name == "predicted_name" else name for name in asked]
    if "label_name" in asked:
        needed.append("label")
    if "target_name" in asked:
        needed.append("target")
    found = grid.columns(ids, window.selection, needed)
    if "predicted_name" in asked:
        found["predicted_name"] = [grid.name(unit) for unit in found["predicted"]]
    head = {"version": grid.manifest["version"], "total": total, "offset": window.offset}
    return {**head, **{name: [number(value) for value in found[name]] for name in asked}}


def facet(grid: Grid, window: Window, bins: int) -> dict[str, Any]:
    """How the field that a window is sorted by is distributed over its examples, and where each bin begins in their order.

    Bins are of equal width between the 1st and the 99th percentile; the first and the last reach to the ends.
    """
    order = grid.order(window)
    head = {"version": grid.manifest["version"], "field": window.sort, "total": len(order.rows)}
    given = np.zeros(0) if order.keys is None else order.keys
    keys = given[np.isfinite(given)]
    if not keys.size or keys.min() == keys.max():
        return {**head, "edges": [float(k) for k in keys[:1]], "counts": [], "known": len(keys), "starts": []}
    low, high = np.quantile(keys, [0.01, 0.99])
    inner = np.linspace(low, high, bins + 1)[1:-1] if high > low else np.zeros(0)
    edges = np.unique([keys.min(), *inner, keys.max()])
    counts, _ = np.histogram(keys, edges)
    first = int((np.isposinf(given) if window.descending else np.isneginf(given)).sum())
    before = counts[::-1].cumsum()[::-1] - counts if window.descending else counts.cumsum() - counts
    return {
        **head,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "known": len(keys),
        "starts": (first + before).tolist(),  # the rank of the first example of each bin
    }


def one_map(grid: Grid, example_id: str, method: str, selection: Selection, flat: bool) -> np.ndarray:
    """One float32 map at full size, as stored or, for pictures, with its channels made one number."""
    [found] = find_methods(grid, [method])
    cells = grid.cells([example_id], selection, [method])[example_id]
    if not cells:
        grid.everything(example_id)  # there is no such example?
        raise NotFound(f"example {example_id!r} has no map by {method} for this step and target")
    [values] = read_places([cells[0].map_place], grid.store.maps_at).values()
    if isinstance(values, str):
        raise StoreError(values)
    return tile_encoding.flatten(values, found["signed"]) if flat and grid.manifest["kind"] == "image" else values


def example(grid: Grid, example_id: str, selection: Selection) -> dict[str, Any]:
    """All numbers stored about one example, and what made them; curves of the maps selected, by method and measure."""
    maps = [{k: number(v) for k, v in row.items() if k != "example_id"} for row in grid.everything(example_id)]
    cells = grid.cells([example_id], selection)[example_id]
    measures = grid.known.measures
    read = functools.partial(grid.store.curves_at, measures=measures)
    found = read_places((cell.map_place for cell in cells), read) if measures else {}
    curves = {cell.method: _curves(found.get(cell.map_place), measures) for cell in cells}
    kept = {
        k: grid.manifest.get(k)
        for k in ("version", "name", "kind", "methods", "measures", "model", "options", "versions", "created")
    }
    return {"id": example_id, "maps": maps, "curves": curves, **kept}


def _curves(found: dict[str, Any] | str | None, measures: Sequence[str]) -> dict[str, Any]:
    """By measure: where its points lie, and the curves of the map and of a random one."""
    curves = {}
    if not isinstance(found, dict):
        return {}
    for measure in measures:
        own = {end: found[f"{measure}_{end}"] for end in ("at", "curve", "random_curve")}
        if own["curve"]:
            curves[measure] = {end: [number(v) for v in values or ()] for end, values in own.items()}
    return curves


def find_methods(grid: Grid, methods: Sequence[str] | None) -> list[dict[str, Any]]:
    """Rows of the manifest: all, or those named."""
    by_id = {method["id"]: method for method in grid.methods}
    unknown = [m for m in methods or () if m not in by_id]
    if unknown:
        raise BadRequest(f"unknown method {unknown[0]!r}; this store has {', '.join(by_id)}")
    return [by_id[m] for m in methods] if methods else grid.methods
