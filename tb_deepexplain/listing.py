"""The table of methods for a terminal and for docs/methods.md, derived from the table itself."""

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
        table.add_column(title, overflow="fold")
    for method in TABLE:
        table.add_row(method.id, ", ".join(method.aliases), method.family, method.sums_to or "", method.cost)
    return table


def _show(console: Console, method: Method) -> None:
    console.print(Text(method.id, "bold") + Text(f"  {method.title}, {method.family}"))
    if method.aliases:
        console.print(f"also called {', '.join(method.aliases)}", markup=False)
    console.print(f"{method.summary}\n{method.paper}\nModel evaluations for each example: {method.cost}", markup=False)
    console.print(f"Limits: {method.limits}", markup=False)
    for parameter in method.parameters:
        option = Text(f"\n--{method.id}.{parameter.name}", "bold")
        console.print(option + Text(f"  {parameter.expected}; default {str(parameter.default).lower()}", "not bold"))
        console.print(Padding(Text(parameter.doc), (0, 4)))


_INTRODUCTION = """# Methods

Made from the table in `tb_deepexplain/methods/__init__.py` by `make docs`; a test holds that it is current.

f is the score that is explained: one unit of the output, a weighted sum of units, or their sum. x is the input, or the
embedding of a text; x′ is the baseline, zeros unless `baseline` says otherwise. z is the input of an activation, the bias
included, and z′ the same at the baseline. Costs are model evaluations for each example, forward passes for perturbation
methods and forward and backward passes for the others. Every map carries `evaluations`, `warnings` and, where the method
promises a sum, its `gap`.

Backward rules (ε-LRP, DeepLIFT) belong to *elementwise regions*: whatever computes y = f(z), feature by feature, of one
tensor is one activation, be it a single op or the ten of which an exporter made a GELU. Affine steps at its edges are not
part of it. A chain is cut where a complete activation ends.
"""


def markdown() -> str:
    """All methods with formula, source, cost, limits and parameters."""
    parts = [_INTRODUCTION]
    for m in TABLE:
        facts = {
            "family": m.family,
            "also called": ", ".join(f"`{a}`" for a in m.aliases),
            "sums to": m.sums_to or "–",
            "sign": "for and against" if m.signed else "none",
            "model evaluations": m.cost,
            "source": m.paper,
            "limits": m.limits,
        }
        parts.append(f"## {m.title}: `{m.id}`\n\n{m.summary}\n\n{m.details}\n")
        parts.append("| | |\n|---|---|\n" + "".join(f"| {k} | {_cell(v)} |\n" for k, v in facts.items() if v))
        if m.parameters:
            rows = "".join(
                f"| `{p.name}` | {_cell(p.expected)} | `{p.default}` | {_cell(p.doc)} |\n" for p in m.parameters
            )
            parts.append(f"| parameter | values | default | |\n|---|---|---|---|\n{rows}")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
