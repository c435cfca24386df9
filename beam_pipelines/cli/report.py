"""What a run prints when it ends: what was explained, what failed and why, where the store is, and how to view it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from beam_pipelines.cli.exit_status import OK, SOME_FAILED
from beam_pipelines.engine.progress_display import format_duration
from tb_deepexplain.attribution.precision_error import describe_error
from tb_deepexplain.store import failures
from tb_deepexplain.store.reader import Store


def report(logdir: Path, directory: Path, seconds: float, was_committed: bool = False) -> int:
    """Print the report of a committed store; the exit status. `was_committed`: this run had nothing left to explain."""
    store = Store(directory)
    counts = store.manifest["counts"]
    console = Console(highlight=False, soft_wrap=True)
    methods = ", ".join(method["title"] for method in store.manifest["methods"])
    examples, maps = _count(counts["examples"], "example"), _count(counts["maps"], "map")
    when = "earlier; nothing was left to explain" if was_committed else f"in {format_duration(seconds)}"
    console.print(Text(f"explained {examples} {when}: {maps} ({methods})"))
    options, spent = store.manifest.get("options") or {}, store.manifest.get("spent")
    if options.get("max_examples"):
        read = min(options["max_examples"], options["records_of_input"])
        how = "the first" if options["sample"] is None else "a random sample of"
        console.print(Text(f"read      {how} {read:,} of {_count(options['records_of_input'], 'example')}"))
    if spent and spent.get("skipped"):
        console.print(
            Text(f"skipped   {_count(spent['skipped'], 'example')}, which do not meet --only {options['only']}")
        )
    if spent:
        console.print(Text(f"work      {_describe_work(spent, options.get('batch_size'))}"))
    for line in describe_precision(store.manifest):
        console.print(Text(f"precision {line}"))
    if faithfulness := store.manifest.get("faithfulness"):
        table = _tabulate(store.manifest["measures"], faithfulness)
        console.print(Text("\n".join(f"{'' if i else 'measured':<10}{line}" for i, line in enumerate(table))))
    if counts["errors"]:
        reasons = failures.summarize(store.errors().to_pylist())
        console.print(Text(f"failed    {_count(counts['errors'], 'example')}: {reasons}", "red"))
        console.print(Text(f"errors    {directory}/errors-*.parquet"))
    console.print(Text(f"store     {directory}"))
    console.print(Text(f"view with tensorboard --logdir {shlex.quote(str(logdir))}"))
    return SOME_FAILED if counts["errors"] else OK


def _describe_work(spent: dict[str, Any], batch_size: int | None = None) -> str:
    rate = f"{spent['evaluations_per_second']:,.0f}/s per worker once compiled"
    parts = [f"{_count(spent['evaluations'], 'evaluation')} ({rate})"]
    if seconds := spent["seconds_in_model"] + spent["seconds_outside"]:
        parts.append(f"{spent['seconds_in_model'] / seconds:.0%} of that time in the model")
    parts.append(f"{_count(spent['examples_in_a_batch'], 'example')} per batch")
    if spent["units_retried"]:
        parts.append(f"{_count(spent['units_retried'], 'work unit')} started again")
    if at_once := sorted(spent.get("evaluations_at_once", {}).values()):
        sizes = " to ".join(f"{size:,}" for size in dict.fromkeys((at_once[0], at_once[-1])))
        instead = f" instead of {batch_size:,}, for lack of memory" if batch_size and at_once[0] < batch_size else ""
        parts.append(f"{sizes} evaluations at once{instead}")
    if spent["out_of_memory_retries"]:
        parts.append(f"batch size halved {_count(spent['out_of_memory_retries'], 'time')} for lack of memory")
    return ", ".join(parts)


def describe_precision(manifest: dict[str, Any]) -> list[str]:
    """For each method, how far its maps differ from those in float32, where that is not the precision."""
    titles = {method["id"]: method["title"] for method in manifest["methods"]}
    lines = [
        f"{manifest['precision']}: maps of {titles[method]} differ from float32 by {describe_error(figures)}"
        for method, figures in (manifest.get("precision_error") or {}).items()
    ]
    if count := (manifest.get("spent") or {}).get("examples_without_tf32"):
        lines.append(f"TF32 changes nothing on a CPU: {_count(count, 'example')} in float32")
    return lines


def _tabulate(measures: Sequence[dict[str, Any]], faithfulness: dict[str, Any]) -> list[str]:
    """The mean of each measure for each method, ± half its 95 % interval, and for random maps."""
    first_method: dict[str, Any] = next(iter(faithfulness.values()), {})  # random maps are the same for all methods
    rows = [["", *faithfulness, "random maps"]]
    for measure in measures:
        id_ = measure["id"]
        means = [of_method.get(id_) for of_method in faithfulness.values()]
        means.append(first_method.get(id_, {}).get("random"))
        rows.append([f"{measure['title']} ({measure['better']} is better)", *map(_format_mean, means)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        aligned = (f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append((title.ljust(widths[0]) + "".join(aligned)).rstrip())
    return lines


def _format_mean(mean: dict[str, Any] | None) -> str:
    if not mean or mean["mean"] is None:
        return ""
    return f"{mean['mean']:.3f}" + ("" if mean["high"] is None else f" ± {mean['high'] - mean['mean']:.3f}")


def _count(number: float, noun: str) -> str:
    text = f"{number:g}" if isinstance(number, float) else f"{number:,}"
    return f"{text} {noun}{'' if number == 1 else 's'}"
