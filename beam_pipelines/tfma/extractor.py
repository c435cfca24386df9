"""AttributionsExtractor: fills `extracts["attributions"]`, which TFMA's attribution metrics read and nobody else fills.

    extractors = default_extractors(eval_shared_model=model, eval_config=config)      # of TFMA
    extractors = with_attributions(extractors, AttributionsExtractor(model, config, method="deeplift"))
    tfma.run_model_analysis(eval_shared_model=model, eval_config=config, data_location=..., extractors=extractors)

In TFX: `Evaluator(..., module_path="beam_pipelines.tfma.extractor")`, or a module of your own with a function
`custom_extractors` that returns `attribution_extractors(..., method=...)`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

try:
    from tensorflow_model_analysis import constants
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.extractors import extractor, unbatch_extractor
    from tensorflow_model_analysis.utils import model_util, util
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfma.extractor needs TFMA 0.52 ({error}): pip install 'tensorboard-plugin-deepexplain[tfma]'"
    ) from error

from beam_pipelines.engine.device_pool import DevicePool, prepare_devices
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.tfma.metrics import MEASURES, METRICS, measures_of
from beam_pipelines.tfma.pooling import REGIONS, check_pool, pooled
from tb_deepexplain.attribution.methods import check_methods
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.evaluation.measures import check_measures
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.request import Request, make_request
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.store.records import Attribution, Input

STAGE = "ExtractAttributions"
_PREDICTED = Target("predicted")


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What every worker must know."""

    requests: Mapping[str, Request]  # by the name of the model; "" for a single one
    record_specs: Mapping[str, RecordSpec]  # likewise
    pool: str | None
    regions: int
    per_class: bool


def AttributionsExtractor(  # noqa: N802 - as TFMA names its extractors
    eval_shared_model: Any,
    eval_config: Any,
    *,
    method: str = "integrated_gradients",
    parameters: Mapping[str, Any] | None = None,
    target: str | int = "predicted",
    pool: str | None = None,
    regions: int = REGIONS,
    per_class: bool | None = None,
    measures: Selection | None = None,
    superpixels: int | None = None,
    labels: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
    features: Mapping[str, str] | None = None,
    resize: bool = False,
    label_feature: str | None = None,
    batch_size: int | None = None,
    mixed_precision: bool = False,
) -> Any:
    """A TFMA extractor; it stands before `ExtractUnbatchedInputs`, as `with_attributions` puts it.

    Explains each model of `eval_shared_model` by `method` with its `parameters`, each of its outputs if it has several:
    `extracts["attributions"]` is `[model][output]{feature: value}`, with levels only where there are several. TFMA's metrics
    read numbers by name and refuse maps: those of pictures and texts are pooled (`pool` and `regions`: see
    `pooling.pooled`). The numbers are sums with their signs: an absolute metric takes the magnitude of a sum, not the sum of
    magnitudes.

    `target` is as on the command line. With `per_class` all classes are explained, and a value is a vector of them; by
    default that is so where the config binarizes the metrics. `measures` (default: those that the metrics of
    `beam_pipelines.tfma.metrics` in the config ask for) go to `extracts["attribution_measures"]`. `labels`, `vocabulary`,
    `features`, `resize` and `superpixels` are as of `transforms.Attribute`; `label_feature` is by default the config's.

    Raises ParameterError or UnknownMethodError at once; in the pipeline InputError for the first example that cannot be
    explained, because metrics without it would mislead.
    """
    models = model_util.verify_and_update_eval_shared_models(eval_shared_model) or []
    if not models:
        raise ParameterError(
            "AttributionsExtractor: there is no model (eval_shared_model is None): give one to explain"
        )
    asked = check_methods({method: dict(parameters or {})})
    wanted = measures_of(eval_config.metrics_specs) if measures is None else measures
    own = check_measures(wanted)
    specs = {spec.name: spec for spec in eval_config.model_specs}
    requests, record_specs = {}, {}
    for model in models:
        spec = specs.get(model.model_name) or (eval_config.model_specs or [None])[0]
        name = model.model_name if len(models) > 1 else ""
        requests[name] = make_request(
            model.model_path,
            asked,
            target=target,
            measures=own,
            labels=labels,
            vocabulary=vocabulary,
            batch_size=batch_size,
            superpixels=superpixels,
            mixed_precision=mixed_precision,
            signature=(spec.signature_name if spec else "") or None,
        )
        record_specs[name] = RecordSpec(
            features=dict(features or {}),
            label_feature=label_feature or (spec.label_key if spec else "") or "label",
            class_names=tuple(labels or ()),
            resize=resize,
        )
    binarized = _is_binarized(eval_config.metrics_specs) if per_class is None else per_class
    found = _Asked(requests, record_specs, pool, regions, binarized)
    return extractor.Extractor(STAGE, "Explain" >> beam.ParDo(_Extract(found, Shared())))


