"""The median of baseline examples, for the baseline of the methods that have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from beam_pipelines.reading.baseline_examples import stack_examples
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.work_unit import Record
from beam_pipelines.transforms import Attribute
from tb_deepexplain.attribution.baselines import background_baseline
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.request import select_explained


def compute_median(elements: Sequence[Any], attribute: Attribute, graph: ModelGraph) -> Mapping[str, Any]:
    """The median of these examples, serialized or as columns, for each input of the model that `attribute` explains.

    Of categories, the most frequent value. InputError if no example fits the model; ParameterError if the shapes of the examples
    differ.
    """
    request = attribute.request
    graph = select_explained(graph, request.output, request.score, request.logits)
    records = (Record(str(number), element) for number, element in enumerate(elements, 1))
    arrays, left_out = stack_examples(ExampleParser(graph.inputs, attribute.record_spec), records, "baseline_examples")
    if left_out:
        logging.warning("AttributionGen: %s", left_out)
    return background_baseline(graph, arrays, "median", request.inputs)
