"""The tables of methods and measures in a terminal. Imports no TensorFlow, so that they appear at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tb_deepexplain.attribution.methods import TABLE as METHODS
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.evaluation.measures import TABLE as MEASURES
from tb_deepexplain.evaluation.measures import Measure, find_measure
from tb_deepexplain.registry.table import Row


def show_methods(name: str | None) -> None:
    """Print all methods, or one with its parameters. UnknownMethodError if there is none of this name."""
    console = Console(highlight=False)
    if name is None:
        rows = [(method.id, ", ".join(method.aliases), method.family, str(method.cost)) for method in METHODS]
        console.print(_make_table(("method", "alias", "family", "evaluations per example"), rows))
        console.print(Text("\n'tb-deepexplain methods NAME' describes a method and its parameters", "dim"))
        return
    method = find_method(name)
    facts = {
        "also called": ", ".join(method.aliases),
        "family": method.family,
        "sums to": method.sums_to or "",
        "evaluations per example": str(method.cost),
        "source": method.paper,
        "limits": method.limits,
    }
    _show_row(console, method, facts)


def show_measures(name: str | None) -> None:
    """Print all measures, or one with its parameters. UnknownMethodError if there is none of this name."""
    console = Console(highlight=False)
    if name is None:
        rows = [(measure.id, measure.title, measure.better, describe_cost(measure)) for measure in MEASURES]
        console.print(_make_table(("measure", "title", "better", "cost per example"), rows))
        console.print(Text("\n'tb-deepexplain measures NAME' describes a measure and its parameters", "dim"))
        return
    measure = find_measure(name)
    facts = {
        "better": measure.better,
        "cost per example": describe_cost(measure),
        "source": measure.paper,
        "limits": measure.limits,
    }
    _show_row(console, measure, facts)


def describe_cost(measure: Measure) -> str:
    """The cost of a measure for one example, with its default parameters."""
    return f"{measure.cost_of({})} {'evaluations' if measure.needs == 'score' else 'maps'}"


def _make_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(titles):
        table.add_column(title, no_wrap=i < 3)
    for row in rows:
        table.add_row(*row)
    return table


def _show_row(console: Console, row: Row, facts: dict[str, str]) -> None:
    console.print(Text(row.id, "bold") + Text(f"  {row.title}\n", "not bold"))
    console.print(Text(f"{row.summary}\n"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for title, text in facts.items():
        if text:
            table.add_row(title, text)
    console.print(table)
    for parameter in row.parameters:
        option = Text(f"\n--{row.id}.{parameter.name}", "bold")
        console.print(option + Text(f"  {parameter.expected}; default {str(parameter.default).lower()}", "not bold"))
        console.print(Padding(Text(parameter.doc), (0, 4)))
