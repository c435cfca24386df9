"""The mean of baseline examples, for the baseline of the methods that have one."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from beam_pipelines.reading.baseline_examples import MOST_EXAMPLES, stack_examples
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.work_unit import Record
from beam_pipelines.tfx.transform_graph import TransformGraph
from beam_pipelines.transforms import Attribute
from tb_deepexplain.attribution.baselines import background_baseline
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import select_explained


def compute_mean(files: Sequence[str], attribute: Attribute, transform_graph: str | None) -> Mapping[str, Any]:
    """The mean of the first 1,000 examples of TFRecord files, for each input of the model that `attribute` explains.

    Of categories, the most frequent value. `transform_graph`: directory of the graph to apply to the examples first. InputError
    if no example fits the model; ParameterError if the shapes of the examples differ.
    """
    request = attribute.request
    graph = load_requested_model(request.model, request.signature, request.custom_objects)
    graph = select_explained(graph, request.output, request.score, request.logits)
    records = list(itertools.islice(_read_records(files), MOST_EXAMPLES))
    columns: Sequence[Any] = TransformGraph(transform_graph)(records) if transform_graph else records
    numbered = (Record(str(number), record) for number, record in enumerate(columns))
    parser = ExampleParser(graph.inputs, attribute.record_spec)
    arrays, left_out = stack_examples(parser, numbered, "baseline_examples")
    if left_out:
        logging.warning("AttributionGen: %s", left_out)
    return background_baseline(graph, arrays, "mean", request.inputs)


def _read_records(files: Sequence[str]) -> Iterator[bytes]:
    for gzipped, some in itertools.groupby(files, operator.methodcaller("endswith", ".gz")):
        yield from tf.data.TFRecordDataset(list(some), "GZIP" if gzipped else None).as_numpy_iterator()
