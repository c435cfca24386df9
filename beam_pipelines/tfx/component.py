"""AttributionGen: attributions as a step of a TFX pipeline.

    attributions = AttributionGen(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        methods={"integrated_gradients": {"steps": 64}, "occlusion": {}},
    )

Its artifact holds one store for each split, as `tensorboard --logdir URI` opens it. The executor runs the transforms that
everybody can put into a pipeline of their own (`beam_pipelines.transforms`), on the pipeline that TFX makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import apache_beam as beam

try:
    from tfx import types
    from tfx.components.util import model_utils, tfxio_utils
    from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
    from tfx.dsl.io import fileio
    from tfx.dsl.placeholder import placeholder
    from tfx.orchestration import data_types
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
    from tfx.utils import io_utils, path_utils
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfx.component needs TFX 1.21 ({error}): pip install 'tensorboard-plugin-deepexplain[tfx]' "
        "(glibc 2.39 or newer; for older systems see 'TFX' in the README)"
    ) from error
from absl import logging

from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.tfx.examples import NameRecords, Sample, TransformRecords, mean_of
from beam_pipelines.transforms import Attribute, WriteAttributions
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.registry.table import Selection

_DEFAULT_SPLITS = ("eval",)
_TELEMETRY = ["tb_deepexplain", "AttributionGen"]
SKIPPED = "skipped"  # custom property of an artifact that is empty: why
SPLITS = "split_names"  # custom property, as of TFX's Examples


class Attributions(types.Artifact):
    """Attribution stores: a log directory of TensorBoard with a run `Split-NAME` for each split. If the model was not
    blessed it is empty, and the custom property `skipped` says so."""

    TYPE_NAME = "tb_deepexplain.Attributions"


# What Attribute takes that goes through TFX as it is, and what goes as JSON.
_PLAIN: dict[str, type] = {
    "target": str,
    "label_feature": str,
    "id_feature": str,
    "signature": str,
    "output": str,
    "batch_size": int,
    "superpixels": int,
}
_JSON = ("methods", "measures", "labels", "vocabulary", "features")
# What the component itself needs besides.
_OWN: dict[str, type] = {"splits": str, "max_examples": int, "seed": int, "max_error_rate": float}


class AttributionGenSpec(ComponentSpec):
    """Inputs, outputs and execution properties of AttributionGen."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        **{name: ExecutionParameter(type=str, optional=name != "methods") for name in _JSON},
        **{name: ExecutionParameter(type=kind, optional=True) for name, kind in (_PLAIN | _OWN).items()},
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
        "baseline_examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"attributions": ChannelParameter(type=Attributions)}


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the splits, explains, writes a store for each."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Raises ParameterError for what does not fit together; StoreError if too many examples fail."""
        self._log_startup(input_dict, output_dict, exec_properties)
        found = artifact_utils.get_single_instance(output_dict["attributions"])
        if reason := _unblessed(input_dict):
            logging.warning("AttributionGen: %s; nothing is explained, %s stays empty", reason, found.uri)
            found.set_string_custom_property(SKIPPED, reason)
            return
        given = _read(exec_properties)
        splits = given.pop("splits", None) or list(_DEFAULT_SPLITS)
        most, seed = given.pop("max_examples", None), given.pop("seed", None) or 0
        rate = given.pop("max_error_rate", None)
        _check_examples(input_dict["examples"], splits)
        graph = _transform_graph(input_dict)
        attribute = _attribute(input_dict, given, graph)
        write = {} if rate is None else {"max_error_rate": rate}
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                records = pipeline | f"Read[{split}]" >> _source(input_dict["examples"], split)
                if most:
                    records = records | f"Sample[{split}]" >> Sample(most, seed)
                elements = records | f"Name[{split}]" >> NameRecords(by_content=not given.get("id_feature"))
                if graph:
                    kept = given.get("label_feature", "label"), given.get("id_feature", "id")
                    elements = elements | f"Transform[{split}]" >> TransformRecords(graph, *kept)
                explained = elements | f"Attribute[{split}]" >> attribute
                _ = explained | f"Write[{split}]" >> WriteAttributions(found.uri, f"Split-{split}", **write)
        found.set_string_custom_property(SPLITS, artifact_utils.encode_split_names(splits))
        logging.info("AttributionGen: tensorboard --logdir %s shows the attributions", found.uri)