def with_attributions(extractors: Iterable[Any], attributions: Any) -> list[Any]:
    """TFMA's extractors with this one among them: where extracts are still batched. ParameterError if none unbatches them."""
    found = list(extractors)
    names = [each.stage_name for each in found]
    if unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME not in names:
        raise ParameterError(
            f"extractors: got {', '.join(names) or 'none'}; expected {unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME} among "
            "them, as tfma.default_extractors returns them"
        )
    place = names.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    return [*found[:place], attributions, *found[place:]]


def attribution_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any = None, **options: Any
) -> list[Any]:
    """TFMA's default extractors and an AttributionsExtractor with these options."""
    usual = model_eval_lib.default_extractors(
        eval_shared_model=eval_shared_model, eval_config=eval_config, tensor_adapter_config=tensor_adapter_config
    )
    return with_attributions(usual, AttributionsExtractor(eval_shared_model, eval_config, **options))


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """What TFX's Evaluator looks for in the module that it is given. Options are those of the metric `AttributionOptions` in
    the config, if it is there."""
    return attribution_extractors(
        eval_shared_model, eval_config, tensor_adapter_config, **_options(eval_config.metrics_specs)
    )


def _options(specs: Iterable[Any]) -> dict[str, Any]:
    """The config of the metric AttributionOptions."""
    found: dict[str, Any] = {}
    for metric in (metric for spec in specs for metric in spec.metrics):
        if metric.module == METRICS and metric.class_name == "AttributionOptions":
            found |= json.loads(metric.config or "{}")
    found.pop("name", None)
    return found


def _is_binarized(specs: Iterable[Any]) -> bool:
    """Whether attribution metrics are asked for by class."""
    return any(
        (spec.binarize.class_ids.values or spec.binarize.k_list.values or spec.binarize.top_k_list.values)
        and any("Attribution" in metric.class_name for metric in spec.metrics)
        for spec in specs
    )


@beam.typehints.with_input_types(dict[str, Any])
@beam.typehints.with_output_types(dict[str, Any])
class _Extract(beam.DoFn):
    """Batched extracts → the same with attributions, and measures if any are asked for."""

    def __init__(self, asked: _Asked, shared: Shared) -> None:
        self._asked, self._shared = asked, shared

    def setup(self) -> None:
        self._pool = self._shared.acquire(lambda: _explainers(self._asked))

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with self._pool.least_busy() as models:
            found = {name: model(_elements(extracts)) for name, model in models.items()}
        values, measures = ({name: both[i] for name, both in found.items()} for i in (0, 1))
        single = list(found) == [""]
        more = {constants.ATTRIBUTIONS_KEY: values[""] if single else values}
        if any(request.measures for request in self._asked.requests.values()):
            more[MEASURES] = measures[""] if single else measures
        yield {**extracts, **more}


def _explainers(asked: _Asked) -> DevicePool[dict[str, _Model]]:
    """All models, once for each device of this process."""
    names = prepare_devices(next(iter(asked.requests.values())))
    return DevicePool(names, lambda: {name: _Model(name, asked) for name in asked.requests})


def _elements(extracts: Mapping[str, Any]) -> list[Any]:
    """The examples of a batch: serialized as they came, else their features."""
    raw = extracts.get(constants.INPUT_KEY)
    if raw is not None:
        return [bytes(each) for each in np.asarray(raw, object).reshape(-1)]
    if extracts.get(constants.FEATURES_KEY):
        return list(util.split_extracts(extracts[constants.FEATURES_KEY]))
    raise InputError(
        f"AttributionsExtractor: the extracts have {', '.join(extracts)}; expected batched input or features: put it behind "
        "ExtractFeatures and before ExtractUnbatchedInputs, as with_attributions does"
    )


