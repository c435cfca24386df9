"""AttributionGen: attributions as a step of a TFX pipeline.

    attributions = AttributionGen(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        methods={"integrated_gradients": {"steps": 64}, "occlusion": {}},
    )

Its artifact `attributions` holds one store for each split; `tensorboard --logdir URI` shows them. Its artifact `statistics` holds
statistics of the attributions by column, for TensorFlow Data Validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

try:
    from tfx import types
    from tfx.dsl.components.base import base_beam_component, executor_spec
    from tfx.types import standard_artifacts
    from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfx.component needs TFX 1.21 ({error}): pip install 'tensorboard-plugin-deepexplain[tfx]' "
        "(glibc 2.39 or newer; for older systems see docs/tfx.md)"
    ) from error

from beam_pipelines.tfx.executor import Executor
from beam_pipelines.tfx.parameters import (
    ATTRIBUTE_PARAMETERS,
    EXECUTOR_TYPES,
    JSON,
    SWITCHES,
    TYPES,
    check_parameters,
    encode,
)
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.registry.table import Selection


class Attributions(types.Artifact):
    """Attribution stores: a log directory of TensorBoard with a run `Split-NAME` for each split.

    If the model was not blessed, or was refused with `on_refusal="empty"`, the artifact is empty and its custom property `skipped`
    gives the reason.
    """

    TYPE_NAME = "tb_deepexplain.Attributions"


class AttributionGenSpec(ComponentSpec):
    """Inputs, outputs and execution properties of AttributionGen."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        **{name: ExecutionParameter(type=str, optional=name != "methods") for name in (*JSON, *SWITCHES)},
        **{name: ExecutionParameter(type=type_, optional=True) for name, type_ in (TYPES | EXECUTOR_TYPES).items()},
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
        "baseline_examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "attributions": ChannelParameter(type=Attributions),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }


class AttributionGen(base_beam_component.BaseBeamComponent):
    """A TFX component that explains a model's predictions.

    Inputs are `examples` (tf.Examples from ExampleGen or Transform, of one or several spans) and `model`; optionally
    - `model_blessing` from Evaluator: a model that is not blessed is not explained;
    - `schema`: shapes, defaults, class names;
    - `transform_graph` from Transform: if the signature takes transformed features, the raw features are explained through
      this graph;
    - `baseline_examples`: the median of the first 1,000 examples of their first split, of categories the most frequent value, is
      the baseline of every method that has one.

    The output `attributions` is an artifact of type Attributions. The output `statistics` has TFX's type ExampleStatistics: it holds the
    statistics of the attributions by column (see `statistics.py`) as StatisticsGen writes those of examples, for TFDV, ExampleValidator
    and DistributionValidator.

    `methods` are names of attribution methods, or a dict of names and their parameters; likewise `measures`. `splits`
    (default: eval) are explained. At most `max_examples` of each are chosen, by `seed` and content: the same examples
    however the data are sharded. `signature` is that of the SavedModel (default: serving_default); if it takes
    serialized tf.Examples, the explanation starts at the parsed features. `slice_features` of the raw examples are kept in
    the store. `target`, `labels`, `vocabulary`, `features`, `label_feature`, `id_feature`, `resize`, `inputs`, `output`,
    `logits`, `score`, `only`, `check_model`, `check_batch`, `precision`, `batch_size` and `superpixels` are as in
    `beam_pipelines.transforms.Attribute`; an example without an id is named by its content. The component refuses to explain
    a split of which more than `max_error_rate` (default: half) of the examples fail. Each parameter may be a
    RuntimeParameter; that of a list holds JSON or names separated by commas, that of a dict or bool JSON.

    Raises ParameterError or UnknownMethodError when the pipeline is built. What can be known only of the model and the first examples
    of each split is checked before Beam starts. With `on_refusal="fail"`, the component then fails with one sentence; with "empty",
    the artifact stays empty with that sentence as its custom property `skipped`, and the pipeline goes on. Other errors, such as
    those of a file system, fail in both cases. A component that fails leaves no files.
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
        on_refusal: str | Any = "fail",
        **options: Any,
    ) -> None:
        if unknown := set(options) - {*ATTRIBUTE_PARAMETERS}:
            known = ", ".join(sorted({*ATTRIBUTE_PARAMETERS, *EXECUTOR_TYPES}))
            raise ParameterError(f"AttributionGen has no parameter {', '.join(sorted(unknown))}; it takes {known}")
        parameters = {
            "methods": methods,
            "splits": splits,
            "max_examples": max_examples,
            "seed": seed,
            "max_error_rate": max_error_rate,
            "on_refusal": on_refusal,
            **options,
        }
        check_parameters(parameters)
        optional_channels = {
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
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
                **{name: channel for name, channel in optional_channels.items() if channel is not None},
                **{name: encode(name, value) for name, value in parameters.items() if value is not None},
            )
        )


__all__ = ["AttributionGen", "AttributionGenSpec", "Attributions"]
