"""The panels of the Summary: what the maps of a store say together."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

import numpy as np

from tb_deepexplain.plugin import answers, tile_encoding
from tb_deepexplain.plugin.example_order import order_of
from tb_deepexplain.plugin.index_rows import IndexRow, sample_rows
from tb_deepexplain.plugin.json_numbers import json_number
from tb_deepexplain.plugin.parameters import ExampleQuery
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS, read_locations
from tb_deepexplain.plugin.views import describe_measures
from tb_deepexplain.stats.rank_correlation import agree
from tb_deepexplain.store.records import input_shares, split_map, value_names

_SAMPLE = 240  # examples whose maps are read
_FEATURES_SAMPLE = 500  # examples of features, which are small
_SIDE = 48  # pixels of the mean maps of classes
_CLASSES, _WORDS, _LEAST_OCCURRENCES, _FEATURES = 12, 40, 3, 10
_GAP_EDGES = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]  # one bin more holds larger gaps
_RANKED_METHOD = tuple(answers.RankedMethod.__annotations__)

_PRECISION_FIGURES = ("examples", "median", "worst", "rank_correlation")

MapsByMethod = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SampledExample:
    """An example with its maps by method: of pictures [H, W], of texts one number for each token that is not padding."""

    rows: Sequence[IndexRow]
    maps: MapsByMethod


def faithfulness(store: ServedStore, _: ExampleQuery) -> answers.Faithfulness:
    """The measures of each method: means with 95 % intervals, and those of random maps."""
    manifest = store.manifest
    return {
        **_head(store),
        "precision": describe_precision(manifest),
        "measures": describe_measures(manifest),
        "means": _means(manifest.get("faithfulness") or {}),
        "measured": manifest.get("measured"),
        "step": manifest.get("step") if len(store.steps) > 1 else None,
        "superpixels": manifest.get("superpixels"),
        "evaluation": _evaluation(manifest.get("evaluation")),
    }


def _means(faithfulness: Mapping[str, Any]) -> dict[str, dict[str, answers.MeasureMean]]:
    """The means of measures; of a measure without values there are none."""
    unknown = {"n": 0, "mean": None, "low": None, "high": None}
    return {
        method: {measure: cast(answers.MeasureMean, unknown | mean) for measure, mean in means.items()}
        for method, means in faithfulness.items()
    }


def describe_precision(manifest: Mapping[str, Any]) -> answers.StorePrecision | None:
    """The precision of the maps and its measured error; None for float32."""
    precision = manifest.get("precision") or ("mixed" if manifest.get("mixed_precision") else "float32")
    if precision == "float32":
        return None
    titles = {method["id"]: method["title"] for method in manifest["methods"]}
    errors = [
        {"method": method, "title": titles.get(method, method), **{name: figures[name] for name in _PRECISION_FIGURES}}
        for method, figures in (manifest.get("precision_error") or {}).items()
    ]
    return {
        "precision": precision,
        "errors": cast(list[answers.PrecisionError], errors),
        "without_tf32": (manifest.get("spent") or {}).get("examples_without_tf32") or 0,
    }


def _evaluation(evaluation: Mapping[str, Any] | None) -> answers.Evaluation | None:
    if evaluation is None:
        return None
    methods = [{name: method.get(name) for name in _RANKED_METHOD} for method in evaluation["methods"]]
    return {
        "advice": evaluation["advice"],
        "ranked_by": evaluation["ranked_by"],
        "methods": cast(list[answers.RankedMethod], methods),
    }


def gap(store: ServedStore, query: ExampleQuery) -> answers.Gaps:
    """Histograms of relative gaps, for each method that promises a sum."""
    histograms: list[answers.GapHistogram] = []
    for method in store.methods:
        if not method.get("sums_to"):
            continue
        keys = order_of(store, dataclasses.replace(query, sort=f"{method['id']}.gap")).keys
        assert keys is not None
        finite = keys[np.isfinite(keys)].astype(np.float64)
        counts, _ = np.histogram(np.minimum(finite, 2), [*_GAP_EDGES, np.inf])
        median, p95 = (float(q) for q in np.quantile(finite, [0.5, 0.95])) if finite.size else (None, None)
        histograms.append(
            {
                "method": method["id"],
                "title": method["title"],
                "counts": counts.tolist(),
                "median": median,
                "p95": p95,
                "known": len(finite),
                "unknown": len(keys) - len(finite),
            }
        )
    return {**_head(store), "edges": _GAP_EDGES, "histograms": histograms}


def agreement(store: ServedStore, query: ExampleQuery) -> answers.Agreements:
    """The agreement of the maps of each pair of methods, over a sample."""
    sample = _sample(store, query, _SAMPLE)
    if store.modality == "mixed":
        inputs = read_locations((example.rows[0].input_location for example in sample), store.reader.inputs_at)
        sample = [_as_drawn(store, example, inputs[example.rows[0].input_location]) for example in sample]
    pairs: list[answers.MethodPair] = []
    for a, b in combinations([method["id"] for method in store.methods], 2):
        both = [pair for example in sample if (pair := _comparable(example, a, b)) is not None]
        magnitudes = [agree(np.abs(x)[None], np.abs(y)[None]) for x, y in both]
        are_signed = _is_signed(store, a) and _is_signed(store, b)
        signs = [agree(x[None], y[None]).signs for x, y in both] if are_signed else []
        pairs.append(
            {
                "a": a,
                "b": b,
                "n": len(both),
                "spearman": _finite_mean([agreed.spearman for agreed in magnitudes]),
                "top": _finite_mean([agreed.top for agreed in magnitudes]),
                "signs": _finite_mean(signs),
            }
        )
    return {**_head(store), "sampled": len(sample), "pairs": pairs}


def _comparable(example: SampledExample, a: str, b: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The maps of an example by two methods, without the inputs that one of them cannot explain; None if nothing is left."""
    first, second = example.maps.get(a), example.maps.get(b)
    if first is None or second is None or first.shape != second.shape:
        return None
    if not example.rows[0].parts:
        return first, second
    explained = ~(np.isnan(first) | np.isnan(second))
    return (first[explained], second[explained]) if explained.any() else None


