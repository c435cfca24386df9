"""AttributionsExtractor: fills `extracts["attributions"]`, which TFMA's attribution metrics read but TFMA does not compute.

    extractors = default_extractors(eval_shared_model=model, eval_config=config)      # TFMA's
    extractors = with_attributions(extractors, AttributionsExtractor(model, config, method="deeplift"))
    tfma.run_model_analysis(eval_shared_model=model, eval_config=config, data_location=..., extractors=extractors)

In TFX: `Evaluator(..., module_path="beam_pipelines.tfma.extractor")`, or a module of your own with a function
`custom_extractors` that returns `attribution_extractors(..., method=...)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

try:
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.extractors import extractor, unbatch_extractor
    from tensorflow_model_analysis.utils import model_util
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfma.extractor needs TFMA 0.52 ({error}): pip install 'tensorboard-plugin-deepexplain[tfma]'"
    ) from error

from beam_pipelines.reading.record_spec import RecordSpec, resize_method
from beam_pipelines.tfma.eval_config import drift_references, extractor_options, needs_all_classes, requested_measures
from beam_pipelines.tfma.extract_attributions import ExtractAttributions, ExtractorSpec
from beam_pipelines.tfma.pooling import REGIONS
from beam_pipelines.tfma.reference_check import check_reference
from beam_pipelines.tfma.slice_features import CheckSliceFeatures, with_slicing_specs
from tb_deepexplain.attribution.precision import Precision
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.store.slice_features import check_slice_features

STAGE = "ExtractAttributions"
_UNBATCH_STAGE = unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME


def AttributionsExtractor(  # noqa: N802 - TFMA names its extractors like classes
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
    resize: bool | str = False,
    label_feature: str | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    mixed_precision: bool = False,
    inputs: str | Sequence[str] | None = None,
    check_model: bool = True,
    check_batch: bool = True,
    transform_graph: str | None = None,
    slice_features: str | Sequence[str] = (),
) -> Any:
    """A TFMA extractor that explains the predictions. It goes before `ExtractUnbatchedInputs` (see `with_attributions`).

    Each model of `eval_shared_model`, and each of its outputs, is explained by `method` with its `parameters`.
    `extracts["attributions"]` is `[model][output]{feature: value}`; a level with a single entry is left out. TFMA's
    metrics read numbers by name and reject maps, so the maps of pictures and texts are pooled to numbers (`pool` and
    `regions`, see `pooling.pool_map`). A number is a sum with its sign: TFMA's absolute metrics take the magnitude of
    sums, not the sum of magnitudes.

    `target` is as on the command line; of several maps of an example (`top:K`, several labels) that of the predicted class, or the
    most probable of them, is taken. With `per_class`, all classes are explained and a value is a vector over
    classes; this is the default if the config binarizes attribution metrics. `measures` go to
    `extracts["attribution_measures"]`; by default they are those of the metrics of `beam_pipelines.tfma.metrics` in the
    config. `labels`, `vocabulary`, `features`, `resize` and `superpixels` are as in `transforms.Attribute`.
    `label_feature` defaults to the config's label key. `inputs`, `check_model`, `check_batch` and `precision` are as in
    `Explainer`; `mixed_precision=True` is `precision="mixed"`.
    `transform_graph` is as in `transforms.Attribute`, for a signature that takes transformed features.

    `slice_features` are features of the raw tf.Examples for the config's slicing specs, also where a schema or Transform leaves
    them out of the extracts; `attribution_extractors` adds a slicing spec for each.

    Raises ParameterError or UnknownMethodError at once, also if the store that an AttributionDrift is measured from was explained
    differently. In the pipeline, the first example that cannot be explained raises InputError, because metrics without it would mislead.
    """
    models = model_util.verify_and_update_eval_shared_models(eval_shared_model) or []
    if not models:
        raise ParameterError(
            "AttributionsExtractor: there is no model (eval_shared_model is None): pass the model to explain"
        )
    if measures is None:
        measures = requested_measures(eval_config.metrics_specs)
    model_specs = {spec.name: spec for spec in eval_config.model_specs}
    requests, record_specs = {}, {}
    for model in models:
        model_spec = model_specs.get(model.model_name) or (eval_config.model_specs or [None])[0]
        name = model.model_name if len(models) > 1 else ""
        requests[name] = make_request(
            model.model_path,
            {method: parameters or {}},
            target=target,
            measures=measures,
            labels=labels,
            vocabulary=vocabulary,
            batch_size=batch_size,
            superpixels=superpixels,
            precision=precision,
            mixed_precision=mixed_precision,
            inputs=inputs,
            check_model=check_model,
            check_batch=check_batch,
            transform_graph=transform_graph,
            signature=(model_spec.signature_name if model_spec else "") or None,
        )
        record_specs[name] = RecordSpec(
            label_feature=label_feature or (model_spec.label_key if model_spec else "") or "label",
            features=dict(features or {}),
            class_names=tuple(labels or ()),
            resize=resize_method(resize),
            in_python=True,
        )
    if per_class is None:
        per_class = needs_all_classes(eval_config.metrics_specs)
    for options in drift_references(eval_config.metrics_specs):
        check_reference(options, next(iter(requests.values())), pool, regions, per_class)
    slice_features = check_slice_features(slice_features)
    spec = ExtractorSpec(requests, record_specs, pool, regions, per_class, slice_features)
    explain = "Explain" >> beam.ParDo(ExtractAttributions(spec, Shared()))
    return extractor.Extractor(STAGE, _ExplainAndCheck(explain, slice_features) if slice_features else explain)


class _ExplainAndCheck(beam.PTransform):
    """Explains extracts, and fails if none has one of the slice features."""

    def __init__(self, explain: Any, slice_features: Sequence[str]) -> None:
        super().__init__()
        self._explain, self._slice_features = explain, slice_features

    def expand(self, extracts: beam.PCollection[Any]) -> beam.PCollection[Any]:
        explained = extracts | self._explain
        _ = explained | "CheckSliceFeatures" >> CheckSliceFeatures(self._slice_features)
        return explained


def with_attributions(extractors: Iterable[Any], attributions: Any) -> list[Any]:
    """TFMA's extractors with `attributions`, an AttributionsExtractor, inserted where extracts are still batched.

    ParameterError if no extractor unbatches them.
    """
    inserted = list(extractors)
    names = [each.stage_name for each in inserted]
    if _UNBATCH_STAGE not in names:
        raise ParameterError(
            f"extractors: got {', '.join(names) or 'none'}; expected {_UNBATCH_STAGE} among them, as "
            "tfma.default_extractors returns them"
        )
    inserted.insert(names.index(_UNBATCH_STAGE), attributions)
    return inserted


def attribution_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any = None, **options: Any
) -> list[Any]:
    """TFMA's default extractors and an AttributionsExtractor with these options. Metrics are sliced by each of `slice_features`, too."""
    sliced = with_slicing_specs(eval_config, check_slice_features(options.get("slice_features") or ()))
    default_extractors = model_eval_lib.default_extractors(
        eval_shared_model=eval_shared_model, eval_config=sliced, tensor_adapter_config=tensor_adapter_config
    )
    return with_attributions(default_extractors, AttributionsExtractor(eval_shared_model, eval_config, **options))


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """The function that TFX's Evaluator calls in its `module_path`. Options come from the metric `AttributionOptions`."""
    options = extractor_options(eval_config.metrics_specs)
    return attribution_extractors(eval_shared_model, eval_config, tensor_adapter_config, **options)


__all__ = ["AttributionsExtractor", "attribution_extractors", "custom_extractors", "with_attributions"]
