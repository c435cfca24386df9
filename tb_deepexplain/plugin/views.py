"""The answers about stores and examples, as plain data. page_of_maps.py, summary.py and export.py have the others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import answers, tile_encoding
from tb_deepexplain.plugin.catalogue import Catalogue, StoreKey
from tb_deepexplain.plugin.errors import BadRequest, NotFound
from tb_deepexplain.plugin.example_order import order_of
from tb_deepexplain.plugin.filter_sql import slice_fields
from tb_deepexplain.plugin.index_rows import example_columns, page_ids, rows_by_id, stored_numbers
from tb_deepexplain.plugin.json_numbers import json_number
from tb_deepexplain.plugin.parameters import ExampleQuery, Selection
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import read_locations
from tb_deepexplain.store.manifest import require
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import split_map


def describe_stores(catalogue: Catalogue, keys: Sequence[StoreKey]) -> answers.Stores:
    """Every announced store from its manifest alone; one that cannot be read has an `error`."""
    return {"logdir": catalogue.logdir, "stores": [_describe_store(catalogue, key) for key in keys]}


def _describe_store(catalogue: Catalogue, key: StoreKey) -> answers.StoreInfo | answers.UnreadableStore:
    try:
        directory = catalogue.directory(key)
        catalogue.manifest_signature(directory)
        manifest = Store(directory).manifest
        require(directory, manifest, "modality", "methods")
        counts = manifest["counts"]
        return {
            "run": key.run,
            "store": key.store,
            "version": manifest["version"],
            "modality": manifest["modality"],
            "target": manifest.get("target"),
            "created": manifest.get("created"),
            "examples": counts["examples"],
            "maps": counts["maps"],
            "errors": counts["errors"],
            "complete": manifest.get("complete", True),
            "measures": [
                {"id": measure["id"], "title": measure["title"], "better": measure["better"]}
                for measure in manifest.get("measures") or []
            ],
            "methods": [describe_method(method, manifest["modality"]) for method in manifest["methods"]],
            "slices": [
                {
                    "name": feature.name,
                    "field": feature.field,
                    "type": "number" if feature.is_number else "text",
                    "values": None if feature.values is None else list(feature.values),
                }
                for feature in slice_fields(manifest)
            ],
        }
    except (StoreError, OSError) as error:
        return {"run": key.run, "store": key.store, "error": str(error)}


def describe_method(method: dict[str, Any], modality: str) -> answers.Method:
    """A method of a manifest, and how the page makes one number of a pixel's channels."""
    return {
        "id": method["id"],
        "title": method["title"],
        "family": method.get("family"),
        "signed": method["signed"],
        "sums_to": method.get("sums_to"),
        "parameters": method.get("parameters") or {},
        "reduction": None if modality not in ("image", "mixed") else "sum" if method["signed"] else "max |a|",
    }


def describe_measures(manifest: dict[str, Any]) -> list[answers.Measure]:
    """The measures of a manifest."""
    return [
        {
            "id": measure["id"],
            "title": measure["title"],
            "better": measure["better"],
            "axis": measure.get("axis"),
            "parameters": measure.get("parameters") or {},
        }
        for measure in manifest.get("measures") or []
    ]


