"""Before Beam starts: whether the model and the first examples of each split can be explained.

What is refused here is one sentence. On a worker it would be the reason of each failed example, or a traceback of Beam.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_pipelines.engine import local_workers
from beam_pipelines.engine.device_pool import DevicePool, explainer_pool, prepare_devices
from beam_pipelines.engine.trial import explain_one
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.named_features import check_present
from beam_pipelines.reading.tf_example import ExampleFeatures
from beam_pipelines.reading.work_unit import Record
from beam_pipelines.transforms import Attribute
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import Request


def load_model(attribute: Attribute, beam_flags: Sequence[str]) -> ModelGraph:
    """The model of `attribute`, after this process has acquired its devices: TensorFlow chooses GPUs only once."""
    prepare_devices(_request_here(attribute, beam_flags))
    request = attribute.request
    return load_requested_model(request.model, request.signature, (), request.transform_graph)


def load_explainers(attribute: Attribute, graph: ModelGraph, beam_flags: Sequence[str]) -> DevicePool[BatchExplainer]:
    """The explainers of `attribute`, which Beam's steps in this process use, too. `graph`: its model."""
    if local_workers.explains_here(beam_flags):
        return attribute.load_here(graph)
    return explainer_pool(_request_here(attribute, beam_flags), graph)


def _request_here(attribute: Attribute, beam_flags: Sequence[str]) -> Request:
    """The request; if the flags start other processes, it leaves the GPUs to them."""
    if local_workers.explains_here(beam_flags):
        return attribute.request
    return attribute.request.on_cpu()


def check_examples(
    split: str,
    elements: Sequence[Any],
    explainers: DevicePool[BatchExplainer],
    attribute: Attribute,
    named_features: Mapping[str, str],
) -> None:
    """Explain one of the first examples of a split, serialized or as columns. ParameterError, UnsupportedModelError or InputError if
    there are none, if none can be explained, or if none has a feature of `named_features` ({parameter: feature}) or a slice feature.
    """
    if not elements:
        raise InputError(f"split {split} has no examples; choose others with splits=[...]")
    which = f"none of the first {len(elements)} examples of split {split}"
    names = set[str]().union(*map(_feature_names, elements))
    for parameter, feature in named_features.items():
        if feature not in names:
            raise ParameterError(
                f"{parameter}={feature!r}: {which} has this feature; they have {', '.join(sorted(names))}"
            )
    check_present((Record(str(i), element) for i, element in enumerate(elements, 1)), attribute.record_spec)
    with explainers.least_busy() as explainer:
        parser = ExampleParser(explainer.graph.inputs, attribute.record_spec)
        parsed = (parser.parse_or_fail(element, str(number)) for number, element in enumerate(elements, 1))
        explain_one(explainer, parsed, which)


def _feature_names(element: Any) -> Iterable[str]:
    try:
        return ExampleFeatures(element) if isinstance(element, bytes) else element
    except InputError:  # the record is no tf.Example: parsing it says so
        return ()
