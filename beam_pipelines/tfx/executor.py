"""Runs AttributionGen: `beam_pipelines.transforms` on the Beam pipeline that TFX makes."""

from __future__ import annotations

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

from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.tfx.examples import NameRecords, Sample
from beam_pipelines.tfx.mean_baseline import compute_mean
from beam_pipelines.tfx.parameters import decode
from beam_pipelines.tfx.transform_graph import TransformRecords
from beam_pipelines.transforms import Attribute, WriteAttributions
from tb_deepexplain.attribution.methods import check_methods, find_method
from tb_deepexplain.errors import ParameterError

SKIPPED = "skipped"  # custom property of an empty artifact: why nothing was explained
SPLITS = "split_names"  # custom property, as in TFX's Examples
_DEFAULT_SPLITS = ("eval",)
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
        """ParameterError for inputs or parameters that do not fit together; StoreError if too many examples fail."""
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["attributions"])
        if reason := _reason_to_skip(input_dict):
            logging.warning("AttributionGen: %s; nothing is explained, %s stays empty", reason, artifact.uri)
            artifact.set_string_custom_property(SKIPPED, reason)
            return
        parameters = decode(exec_properties)
        splits = parameters.pop("splits", None) or list(_DEFAULT_SPLITS)
        max_examples, seed = parameters.pop("max_examples", None), parameters.pop("seed", None) or 0
        max_error_rate = parameters.pop("max_error_rate", None)
        write_options = {} if max_error_rate is None else {"max_error_rate": max_error_rate}
        _check_examples(input_dict["examples"], splits)
        transform_graph = _transform_graph(input_dict)
        attribute = _make_attribute(input_dict, parameters, transform_graph)
        label_feature, id_feature = parameters.get("label_feature", "label"), parameters.get("id_feature", "id")
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                records = pipeline | f"Read[{split}]" >> _read_split(input_dict["examples"], split)
                if max_examples:
                    records = records | f"Sample[{split}]" >> Sample(max_examples, seed)
                by_content = not parameters.get("id_feature")
                elements = records | f"Name[{split}]" >> NameRecords(by_content)
                if transform_graph:
                    transform = TransformRecords(transform_graph, label_feature, id_feature)
                    elements = elements | f"Transform[{split}]" >> transform
                explained = elements | f"Attribute[{split}]" >> attribute
                write = WriteAttributions(artifact.uri, f"Split-{split}", **write_options)
                _ = explained | f"Write[{split}]" >> write
        artifact.set_string_custom_property(SPLITS, artifact_utils.encode_split_names(splits))
        logging.info("AttributionGen: tensorboard --logdir %s shows the attributions", artifact.uri)


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


def _make_attribute(inputs: _Artifacts, parameters: dict[str, Any], transform_graph: str | None) -> Attribute:
    """The transform that explains all splits. Labels, schema and baseline come from artifacts, if there are any."""
    artifact = artifact_utils.get_single_instance(inputs["model"])
    model = path_utils.serving_model_path(artifact.uri, path_utils.is_old_model_artifact(artifact))
    options = dict(parameters)
    if inputs.get("schema"):
        schema = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(inputs["schema"]))
        if options.get("labels") is None:
            options["labels"] = load_schema(schema).class_names(options.get("label_feature", "label"))
        if not transform_graph:  # the schema describes raw features, not transformed ones
            options["schema"] = schema
    if inputs.get("baseline_examples"):
        files = _first_split_files(inputs["baseline_examples"])
        baseline = compute_mean(files, Attribute(model, **options), transform_graph)
        options["methods"] = _set_baseline(options["methods"], baseline)
    return Attribute(model, **options)


def _first_split_files(artifacts: list[types.Artifact]) -> list[str]:
    files = []
    for artifact in artifacts:
        split = artifact_utils.decode_split_names(artifact.split_names)[0]
        files += fileio.glob(io_utils.all_files_pattern(artifact_utils.get_split_uri([artifact], split)))
    return sorted(files)


def _set_baseline(methods: Any, baseline: Any) -> dict[str, dict[str, Any]]:
    """The methods, with this baseline for those that take one and have none yet."""
    checked = check_methods(methods)
    return {name: find_method(name).with_baseline(parameters, baseline) for name, parameters in checked.items()}
