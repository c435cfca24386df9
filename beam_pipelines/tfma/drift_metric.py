"""The TFMA computation of attribution drift, from a baseline model or from the maps of a store. `drift.py` computes it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils import model_util

from beam_pipelines.tfma.drift import AttributionSums, compute_drift, draw_weights
from beam_pipelines.tfma.metric_scope import ATTRIBUTIONS_KEY, AttributionExtracts, MetricScope
from beam_pipelines.tfma.pooling import pool_map
from beam_pipelines.tfma.reference_check import choose_method
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Input

_ROWS_READ = 256  # of the reference store, at a time


def drift_computations(options: Mapping[str, Any], name: str, scopes: Sequence[MetricScope]) -> list[Any]:
    """One computation for each scope; none without a baseline model or reference store.

    `options`: the config of the metric, see `metrics.AttributionDrift`.
    """
    eval_config = scopes[0].config
    baseline_spec = model_util.get_baseline_model_spec(eval_config) if eval_config else None
    reference: AttributionSums | str | None = baseline_spec.name if baseline_spec else None
    if options["reference"]:
        reference = read_reference(**options)
    computations = []
    for scope in scopes:
        if reference is None or scope.model == reference:
            continue
        combiner = _Drift(name, scope, reference, options["resamplings"], options["seed"])
        computations.append(metric_types.MetricComputation(combiner.keys, [AttributionExtracts()], combiner))
    return computations


def read_reference(
    reference: str, method: str | None, pool: str | None, regions: int, resamplings: int, seed: int
) -> AttributionSums:
    """The sums over the examples of a store. Of an example with several maps, the map of the predicted class counts.

    ParameterError if the store has maps of several methods and `method` is None.
    """
    store, sums = Store(reference), AttributionSums(resamplings)
    method = choose_method(store, method)
    index = store.index.select(["example_id", "method", "target", "predicted", "parts"]).to_pylist()
    row_of_example: dict[str, int] = {}
    for number, row in enumerate(index):
        if row["method"] != method:
            continue
        if row["example_id"] not in row_of_example or row["target"] == row["predicted"]:
            row_of_example[row["example_id"]] = number
    rows = list(row_of_example.values())
    for start in range(0, len(rows), _ROWS_READ):
        some = rows[start : start + _ROWS_READ]
        for row, values, example in zip(some, store.maps(some), store.inputs(some), strict=True):
            weights = draw_weights(values.tobytes(), resamplings, seed + 1)
            sums.add(pool_map(Input(**example), values, pool, regions, index[row]["parts"]), weights)
    return sums


class _Drift(beam.CombineFn):
    """The drift from the baseline model of this name, or from these sums."""

    def __init__(
        self, name: str, scope: MetricScope, reference: str | AttributionSums, resamplings: int, seed: int
    ) -> None:
        self._scope, self._reference, self._resamplings, self._seed = scope, reference, resamplings, seed
        is_diff = isinstance(reference, str)
        # MetricsSpec.thresholds finds only keys that do not say whether examples are weighted.
        unweighted = scope._replace(weighted=None)
        bounds = [unweighted.key(name + end, is_diff=is_diff) for end in ("_low", "_high")]
        self._total_keys = [scope.key(name, is_diff=is_diff), *bounds]
        self._feature_key = scope.key(f"{name}_by_feature", metric_types.AttributionsKey, is_diff)
        self.keys = [*self._total_keys, self._feature_key]

    def create_accumulator(self) -> tuple[AttributionSums, AttributionSums]:
        return AttributionSums(self._resamplings), AttributionSums(self._resamplings)  # candidate, baseline model

    def add_input(
        self, sums: tuple[AttributionSums, AttributionSums], extracts: Any
    ) -> tuple[AttributionSums, AttributionSums]:
        candidate = self._select_class(self._scope.select(extracts, ATTRIBUTIONS_KEY))
        baseline = None
        if isinstance(self._reference, str):
            baseline = self._select_class(self._scope.select(extracts, ATTRIBUTIONS_KEY, self._reference))
        content = (
            sorted((feature, value.tolist()) for feature, value in candidate.items()),
            baseline and sorted((feature, value.tolist()) for feature, value in baseline.items()),
        )
        weights = draw_weights(content, self._resamplings, self._seed, self._scope.weight(extracts))
        sums[0].add(candidate, weights)
        if baseline is not None:
            sums[1].add(baseline, weights)
        return sums

    def _select_class(self, attributions: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The attributions to the class of the scope, if it has one: the values are vectors over classes then."""
        class_id = None if self._scope.sub_key is None else self._scope.sub_key.class_id
        arrays = {feature: np.asarray(value) for feature, value in attributions.items()}
        if class_id is None:
            return arrays
        return {feature: array.reshape(-1)[class_id] for feature, array in arrays.items()}

    def merge_accumulators(
        self, accumulators: Iterable[tuple[AttributionSums, AttributionSums]]
    ) -> tuple[AttributionSums, AttributionSums]:
        candidates, baselines = zip(*accumulators, strict=True)
        return functools.reduce(AttributionSums.merge, candidates), functools.reduce(AttributionSums.merge, baselines)

    def extract_output(self, sums: tuple[AttributionSums, AttributionSums]) -> dict[Any, Any]:
        reference = self._reference if isinstance(self._reference, AttributionSums) else sums[1]
        drift = compute_drift(sums[0], reference)
        total = dict(zip(self._total_keys, drift.total, strict=True))
        by_feature = {feature: np.array(change) for feature, change in drift.by_feature.items()}
        return {**total, self._feature_key: by_feature}