def select_methods(store: ServedStore, ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """The methods of the manifest: all, or those with these ids."""
    by_id = {method["id"]: method for method in store.methods}
    if unknown := [method for method in ids or () if method not in by_id]:
        raise BadRequest(f"unknown method {unknown[0]!r}; this store has {', '.join(by_id)}")
    return [by_id[method] for method in ids] if ids else store.methods


def columns(store: ServedStore, query: ExampleQuery, names: Sequence[str]) -> dict[str, Any]:
    """One array for each column, for the examples of a query."""
    ids, total = page_ids(store, query)
    names = list(dict.fromkeys(("id", *names)))
    stored_names = ["predicted" if name == "predicted_name" else name for name in names]
    if "label_name" in names:
        stored_names.append("label")
    if "target_name" in names:
        stored_names.append("target")
    values = example_columns(store, ids, query.selection, stored_names)
    if "predicted_name" in names:
        values["predicted_name"] = [store.unit_name(unit) for unit in values["predicted"]]
    head = {"version": store.version, "total": total, "offset": query.offset}
    return {**head, **{name: [json_number(value) for value in values[name]] for name in names}}


def facet(store: ServedStore, query: ExampleQuery, bins: int) -> answers.Facet:
    """The distribution of the sort field over the examples of a query, and the rank at which each bin begins.

    Bins are of equal width between the 1st and the 99th percentile; the first and the last reach to the ends.
    """
    order = order_of(store, query)
    keys = np.zeros(0) if order.keys is None else order.keys
    finite = keys[np.isfinite(keys)]
    answer: answers.Facet = {
        "version": store.version,
        "field": query.sort,
        "total": len(order.rows),
        "edges": [float(key) for key in finite[:1]],
        "counts": [],
        "known": len(finite),
        "starts": [],
    }
    if not finite.size or finite.min() == finite.max():
        return answer
    low, high = np.quantile(finite, [0.01, 0.99])
    inner = np.linspace(low, high, bins + 1)[1:-1] if high > low else np.zeros(0)
    edges = np.unique([finite.min(), *inner, finite.max()])
    counts, _ = np.histogram(finite, edges)
    infinite_first = int((np.isposinf(keys) if query.descending else np.isneginf(keys)).sum())
    before = counts[::-1].cumsum()[::-1] - counts if query.descending else counts.cumsum() - counts
    return {
        **answer,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "starts": (infinite_first + before).tolist(),
    }


def one_map(
    store: ServedStore, example_id: str, method_id: str, selection: Selection, flat: bool, part: str | None = None
) -> np.ndarray:
    """One float32 map at full size: as stored or, if `flat`, for a picture with one number for each pixel.

    `part`: the input whose part of the map is wanted, in its own shape; None for the whole map.
    """
    [method] = select_methods(store, [method_id])
    rows = rows_by_id(store, [example_id], selection, [method_id])[example_id]
    if not rows:
        stored_numbers(store, example_id)  # NotFound if it is the example that does not exist
        raise NotFound(f"example {example_id!r} has no map by {method_id} for this step and target")
    [attributions] = read_locations([rows[0].map_location], store.reader.maps_at).values()
    if isinstance(attributions, str):
        raise StoreError(attributions)
    is_picture = store.modality == "image"
    if part is not None:
        by_input = split_map(attributions, rows[0].parts or [])
        if part not in by_input:
            raise BadRequest(f"this map has no part {part!r}; its parts are {', '.join(by_input) or 'none'}")
        attributions = by_input[part]
        is_picture = attributions.ndim == 3 and store.modality == "mixed"
    merge = flat and is_picture
    return tile_encoding.merge_channels(attributions, method["signed"]) if merge else attributions


def example(store: ServedStore, example_id: str, selection: Selection) -> answers.ExampleFacts:
    """Every number stored about one example, what made them, and the curves of the selected maps."""
    maps = [
        {name: json_number(value) for name, value in numbers.items() if name != "example_id"}
        for numbers in stored_numbers(store, example_id)
    ]
    manifest = store.manifest
    return {
        "id": example_id,
        "version": store.version,
        "name": manifest.get("name", ""),
        "modality": cast(answers.Modality, store.modality),
        "maps": maps,
        "curves": _curves(store, example_id, selection),
        "methods": [_describe_with_baseline(method, store.modality) for method in store.methods],
        "measures": describe_measures(manifest),
        "model": _describe_model(manifest.get("model")),
        "options": manifest.get("options") or {},
        "versions": manifest.get("versions") or {},
        "created": manifest.get("created"),
    }


def _describe_model(model: Mapping[str, Any] | None) -> answers.Model | None:
    if model is None:
        return None
    optional = {key: model[key] for key in ("signature", "output") if key in model}
    described = {"path": model.get("path"), "fingerprint": model.get("fingerprint", ""), **optional}
    return cast(answers.Model, described)


def _describe_with_baseline(method: dict[str, Any], modality: str) -> answers.ExampleMethod:
    described = cast(answers.ExampleMethod, describe_method(method, modality))
    if parameter := method.get("baseline_parameter"):
        described["baseline"] = (method.get("parameters") or {}).get(parameter)
    if "baseline_picture" in method:
        described["baseline_picture"] = method["baseline_picture"]
    return described


def _curves(store: ServedStore, example_id: str, selection: Selection) -> dict[str, dict[str, answers.Curves]]:
    """The curves of an example's selected maps, by method and measure."""
    measures, rows = store.fields.measures, rows_by_id(store, [example_id], selection)[example_id]
    read = functools.partial(store.reader.curves_at, measures=measures)
    stored = read_locations((row.map_location for row in rows), read) if measures else {}
    curves: dict[str, dict[str, answers.Curves]] = {}
    for row in rows:
        columns_of_map, of_method = stored.get(row.map_location), curves.setdefault(row.method, {})
        if isinstance(columns_of_map, dict):
            for measure in measures:
                if columns_of_map[f"{measure}_curve"]:
                    of_method[measure] = _curve(columns_of_map, measure)
    return curves


def _curve(stored: dict[str, Any], measure: str) -> answers.Curves:
    at, curve, random_curve = (
        [json_number(value) for value in stored[f"{measure}_{column}"] or ()]
        for column in ("at", "curve", "random_curve")
    )
    return {"at": at, "curve": curve, "random_curve": random_curve}
