"""The table of methods for a terminal, derived from the table itself."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tb_deepexplain.methods import TABLE, Method, find_method


def show(name: str | None) -> None:
    """All methods, or one with its parameters; UnknownMethodError for a name that is none."""
    console = Console(highlight=False)
    if name is None:
        console.print(_all())
        console.print("\ntb-deepexplain methods NAME tells more and lists its parameters", style="dim")
    else:
        _show(console, find_method(name))


def _all() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("alias", no_wrap=True)
    for title in ("family", "sums to", "model evaluations"):
        table.add_column(title)
    for method in TABLE:
        table.add_row(method.id, ", ".join(method.aliases), method.family, method.sums_to or "", method.cost)
    return table


def _show(console: Console, method: Method) -> None:
    console.print(Text(method.id, "bold") + Text(f"  {method.title}, {method.family}"))
    if method.aliases:
        console.print(f"also called {', '.join(method.aliases)}", markup=False)
    console.print(f"{method.summary}\n{method.paper}\nModel evaluations for each example: {method.cost}", markup=False)
    for parameter in method.parameters:
        option = Text(f"\n--{method.id}.{parameter.name}", "bold")
        console.print(option + Text(f"  {parameter.expected}; default {str(parameter.default).lower()}", "not bold"))
        console.print(Padding(Text(parameter.doc), (0, 4)))