class AttributionGen(base_beam_component.BaseBeamComponent):
    """A TFX component that explains a model's predictions.

    Inputs: `examples` (tf.Examples as of ExampleGen or Transform, of one or several spans), `model`; optionally
    `model_blessing` (of Evaluator: a model that is not blessed is not explained), `schema` (shapes, defaults, class names),
    `transform_graph` (Transform's, in front of a signature that takes transformed features, where `examples` are raw) and
    `baseline_examples` (the mean of the first thousand of their first split stands for missing features in every method that has a
    baseline).

    Output `attributions`: an artifact of type Attributions.

    `methods` are names of the table of methods, or a dict of names and their parameters; `measures` likewise. `splits`
    (default: eval) are explained, of each at most `max_examples`, chosen by `seed` and content: the same ones, however the
    data are sharded. `signature` of the SavedModel (default: serving_default; one that takes serialized tf.Examples is entered
    behind their parsing). `target`, `labels`, `vocabulary`, `features`, `label_feature`, `id_feature`, `output`, `batch_size`
    and `superpixels` are as of `beam_pipelines.transforms.Attribute`; examples without an id are named by their content. If
    more than `max_error_rate` (default: half) of a split's examples fail, so does the component. Any of them may be a
    RuntimeParameter, of lists and dicts one that holds JSON.

    Raises ParameterError or UnknownMethodError when the pipeline is built.
    """

    SPEC_CLASS = AttributionGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        methods: Selection | Any,
        *,
        model_blessing: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        baseline_examples: types.BaseChannel | None = None,
        splits: Sequence[str] | Any | None = None,
        max_examples: int | Any | None = None,
        seed: int | Any = 0,
        max_error_rate: float | Any | None = None,
        **options: Any,
    ) -> None:
        if unknown := set(options) - {*_PLAIN, *_JSON}:
            known = ", ".join(sorted({*_PLAIN, *_JSON, *_OWN}))
            raise ParameterError(f"AttributionGen has no parameter {', '.join(sorted(unknown))}; it takes {known}")
        properties = {"methods": methods, "splits": splits, "max_examples": max_examples, "seed": seed}
        properties |= {"max_error_rate": max_error_rate, **options}
        _check(properties)
        channels = {
            "model_blessing": model_blessing,
            "schema": schema,
            "transform_graph": transform_graph,
            "baseline_examples": baseline_examples,
        }
        super().__init__(
            AttributionGenSpec(
                examples=examples,
                model=model,
                attributions=types.Channel(type=Attributions),
                **{name: channel for name, channel in channels.items() if channel is not None},
                **{name: _told(name, value) for name, value in properties.items() if value is not None},
            )
        )


def _check(properties: Mapping[str, Any]) -> None:
    """What can be said when the pipeline is built; of a RuntimeParameter nothing can."""
    known = {name: value for name, value in properties.items() if value is not None and not _is_late(value)}
    for name in ("max_examples", "batch_size", "superpixels"):
        value = known.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ParameterError(f"AttributionGen: {name}={value!r}: expected a whole number of at least 1")
    if isinstance(known.get("splits"), str) or not all(isinstance(s, str) and s for s in known.get("splits", ())):
        raise ParameterError(f"AttributionGen: splits={known['splits']!r}: expected a list of names, such as ['eval']")
    for name in _PLAIN.keys() & known:
        if not isinstance(known[name], _PLAIN[name]) and not isinstance(known[name], str | int):
            raise ParameterError(f"AttributionGen: {name}={known[name]!r}: expected a {_PLAIN[name].__name__}")
    if "methods" in known:
        for name in _JSON:
            _told(name, known.get(name))
        Attribute("not loaded", **{name: known[name] for name in (*_PLAIN, *_JSON) if name in known})


def _is_late(value: Any) -> bool:
    """Whether it is known only when the pipeline runs."""
    return isinstance(value, data_types.RuntimeParameter | placeholder.Placeholder)


