"""The table of methods for a terminal and for docs/methods.md, derived from the table itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tb_deepexplain.attribution.methods import TABLE, find_method
from tb_deepexplain.evaluation.measures import TABLE as MEASURES
from tb_deepexplain.evaluation.measures import Measure, find_measure
from tb_deepexplain.registry.table import Row


def show_methods(name: str | None) -> None:
    """All methods, or one with its parameters; UnknownMethodError for a name that is none."""
    console = Console(highlight=False)
    if name is None:
        rows = [(m.id, ", ".join(m.aliases), m.family, m.sums_to or "", str(m.cost)) for m in TABLE]
        console.print(_table(("method", "alias", "family", "sums to", "model evaluations"), rows))
        console.print("\ntb-deepexplain methods NAME tells more and lists its parameters", style="dim")
        return
    method = find_method(name)
    also = f"\nalso called {', '.join(method.aliases)}" if method.aliases else ""
    cost = f"Model evaluations for each example: {method.cost}"
    _show(console, method, f"{method.title}, {method.family}{also}", f"{method.paper}\n{cost}\nLimits: {method.limits}")


def show_measures(name: str | None) -> None:
    """All measures, or one with its parameters; UnknownMethodError for a name that is none."""
    console = Console(highlight=False)
    if name is None:
        rows = [(m.id, m.title, m.better, cost_of(m)) for m in MEASURES]
        console.print(_table(("measure", "", "better", "cost of an example"), rows))
        console.print("\ntb-deepexplain measures NAME tells more and lists its parameters", style="dim")
        return
    measure = find_measure(name)
    facts = f"{measure.paper}\nCost of an example: {cost_of(measure)}\nLimits: {measure.limits}"
    _show(console, measure, f"{measure.title}, {measure.better} is better", facts)


def cost_of(measure: Measure) -> str:
    """At its default parameters, in words."""
    return f"{measure.cost_of({})} {'evaluations' if measure.needs == 'score' else 'maps'}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(titles):
        table.add_column(title, overflow="fold", no_wrap=i < 2)
    for row in rows:
        table.add_row(*row)
    return table


def _show(console: Console, row: Row, title: str, facts: str) -> None:
    console.print(Text(row.id, "bold") + Text(f"  {title}"))
    console.print(f"{row.summary}\n{facts}", markup=False)
    for parameter in row.parameters:
        option = Text(f"\n--{row.id}.{parameter.name}", "bold")
        console.print(option + Text(f"  {parameter.expected}; default {str(parameter.default).lower()}", "not bold"))
        console.print(Padding(Text(parameter.doc), (0, 4)))


_INTRODUCTION = """# Methods

Made from the table in `tb_deepexplain/attribution/methods/__init__.py` by `make docs`; a test holds that it is current.

f is the score that is explained: one unit of the output, a weighted sum of units, or their sum. x is the input, or the
embedding of a text; x′ is the baseline, zeros unless `baseline` says otherwise. z is the input of an activation, the bias
included, and z′ the same at the baseline. Costs are model evaluations for each example, forward passes for perturbation
methods and forward and backward passes for the others. Every map carries `evaluations`, `warnings` and, where the method
promises a sum, its `gap`.

Backward rules (ε-LRP, DeepLIFT) belong to *elementwise regions*: whatever computes y = f(z), feature by feature, of one
tensor is one activation, be it a single op or the ten of which an exporter made a GELU. Affine steps at its edges are not
part of it. A chain is cut where a complete activation ends.
"""


_OF_MEASURES = """# Measures

Generated from the table in `tb_deepexplain/evaluation/measures/__init__.py` by `make docs`; a test checks that it is current.

A measure says how far a map can be trusted. f is the score that is explained, x the input, x′ the baseline. To remove features
means to set them to the baseline: pixels with all their channels, tokens, or single numbers; larger `blocks` of them; or
`segments` that you number, such as superpixels (`--superpixels 50`). The padding of a text is no feature. Random sets are drawn
for each example: they depend neither on the batch nor on the order of the examples. A measure is NaN where it is undefined: for
a map of zeros, or a score that does not change.

`Evaluator.chance` gives the chance level, the value for random maps: do not read a value without it.

Measures that judge faithfulness rank methods: `dx.rank(model, xs)` in Python, `tb-deepexplain evaluate` on the command line.

| purpose | how |
|---|---|
| one method in Python | `dx.evaluate("deeplift", model, xs, ["deletion", "sensitivity_n"])`; `dx.Evaluator` for more than one call |
| all methods in Python | `dx.rank(model, xs)` |
| every map of a run | `tb-deepexplain explain ... --measures deletion,sensitivity_n --deletion.steps 10 --measured 0.1` |
| two maps of one example | `tb_deepexplain.stats.rank_correlation.agree(a, b)`: rank correlation, shared top features, shared signs |
| maps and masks | `tb_deepexplain.evaluation.localisation.localise(maps, masks)`: pointing game, IoU, share of the mass |
| do the maps depend on the weights? | `tb_deepexplain.evaluation.randomisation.parameter_randomisation(explainer, xs)`, layer by layer |
| do they depend on what was learnt? | `label_randomisation(explainer, model_of_permuted_labels, xs)`, in the same module |
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
            "model evaluations": str(m.cost),
            "source": m.paper,
            "limits": m.limits,
        }
        parts += _section(m, facts)
    return "\n".join(parts)


def markdown_of_measures() -> str:
    """All measures, likewise."""
    parts = [_OF_MEASURES]
    for m in MEASURES:
        facts = {
            "better": m.better,
            "ranks methods": "yes" if m.judges_faithfulness else "no",
            "curve": f"over the {m.axis}" if m.axis else "",
            "cost of an example": f"{cost_of(m)} at the defaults",
            "source": m.paper,
            "limits": m.limits,
        }
        parts += _section(m, facts)
    return "\n".join(parts)


def _section(row: Row, facts: dict[str, str]) -> Iterator[str]:
    yield f"## {row.title}: `{row.id}`\n\n{row.summary}\n\n{row.details}\n"
    yield "| | |\n|---|---|\n" + "".join(f"| {k} | {_cell(v)} |\n" for k, v in facts.items() if v)
    if row.parameters:
        rows = "".join(
            f"| `{p.name}` | {_cell(p.expected)} | `{p.default}` | {_cell(p.doc)} |\n" for p in row.parameters
        )
        yield f"| parameter | values | default | |\n|---|---|---|---|\n{rows}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown_of_measures() if "measures" in sys.argv else markdown(), end="")
