"""From arguments to a Request: the methods and measures with their parameters, checked against the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from beam_pipelines.cli.arguments import Arguments, find_row, read_parameter
from beam_pipelines.cli.background import Background
from beam_pipelines.engine import local_workers
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.evaluation.measures import Measure, find_measure
from tb_deepexplain.recording.request import Request, make_request


def build_request(arguments: Arguments, background: Background | None = None) -> Request:
    """`background` gives baselines to the methods and measures that have none.

    ParameterError or UnknownMethodError for a method, measure or parameter that does not exist.
    """
    methods = _select_rows("methods", arguments.methods, find_method)
    measures = _select_rows("measures", arguments.measures, find_measure)
    if not methods:
        raise ParameterError("--methods: expected at least one method")
    for name, parameter, text in arguments.parameters:
        row = find_row(name)
        option, rows = ("measures", measures) if isinstance(row, Measure) else ("methods", methods)
        if row.id not in rows:
            raise ParameterError(f"--{row.id}.{parameter}: {row.id} is not among --{option} {','.join(rows)}")
        rows[row.id] |= read_parameter(row, parameter, text)
    if background:
        methods = {name: background.parameters(find_method(name), values) for name, values in methods.items()}
        measures = {name: background.parameters(find_measure(name), values) for name, values in measures.items()}
    return make_request(
        arguments.model,
        methods,
        measures=measures,
        measured=arguments.measured,
        superpixels=arguments.superpixels if arguments.measures else None,
        target=arguments.target,
        signature=arguments.signature,
        transform_graph=arguments.transform_graph,
        output=arguments.output,
        inputs=arguments.inputs,
        custom_objects=arguments.custom_objects,
        logits=arguments.logits,
        check_model=arguments.check_model,
        check_batch=arguments.check_batch,
        score=arguments.score,
        only=arguments.only,
        slice_features=arguments.slice_features,
        labels=arguments.labels,
        vocabulary=arguments.vocabulary,
        batch_size=arguments.batch_size,
        step=arguments.step,
        gpus=arguments.gpus,
        processes_per_gpu=arguments.processes_per_gpu,
        gpu_memory=arguments.gpu_memory,
        alone=local_workers.is_alone(arguments.beam),
        precision=arguments.precision,
    )


def check_baseline_examples(arguments: Arguments) -> None:
    """ParameterError for --baseline_examples that no method and no measure uses."""
    rows = [*map(find_method, arguments.methods), *map(find_measure, arguments.measures)]
    if arguments.baseline_examples and all(row.baseline_parameter is None for row in rows):
        names = ", ".join(row.id for row in rows)
        raise ParameterError(
            f"--baseline_examples: none of {names} takes a baseline; leave the option out, or choose another method"
        )


def _select_rows(option: str, names: Sequence[str], find: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
    """The ids of the rows, each with an empty dict for its parameters."""
    rows: dict[str, dict[str, Any]] = {find(name).id: {} for name in names}
    if len(rows) != len(names):
        raise ParameterError(f"--{option} {','.join(names)}: expected different {option}, separated by commas")
    return rows
