"""THE table of measures of attribution maps, in display order: how far a map, and a method, can be believed."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tb_deepexplain.evaluation.measures.completeness import completeness
from tb_deepexplain.evaluation.measures.deletion import deletion
from tb_deepexplain.evaluation.measures.faithfulness_correlation import faithfulness_correlation
from tb_deepexplain.evaluation.measures.infidelity import infidelity
from tb_deepexplain.evaluation.measures.insertion import insertion
from tb_deepexplain.evaluation.measures.max_sensitivity import max_sensitivity
from tb_deepexplain.evaluation.measures.road import road
from tb_deepexplain.evaluation.measures.sensitivity_n import sensitivity_n
from tb_deepexplain.evaluation.measures.stability import stability
from tb_deepexplain.registry.formula import Formula
from tb_deepexplain.registry.table import Row, Selection, check_selection, find_row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Row):
    """One measure. `cost` counts model evaluations, or maps where `asks` is "method"; `family`: axiom, faithfulness or robustness."""

    asks: Literal["score", "method"]  # for values of the score, or for further maps
    better: Literal["higher", "lower"]
    judges_faithfulness: bool  # whether it ranks methods
    axis: str | None = None  # of its curve


TABLE: tuple[Measure, ...] = (
    Measure(
        function=completeness,
        title="Completeness gap",
        family="axiom",
        asks="score",
        better="lower",
        judges_faithfulness=False,
        paper="Sundararajan et al. 2017, arXiv 1703.01365",
        limits="Says whether the sum is right, not whether it is shared out rightly; large where f(x) is near f(x′).",
        cost=Formula("2"),
    ),
    Measure(
        function=sensitivity_n,
        title="Sensitivity-n",
        family="faithfulness",
        asks="score",
        better="higher",
        judges_faithfulness=True,
        paper="Ancona et al. 2018, arXiv 1711.06104",
        limits="Inputs without random features are unlike the data; favours methods that share the baseline.",
        cost=Formula("sizes * samples + 1"),
        axis="share of features removed",
    ),
    Measure(
        function=faithfulness_correlation,
        title="Faithfulness correlation",
        family="faithfulness",
        asks="score",
        better="higher",
        judges_faithfulness=True,
        paper="Bhatt et al. 2020, arXiv 2005.00631",
        limits="As sensitivity-n, at one size only.",
        cost=Formula("samples + 1"),
    ),
    Measure(
        function=infidelity,
        title="Infidelity",
        family="faithfulness",
        asks="score",
        better="lower",
        judges_faithfulness=True,
        paper="Yeh et al. 2019, arXiv 1901.09392",
        limits="Inputs without random features are unlike the data; where f(x) is near f(x′) it is a share of little.",
        cost=Formula("samples + 1"),
    ),
    Measure(
        function=deletion,
        title="Deletion",
        family="faithfulness",
        asks="score",
        better="lower",
        judges_faithfulness=True,
        paper="Petsiuk et al. 2018, arXiv 1806.07421",
        limits="A model may be confused by the holes rather than miss what was in them: compare with random order, or use road. "
        "Without a softmax or sigmoid it is in units of the score, and not to be compared between models.",
        cost=Formula("steps + 3"),
        axis="share of features removed",
    ),
    Measure(
        function=insertion,
        title="Insertion",
        family="faithfulness",
        asks="score",
        better="higher",
        judges_faithfulness=True,
        paper="Petsiuk et al. 2018, arXiv 1806.07421",
        limits="Begins far from the data; compare with random order. Units as for deletion.",
        cost=Formula("steps + 3"),
        axis="share of features inserted",
    ),
    Measure(
        function=road,
        title="ROAD",
        family="faithfulness",
        asks="score",
        better="lower",
        judges_faithfulness=True,
        paper="Rong et al. 2022, arXiv 2202.00449",
        limits="Only for pictures, and pixel by pixel; large holes are filled smoothly, which a model may also find odd.",
        cost=Formula("steps + 2"),
        axis="share of pixels replaced",
    ),
    Measure(
        function=max_sensitivity,
        title="Max-sensitivity",
        family="robustness",
        asks="method",
        better="lower",
        judges_faithfulness=False,
        paper="Yeh et al. 2019, arXiv 1901.09392",
        limits="A map that never changes is stable and may be wrong; the largest of few samples is below the true one.",
        cost=Formula("samples"),
    ),
    Measure(
        function=stability,
        title="Stability under noise",
        family="robustness",
        asks="method",
        better="higher",
        judges_faithfulness=False,
        paper="Ghorbani et al. 2019, arXiv 1710.10547",
        limits="A map that never changes is stable and may be wrong; features of equal credit are ranked by chance.",
        cost=Formula("samples"),
    ),
)


def find_measure(name: str) -> Measure:
    """The row with this id; UnknownMethodError if there is none."""
    return find_row("measure", TABLE, name)


def measures() -> list[Measure]:
    """The table: one frozen row for each measure, in display order."""
    return list(TABLE)


def check_measures(selection: Selection) -> dict[str, dict[str, Any]]:
    """Measures by name, or a dict of names and parameters, as ids with checked parameters."""
    return check_selection("measures", selection, find_measure, at_least_one=False)
