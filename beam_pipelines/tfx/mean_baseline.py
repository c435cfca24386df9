"""The mean of baseline examples, for the baseline of the methods that have one."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.tfx.transform_graph import TransformGraph
from beam_pipelines.transforms import Attribute
from tb_deepexplain.attribution.baselines import background_baseline
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.loading.load_model import load_model

EXAMPLES = 1000


def compute_mean(files: Sequence[str], attribute: Attribute, transform_graph: str | None) -> Mapping[str, Any]:
    """The mean of the first 1,000 examples of TFRecord files, for each input of the model that `attribute` explains.

    Of categories, the most frequent value. `transform_graph`: directory of the graph to apply to the examples first. InputError
    if no example fits the model; ParameterError if the shapes of the examples differ.
    """
    request = attribute.request
    model = load_model(request.model, signature=request.signature)
    parser = ExampleParser(model.inputs, attribute.record_spec)
    records = list(itertools.islice(_read_records(files), EXAMPLES))
    columns: Sequence[Any] = TransformGraph(transform_graph)(records) if transform_graph else records
    examples, first_error = [], ""
    for number, record in enumerate(columns):
        try:
            examples.append(parser.parse(record, str(number)))
        except InputError as error:
            first_error = first_error or str(error)
    if not examples:
        reason = first_error or "there are none"
        raise InputError(f"baseline_examples: none of {len(records)} fits the model: {reason}")
    arrays = {}
    for spec in model.inputs:
        values = [example.inputs[spec.name] for example in examples]
        if len(shapes := {value.shape for value in values}) > 1:
            different = ", ".join(map(str, sorted(shapes)))
            raise ParameterError(f"baseline_examples: {spec.name} has different shapes ({different}), and so no mean")
        arrays[spec.name] = np.stack(values)
    return background_baseline(model, arrays, "mean")


def _read_records(files: Sequence[str]) -> Iterator[bytes]:
    for gzipped, some in itertools.groupby(files, operator.methodcaller("endswith", ".gz")):
        yield from tf.data.TFRecordDataset(list(some), "GZIP" if gzipped else None).as_numpy_iterator()
