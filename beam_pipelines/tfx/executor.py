"""Runs AttributionGen: `beam_pipelines.transforms` on the Beam pipeline that TFX makes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.util import model_utils, tfxio_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from beam_pipelines.engine.device_pool import DevicePool
from beam_pipelines.reading.baseline_examples import MOST_EXAMPLES
from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.tfx.baseline import compute_median
from beam_pipelines.tfx.examples import NameRecords, Sample, first_records
from beam_pipelines.tfx.parameters import EMPTY, decode
from beam_pipelines.tfx.start_check import check_examples, load_explainers, load_model
from beam_pipelines.tfx.statistics import WriteStatistics
from beam_pipelines.tfx.transformed_labels import AddTransformedLabels, TransformedLabels, makes_label
from beam_pipelines.transforms import Attribute, WriteAttributions
from tb_deepexplain.attribution.methods import check_methods, find_method
from tb_deepexplain.error_text import runner_error_text
from tb_deepexplain.errors import DeepExplainError, ParameterError, StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer

SKIPPED = "skipped"  # custom property of empty artifacts: why nothing was explained
SPLITS = "split_names"  # custom property, as in TFX's Examples
_DEFAULT_SPLITS = ("eval",)
_NAMES_OF_FEATURES = ("label_feature", "id_feature")  # parameters
_TELEMETRY = ["tb_deepexplain", "AttributionGen"]

_Artifacts = Mapping[str, list[types.Artifact]]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the splits of the examples, explains them, and writes a store for each."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Explain the splits. What cannot be explained is refused by one of our errors, or leaves the outputs empty, as the parameter
        `on_refusal` says. A failed execution leaves no files."""
        self._log_startup(input_dict, output_dict, exec_properties)
        outputs = [artifact for artifacts in output_dict.values() for artifact in artifacts]
        if reason := _reason_to_skip(input_dict):
            _skip(outputs, reason)
            return
        try:
            self._explain(input_dict, output_dict, decode(exec_properties))
        except BaseException as error:
            for artifact in outputs:
                _remove_files(artifact.uri)
            refusal = _refusal(error)
            if refusal is None:
                raise
            if exec_properties.get("on_refusal") != EMPTY:
                raise refusal from None
            _skip(outputs, str(refusal))

    def _explain(
        self, inputs: _Artifacts, outputs: Mapping[str, list[types.Artifact]], parameters: dict[str, Any]
    ) -> None:
        artifact = artifact_utils.get_single_instance(outputs["attributions"])
        statistics = artifact_utils.get_single_instance(outputs["statistics"])
        splits = parameters.pop("splits", None) or list(_DEFAULT_SPLITS)
        max_examples, seed = parameters.pop("max_examples", None), parameters.pop("seed", None) or 0
        max_error_rate = parameters.pop("max_error_rate", None)
        write_options = {} if max_error_rate is None else {"max_error_rate": max_error_rate}
        del parameters["on_refusal"]
        _check_examples(inputs["examples"], splits)
        transform_graph, label_feature = _transform_graph(inputs), parameters.get("label_feature", "label")
        labels_graph = transform_graph if transform_graph and makes_label(transform_graph, label_feature) else None
        attribute, explainers = self._load(inputs, {**parameters, "max_error_rate": max_error_rate}, transform_graph)
        named_features = {
            name: parameters[name] for name in _NAMES_OF_FEATURES if parameters.get(name, "none") != "none"
        }
        for split in splits:
            elements: Sequence[Any] = first_records(inputs["examples"], split, MOST_EXAMPLES)
            if labels_graph and elements:
                elements = TransformedLabels(labels_graph, label_feature)(elements)
            check_examples(split, elements, explainers, attribute, named_features)
        attribute.is_checked = True
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                records = pipeline | f"Read[{split}]" >> _read_split(inputs["examples"], split)
                if max_examples:
                    records = records | f"Sample[{split}]" >> Sample(max_examples, seed)
                by_content = not parameters.get("id_feature")
                elements = records | f"Name[{split}]" >> NameRecords(by_content)
                if labels_graph:
                    elements = elements | f"Label[{split}]" >> AddTransformedLabels(labels_graph, label_feature)
                explained = elements | f"Attribute[{split}]" >> attribute
                write = WriteAttributions(artifact.uri, f"Split-{split}", **write_options)
                _ = explained | f"Write[{split}]" >> write
                split_folder = os.path.join(statistics.uri, f"Split-{split}")
                _ = explained.explained | f"Statistics[{split}]" >> WriteStatistics(attribute.request, split_folder)
        # Not before: of a refused run the artifacts are empty, and TFX's components read the files of all splits.
        statistics.split_names = artifact_utils.encode_split_names(splits)
        statistics.span = max(examples.span or 0 for examples in inputs["examples"])
        artifact.set_string_custom_property(SPLITS, artifact_utils.encode_split_names(splits))
        logging.info("AttributionGen: tensorboard --logdir %s shows the attributions", artifact.uri)

    def _load(
        self, inputs: _Artifacts, parameters: Mapping[str, Any], transform_graph: str | None
    ) -> tuple[Attribute, DevicePool[BatchExplainer]]:
        """The transform that explains all splits, and its explainers. Labels, schema and baseline come from artifacts, if there are
        any. The model is loaded once."""
        artifact = artifact_utils.get_single_instance(inputs["model"])
        model = path_utils.serving_model_path(artifact.uri, path_utils.is_old_model_artifact(artifact))
        options, flags = {**parameters, "transform_graph": transform_graph}, self._beam_pipeline_args or []
        if inputs.get("schema"):
            schema = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(inputs["schema"]))
            if options.get("labels") is None:
                options["labels"] = load_schema(schema).class_names(options.get("label_feature", "label"))
            options["schema"] = schema
        attribute = Attribute(model, **options)
        graph = load_model(attribute, flags)
        if inputs.get("baseline_examples"):
            split = artifact_utils.decode_split_names(inputs["baseline_examples"][0].split_names)[0]
            elements = first_records(inputs["baseline_examples"], split, MOST_EXAMPLES)
            baseline = compute_median(elements, attribute, graph)
            attribute = Attribute(model, **{**options, "methods": _set_baseline(options["methods"], baseline)})
        return attribute, load_explainers(attribute, graph, flags)


