"""THE table of measures of attribution maps, in display order: how far a map, and a method, can be believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
from tb_deepexplain.registry.table import Row, find_row


@dataclasses.dataclass(frozen=True)
class Measure(Row):
    """One measure: what a person needs to choose and to read it, and the program to run it."""

    asks: Literal["score", "method"]  # for values of the score, or for further maps
    better: Literal["higher", "lower"]
    paper: str
    limits: str
    cost: Callable[..., int]  # what it asks for of each example, by its parameters: model evaluations, or maps
    axis: str | None = None  # of its curve


TABLE: tuple[Measure, ...] = (
    Measure(
        completeness,
        "Completeness gap",
        "score",
        "lower",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        "Says whether the sum is right, not whether it is shared out rightly; large where f(x) is near f(x′).",
        lambda **_: 2,
    ),
    Measure(
        sensitivity_n,
        "Sensitivity-n",
        "score",
        "higher",
        "Ancona et al. 2018, arXiv 1711.06104",
        "Inputs without random features are unlike the data; favours methods that share the baseline.",
        lambda sizes=8, samples=50, **_: sizes * samples + 1,
        axis="share of features removed",
    ),
    Measure(
        faithfulness_correlation,
        "Faithfulness correlation",
        "score",
        "higher",
        "Bhatt et al. 2020, arXiv 2005.00631",
        "As sensitivity-n, at one size only.",
        lambda samples=100, **_: samples + 1,
    ),
    Measure(
        infidelity,
        "Infidelity",
        "score",
        "lower",
        "Yeh et al. 2019, arXiv 1901.09392",
        "Inputs without random features are unlike the data; where f(x) is near f(x′) it is a share of little.",
        lambda samples=100, **_: samples + 1,
    ),
    Measure(
        deletion,
        "Deletion",
        "score",
        "lower",
        "Petsiuk et al. 2018, arXiv 1806.07421",
        "A model may be confused by the holes rather than miss what was in them: compare with random order, or use road. "
        "Without a softmax or sigmoid it is in units of the score, and not to be compared between models.",
        lambda steps=20, **_: steps + 3,
        axis="share of features removed",
    ),
    Measure(
        insertion,
        "Insertion",
        "score",
        "higher",
        "Petsiuk et al. 2018, arXiv 1806.07421",
        "Begins far from the data; compare with random order. Units as for deletion.",
        lambda steps=20, **_: steps + 3,
        axis="share of features inserted",
    ),
    Measure(
        road,
        "ROAD",
        "score",
        "lower",
        "Rong et al. 2022, arXiv 2202.00449",
        "Only for pictures, and pixel by pixel; large holes are filled smoothly, which a model may also find odd.",
        lambda steps=9, **_: steps + 2,
        axis="share of pixels replaced",
    ),
    Measure(
        max_sensitivity,
        "Max-sensitivity",
        "method",
        "lower",
        "Yeh et al. 2019, arXiv 1901.09392",
        "A map that never changes is stable and may be wrong; the largest of few samples is below the true one.",
        lambda samples=10, **_: samples,
    ),
    Measure(
        stability,
        "Stability under noise",
        "method",
        "higher",
        "Ghorbani et al. 2019, arXiv 1710.10547",
        "A map that never changes is stable and may be wrong; features of equal credit are ranked by chance.",
        lambda samples=5, **_: samples,
    ),
)


def find_measure(name: str) -> Measure:
    """The row with this id; UnknownMethodError if there is none."""
    return find_row("measure", TABLE, name)


def measures() -> list[Measure]:
    """The table: one frozen row for each measure, in display order."""
    return list(TABLE)


def check(given: Any) -> dict[str, dict[str, Any]]:
    """Measures by name, or a dict of names and their parameters, as ids with checked parameters."""
    found = dict(given) if isinstance(given, dict) else {name: {} for name in given}
    return {row.id: row.check(dict(parameters)) for name, parameters in found.items() for row in [find_measure(name)]}