def _told(name: str, value: Any) -> Any:
    """The value as TFX keeps it."""
    if value is None or _is_late(value):
        return value
    if name == "target":
        return str(value)
    if name not in (*_JSON, "splits"):
        return value
    try:
        return json.dumps(value if isinstance(value, str | Mapping) else list(value))
    except TypeError:
        raise ParameterError(
            f"AttributionGen: {name}={value!r} holds what is not JSON, such as an array: TFX keeps parameters as text. "
            "For a baseline give a number, or baseline_examples"
        ) from None


def _read(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, as Attribute and the executor take them."""
    known = {*_PLAIN, *_JSON, *_OWN}
    given = {name: value for name, value in properties.items() if name in known and value not in (None, "")}
    for name in given.keys() & {*_JSON, "splits"}:
        try:
            given[name] = json.loads(given[name])
        except ValueError:  # of a RuntimeParameter: one name
            given[name] = [given[name]]
    return given


def _unblessed(inputs: Mapping[str, list[types.Artifact]]) -> str | None:
    """Why nothing is to be explained, if so."""
    if not inputs.get("model_blessing"):
        return None
    blessing = artifact_utils.get_single_instance(inputs["model_blessing"])
    if model_utils.is_model_blessed(blessing):
        return None
    return f"the model was not blessed (see {blessing.uri})"


def _check_examples(artifacts: list[types.Artifact], splits: Sequence[str]) -> None:
    kind, _ = tfxio_utils.resolve_payload_format_and_data_view_uri(artifacts)
    if kind != example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE:
        raise ParameterError(
            f"AttributionGen: the examples are {example_gen_pb2.PayloadFormat.Name(kind)}; expected FORMAT_TF_EXAMPLE: "
            "set output_config.payload_format of ExampleGen, or convert them"
        )
    for artifact in artifacts:
        there = artifact_utils.decode_split_names(artifact.split_names)
        if missing := [split for split in splits if split not in there]:
            raise ParameterError(
                f"AttributionGen: splits {', '.join(missing)} are not in the examples at {artifact.uri}, which have "
                f"{', '.join(there)}; give splits=[...]"
            )


def _source(artifacts: list[types.Artifact], split: str) -> beam.PTransform:
    """The serialized tf.Examples of a split of all spans."""
    return tfxio_utils.get_split_tfxio(
        artifacts, split, _TELEMETRY, read_as_raw_records=True, raw_record_column_name="unused"
    ).RawRecordBeamSource()


def _transform_graph(inputs: Mapping[str, list[types.Artifact]]) -> str | None:
    found = inputs.get("transform_graph")
    return artifact_utils.get_single_uri(found) if found else None


def _attribute(inputs: Mapping[str, list[types.Artifact]], given: dict[str, Any], graph: str | None) -> Attribute:
    """The transform that explains, for all splits."""
    artifact = artifact_utils.get_single_instance(inputs["model"])
    model = path_utils.serving_model_path(artifact.uri, path_utils.is_old_model_artifact(artifact))
    if inputs.get("schema"):
        schema = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(inputs["schema"]))
        if given.get("labels") is None:
            given["labels"] = load_schema(schema).class_names(given.get("label_feature", "label"))
        if not graph:  # which gives other features than the schema has
            given["schema"] = schema
    if inputs.get("baseline_examples"):
        baseline = mean_of(_files(inputs["baseline_examples"]), Attribute(model, **given), graph)
        given["methods"] = _with_baseline(given["methods"], baseline)
    return Attribute(model, **given)


def _files(artifacts: list[types.Artifact]) -> list[str]:
    """Those of the first split of each."""
    found = []
    for artifact in artifacts:
        split = artifact_utils.decode_split_names(artifact.split_names)[0]
        found += fileio.glob(io_utils.all_files_pattern(artifact_utils.get_split_uri([artifact], split)))
    return sorted(found)


def _with_baseline(methods: Any, baseline: Any) -> dict[str, dict[str, Any]]:
    """The methods, with this baseline for those that have one and were given none."""
    names = [methods] if isinstance(methods, str) else methods
    chosen = {name: dict(methods[name]) if isinstance(methods, Mapping) else {} for name in names}
    return {name: find_method(name).with_baseline(parameters, baseline) for name, parameters in chosen.items()}


__all__ = ["AttributionGen", "AttributionGenSpec", "Attributions", "Executor"]
