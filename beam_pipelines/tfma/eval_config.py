"""Reads from an EvalConfig's metrics_specs what the extractor needs: measures, options, maps of all classes, stores to compare with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from beam_pipelines.tfma import metrics
from tb_deepexplain.errors import ParameterError


def requested_measures(metrics_specs: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """The measures of the metrics, with their parameters; ParameterError if two metrics differ in the parameters of one."""
    measures: dict[str, dict[str, Any]] = {}
    for metric_config in _our_metrics(metrics_specs):
        metric_class = getattr(metrics, metric_config.class_name, None)
        if metric_class is None:
            raise ParameterError(f"{metrics.MODULE} has no metric {metric_config.class_name}")
        if issubclass(metric_class, metrics.AttributionMeasure):
            metric = metric_class(**json.loads(metric_config.config or "{}"))
            if measures.setdefault(metric.measure, metric.parameters) != metric.parameters:
                raise ParameterError(
                    f"{metric.measure} is requested with parameters {measures[metric.measure]} and {metric.parameters}; "
                    "give all metrics of one measure the same"
                )
    return measures


def extractor_options(metrics_specs: Iterable[Any]) -> dict[str, Any]:
    """The config of the metric AttributionOptions."""
    options: dict[str, Any] = {}
    for metric_config in _our_metrics(metrics_specs):
        if metric_config.class_name == "AttributionOptions":
            options |= json.loads(metric_config.config or "{}")
    options.pop("name", None)
    return options


def drift_references(metrics_specs: Iterable[Any]) -> list[dict[str, Any]]:
    """The options of each AttributionDrift that is measured from a store."""
    configs = (
        metrics.AttributionDrift(**json.loads(each.config or "{}")).get_config()
        for each in _our_metrics(metrics_specs)
        if each.class_name == "AttributionDrift"
    )
    return [config for config in configs if config["reference"]]


def needs_all_classes(metrics_specs: Iterable[Any]) -> bool:
    """Whether attribution metrics are binarized, that is computed for each class."""
    return any(
        (spec.binarize.class_ids.values or spec.binarize.k_list.values or spec.binarize.top_k_list.values)
        and any("Attribution" in metric_config.class_name for metric_config in spec.metrics)
        for spec in metrics_specs
    )


def _our_metrics(metrics_specs: Iterable[Any]) -> Iterator[Any]:
    return (metric for spec in metrics_specs for metric in spec.metrics if metric.module == metrics.MODULE)
