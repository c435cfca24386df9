"""Writes docs/methods.md and docs/measures.md from the tables: `python -m beam_pipelines.cli.reference_pages methods`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from beam_pipelines.cli.tables import describe_cost
from tb_deepexplain.attribution.methods import TABLE as METHODS
from tb_deepexplain.evaluation.measures import TABLE as MEASURES
from tb_deepexplain.registry.table import Row

_METHODS_INTRODUCTION = """# Methods

`make docs` writes this page from the table in `tb_deepexplain/attribution/methods/__init__.py`; a test checks that it is current.

f is the score that is explained: one unit of the output, a sum of units, or a function of the outputs. x is the input, or the
embedding of a text. x′ is the baseline: zeros unless the parameter `baseline` is set. z is the input of an activation including
the bias, and z′ the same at the baseline. Evaluations are counted for each example: forward passes for perturbation methods,
forward and backward passes for the others. Every map has `evaluations`, `warnings` and, if the method promises a sum, its `gap`.

The backward rules of ε-LRP and DeepLIFT belong to *elementwise regions*: all operations that together compute y = f(z) of one
tensor, feature by feature, are one activation, whether it is a single operation or the ten operations of an exported GELU.
Affine operations at the edges of a region do not belong to it. A chain of activations is cut after each complete activation.
"""

_MEASURES_INTRODUCTION = """# Measures

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


def write_methods() -> str:
    """The page of methods: formula, source, cost, limits and parameters of each."""
    parts = [_METHODS_INTRODUCTION]
    for method in METHODS:
        facts = {
            "family": method.family,
            "also called": ", ".join(f"`{alias}`" for alias in method.aliases),
            "sums to": method.sums_to or "–",
            "sign": "for and against" if method.signed else "none",
            "evaluations": str(method.cost),
            "source": method.paper,
            "limits": method.limits,
        }
        parts += _write_section(method, facts)
    return "\n".join(parts)


def write_measures() -> str:
    """The page of measures: an overview, then each with source, cost, limits and parameters."""
    parts = [_MEASURES_INTRODUCTION, _write_overview()]
    for measure in MEASURES:
        facts = {
            "better": measure.better,
            "curve": f"over the {measure.axis}" if measure.axis else "",
            "ranks methods": "yes" if measure.judges_faithfulness else "no",
            "cost per example": f"{describe_cost(measure)} at the defaults",
            "source": measure.paper,
            "limits": measure.limits,
        }
        parts += _write_section(measure, facts)
    return "\n".join(parts)


def _write_overview() -> str:
    """One line for each measure: its question is the first line of its module."""
    lines = ["| measure | question | better | cost per example |", "|---|---|---|---|"]
    for measure in MEASURES:
        question = (sys.modules[measure.function.__module__].__doc__ or "").splitlines()[0].partition(": ")[2]
        question = question[:1].upper() + question[1:]
        cells = (f"[{measure.title}](#{_anchor(measure)})", question, measure.better, describe_cost(measure))
        lines.append(f"| {' | '.join(map(_escape, cells))} |")
    return "\n".join(lines) + "\n"


def _anchor(row: Row) -> str:
    """GitHub's anchor of the row's section."""
    heading = f"{row.title}: `{row.id}`".lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def _write_section(row: Row, facts: dict[str, str]) -> Iterator[str]:
    yield f"## {row.title}: `{row.id}`\n\n{row.summary}\n\n{row.details}\n"
    yield "| | |\n|---|---|\n" + "".join(f"| {k} | {_escape(v)} |\n" for k, v in facts.items() if v)
    if row.parameters:
        rows = "".join(
            f"| `{p.name}` | {_escape(p.expected)} | `{p.default}` | {_escape(p.doc)} |\n" for p in row.parameters
        )
        yield f"| parameter | values | default | |\n|---|---|---|---|\n{rows}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(write_measures() if "measures" in sys.argv else write_methods(), end="")
