"""THE table of attribution methods, in display order: everything that lists methods or parameters reads it.

It imports no TensorFlow: methods take it from `tb_deepexplain.lazy_tensorflow`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from tb_deepexplain.attribution.methods.deeplift import deeplift
from tb_deepexplain.attribution.methods.epsilon_lrp import epsilon_lrp
from tb_deepexplain.attribution.methods.gradient_x_input import gradient_x_input
from tb_deepexplain.attribution.methods.integrated_gradients import integrated_gradients
from tb_deepexplain.attribution.methods.occlusion import occlusion, windows, windows_fit
from tb_deepexplain.attribution.methods.saliency import saliency
from tb_deepexplain.attribution.methods.shapley_sampling import counts_players_late, players, shapley_sampling
from tb_deepexplain.attribution.score import Explanation
from tb_deepexplain.registry.formula import Formula
from tb_deepexplain.registry.table import Row, Selection, check_selection, find_row

Family = Literal["gradient", "backprop rule", "perturbation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Row):
    """One attribution method. `cost` counts model evaluations."""

    function: Callable[..., Explanation]
    family: Family
    signed: bool
    sums_to: str | None
    values_per_feature: Formula | None = None  # numbers kept in memory for each feature; None: hardly more than one
    # Whether a call admits examples as others become ready; what these keep is bounded by Score.held_values.
    refines: Formula | None = None
    # (sizes, **parameters) → whether one compiled function serves examples of these and all larger sizes.
    takes_open_sizes: Callable[..., bool] = lambda _, **__: True
    sampled: bool = False  # draws random numbers: the map depends on the seed


TABLE: tuple[Method, ...] = (
    Method(
        function=saliency,
        title="Saliency",
        family="gradient",
        signed=False,
        sums_to=None,
        paper="Simonyan et al. 2014, arXiv 1312.6034",
        cost=Formula("1"),
        limits="Measures how sensitive the score is, not what a feature contributes; blind to saturated activations; without a sign.",
        aliases=("gradient", "vanilla_gradient"),
    ),
    Method(
        function=gradient_x_input,
        title="Gradient × input",
        family="gradient",
        signed=True,
        sums_to=None,
        paper="Shrikumar et al. 2016, arXiv 1605.01713",
        cost=Formula("1"),
        limits="Blind to saturated activations; a feature of value zero gets nothing, whatever its absence would mean.",
        aliases=("grad*input", "gradient*input", "input*gradient"),
    ),
    Method(
        function=integrated_gradients,
        title="Integrated gradients",
        family="gradient",
        signed=True,
        sums_to="f(x) − f(baseline)",
        paper="Sundararajan et al. 2017, arXiv 1703.01365",
        cost=Formula("max_evaluations if steps is None else steps + 2", upper_bound=True),
        limits="Depends on the baseline and on a straight path, which leaves the data; needs a gradient almost everywhere on the path.",
        aliases=("intgrad", "ig"),
        values_per_feature=Formula("4"),
        refines=Formula("steps is None"),
    ),
    Method(
        function=epsilon_lrp,
        title="ε-LRP",
        family="backprop rule",
        signed=True,
        sums_to=None,
        paper="Bach et al. 2015, PLOS ONE 10(7); Ancona et al. 2018, arXiv 1711.06104",
        cost=Formula("1"),
        limits="No rule for products of two computed tensors (attention, layer norm, gates), for softmax inside the network and for "
        "loops (LSTM, GRU): refused by name, or their plain gradient with on_unsupported='gradient'. Max pooling gives all to "
        "the winner; batch norm at inference, average pooling, concatenation and skip connections are linear and exact. "
        "Depends on how a function is written (a bias is part of z); not for activations with f(0) ≠ 0.",
        aliases=("elrp", "lrp"),
    ),
    Method(
        function=deeplift,
        title="DeepLIFT (Rescale)",
        family="backprop rule",
        signed=True,
        sums_to="f(x) − f(baseline)",
        paper="Shrikumar et al. 2017, arXiv 1704.02685",
        cost=Formula("1"),
        limits="No rule for products of two computed tensors (attention, layer norm, gates), for softmax inside the network and for "
        "loops (LSTM, GRU): refused by name, or their plain gradient with on_unsupported='gradient'. Maxima (max pooling, "
        "the larger of two tensors, top-k) give all to the winner, and then the map does not sum: see the gap. Batch norm at "
        "inference, average pooling, concatenation and skip connections are linear and exact.",
    ),
    Method(
        function=occlusion,
        title="Occlusion",
        family="perturbation",
        signed=True,
        sums_to=None,
        paper="Zeiler & Fergus 2014, arXiv 1311.2901",
        cost=Formula("windows + 1"),
        quantities=(windows,),
        limits="Removes one window at a time: features that can replace each other get nothing; what fills the window may itself be "
        "evidence.",
        takes_open_sizes=windows_fit,
    ),
    Method(
        function=shapley_sampling,
        title="Shapley value sampling",
        family="perturbation",
        signed=True,
        sums_to="f(x) − f(baseline)",
        paper="Castro, Gómez, Tejada 2009, Computers & Operations Research 36(5); Mitchell et al. 2022, arXiv 2104.12199",
        cost=Formula("samples * (players - 1) + 2", upper_bound=True),
        quantities=(players,),
        limits="An estimate: its error falls with the square root of samples. Features leave together, so most of the evaluated "
        "inputs are unlike the data.",
        values_per_feature=Formula("12 * samples"),
        takes_open_sizes=counts_players_late,
        sampled=True,
        aliases=("shapley", "shapley_values"),
    ),
)


def find_method(name: str) -> Method:
    """The row with this id or alias; UnknownMethodError if there is none."""
    return find_row("method", TABLE, name)


def check_methods(selection: Selection) -> dict[str, dict[str, Any]]:
    """At least one method, by name or as a dict of names and parameters, as ids with checked parameters."""
    return check_selection("methods", selection, find_method, at_least_one=True)


def methods() -> list[Method]:
    """The table: one frozen row for each method, in display order."""
    return list(TABLE)
