"""TFMA metrics of attributions that TFMA has none for: measures of faithfulness, and drift. For an EvalConfig:

    metrics {
      class_name: "AttributionDrift"
      module: "beam_pipelines.tfma.metrics"
      threshold { change_threshold { direction: LOWER_IS_BETTER absolute { value: 0.3 } } }
    }

They read what `beam_pipelines.tfma.extractor` puts into the extracts, and are sliced as all of TFMA's are.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

try:
    from tensorflow_model_analysis import constants
    from tensorflow_model_analysis.metrics import metric_types, metric_util
    from tensorflow_model_analysis.utils import model_util, util
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfma.metrics needs TFMA 0.52 ({error}): pip install 'tensorboard-plugin-deepexplain[tfma]'"
    ) from error

from beam_pipelines.tfma.drift import RESAMPLINGS, Drift, Sums, draw, drift
from beam_pipelines.tfma.pooling import REGIONS, pooled
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.evaluation.measures import find_measure
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Input

METRICS = "beam_pipelines.tfma.metrics"  # this module, as configs name it
MEASURES = "attribution_measures"  # in extracts, beside TFMA's "attributions"
_ROWS = 256  # of a reference store, at once


class AttributionMeasure(metric_types.Metric):
    """The mean of one of `tb_deepexplain.evaluation.measures`'s measures over the examples of a slice of which it says anything; NaN
    if it does of none. Of a method's map for the class predicted, where all classes are explained."""

    def __init__(
        self, measure: str = "deletion", parameters: Mapping[str, Any] | None = None, name: str | None = None
    ) -> None:
        self.measure, self.parameters = find_measure(measure).id, find_measure(measure).check(dict(parameters or {}))
        name = name or f"attribution_{self.measure}"
        super().__init__(_plain(functools.partial(_means, self.measure, name)), name=name)

    def get_config(self) -> dict[str, Any]:
        return {"measure": self.measure, "parameters": self.parameters, "name": self.name}


class CompletenessGap(AttributionMeasure):
    """Mean of `completeness`: by how much attributions miss f(x) − f(x′), as a share of it."""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("completeness", parameters, name or "attribution_completeness_gap")


class DeletionAUC(AttributionMeasure):
    """Mean of `deletion`: the area below the prediction as the features that count most are taken away."""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("deletion", parameters, name or "attribution_deletion_auc")


class SensitivityN(AttributionMeasure):
    """Mean of `sensitivity_n`: do the attributions of n features sum to what the score loses without them?"""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("sensitivity_n", parameters, name or "attribution_sensitivity_n")


class AttributionDrift(metric_types.Metric):
    """How far the candidate's reasons are from those of the baseline model, or of a store (see `beam_pipelines.tfma.drift`).

    Without `reference` it is a difference between models, for a `change_threshold` (LOWER_IS_BETTER, absolute); without a
    baseline model there is none, and TFMA passes over the threshold. With `reference`, a store's directory (of an earlier
    span, say, as AttributionGen wrote it for the same method, target and kind of pooling), it is a value, for a
    `value_threshold`; every slice is compared with the whole of that store.

    Besides `attribution_drift` there are `attribution_drift_low` and `..._high`, its 95 % interval, for
    `MetricsSpec.thresholds`: a bound on `low` stops only a model of which it is sure that its reasons have changed, one on
    `high` each of which it is not sure that they have not. `attribution_drift_by_feature`, among the attributions, has for
    each feature [by how much its share has grown, low, high]. `resamplings` of the examples make the interval.
    """

    def __init__(
        self,
        reference: str | None = None,
        pool: str | None = None,
        regions: int = REGIONS,
        resamplings: int = RESAMPLINGS,
        seed: int = 0,
        name: str = "attribution_drift",
    ) -> None:
        self._config = {
            "reference": reference,
            "pool": pool,
            "regions": regions,
            "resamplings": resamplings,
            "seed": seed,
        }
        super().__init__(_plain(functools.partial(_drifts, self._config, name)), name=name)

    def get_config(self) -> dict[str, Any]:
        return {**self._config, "name": self.name}


class AttributionOptions(metric_types.Metric):
    """No metric: its config holds options of AttributionsExtractor, for TFX's Evaluator, which has no other place for them."""

    def __init__(self, name: str = "attribution_options", **options: Any) -> None:
        self._options = options
        super().__init__(_plain(lambda *_: []), name=name)

    def get_config(self) -> dict[str, Any]:
        return {**self._options, "name": self.name}


for _metric in (AttributionMeasure, CompletenessGap, DeletionAUC, SensitivityN, AttributionDrift, AttributionOptions):
    metric_types.register_metric(_metric)


