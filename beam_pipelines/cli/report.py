"""The end of a run: what was explained, what failed and why, where it is, and how to look at it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from beam_pipelines.engine.progress import duration
from tb_deepexplain.store import failures
from tb_deepexplain.store.store import Store


def report(logdir: Path, directory: Path, seconds: float, already: bool = False) -> int:
    """Print it; the exit status, 0 or 1. `already`: this run found nothing left to do."""
    store = Store(directory)
    counts = store.manifest["counts"]
    console = Console(highlight=False, soft_wrap=True)
    methods = ", ".join(method["title"] for method in store.manifest["methods"])
    took = "before, nothing was left to do" if already else f"in {duration(seconds)}"
    console.print(
        f"explained {_count(counts['examples'], 'example')} {took}: {_count(counts['maps'], 'map')} ({methods})"
    )
    if spent := store.manifest.get("spent"):
        console.print(_spent(spent))
    if found := store.manifest.get("faithfulness"):
        console.print(Text(_believed(store.manifest["measures"], found)))
    if counts["errors"]:
        errors = store.errors().to_pylist()
        console.print(Text(f"failed    {_count(counts['errors'], 'example')}: {failures.summarize(errors)}", "red"))
        console.print(Text(f"errors    {directory}/errors-*.parquet"))
    console.print(Text(f"store     {directory}"))
    console.print(Text(f"look at   tensorboard --logdir {shlex.quote(str(logdir))}"))
    return 1 if counts["errors"] else 0


def _spent(spent: dict[str, Any]) -> str:
    seconds = spent["seconds_in_model"] + spent["seconds_outside"]
    share = f"{spent['seconds_in_model'] / seconds:.0%} of the workers' time in the model" if seconds else ""
    size = f"{spent['examples_in_a_batch']:g} examples in a batch"
    names = (("units_retried", "units begun anew"), ("out_of_memory_retries", "batches halved for want of memory"))
    beside = [f"{spent[name]} {what}" for name, what in names if spent[name]]
    told = [
        f"{_count(spent['evaluations'], 'evaluation')}, {spent['evaluations_per_second']:,.0f}/s a worker",
        share,
        size,
    ]
    return "took      " + ", ".join([*told, *beside])


def _believed(measures: Sequence[dict[str, Any]], found: dict[str, Any]) -> str:
    """The mean of every measure for each method, ± half its interval of 95 %, and for random maps."""
    first: dict[str, Any] = next(iter(found.values()), {})  # random maps know no method
    rows = [["", *found, "random maps"]]
    for measure in measures:
        told = [own.get(measure["id"]) for own in found.values()] + [first.get(measure["id"], {}).get("random")]
        rows.append([f"{measure['title']}, {measure['better']} is better", *map(_mean, told)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        row[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    return "\n".join(("believed  " if not i else " " * 10) + line.rstrip() for i, line in enumerate(lines))


def _mean(told: dict[str, Any] | None) -> str:
    if not told or told["mean"] is None:
        return ""
    return f"{told['mean']:.3f}" + ("" if told["high"] is None else f" ± {told['high'] - told['mean']:.3f}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
