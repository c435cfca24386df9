"""The Beam step of AttributionsExtractor: batched extracts in, the same with attributions and measures out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.utils import util

from beam_pipelines.engine.device_pool import DevicePool, prepare_devices
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.tfma.metric_scope import ATTRIBUTIONS_KEY, MEASURES_KEY
from beam_pipelines.tfma.pooling import check_pool, main_map, pool_map
from beam_pipelines.tfma.slice_features import add_raw_features
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import Request
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.store.records import Attribution, Input, model_input, value_names


@dataclasses.dataclass(frozen=True)
class ExtractorSpec:
    """What every worker must know. Dictionaries are by model name, which is "" for a single model."""

    requests: Mapping[str, Request]
    record_specs: Mapping[str, RecordSpec]
    pool: str | None
    regions: int
    per_class: bool
    slice_features: tuple[str, ...] = ()


@beam.typehints.with_input_types(dict[str, Any])
@beam.typehints.with_output_types(dict[str, Any])
class ExtractAttributions(beam.DoFn):
    """Adds the attributions of each batch of extracts, and measures if any are requested."""

    def __init__(self, spec: ExtractorSpec, shared: Shared) -> None:
        self._spec, self._shared = spec, shared

    def setup(self) -> None:
        self._pool = self._shared.acquire(lambda: _load_models(self._spec))

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        elements = _elements(extracts)
        attributions, measures = {}, {}
        with self._pool.least_busy() as models:
            for name, model in models.items():
                attributions[name], measures[name] = model.explain(elements)
        is_single = list(attributions) == [""]
        added = {ATTRIBUTIONS_KEY: attributions[""] if is_single else attributions}
        if any(request.measures for request in self._spec.requests.values()):
            added[MEASURES_KEY] = measures[""] if is_single else measures
        sliced = add_raw_features(extracts, self._spec.slice_features) if self._spec.slice_features else extracts
        yield {**sliced, **added}


def _load_models(spec: ExtractorSpec) -> DevicePool[dict[str, _ExplainedModel]]:
    """All models, on each device of this process."""
    names = prepare_devices(next(iter(spec.requests.values())))
    return DevicePool(names, lambda: {name: _ExplainedModel(name, spec) for name in spec.requests})


def _elements(extracts: Mapping[str, Any]) -> list[Any]:
    """The examples of a batch: serialized if the extracts still hold them, else as dicts of features."""
    serialized = extracts.get(constants.INPUT_KEY)
    if serialized is not None:
        return [bytes(each) for each in np.asarray(serialized, object).reshape(-1)]
    if extracts.get(constants.FEATURES_KEY):
        return list(util.split_extracts(extracts[constants.FEATURES_KEY]))
    raise InputError(
        f"AttributionsExtractor: the extracts have {', '.join(extracts)}; expected batched input or features: put it after "
        "ExtractFeatures and before ExtractUnbatchedInputs, as with_attributions does"
    )


class _ExplainedModel:
    """One model of the evaluation and the explainers of its outputs."""

    def __init__(self, name: str, spec: ExtractorSpec) -> None:
        request, self._spec = spec.requests[name], spec
        self._title = f"AttributionsExtractor, model {name!r}" if name else "AttributionsExtractor"
        graph = load_requested_model(request.model, request.signature, (), request.transform_graph)
        outputs = list(graph.outputs) if len(graph.outputs) > 1 else [""]
        self._explainers = {
            output: BatchExplainer(dataclasses.replace(request, output=output or None), graph) for output in outputs
        }
        record_spec = spec.record_specs[name]
        self._parser = ExampleParser(graph.inputs, record_spec)
        self._column_names = _name_joined_columns(record_spec)
        check_pool(next(iter(self._explainers.values())).modality, spec.pool)
        self._logged: set[str] = set()

    def explain(self, elements: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """({feature: [N] or [N, classes]}, {measure: [N]}), both by output first if the model has several."""
        examples = [self._parse(element, number) for number, element in enumerate(elements)]
        explained = {output: self._explain(explainer, examples) for output, explainer in self._explainers.items()}
        if list(explained) == [""]:
            return explained[""]
        attributions = {output: values for output, (values, _) in explained.items()}
        measures = {output: values for output, (_, values) in explained.items()}
        return attributions, measures

    def _parse(self, element: Any, number: int) -> Example:
        try:
            return dataclasses.replace(self._parser.parse(element, str(number)), id=str(number))
        except InputError as error:
            raise InputError(f"{self._title}: an example does not fit: {error}") from error

    def _explain(self, explainer: BatchExplainer, examples: Sequence[Example]) -> tuple[dict[str, Any], dict[str, Any]]:
        if not examples:
            return {}, {}
        if self._spec.per_class and explainer.request.target.rule != "top":
            explainer.set_target(Target("top", explainer.classes(examples[0]).count))
        records = explainer.explain(examples)
        if records.errors:
            counts = f"{len(records.errors)} of {len(examples)} examples cannot be explained"
            raise InputError(f"{self._title}: {counts}; the first: {records.errors[0].message}")
        maps: list[list[Attribution]] = [[] for _ in examples]
        for row in records.attributions:
            maps[int(row.example_id)].append(row)
        self._log_common_warnings(records.attributions)
        numbers = [self._pool_maps(*pair) for pair in zip(records.inputs, maps, strict=True)]
        features = list(dict.fromkeys(feature for of_example in numbers for feature in of_example))
        # Only some texts contain a token: in the others its attribution is zero.
        zero = np.zeros(len(maps[0]) if self._spec.per_class else (), np.float32)
        values = {feature: np.stack([of_example.get(feature, zero) for of_example in numbers]) for feature in features}
        return values, _stack_measures(explainer.request, [main_map(rows) for rows in maps])

    def _log_common_warnings(self, rows: Sequence[Attribution]) -> None:
        """Log what all maps of a batch warn of, such as an input that the method cannot explain: TFMA has no place for it."""
        for warning in sorted(set.intersection(*(set(row.warnings) for row in rows)) - self._logged):
            self._logged.add(warning)
            logging.warning("%s: %s", self._title, warning)

    def _pool_maps(self, example: Input, rows: Sequence[Attribution]) -> dict[str, Any]:
        """{feature: a number, or a vector over classes} of one example."""
        rows = rows if self._spec.per_class else [main_map(rows)]
        of_maps = [pool_map(example, row.values, self._spec.pool, self._spec.regions, row.parts) for row in rows]
        if not self._spec.per_class:
            return {self._column_names.get(name, name): np.float32(value) for name, value in of_maps[0].items()}
        by_class = np.argsort([row.target or 0 for row in rows])
        return {
            self._column_names.get(name, name): np.array([of_maps[i][name] for i in by_class], np.float32)
            for name in of_maps[0]
        }


def _name_joined_columns(record_spec: RecordSpec) -> dict[str, str]:
    """{name of a value: its column} for inputs that join several columns."""
    names: dict[str, str] = {}
    for input_name, columns in record_spec.features.items():
        if "," in columns:
            joined = columns.split(",")
            joined_input = model_input(input_name, "float32", (len(joined),), "tabular")
            names |= zip(value_names([joined_input], None), joined, strict=True)
    return names


def _stack_measures(request: Request, rows: Sequence[Attribution]) -> dict[str, Any]:
    """{measure: [N]}; NaN where it is undefined."""
    stacked = {}
    for name, _ in request.measures:
        values = [row.measures.get(name) for row in rows]
        stacked[name] = np.array([np.nan if value is None else value for value in values], np.float32)
    return stacked
