"""What a store's maps say together, as plain data; no HTTP here."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.plugin.json_numbers import number
from tb_deepexplain.plugin.query_string import Window
from tb_deepexplain.plugin.store_query import Cell, Grid
from tb_deepexplain.plugin.tolerant_reads import read_places
from tb_deepexplain.stats.rank_correlation import agree

_SAMPLE = 240  # examples whose maps are read
_SIDE = 48  # of the mean maps of classes
_CLASSES, _WORDS, _LEAST, _POINTS = 12, 40, 3, 5000
_GAPS = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]  # edges; what is larger is in a last bin


def faithfulness(grid: Grid, _: Window) -> dict[str, Any]:
    """What the measures say of each method: means with 95 % intervals, beside those of random maps."""
    manifest = grid.manifest
    kept = {key: manifest.get(key) for key in ("measured", "superpixels", "evaluation")}
    return {
        **_head(grid),
        "measures": manifest.get("measures") or [],
        "found": manifest.get("faithfulness") or {},
        **kept,
    }


def gap(grid: Grid, window: Window) -> dict[str, Any]:
    """How many examples have which relative gap, by each method that promises a sum."""
    found = []
    for method in grid.methods:
        if not method.get("sums_to"):
            continue
        keys = grid.order(dataclasses.replace(window, sort=f"{method['id']}.gap")).keys
        assert keys is not None
        known = keys[np.isfinite(keys)].astype(np.float64)
        counts, _ = np.histogram(np.minimum(known, 2), [*_GAPS, np.inf])
        median, high = (float(q) for q in np.quantile(known, [0.5, 0.95])) if known.size else (None, None)
        unknown = len(keys) - len(known)
        row = {
            "method": method["id"],
            "title": method["title"],
            "counts": counts.tolist(),
            "median": median,
            "p95": high,
        }
        found.append({**row, "known": len(known), "unknown": unknown})
    return {**_head(grid), "edges": _GAPS, "found": found}


def agreement(grid: Grid, window: Window) -> dict[str, Any]:
    """How alike the maps of each pair of methods are, over a sample."""
    maps = _sample(grid, window)
    pairs = []
    for a, b in combinations([m["id"] for m in grid.methods], 2):
        both = [(of[a], of[b]) for _, of in maps if a in of and b in of and of[a].shape == of[b].shape]
        found = [agree(np.abs(x)[None], np.abs(y)[None]) for x, y in both]
        signs = [agree(x[None], y[None]).signs for x, y in both]
        values = {
            "spearman": _mean([f.spearman for f in found]),
            "top": _mean([f.top for f in found]),
            "signs": _mean(signs) if _signed(grid, a) and _signed(grid, b) else None,
        }
        pairs.append({"a": a, "b": b, "n": len(both), **values})
    return {**_head(grid), "sampled": len(maps), "pairs": pairs}


def overall(grid: Grid, window: Window) -> dict[str, Any]:
    """What matters over many examples: mean maps of classes, words, or features with their values; over a sample."""
    view: Callable[[Grid, Window], dict[str, Any]] = {"image": _classes, "text": _words, "tabular": _features}[
        grid.manifest["kind"]
    ]
    return {**_head(grid), "kind": grid.manifest["kind"], **view(grid, window)}


def _classes(grid: Grid, window: Window) -> dict[str, Any]:
    """The mean of |a| of each class predicted, by each method, of pictures brought to one size."""
    sums: dict[int, dict[str, Any]] = {}
    counts: dict[int, int] = {}
    names: dict[int, str | None] = {}
    maps = _sample(grid, window)
    for cells, of in maps:
        unit = cells[0].predicted
        if unit is None:
            continue
        counts[unit] = counts.get(unit, 0) + 1
        names[unit] = grid.name(unit) or next((c.target_label for c in cells if c.target == unit), None)
        for method, values in of.items():
            size = np.abs(values).astype(np.float64)
            total = size.sum()
            if not np.isfinite(total) or total == 0:
                continue
            small = _squared(size / total)
            mine = sums.setdefault(unit, {})
            mine[method] = mine.get(method, 0) + small
    order = sorted(counts, key=lambda unit: (-counts[unit], unit))[:_CLASSES]
    rows = []
    for unit in order:
        means = {method: total / total.max() for method, total in sums.get(unit, {}).items() if total.max() > 0}
        codes = {
            m: base64.b64encode(np.rint(mean * 255).astype(np.uint8).tobytes()).decode() for m, mean in means.items()
        }
        rows.append({"class": unit, "name": names[unit], "n": counts[unit], "maps": codes})
    return {"sampled": len(maps), "side": _SIDE, "classes": rows}


def _words(grid: Grid, window: Window) -> dict[str, Any]:
    """The words with the largest mean attributions, of those that occur often enough, by each method."""
    maps = _sample(grid, window)
    inputs = read_places((cells[0].input_place for cells, _ in maps), grid.store.inputs_at)
    total: dict[str, dict[str, list[float]]] = {}
    for cells, of in maps:
        record = inputs[cells[0].input_place]
        if isinstance(record, str):
            continue
        tokens = [token for token in record["tokens"] if token]
        for method, values in of.items():
            for token, value in zip(tokens, values.tolist(), strict=True):
                if np.isfinite(value):
                    total.setdefault(method, {}).setdefault(token.lower(), []).append(value)
    found = {}
    for method, of_words in total.items():
        often = [(word, len(v), float(np.mean(v)), _error(v)) for word, v in of_words.items() if len(v) >= _LEAST]
        often.sort(key=lambda row: row[2])
        half = _WORDS // 2 if _signed(grid, method) else 0
        ends = often[:half] + often[half - _WORDS :] if len(often) > _WORDS else often
        found[method] = [{"word": w, "n": n, "mean": mean, "error": error} for w, n, mean, error in reversed(ends)]
    return {"sampled": len(maps), "least": _LEAST, "words": found}


def _features(grid: Grid, window: Window) -> dict[str, Any]:
    """Points of features: attribution and value, for the features with the largest mean |a|, by each method."""
    maps = _sample(grid, window, _POINTS // 10)
    inputs = read_places((cells[0].input_place for cells, _ in maps), grid.store.inputs_at)
    found: dict[str, list[dict[str, Any]]] = {}
    rows = [(inputs[cells[0].input_place], of) for cells, of in maps]
    known = [(record, of) for record, of in rows if not isinstance(record, str)]
    names: Sequence[str] = known[0][0]["features"] if known else ()
    values = np.array([record["values"] for record, _ in known if record["features"] == names], np.float64)
    for method in (m["id"] for m in grid.methods):
        own = [of[method] for record, of in known if record["features"] == names and method in of]
        if len(own) != len(values) or not own or len({len(o) for o in own}) > 1 or len(own[0]) != len(names):
            continue
        owed = np.array(own, np.float64)
        strength = np.nanmean(np.abs(owed), 0)
        for at in np.argsort(-strength, kind="stable")[:10].tolist():
            points = [[number(float(a)), number(float(v))] for a, v in zip(owed[:, at], values[:, at], strict=True)]
            found.setdefault(method, []).append({"feature": names[at], "mean": float(strength[at]), "points": points})
    return {"sampled": len(maps), "features": found}


def _sample(grid: Grid, window: Window, most: int = _SAMPLE) -> list[tuple[list[Cell], dict[str, np.ndarray]]]:
    """Examples evenly through the order, each with its maps by method; of pictures [H, W], of texts their own tokens."""
    cells, kind = grid.spread(window, most), grid.manifest["kind"]
    maps = read_places((cell.map_place for of in cells for cell in of), grid.store.maps_at)
    texts = read_places((of[0].input_place for of in cells), grid.store.inputs_at) if kind == "text" else {}
    found = []
    for of in cells:
        record, own = texts.get(of[0].input_place), dict[str, np.ndarray]()
        tokens = np.array([token != "" for token in record["tokens"]]) if isinstance(record, dict) else None
        for cell in of:
            values = maps[cell.map_place]
            if isinstance(values, np.ndarray):
                if kind == "image":
                    own[cell.method] = tile_encoding.flatten(values, _signed(grid, cell.method))
                elif tokens is None:
                    own[cell.method] = values.ravel()
                elif len(tokens) == values.size:
                    own[cell.method] = values.ravel()[tokens]  # padding would agree with padding
        if own:
            found.append((of, own))
    return found


def _signed(grid: Grid, method: str) -> bool:
    return bool(next(m["signed"] for m in grid.methods if m["id"] == method))


def _squared(values: np.ndarray) -> np.ndarray:
    """A map brought to _SIDE × _SIDE: means where it is larger, repeated where it is smaller."""
    small = tile_encoding.shrink(values.astype(np.float32), _SIDE)
    rows, columns = (np.arange(_SIDE) * size // _SIDE for size in small.shape)
    found: np.ndarray = small[np.ix_(rows, columns)]
    return found


def _mean(values: Sequence[np.ndarray]) -> float | None:
    known = np.concatenate(values) if values else np.zeros(0)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else None


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def _head(grid: Grid) -> dict[str, Any]:
    return {
        "version": grid.manifest["version"],
        "examples": grid.manifest["counts"]["examples"],
        "methods": [{"id": m["id"], "title": m["title"], "signed": m["signed"]} for m in grid.methods],
    }


KINDS = {"faithfulness": faithfulness, "gap": gap, "agreement": agreement, "global": overall}