def overall(store: ServedStore, query: ExampleQuery) -> answers.GlobalSummary:
    """What matters over a sample of examples: mean maps of classes, words, or features with their values."""
    by_modality: dict[str, Callable[[ServedStore, ExampleQuery], dict[str, Any]]] = {
        "image": _mean_maps,
        "text": _words,
        "tabular": _features,
        "mixed": _input_shares,
    }
    modality = cast(answers.Modality, store.modality)
    return cast(answers.GlobalSummary, {**_head(store), "modality": modality, **by_modality[modality](store, query)})


PANELS: dict[str, Callable[[ServedStore, ExampleQuery], Any]] = {
    "faithfulness": faithfulness,
    "gap": gap,
    "agreement": agreement,
    "global": overall,
}


def _mean_maps(store: ServedStore, query: ExampleQuery) -> dict[str, Any]:
    """The mean of |a| of each predicted class, by method, over maps brought to one size and a sum of one."""
    sums: dict[int, MapsByMethod] = {}
    counts: dict[int, int] = {}
    names: dict[int, str | None] = {}
    sample = _sample(store, query, _SAMPLE)
    for example in sample:
        unit = example.rows[0].predicted
        if unit is None:
            continue
        counts[unit] = counts.get(unit, 0) + 1
        stored_names = (row.target_label for row in example.rows if row.target == unit)
        names[unit] = store.unit_name(unit) or next(stored_names, None)
        of_class = sums.setdefault(unit, {})
        for method, attributions in example.maps.items():
            magnitude = np.abs(attributions).astype(np.float64)
            total = magnitude.sum()
            if np.isfinite(total) and total != 0:
                of_class[method] = of_class.get(method, np.zeros(())) + _to_square(magnitude / total)
    classes = []
    for unit in sorted(counts, key=lambda unit: (-counts[unit], unit))[:_CLASSES]:
        maps = {method: _encode_bytes(total) for method, total in sums[unit].items() if total.max() > 0}
        classes.append({"class": unit, "name": names[unit], "n": counts[unit], "maps": maps})
    return {"sampled": len(sample), "side": _SIDE, "classes": classes}