def _skip(outputs: Sequence[types.Artifact], reason: str) -> None:
    logging.warning("AttributionGen: %s; nothing is explained, %s stays empty", reason, outputs[0].uri)
    for artifact in outputs:
        artifact.set_string_custom_property(SKIPPED, reason)


def _remove_files(directory: str) -> None:
    """Remove what is in the directory: TFX made it, and publishes it if the execution ends well."""
    for name in fileio.listdir(directory) if fileio.exists(directory) else []:
        path = os.path.join(directory, name)
        (fileio.rmtree if fileio.isdir(path) else fileio.remove)(path)


def _refusal(error: BaseException) -> DeepExplainError | None:
    """Our error, without the traceback of Beam that it may come in; None for any other, which says nothing of model, examples or
    parameters."""
    if isinstance(error, DeepExplainError):
        return type(error)(runner_error_text(error))
    is_ours = isinstance(error, Exception) and f"{DeepExplainError.__module__}." in str(error)
    return StoreError(runner_error_text(error)) if is_ours else None


def _reason_to_skip(inputs: _Artifacts) -> str | None:
    """Why nothing is explained; None if the model is blessed, or has not been evaluated."""
    if not inputs.get("model_blessing"):
        return None
    blessing = artifact_utils.get_single_instance(inputs["model_blessing"])
    if model_utils.is_model_blessed(blessing):
        return None
    return f"the model was not blessed (see {blessing.uri})"


def _check_examples(artifacts: list[types.Artifact], splits: Sequence[str]) -> None:
    payload_format, _ = tfxio_utils.resolve_payload_format_and_data_view_uri(artifacts)
    if payload_format != example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE:
        name = example_gen_pb2.PayloadFormat.Name(payload_format)
        raise ParameterError(
            f"AttributionGen: the examples are {name}; expected FORMAT_TF_EXAMPLE: set output_config.payload_format of "
            "ExampleGen, or convert them"
        )
    for artifact in artifacts:
        existing = artifact_utils.decode_split_names(artifact.split_names)
        if missing := [split for split in splits if split not in existing]:
            raise ParameterError(
                f"AttributionGen: splits {', '.join(missing)} are not in the examples at {artifact.uri}, which have "
                f"{', '.join(existing)}; give splits=[...]"
            )


def _read_split(artifacts: list[types.Artifact], split: str) -> beam.PTransform:
    """The serialized tf.Examples of a split, of all spans."""
    return tfxio_utils.get_split_tfxio(
        artifacts, split, _TELEMETRY, read_as_raw_records=True, raw_record_column_name="unused"
    ).RawRecordBeamSource()


def _transform_graph(inputs: _Artifacts) -> str | None:
    artifacts = inputs.get("transform_graph")
    return artifact_utils.get_single_uri(artifacts) if artifacts else None


def _set_baseline(methods: Any, baseline: Any) -> dict[str, dict[str, Any]]:
    """The methods, with this baseline for those that take one and have none yet."""
    checked = check_methods(methods)
    return {name: find_method(name).with_baseline(parameters, baseline) for name, parameters in checked.items()}
