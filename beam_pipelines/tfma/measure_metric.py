"""The TFMA computation of a measure: its weighted mean over the examples of a slice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from beam_pipelines.tfma.metric_scope import MEASURES_KEY, AttributionExtracts, MetricScope


def measure_computations(measure: str, name: str, scopes: Sequence[MetricScope]) -> list[Any]:
    """One computation for each scope."""
    computations = []
    for scope in scopes:
        key = scope.key(name)
        combiner = _MeanMeasure(key, measure, scope)
        computations.append(metric_types.MetricComputation([key], [AttributionExtracts()], combiner))
    return computations


class _MeanMeasure(beam.CombineFn):
    """Weighted mean over the examples for which the measure is defined."""

    def __init__(self, key: Any, measure: str, scope: MetricScope) -> None:
        self._key, self._measure, self._scope = key, measure, scope

    def create_accumulator(self) -> tuple[float, float]:
        return 0.0, 0.0  # weighted sum of the values, sum of the weights

    def add_input(self, sums: tuple[float, float], extracts: Any) -> tuple[float, float]:
        value = float(np.asarray(self._scope.select(extracts, MEASURES_KEY)[self._measure]).item())
        weight = self._scope.weight(extracts)
        return sums if math.isnan(value) else (sums[0] + weight * value, sums[1] + weight)

    def merge_accumulators(self, accumulators: Iterable[tuple[float, float]]) -> tuple[float, float]:
        values, weights = zip(*accumulators, strict=True)
        return sum(values), sum(weights)

    def extract_output(self, sums: tuple[float, float]) -> dict[Any, float]:
        return {self._key: sums[0] / sums[1] if sums[1] else math.nan}