def _encode_bytes(values: np.ndarray) -> str:
    """One byte for each value in base64, 255 for the largest."""
    return base64.b64encode(np.rint(values / values.max() * 255).astype(np.uint8).tobytes()).decode()


def _words(store: ServedStore, query: ExampleQuery) -> dict[str, Any]:
    """The words with the largest mean attributions by method, of those that occur often enough."""
    sample = _sample(store, query, _SAMPLE)
    inputs = read_locations((example.rows[0].input_location for example in sample), store.reader.inputs_at)
    by_method: dict[str, dict[str, list[float]]] = {}
    for example in sample:
        stored_input = inputs[example.rows[0].input_location]
        if isinstance(stored_input, str):
            continue
        tokens = [token for token in stored_input["tokens"] if token]
        for method, attributions in example.maps.items():
            for token, value in zip(tokens, attributions.tolist(), strict=True):
                if np.isfinite(value):
                    by_method.setdefault(method, {}).setdefault(token.lower(), []).append(value)
    words = {method: _extreme_words(values, _is_signed(store, method)) for method, values in by_method.items()}
    return {"sampled": len(sample), "least": _LEAST_OCCURRENCES, "words": words}


def _extreme_words(attributions: Mapping[str, Sequence[float]], signed: bool) -> list[answers.Word]:
    """The words with the largest means, the largest first; for a signed method half of them those with the smallest."""
    words: list[answers.Word] = [
        {
            "word": word,
            "n": len(values),
            "mean": float(np.mean(values)),
            "error": float(np.std(values, ddof=1) / len(values) ** 0.5),
        }
        for word, values in attributions.items()
        if len(values) >= _LEAST_OCCURRENCES
    ]
    words.sort(key=lambda word: word["mean"])
    smallest = _WORDS // 2 if signed else 0
    if len(words) > _WORDS:
        words = words[:smallest] + words[smallest - _WORDS :]
    return words[::-1]


def _features(store: ServedStore, query: ExampleQuery) -> dict[str, Any]:
    """Points of attribution and value, for the features with the largest mean |a| by method, over examples of equal inputs."""
    sample = _sample(store, query, _FEATURES_SAMPLE)
    inputs = read_locations((example.rows[0].input_location for example in sample), store.reader.inputs_at)
    stored = [(inputs[example.rows[0].input_location], example.maps) for example in sample]
    readable = [(stored_input, maps) for stored_input, maps in stored if not isinstance(stored_input, str)]
    names = _value_names(readable[0][0]) if readable else []
    alike = [
        (stored_input, maps)
        for stored_input, maps in readable
        if _value_names(stored_input) == names and len(stored_input["values"]) == len(names)
    ]
    values = np.array([stored_input["values"] for stored_input, _ in alike], np.float64).reshape(len(alike), len(names))
    features: dict[str, list[answers.FeaturePoints]] = {}
    for method in store.fields.methods:
        maps = [maps[method] for _, maps in alike if method in maps]
        if not maps or len(maps) != len(values) or any(len(attributions) != len(names) for attributions in maps):
            continue
        attributions = np.array(maps, np.float64)
        explained = np.flatnonzero(~np.isnan(attributions).all(0))  # the method cannot explain the others
        strength = np.nanmean(np.abs(attributions[:, explained]), 0)
        strongest = np.argsort(-strength, kind="stable")[:_FEATURES]
        features[method] = [
            {
                "feature": names[feature],
                "mean": mean,
                "points": [
                    (json_number(float(a)), json_number(float(v)))
                    for a, v in zip(attributions[:, feature], values[:, feature], strict=True)
                ],
            }
            for feature, mean in zip(explained[strongest].tolist(), strength[strongest].tolist(), strict=True)
        ]
    return {"sampled": len(sample), "features": features}


def _input_shares(store: ServedStore, query: ExampleQuery) -> dict[str, Any]:
    """The mean share of each input in Σ|a|, by method."""
    sample = _sample(store, query, _SAMPLE)
    shares: dict[str, dict[str, list[float]]] = {}
    for example in sample:
        for row in example.rows:
            if row.method not in example.maps:
                continue
            for name, share in input_shares(split_map(example.maps[row.method], row.parts or [])).items():
                if share is not None:
                    shares.setdefault(row.method, {}).setdefault(name, []).append(share)
    by_method = {
        method: [
            {"input": name, "mean": float(np.mean(values)), "n": len(values)} for name, values in of_inputs.items()
        ]
        for method, of_inputs in shares.items()
    }
    return {"sampled": len(sample), "shares": by_method}