def measures_of(specs: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """The measures that these metrics_specs ask for, with their parameters; ParameterError if they contradict each other."""
    found: dict[str, dict[str, Any]] = {}
    for metric in (metric for spec in specs for metric in spec.metrics):
        if metric.module != METRICS:
            continue
        own = getattr(importlib.import_module(METRICS), metric.class_name, None)
        if own is None:
            raise ParameterError(f"{METRICS} has no metric {metric.class_name}")
        if issubclass(own, AttributionMeasure):
            made = own(**json.loads(metric.config or "{}"))
            if found.setdefault(made.measure, made.parameters) != made.parameters:
                raise ParameterError(
                    f"{made.measure} is asked for with parameters {found[made.measure]} and {made.parameters}; give all "
                    "metrics of one measure the same"
                )
    return found


def _plain(create: Any) -> Any:
    """A function with the arguments by which TFMA gives what it knows."""

    def computations(
        eval_config: Any = None,
        model_names: list[str] | None = None,
        output_names: list[str] | None = None,
        sub_keys: list[Any] | None = None,
        example_weighted: bool = False,
        **_: Any,
    ) -> list[Any]:
        return create(eval_config, model_names or [""], output_names or [""], sub_keys or [None], example_weighted)

    return computations


class _Where(NamedTuple):
    """Of what a metric is: which model, which of its outputs, which class; and whether examples have weights."""

    config: Any
    model: str
    output: str
    sub_key: Any
    weighted: bool | None

    def key(self, name: str, kind: Any = metric_types.MetricKey, is_diff: bool = False) -> Any:
        return kind(
            name, self.model, self.output, sub_key=self.sub_key, example_weighted=self.weighted, is_diff=is_diff
        )

    def of(self, extracts: Mapping[str, Any], entry: str, model: str | None = None) -> Mapping[str, Any]:
        """What the extractor found; InputError if it was not there."""
        if entry not in extracts:
            raise InputError(
                f"the extracts have no {entry!r}: AttributionsExtractor has to be among the extractors (with_attributions), "
                "with these measures if it was given others"
            )
        names = [self.model if model is None else model, self.output]
        levels = [name for name in names if name]
        return util.get_by_keys(extracts[entry], levels) if levels else extracts[entry]

    def weight(self, extracts: Mapping[str, Any]) -> float:
        """Of the example."""
        if not self.weighted:
            return 1.0
        _, _, weight = next(
            metric_util.to_label_prediction_example_weight(
                extracts, self.config, self.model, self.output, example_weighted=True, flatten=False, allow_none=True
            )
        )
        return float(np.asarray(weight).item())


class _Needed(metric_types.Preprocessor):
    """Extracts of an example → what the combiners here read."""

    def __init__(self) -> None:
        super().__init__(name="tb_deepexplain_attributions")

    def process(self, extracts: Mapping[str, Any]) -> Iterator[Any]:
        names = [constants.ATTRIBUTIONS_KEY, MEASURES]
        names += [constants.EXAMPLE_WEIGHTS_KEY, constants.LABELS_KEY, constants.PREDICTIONS_KEY]
        yield metric_types.StandardMetricInputs({name: extracts[name] for name in names if name in extracts})


def _means(
    measure: str, name: str, config: Any, models: list[str], outputs: list[str], keys: list[Any], weighted: bool
) -> list[Any]:
    found = []
    for model, output, sub_key in itertools.product(models, outputs, keys):
        where = _Where(config, model, output, sub_key, weighted)
        key = where.key(name)
        found.append(metric_types.MetricComputation([key], [_Needed()], _MeanMeasure(key, measure, where)))
    return found


class _MeanMeasure(beam.CombineFn):
    """The weighted mean of what is known."""

    def __init__(self, key: Any, measure: str, where: _Where) -> None:
        self._key, self._measure, self._where = key, measure, where

    def create_accumulator(self) -> tuple[float, float]:
        return 0.0, 0.0

    def add_input(self, sums: tuple[float, float], extracts: Any) -> tuple[float, float]:
        value = float(np.asarray(self._where.of(extracts, MEASURES)[self._measure]).item())
        weight = self._where.weight(extracts)
        return sums if math.isnan(value) else (sums[0] + weight * value, sums[1] + weight)

    def merge_accumulators(self, many: Iterable[tuple[float, float]]) -> tuple[float, float]:
        totals, weights = zip(*many, strict=True)
        return sum(totals), sum(weights)

    def extract_output(self, sums: tuple[float, float]) -> dict[Any, float]:
        return {self._key: sums[0] / sums[1] if sums[1] else math.nan}


def _drifts(
    asked: Mapping[str, Any],
    name: str,
    config: Any,
    models: list[str],
    outputs: list[str],
    keys: list[Any],
    weighted: bool,
) -> list[Any]:
    reference = _reference(**asked) if asked["reference"] else None
    spec = model_util.get_baseline_model_spec(config) if config else None
    against = reference or (spec.name if spec else None)
    found = []
    for model, output, sub_key in itertools.product(models, outputs, keys):
        if against is None or model == against:
            continue
        where = _Where(config, model, output, sub_key, weighted)
        combiner = _DriftOf(name, where, against, asked["resamplings"], asked["seed"])
        found.append(metric_types.MetricComputation(combiner.keys, [_Needed()], combiner))
    return found


class _DriftOf(beam.CombineFn):
    """The drift of a model against the baseline model of this name, or against these sums."""

    def __init__(self, name: str, where: _Where, against: str | Sums, resamplings: int, seed: int) -> None:
        self._where, self._against, self._resamplings, self._seed = where, against, resamplings, seed
        is_diff = isinstance(against, str)
        ends = [where._replace(weighted=None).key(name + end, is_diff=is_diff) for end in ("_low", "_high")]
        self._whole = [
            where.key(name, is_diff=is_diff),
            *ends,
        ]  # MetricsSpec.thresholds knows keys without a word on weights
        self._features = where.key(f"{name}_by_feature", metric_types.AttributionsKey, is_diff)
        self.keys = [*self._whole, self._features]

    def create_accumulator(self) -> tuple[Sums, Sums]:
        return Sums(self._resamplings), Sums(self._resamplings)

    def add_input(self, sums: tuple[Sums, Sums], extracts: Any) -> tuple[Sums, Sums]:
        now = self._of_class(self._where.of(extracts, constants.ATTRIBUTIONS_KEY))
        before = None
        if isinstance(self._against, str):
            before = self._of_class(self._where.of(extracts, constants.ATTRIBUTIONS_KEY, self._against))
        content = (
            sorted((k, v.tolist()) for k, v in now.items()),
            before and sorted((k, v.tolist()) for k, v in before.items()),
        )
        weights = draw(content, self._resamplings, self._seed, self._where.weight(extracts))
        sums[0].add(now, weights)
        if before is not None:
            sums[1].add(before, weights)
        return sums

    def _of_class(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Of the class that the sub key names, where values are vectors of classes."""
        chosen = None if self._where.sub_key is None else self._where.sub_key.class_id
        arrays = {name: np.asarray(value) for name, value in values.items()}
        return arrays if chosen is None else {name: array.reshape(-1)[chosen] for name, array in arrays.items()}

    def merge_accumulators(self, many: Iterable[tuple[Sums, Sums]]) -> tuple[Sums, Sums]:
        pairs = list(many)
        return functools.reduce(Sums.merge, [p[0] for p in pairs]), functools.reduce(Sums.merge, [p[1] for p in pairs])

    def extract_output(self, sums: tuple[Sums, Sums]) -> dict[Any, Any]:
        found: Drift = drift(sums[0], self._against if isinstance(self._against, Sums) else sums[1])
        told = dict(zip(self._whole, found.whole, strict=True))
        return told | {self._features: {name: np.array(moved) for name, moved in found.features.items()}}


def _reference(reference: str, pool: str | None, regions: int, resamplings: int, seed: int) -> Sums:
    """The sums of a store; of an example with several maps, of that for the class predicted."""
    store, found = Store(reference), Sums(resamplings)
    index = store.index.select(["example_id", "method", "target", "predicted"]).to_pylist()
    if len({row["method"] for row in index}) > 1:
        methods = ", ".join(sorted({row["method"] for row in index}))
        raise ParameterError(
            f"reference {reference} holds maps of {methods}; a drift is of one method: make a store of one"
        )
    chosen: dict[str, int] = {}
    for i, row in enumerate(index):
        if row["example_id"] not in chosen or row["target"] == row["predicted"]:
            chosen[row["example_id"]] = i
    rows = list(chosen.values())
    for begin in range(0, len(rows), _ROWS):
        some = rows[begin : begin + _ROWS]
        for values, shown in zip(store.maps(some), store.inputs(some), strict=True):
            found.add(pooled(Input(**shown), values, pool, regions), draw(values.tobytes(), resamplings, seed + 1))
    return found


__all__ = [
    "AttributionDrift",
    "AttributionMeasure",
    "AttributionOptions",
    "CompletenessGap",
    "DeletionAUC",
    "SensitivityN",
    "measures_of",
]
