"""`tb-deepexplain evaluate`: explain a random sample by every method, measure the maps, and rank the methods."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from beam_pipelines.cli.arguments import Arguments, parse_evaluate
from beam_pipelines.cli.exit_status import OK, SOME_FAILED, run_guarded
from beam_pipelines.cli.input_plan import describe_input, plan_input
from beam_pipelines.cli.report import describe_precision
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_display import format_duration, print_note
from beam_pipelines.engine.store_lock import store_lock
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.selection import take_sample
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.attribution.methods import TABLE
from tb_deepexplain.attribution.precision import forbid_tf32
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.evaluation.measures import find_measure
from tb_deepexplain.evaluation.ranking import MeasuredMethod, Ranking, rank_methods
from tb_deepexplain.storage import atomic_write
from tb_deepexplain.store import configuration
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.write_errors import as_store_error
from tb_deepexplain.store.writer import StoreWriter

PROG = "tb-deepexplain evaluate"
_UNIT = "sample"


def main(argv: Sequence[str], prog: str = PROG) -> int:
    """Run the evaluation; 0, 1 (some examples failed), 2 (an error ended it) or 130 (Ctrl-C)."""
    stopped = "stopped; nothing was written"
    return run_guarded(argv, lambda: run(parse_evaluate(argv, prog)), stopped)


def run(arguments: Arguments) -> int:
    """Sample, explain, measure, rank, write the store, and print the ranking."""
    started = time.monotonic()
    forbid_tf32(arguments.precision)
    if not arguments.measures:
        raise ParameterError(
            "--measures is empty: name at least one, such as deletion; `tb-deepexplain measures` lists them"
        )
    directory, plan = plan_input(arguments)
    if not arguments.overwrite and (directory.exists() and any(directory.iterdir())):
        raise ParameterError(f"{directory} exists already; --overwrite replaces it, --name NAME makes another")
    arguments, record_spec = describe_input(arguments, plan)
    fingerprint = configuration.fingerprint(arguments.model)
    print_note("loading TensorFlow and the model")
    with filter_native_stderr():
        from beam_pipelines.cli.background import read_background
        from beam_pipelines.cli.request import build_request, check_baseline_examples
        from beam_pipelines.reading.example_parser import ExampleParser
        from beam_pipelines.reading.named_features import check_present
        from tb_deepexplain.recording.batch_explainer import BatchExplainer
        from tb_deepexplain.recording.manifest import describe_store
        from tb_deepexplain.recording.model_loading import load_requested_model

        graph = load_requested_model(
            arguments.model, arguments.signature, arguments.custom_objects, arguments.transform_graph
        )
    background = read_background(arguments, record_spec, graph)
    parser = ExampleParser(graph.inputs, record_spec)
    units = take_sample(plan, arguments.examples, arguments.seed, arguments.unit_size).units
    check_present(itertools.chain.from_iterable(map(read_records, units)), record_spec)
    examples, failures = _parse(itertools.chain.from_iterable(map(read_records, units)), parser.parse)
    arguments, left_out = _select(arguments, graph, examples, background)
    check_baseline_examples(arguments)
    request = build_request(arguments, background)
    explainer = BatchExplainer(request, graph)
    print_note(f"explaining {len(examples)} examples by {len(request.methods)} methods, and measuring the maps")
    with store_lock(directory):
        records = explainer.explain(examples)
        if not records.inputs:
            raise InputError(f"none of the examples could be explained: {records.errors[0].message}")
        ranking = _rank(explainer, records, examples, left_out, arguments.seed)
        if arguments.overwrite:  # the old store is kept until a new one can take its place
            configuration.clear(directory)
        writer = StoreWriter(directory, measures=[name for name, _ in request.measures])
        with writer.shard(_UNIT) as shard:
            shard.add(records.attributions, records.inputs, [*failures, *records.errors])
        sample = {
            "input": list(arguments.input),
            "examples": arguments.examples,
            "seed": arguments.seed,
            "baseline_examples": list(arguments.baseline_examples),
            "preprocess": arguments.preprocess,
            "resize": arguments.resize,
        }
        description = describe_store(
            request,
            explainer.modality,
            explainer.inputs,
            fingerprint,
            arguments.name,
            sample,
            explainer.precision_errors(),
        )
        manifest = writer.commit([_UNIT], {**description, "evaluation": ranking.to_dict()})
        with as_store_error(directory), atomic_write(directory / "evaluation.json") as draft:
            draft.write_text(json.dumps(ranking.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
        figure = _draw(manifest, directory)
        with as_store_error(arguments.logdir):
            write_marker(arguments.logdir, arguments.run, arguments.name)
    failed = len(failures) + len(records.errors)
    _print(ranking, failed)
    console = Console(highlight=False, soft_wrap=True)
    for line in describe_precision(manifest):
        console.print(Text(f"precision {line}"))
    console.print(Text(f"\ntook      {format_duration(time.monotonic() - started)}"))
    console.print(Text(f"written   {directory / 'evaluation.json'}{f', {figure.name}' if figure else ''}"))
    console.print(Text(f"view with tensorboard --logdir {arguments.logdir}"))
    return SOME_FAILED if failed else OK


def _parse(records: Iterator[Record | Failure], parse: Any) -> tuple[list[Any], list[Failure]]:
    """Examples with different ids, and the records that are none; InputError if all of them fail."""
    from tb_deepexplain.error_text import describe_failure

    examples: dict[str, Any] = {}
    failures: list[Failure] = []
    for record in records:
        if isinstance(record, Failure):
            failures.append(record)
            continue
        try:
            example = parse(record.payload, record.position)
            if example.id in examples:
                raise InputError(f"another example has its id {example.id!r}; give every example its own id")
            examples[example.id] = example
        except Exception as error:  # a bad record may raise anything
            failures.append(Failure(record.position, "parse", *describe_failure(error)))
    if not examples:
        raise InputError(
            f"none of the examples fits the model; the first, {failures[0].example_id}: {failures[0].message}"
        )
    return list(examples.values()), failures


def _select(
    arguments: Arguments, graph: Any, examples: Sequence[Any], background: Any
) -> tuple[Arguments, dict[str, str]]:
    """The arguments with the methods that can explain the model within the budget, and why the others cannot."""
    from beam_pipelines.cli.request import build_request
    from beam_pipelines.engine.trial import explain_one
    from tb_deepexplain.evaluation.method_comparison import select_methods
    from tb_deepexplain.recording.batch_explainer import BatchExplainer

    arguments = _with_windows(arguments, graph)
    examples = sorted(examples, key=lambda example: example.label is None)  # for --target label

    def prepare(method: str) -> tuple[int, Callable[[], Any]]:
        parameters = tuple(parameter for parameter in arguments.parameters if parameter[0] == method)
        alone = dataclasses.replace(arguments, methods=(method,), measures=(), parameters=parameters)
        explainer = BatchExplainer(build_request(alone, background), graph)
        return explainer.explainers[0].cost(explainer.stack(examples[:1])), lambda: explain_one(explainer, examples)

    methods = arguments.methods or [method.id for method in TABLE]
    selected, left_out = select_methods(methods, prepare, arguments.budget, required=bool(arguments.methods))
    kept = tuple(parameter for parameter in arguments.parameters if parameter[0] not in left_out)
    return dataclasses.replace(arguments, methods=tuple(selected), parameters=kept), left_out


def _with_windows(arguments: Arguments, graph: Any) -> Arguments:
    """The arguments with windows for occlusion of pictures, unless it has parameters or is not compared."""
    from tb_deepexplain.evaluation.method_comparison import window_parameters

    is_compared = not arguments.methods or "occlusion" in arguments.methods
    if not is_compared or any(name == "occlusion" for name, *_ in arguments.parameters):
        return arguments
    windows = window_parameters([spec.shape[1:] for spec in graph.inputs])
    texts = tuple(("occlusion", name, ",".join(map(str, value))) for name, value in windows.items())
    return dataclasses.replace(arguments, parameters=arguments.parameters + texts)


def _rank(explainer: Any, records: Any, examples: Sequence[Any], left_out: dict[str, str], seed: int) -> Ranking:
    """The methods of the explainer ranked by the measures in the records."""
    from tb_deepexplain.evaluation.method_comparison import SANITY_EXAMPLES, time_and_check

    ids = {row.example_id for row in records.inputs}
    explained = [example for example in examples if example.id in ids]
    alike = [example for example in explained if example.batch_key == explained[0].batch_key][:SANITY_EXAMPLES]
    xs, target = explainer.stack(alike), explainer.map_targets(alike)[0].explained
    measures = [find_measure(name) for name, _ in explainer.request.measures]
    measured, example_ids = [], list[str]()
    for of_method in explainer.explainers:
        rows = [row for row in records.attributions if row.method == of_method.method.id]
        seconds, sanity = time_and_check(of_method, xs, seed=seed, target=target)

        def column(name: str, rows: Sequence[Any] = rows) -> np.ndarray:
            return np.array([row.measures.get(name, np.nan) for row in rows], np.float64)

        measured.append(
            MeasuredMethod(
                id=of_method.method.id,
                title=of_method.method.title,
                values={measure.id: column(measure.id) for measure in measures},
                chance={measure.id: column(f"{measure.id}_random") for measure in measures},
                evaluations=float(np.mean([row.evaluations for row in rows])),
                seconds=seconds,
                sanity=sanity,
            )
        )
        example_ids = [row.example_id for row in rows]
    return rank_methods(measured, measures, example_ids, left_out=left_out, seed=seed)


def _draw(manifest: dict[str, Any], directory: Path) -> Path | None:
    """A figure of the curves in the store's directory; None if matplotlib is not installed."""
    try:
        from tb_deepexplain.evaluation import figure
    except ImportError:
        return None
    path = directory / "evaluation.png"
    with as_store_error(directory), atomic_write(path) as draft:
        figure.draw(manifest, draft)
    return path


def _print(ranking: Ranking, failed: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    titles, *rows = ranking.table().splitlines()
    console.print(Text(titles, "bold"))
    for row in rows:
        console.print(Text(row))
    console.print(Text(f"\nadvice    {ranking.advice}"))
    for name, reason in ranking.left_out.items():
        console.print(Text(f"left out  {name}: {reason}", "dim"))
    if failed:
        console.print(Text(f"failed    {failed} of the examples", "red"))
