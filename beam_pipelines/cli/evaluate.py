"""`tb-deepexplain evaluate`: which method should be used on this model? All methods on a sample, measured and ranked."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from beam_pipelines.cli.arguments import Arguments, parse_evaluate
from beam_pipelines.cli.exit_status import run_guarded
from beam_pipelines.cli.input_plan import describe_input, plan_input
from beam_pipelines.engine.native_logs import filter_native_stderr
from beam_pipelines.engine.progress_display import format_duration, print_note
from beam_pipelines.engine.store_lock import store_lock
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.work_unit import Plan, Record
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.stats.intervals import finite_or_none, group_means, half_width
from tb_deepexplain.stats.mean_ranks import RESAMPLINGS, mean_ranks, rank_each
from tb_deepexplain.storage import atomic_write
from tb_deepexplain.store import configuration
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Failure
from tb_deepexplain.store.write_errors import as_store_error
from tb_deepexplain.store.writer import StoreWriter

PROG = "tb-deepexplain evaluate"
_UNIT = "sample"
_SURE = 0.95
_SANITY = 16  # examples of the sanity check
_WINDOWS = 14  # of occlusion, along a side of a picture


@dataclasses.dataclass
class Candidate:
    """A method, and what was measured of it."""

    id: str
    title: str
    evaluations: float = 0.0  # for a map
    seconds: float = 0.0  # for a map
    sanity: float | None = None  # likeness of its maps to those of the randomised model
    # None where no measure of faithfulness was asked for:
    mean_rank: float | None = None
    low: float | None = None
    high: float | None = None
    best: float | None = None  # in which share of resamplings it ranked first


def main(argv: Sequence[str], prog: str = PROG) -> int:
    """0, 1 (some examples failed) or 2 (ended by an error)."""
    stopped = "stopped; nothing was written"
    return run_guarded(argv, lambda: run(parse_evaluate(argv, prog)), stopped)


def run(asked: Arguments) -> int:
    """Sample, explain by every method, measure, rank, write."""
    started = time.monotonic()
    if not asked.measures:
        raise ParameterError(
            "--measures names none: name at least one, such as deletion; `tb-deepexplain measures` lists them"
        )
    directory, plan = plan_input(asked)
    if not asked.overwrite and (directory.exists() and any(directory.iterdir())):
        raise ParameterError(f"{directory} is there already; --overwrite replaces it, --name NAME makes another")
    asked, record_spec = describe_input(asked, plan)
    fingerprint = configuration.fingerprint(asked.model)
    print_note("loading TensorFlow and the model")
    with filter_native_stderr():
        from beam_pipelines.cli.request import build_request
        from beam_pipelines.reading.example_parser import ExampleParser
        from tb_deepexplain.graph.loading.load_model import load_model
        from tb_deepexplain.recording.batch_explainer import BatchExplainer
        from tb_deepexplain.recording.manifest import describe_store
        from tb_deepexplain.storage import local_copy

        with local_copy(asked.model) as model:
            graph = load_model(model, signature=asked.signature)
    parser = ExampleParser(graph.inputs, record_spec)
    examples, failures = _parsed(_sample(plan, asked.examples, asked.seed), parser.parse)
    asked, left_out = _applicable(asked, graph, examples)
    request = build_request(asked)
    explainer = BatchExplainer(request, graph)
    print_note(f"explaining {len(examples)} examples by {len(request.methods)} methods, and measuring the maps")
    with store_lock(directory):
        records = explainer.explain(examples)
        if not records.inputs:
            raise InputError(f"none of the examples could be explained: {records.errors[0].message}")
        candidates = _candidates(explainer, records, examples, asked.seed)
        ranked = _rank(candidates, records, request, asked.seed)
        found = _described(ranked, records, request, left_out)
        if asked.overwrite:  # not before there is something in its place
            configuration.clear(directory)
        writer = StoreWriter(directory, measures=[name for name, _ in request.measures])
        with writer.shard(_UNIT) as shard:
            shard.add(records.attributions, records.inputs, [*failures, *records.errors])
        options = {"input": list(asked.input), "examples": asked.examples, "seed": asked.seed}
        described = describe_store(request, explainer.modality, explainer.inputs, fingerprint, asked.name, options)
        written = writer.commit([_UNIT], {**described, "evaluation": found})
        with as_store_error(directory), atomic_write(directory / "evaluation.json") as draft:
            draft.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
        figure = _draw(written, directory)
        with as_store_error(asked.logdir):
            write_marker(asked.logdir, asked.run, asked.name)
    _print(ranked, written, found, len(failures) + len(records.errors))
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"\ntook      {format_duration(time.monotonic() - started)}"))
    console.print(Text(f"written   {directory / 'evaluation.json'}{f', {figure.name}' if figure else ''}"))
    console.print(Text(f"view with tensorboard --logdir {asked.logdir}"))
    return 1 if failures or records.errors else 0


def _sample(plan: Plan, count: int, seed: int) -> Iterator[Record | Failure]:
    """Random records of the input, in its order; only their units are read."""
    chosen = np.sort(np.random.default_rng(seed).permutation(plan.record_count)[:count])
    begin = 0
    for unit in plan.units:
        own = set((chosen[(chosen >= begin) & (chosen < begin + unit.record_count)] - begin).tolist())
        begin += unit.record_count
        for number, found in enumerate(read_records(unit)) if own else ():
            if number in own:
                yield found
            if number == max(own):
                break


def _parsed(records: Iterator[Record | Failure], parse: Any) -> tuple[list[Any], list[Failure]]:
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
                raise InputError(f"its id {example.id!r} is that of another example; give every example its own")
            examples[example.id] = example
        except Exception as error:  # a record's own trouble, whatever it raises
            failures.append(Failure(record.position, "parse", *describe_failure(error)))
    if not examples:
        raise InputError(
            f"none of the examples fits the model; the first, {failures[0].example_id}: {failures[0].message}"
        )
    return list(examples.values()), failures


def _applicable(asked: Arguments, graph: Any, examples: Sequence[Any]) -> tuple[Arguments, dict[str, str]]:
    """The arguments with the methods that can explain the model within the budget, and why the others cannot."""
    from beam_pipelines.cli.request import build_request
    from tb_deepexplain.attribution.methods import TABLE
    from tb_deepexplain.recording.batch_explainer import BatchExplainer

    chosen, left_out = [], {}
    asked = _with_windows(asked, graph)
    for name in asked.methods or [method.id for method in TABLE]:
        own = [p for p in asked.parameters if p[0] == name]
        alone = dataclasses.replace(asked, methods=(name,), measures=(), parameters=tuple(own))
        try:
            explainer = BatchExplainer(build_request(alone), graph)
            cost = explainer.explainers[0].cost(explainer.stack(examples[:1]))
            if cost > asked.budget:
                left_out[name] = f"{cost:,} evaluations a map, more than --budget {asked.budget:,}"
                continue
            explainer.classes(examples[0])
            explainer.attempt(examples[:1])
        except UnsupportedModelError as error:
            if asked.methods:
                raise
            left_out[name] = str(error)
            continue
        chosen.append(name)
    if len(chosen) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ParameterError(f"fewer than two methods are left to compare ({why})")
    kept = tuple(parameter for parameter in asked.parameters if parameter[0] not in left_out)
    return dataclasses.replace(asked, methods=tuple(chosen), parameters=kept), left_out


def _with_windows(asked: Arguments, graph: Any) -> Arguments:
    """Occlusion of pictures by windows instead of pixel by pixel, unless something else was asked for."""
    shape = graph.inputs[0].shape[1:]
    given = any(p[0] == "occlusion" for p in asked.parameters)
    if (
        given
        or len(graph.inputs) > 1
        or len(shape) != 3
        or None in shape
        or (asked.methods and "occlusion" not in asked.methods)
    ):
        return asked
    sides = [max(1, round(size / _WINDOWS)) for size in shape[:2]]
    windows = ",".join(map(str, [*sides, shape[2]]))
    more = (("occlusion", "window_shape", windows), ("occlusion", "step", windows))
    return dataclasses.replace(asked, parameters=asked.parameters + more)


def _candidates(explainer: Any, records: Any, examples: Sequence[Any], seed: int) -> list[Candidate]:
    """Every method with its cost and its sanity check."""
    from tb_deepexplain.evaluation.randomisation import parameter_randomisation

    found = []
    alike = [example for example in examples if example.batch_key == examples[0].batch_key][:_SANITY]
    few, asked = explainer.stack(alike), explainer.score_arguments(alike)[0]
    for own in explainer.explainers:
        rows = [row for row in records.attributions if row.method == own.method.id]
        begun = time.perf_counter()
        own.run(few, return_result=True, **asked)  # compiled by now
        seconds = (time.perf_counter() - begun) / len(alike)
        candidate = Candidate(own.method.id, own.method.title, float(np.mean([r.evaluations for r in rows])), seconds)
        try:
            randomised = parameter_randomisation(own, few, seed=seed, most=1, **asked)
            candidate.sanity = finite_or_none(np.nanmean(randomised.similarity[:, -1]))
        except DeepExplainError:  # a model without weights
            candidate.sanity = None
        found.append(candidate)
    return found


def _values(records: Any, method: str, measure: str) -> np.ndarray:
    return np.array(
        [row.measures.get(measure, np.nan) for row in records.attributions if row.method == method], np.float64
    )


def _rank(candidates: Sequence[Candidate], records: Any, request: Any, seed: int) -> list[Candidate]:
    """The best first: by the mean, over examples and measures of faithfulness, of the rank among the methods."""
    judges = faithful(request)
    if not judges:
        return list(candidates)
    ranks = np.mean(
        [rank_each(np.stack([_values(records, c.id, judge.id) for c in candidates]), judge.better) for judge in judges],
        0,
    )
    # The maps of one example for several targets are alike: examples are resampled, not maps.
    ids = [row.example_id for row in records.attributions if row.method == candidates[0].id]
    for candidate, rank in zip(candidates, mean_ranks(group_means(ranks.T, ids).T, seed), strict=True):
        candidate.mean_rank, candidate.low, candidate.high, candidate.best = rank
    return sorted(candidates, key=lambda candidate: candidate.mean_rank or 0.0)


def faithful(request: Any) -> list[Any]:
    """The measures by which methods are ranked: those that judge faithfulness."""
    from tb_deepexplain.evaluation.measures import find_measure

    found = [find_measure(name) for name, _ in request.measures]
    return [measure for measure in found if measure.judges_faithfulness]


def _described(ranked: Sequence[Candidate], records: Any, request: Any, left_out: dict[str, str]) -> dict[str, Any]:
    maps = len(records.attributions) // len(ranked)
    return {
        "examples": len(records.inputs),
        "maps": maps,
        "ranked_by": [measure.id for measure in faithful(request)],
        "methods": [dataclasses.asdict(candidate) for candidate in ranked],
        "left_out": left_out,
        "advice": _advice(ranked, records, request),
    }


def _advice(ranked: Sequence[Candidate], records: Any, request: Any) -> str:
    """One or two honest sentences."""
    judges = faithful(request)
    if not judges:
        return "no measure of faithfulness was asked for: nothing says which method is right"
    first = ranked[0]
    best, high = first.best or 0.0, first.high or 0.0
    near = [c.id for c in ranked[1:] if (c.low or 0.0) <= high]
    said = f"{first.id} ranks first, in {best:.0%} of {RESAMPLINGS:,} resamplings of {len(records.inputs)} examples"
    if best < _SURE and near:
        said += f"; too few to tell it from {_listed(near)}"
    worthless = []
    for judge in judges:
        own, random = _values(records, first.id, judge.id), _values(records, first.id, f"{judge.id}_random")
        gain = (own - random) * (1 if judge.better == "higher" else -1)
        gain = gain[np.isfinite(gain)]
        if len(gain) < 2 or gain.mean() <= half_width(gain.std(ddof=1), len(gain)):
            worthless.append(judge.id)
    if worthless:
        said += f". By {_listed(worthless)} it is not better than random maps: believe it the less"
    if first.sanity is not None and first.sanity > 0.5:
        said += (
            f". Its maps stay much the same when the model's weights are random ({first.sanity:.2f} of 1): they show the input "
            "as much as the model"
        )
    return said + "."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _draw(written: dict[str, Any], directory: Path) -> Path | None:
    """A figure of the curves, beside the store; None where matplotlib is not installed."""
    try:
        from tb_deepexplain.evaluation import figure
    except ImportError:
        return None
    path = directory / "evaluation.png"
    with as_store_error(directory), atomic_write(path) as draft:
        figure.draw(written, draft)
    return path


def _print(ranked: Sequence[Candidate], written: dict[str, Any], found: dict[str, Any], failed: int) -> None:
    told, measures = written["faithfulness"], written["measures"]
    arrows = [{"higher": "↑", "lower": "↓"}[m["better"]] for m in measures]
    titles = (f"{m['title']} {arrow}" for m, arrow in zip(measures, arrows, strict=True))
    rows = [["", "method", "mean rank ↓", *titles, "sanity ↓", "evaluations", "ms a map"]]
    for place, candidate in enumerate(ranked, 1):
        means = [_mean(told.get(candidate.id, {}).get(m["id"])) for m in measures]
        rank = f"{candidate.mean_rank:.2f} ({candidate.low:.2f}–{candidate.high:.2f})" if found["ranked_by"] else ""
        sanity = "" if candidate.sanity is None else f"{candidate.sanity:.2f}"
        cost = [f"{candidate.evaluations:,.0f}", f"{candidate.seconds * 1e3:,.1f}"]
        rows.append([str(place) if found["ranked_by"] else "", candidate.id, rank, *means, sanity, *cost])
    first = told.get(ranked[0].id, {})
    rows.append(["", "random maps", "", *(_mean(first.get(m["id"], {}).get("random")) for m in measures), "", "", ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    console = Console(highlight=False, soft_wrap=True)
    for number, row in enumerate(rows):
        cells = [
            f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print(Text("  ".join(cells).rstrip(), "bold" if not number else ""))
    console.print(Text(f"\nadvice    {found['advice']}"))
    for name, why in found["left_out"].items():
        console.print(Text(f"left out  {name}: {why}", "dim"))
    if failed:
        console.print(Text(f"failed    {failed} of the examples", "red"))


def _mean(told: dict[str, Any] | None) -> str:
    return "" if not told or told["mean"] is None else f"{told['mean']:.3f}"
