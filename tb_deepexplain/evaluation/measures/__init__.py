"""THE table of measures of attribution maps, in display order: how far a map, and a method, can be trusted.

It imports no TensorFlow: measures take it from `tb_deepexplain.lazy_tensorflow`.
"""

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

Family = Literal["axiom", "faithfulness", "robustness", "complexity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Row):
    """One measure.

    Its function gets MapsWithScore if it needs the score, MapsWithMethod if it needs the method, and the row's parameters as
    keywords. `cost` counts model evaluations, or maps if it needs the method.
    """

    family: Family
    needs: Literal["score", "method"]
    better: Literal["higher", "lower"]
    removes_features: bool = True  # from the inputs; otherwise it takes the score where the method enters the model
    axis: str | None = None  # what its curve runs over

    @property
    def judges_faithfulness(self) -> bool:
        """Whether the measure ranks methods."""
        return self.family == "faithfulness"


TABLE: tuple[Measure, ...] = (
    Measure(
        function=completeness,
        title="Completeness gap",
        family="axiom",
        needs="score",
        removes_features=False,
        better="lower",
        paper="Sundararajan et al. 2017, arXiv 1703.01365",
        limits="Checks the sum, not how it is divided among the features; large where f(x) is near f(x′).",
        cost=Formula("2"),
    ),
    Measure(
        function=sensitivity_n,
        title="Sensitivity-n",
        family="faithfulness",
        needs="score",
        better="higher",
        paper="Ancona et al. 2018, arXiv 1711.06104",
        limits="Inputs without random features are unlike the data; favours methods with the same baseline.",
        cost=Formula("sizes * samples + 1"),
        axis="share of features removed",
    ),
    Measure(
        function=faithfulness_correlation,
        title="Faithfulness correlation",
        family="faithfulness",
        needs="score",
        better="higher",
        paper="Bhatt et al. 2020, arXiv 2005.00631",
        limits="As sensitivity-n, at one size only.",
        cost=Formula("samples + 1"),
    ),
    Measure(
        function=infidelity,
        title="Infidelity",
        family="faithfulness",
        needs="score",
        better="lower",
        paper="Yeh et al. 2019, arXiv 1901.09392",
        limits="Inputs without random features are unlike the data; unreliable where f(x) is near f(x′).",
        cost=Formula("samples + 1"),
    ),
    Measure(
        function=deletion,
        title="Deletion",
        family="faithfulness",
        needs="score",
        better="lower",
        paper="Petsiuk et al. 2018, arXiv 1806.07421",
        limits="The holes themselves may confuse the model: compare with the chance level, or use road. "
        "Without a softmax or sigmoid it is in units of the score and cannot be compared between models.",
        cost=Formula("steps + 3"),
        axis="share of features removed",
    ),
    Measure(
        function=insertion,
        title="Insertion",
        family="faithfulness",
        needs="score",
        better="higher",
        paper="Petsiuk et al. 2018, arXiv 1806.07421",
        limits="Starts far from the data: compare with the chance level. Units as for deletion.",
        cost=Formula("steps + 3"),
        axis="share of features inserted",
    ),
    Measure(
        function=road,
        title="ROAD",
        family="faithfulness",
        needs="score",
        better="lower",
        paper="Rong et al. 2022, arXiv 2202.00449",
        limits="Only for pictures, pixel by pixel; large holes are filled smoothly, which may also confuse the model.",
        cost=Formula("steps + 2"),
        axis="share of pixels replaced",
    ),
    Measure(
        function=max_sensitivity,
        title="Max-sensitivity",
        family="robustness",
        needs="method",
        better="lower",
        paper="Yeh et al. 2019, arXiv 1901.09392",
        limits="A map that never changes is stable and may be wrong; the largest of a few samples is below the true maximum.",
        cost=Formula("samples"),
    ),
    Measure(
        function=stability,
        title="Stability under noise",
        family="robustness",
        needs="method",
        better="higher",
        paper="Ghorbani et al. 2019, arXiv 1710.10547",
        limits="A map that never changes is stable and may be wrong; features with equal attributions are ranked at random.",
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