class _Model:
    """One model of the evaluation: examples → their numbers by output and name."""

    def __init__(self, name: str, asked: _Asked) -> None:
        request, self._asked, self._name = asked.requests[name], asked, name
        graph = load_model(request.model, signature=request.signature)
        outputs = list(graph.outputs) if len(graph.outputs) > 1 else [""]
        own = [dataclasses.replace(request, output=output or None) for output in outputs]
        self._outputs = {output: BatchExplainer(each, graph) for output, each in zip(outputs, own, strict=True)}
        self._parser = ExampleParser(graph.inputs, asked.record_specs[name])
        columns = {spec: names.split(",") for spec, names in asked.record_specs[name].features.items() if "," in names}
        self._names = {f"{spec}[{i}]": column for spec, found in columns.items() for i, column in enumerate(found)}
        check_pool(next(iter(self._outputs.values())).modality, asked.pool)

    def __call__(self, elements: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """`{feature: [N] or [N, classes]}` and `{measure: [N]}`; of a model with several outputs by these."""
        examples = []
        for number, element in enumerate(elements):
            try:
                examples.append(dataclasses.replace(self._parser.parse(element, str(number)), id=str(number)))
            except InputError as error:
                raise InputError(f"AttributionsExtractor{self._of}: an example does not fit: {error}") from error
        found = {output: self._explain(explainer, examples) for output, explainer in self._outputs.items()}
        if list(found) == [""]:
            return found[""]
        return {output: both[0] for output, both in found.items()}, {output: both[1] for output, both in found.items()}

    @property
    def _of(self) -> str:
        return f", model {self._name!r}" if self._name else ""

    def _explain(self, explainer: BatchExplainer, examples: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if not examples:
            return {}, {}
        if self._asked.per_class and explainer.request.target.rule != "top":
            explainer.set_target(Target("top", explainer.classes(examples[0]).count))
        records = explainer.explain(examples)
        if records.errors:
            first = records.errors[0]
            raise InputError(
                f"AttributionsExtractor{self._of}: {len(records.errors)} of {len(examples)} examples cannot be explained; the "
                f"first: {first.message}"
            )
        maps: list[list[Attribution]] = [[] for _ in examples]
        for row in records.attributions:
            maps[int(row.example_id)].append(row)
        numbers = [self._numbers(explainer, *both) for both in zip(records.inputs, maps, strict=True)]
        names = list(dict.fromkeys(name for own in numbers for name in own))
        none = np.zeros(
            len(maps[0]) if self._asked.per_class else (), np.float32
        )  # a token that is not there gives nothing
        values = {name: np.stack([own.get(name, none) for own in numbers]) for name in names}
        return values, self._measures(explainer, [_main(rows) for rows in maps])

    def _numbers(self, explainer: BatchExplainer, shown: Input, rows: Sequence[Attribution]) -> dict[str, Any]:
        """By name a number, or one for each class."""
        input_name = explainer.names[0]
        every = [pooled(shown, row.values, self._asked.pool, self._asked.regions, input_name) for row in rows]
        if not self._asked.per_class:
            return {self._names.get(name, name): np.float32(value) for name, value in every[0].items()}
        order = np.argsort([row.target or 0 for row in rows])
        return {self._names.get(n, n): np.array([every[i][n] for i in order], np.float32) for n in every[0]}

    def _measures(self, explainer: BatchExplainer, rows: Sequence[Attribution]) -> dict[str, Any]:
        found = {}
        for name, _ in explainer.request.measures:
            values = [row.measures.get(name) for row in rows]
            found[name] = np.array([np.nan if value is None else value for value in values], np.float32)
        return found


def _main(rows: Sequence[Attribution]) -> Attribution:
    """Of an example's maps that of the class predicted, else the first."""
    return next((row for row in rows if row.target == row.predicted), rows[0])


__all__ = ["AttributionsExtractor", "attribution_extractors", "custom_extractors", "with_attributions"]
