"""--baseline_examples: examples whose statistics are the baseline of the methods that have none of their own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_pipelines.cli.arguments import Arguments
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.attribution.baselines import STATISTICS, background_baseline
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.model_loading import load_requested_model

EXAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Background:
    """Examples of a model: `arrays` `[N, ...]` for each of its inputs."""

    graph: ModelGraph
    arrays: Mapping[str, np.ndarray]

    def parameters(self, row: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a method or measure, with a baseline of these examples in place of none or of a statistic's name."""
        baseline = row.baseline(parameters)
        if row.baseline_parameter is None or not (baseline is None or baseline in STATISTICS):
            return parameters
        values = background_baseline(self.graph, self.arrays, baseline or "most_frequent")
        return {**parameters, row.baseline_parameter: values}


def read_background(
    arguments: Arguments, record_spec: RecordSpec, graph: ModelGraph | None = None
) -> Background | None:
    """The first 1,000 examples of --baseline_examples; None without the option. `graph`: the model, if it is loaded.

    Raises InputError if no record fits the model, ParameterError if the examples differ in shape.
    """
    if not arguments.baseline_examples:
        return None
    if graph is None:
        graph = load_requested_model(arguments.model, arguments.signature, arguments.custom_objects)
    graph = graph if arguments.output is None else graph.with_output(arguments.output)
    parser = ExampleParser(graph.inputs, record_spec)
    plan = make_plan(find_files(list(arguments.baseline_examples), arguments.format), arguments.unit_size)
    records = itertools.islice(itertools.chain.from_iterable(map(read_records, plan.units)), EXAMPLES)
    examples, first_error = [], "there are none"
    for record in records:
        try:
            if isinstance(record, Record):
                examples.append(parser.parse(record.payload, record.position))
        except InputError as error:
            first_error = str(error) if not examples else first_error
    option = f"--baseline_examples {' '.join(arguments.baseline_examples)}"
    if not examples:
        raise InputError(f"{option}: none of the examples fits the model: {first_error}")
    arrays = {}
    for spec in graph.inputs:
        values = [example.inputs[spec.name] for example in examples]
        if len(shapes := {value.shape for value in values}) > 1:
            different = ", ".join(map(str, sorted(shapes)[:3]))
            raise ParameterError(f"{option}: {spec.name} has different shapes ({different}), and so no statistics")
        arrays[spec.name] = np.stack(values)
    return Background(graph, arrays)
