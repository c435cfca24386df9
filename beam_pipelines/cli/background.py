"""--baseline_examples: examples whose statistics are the baseline of the methods that have none of their own."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_pipelines.cli.arguments import Arguments
from beam_pipelines.cli.input_plan import named_features
from beam_pipelines.reading.baseline_examples import stack_examples
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.record_spec import RecordSpec
from tb_deepexplain.attribution.baselines import STATISTICS, background_baseline
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import select_explained


@dataclasses.dataclass(frozen=True)
class Background:
    """Examples of a model: `arrays` `[N, ...]` for each of its inputs, of which `inputs` are explained (None: all)."""

    graph: ModelGraph
    arrays: Mapping[str, np.ndarray]
    inputs: tuple[str, ...] | None

    def parameters(self, row: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a method or measure, with a baseline of these examples in place of none or of a statistic's name."""
        baseline = row.baseline(parameters)
        if row.baseline_parameter is None or not (baseline is None or _is_statistic(baseline)):
            return parameters
        values = background_baseline(self.graph, self.arrays, baseline or "most_frequent", self.inputs)
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
        graph = load_requested_model(
            arguments.model, arguments.signature, arguments.custom_objects, arguments.transform_graph
        )
    graph = select_explained(graph, arguments.output, arguments.score, arguments.logits)
    input_files = find_files(list(arguments.baseline_examples), arguments.format)
    plan = make_plan(input_files, arguments.unit_size, named_features(arguments))
    records = itertools.chain.from_iterable(map(read_records, plan.units))
    option = f"--baseline_examples {' '.join(arguments.baseline_examples)}"
    arrays, left_out = stack_examples(ExampleParser(graph.inputs, record_spec), records, option)
    if left_out:
        print(left_out, file=sys.stderr)
    return Background(graph, arrays, arguments.inputs)


def _is_statistic(baseline: Any) -> bool:
    return isinstance(baseline, str) and baseline in STATISTICS