def _as_drawn(store: ServedStore, example: SampledExample, stored_input: Mapping[str, Any] | str) -> SampledExample:
    """A mixed example with one number for each pixel of its pictures, and without the padding of its texts."""
    stored_parts = [] if isinstance(stored_input, str) else stored_input["parts"] or []
    is_word = {part["input"]: np.array([t != "" for t in part["tokens"]]) for part in stored_parts if part["tokens"]}
    drawn: MapsByMethod = {}
    for row in example.rows:
        if row.method in example.maps:
            parts = []
            for name, values in split_map(example.maps[row.method], row.parts or []).items():
                if values.ndim == 3:
                    values = tile_encoding.merge_channels(values, _is_signed(store, row.method))
                words = is_word.get(name, np.zeros(0, bool))
                parts.append(values.ravel()[words] if len(words) == values.size else values.ravel())
            drawn[row.method] = np.concatenate(parts)
    return dataclasses.replace(example, maps=drawn)


def _value_names(stored_input: Mapping[str, Any]) -> list[str]:
    return value_names(stored_input["inputs"], stored_input["features"])


def _sample(store: ServedStore, query: ExampleQuery, size: int) -> list[SampledExample]:
    """At most `size` examples with readable maps, evenly spread over the order of a query."""
    examples = sample_rows(store, query, size)
    maps = read_locations((row.map_location for rows in examples for row in rows), store.reader.maps_at)
    is_text = store.modality == "text"
    texts = read_locations((rows[0].input_location for rows in examples), store.reader.inputs_at) if is_text else {}
    sample = []
    for rows in examples:
        text = texts.get(rows[0].input_location)
        real = np.array([token != "" for token in text["tokens"]]) if isinstance(text, dict) else None
        by_method: MapsByMethod = {}
        for row in rows:
            attributions = maps[row.map_location]
            if isinstance(attributions, np.ndarray) and row.method in store.fields.methods:
                with contextlib.suppress(
                    *READ_ERRORS
                ):  # it does not fit its modality or its parts; its cell on the page says why
                    drawn = _drawn(store, row, attributions, real)
                    if drawn is not None:
                        by_method[row.method] = drawn
        if by_method:
            sample.append(SampledExample(rows, by_method))
    return sample


def _drawn(store: ServedStore, row: IndexRow, attributions: np.ndarray, real: np.ndarray | None) -> np.ndarray | None:
    """A map as SampledExample has it; None for one of another length than its text. `real`: which tokens of a text are no padding."""
    if store.modality == "image":
        return tile_encoding.merge_channels(attributions, _is_signed(store, row.method))
    if store.modality == "mixed":
        split_map(attributions, row.parts or [])  # ValueError if it has other parts
        return attributions.ravel()
    if real is None:
        return attributions.ravel()
    return attributions.ravel()[real] if len(real) == attributions.size else None  # padding would agree with padding


def _is_signed(store: ServedStore, method_id: str) -> bool:
    return bool(next(method["signed"] for method in store.methods if method["id"] == method_id))


def _to_square(values: np.ndarray) -> np.ndarray:
    """[H, W] brought to _SIDE × _SIDE: means where it is larger, repeated pixels where it is smaller."""
    means = tile_encoding.area_means(values.astype(np.float32), _SIDE)
    rows, columns = (np.arange(_SIDE) * size // _SIDE for size in means.shape)
    square: np.ndarray = means[np.ix_(rows, columns)]
    return square


def _finite_mean(values: Sequence[np.ndarray]) -> float | None:
    """The mean of the finite values of all arrays; None if there is none."""
    numbers = np.concatenate(values) if values else np.zeros(0)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.mean()) if finite.size else None


def _head(store: ServedStore) -> answers.Summary:
    return {
        "version": store.version,
        "examples": store.manifest["counts"]["examples"],
        "methods": [{"id": m["id"], "title": m["title"], "signed": m["signed"]} for m in store.methods],
    }
