"""THE table of attribution methods, in display order: everything that lists methods or parameters reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tb_deepexplain.attribution.methods.deeplift import deeplift
from tb_deepexplain.attribution.methods.epsilon_lrp import epsilon_lrp
from tb_deepexplain.attribution.methods.gradient_x_input import gradient_x_input
from tb_deepexplain.attribution.methods.integrated_gradients import held, integrated_gradients
from tb_deepexplain.attribution.methods.occlusion import occlusion, windows
from tb_deepexplain.attribution.methods.saliency import saliency
from tb_deepexplain.attribution.methods.shapley_sampling import held as held_by_sampling
from tb_deepexplain.attribution.methods.shapley_sampling import shapley_sampling
from tb_deepexplain.attribution.methods.shapley_sampling import spent as coalitions
from tb_deepexplain.attribution.score import Explanation
from tb_deepexplain.registry.table import Row, find_row


@dataclasses.dataclass(frozen=True)
class Method(Row):
    """One attribution method: what a person needs to choose it and the program to run it."""

    function: Callable[..., Explanation]
    family: str  # gradient | backprop rule | perturbation
    signed: bool
    sums_to: str | None
    paper: str
    cost: str  # model evaluations for each example
    limits: str  # what it does not say, and where it cannot be used
    aliases: tuple[str, ...] = ()
    held: Callable[..., int] | None = None  # copies of an example that the method may hold in memory, by its parameters
    any_length: Callable[..., bool] = lambda **_: True  # whether texts of any length share a compiled function
    sampled: bool = False  # draws random numbers: its answer depends on the seed
    spends: Callable[..., int] = lambda *_, **__: (
        1
    )  # evaluations at most, by shapes of inputs, which are embeddings, parameters


TABLE: tuple[Method, ...] = (
    Method(
        saliency,
        "Saliency",
        "gradient",
        False,
        None,
        "Simonyan et al. 2014, arXiv 1312.6034",
        "1",
        "Says how sensitive the score is, not what a feature contributes; blind to saturated activations; without a sign.",
    ),
    Method(
        gradient_x_input,
        "Gradient × input",
        "gradient",
        True,
        None,
        "Shrikumar et al. 2016, arXiv 1605.01713",
        "1",
        "Blind to saturated activations; a feature of value zero gets nothing, whatever its absence would mean.",
        ("grad*input",),
    ),
    Method(
        integrated_gradients,
        "Integrated gradients",
        "gradient",
        True,
        "f(x) − f(baseline)",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        "at most max_evaluations, of easy ones 9; or steps + 2",
        "Its answer depends on the baseline and on a straight path, which leaves the data; needs a gradient almost everywhere on it.",
        ("intgrad",),
        held=held,
        spends=lambda *_, max_evaluations=512, steps=None, **__: max_evaluations if steps is None else steps + 2,
    ),
    Method(
        epsilon_lrp,
        "ε-LRP",
        "backprop rule",
        True,
        None,
        "Bach et al. 2015, PLOS ONE 10(7); Ancona et al. 2018, arXiv 1711.06104",
        "1",
        "No rule for products of two computed tensors (attention, layer norm, gates), for softmax inside the network and for "
        "loops (LSTM, GRU): refused by name, or their plain gradient with on_unsupported='gradient'. Max pooling gives all to "
        "the winner; batch norm at inference, average pooling, concatenation and skip connections are linear and exact. "
        "Depends on how a function is written (a bias is part of z); not for activations with f(0) ≠ 0.",
        ("elrp",),
    ),
    Method(
        deeplift,
        "DeepLIFT (Rescale)",
        "backprop rule",
        True,
        "f(x) − f(baseline)",
        "Shrikumar et al. 2017, arXiv 1704.02685",
        "1, and one of the baseline for all",
        "No rule for products of two computed tensors (attention, layer norm, gates), for softmax inside the network and for "
        "loops (LSTM, GRU): refused by name, or their plain gradient with on_unsupported='gradient'. Maxima (max pooling, "
        "the larger of two tensors, top-k) give all to the winner, and then the map does not sum: see the gap. Batch norm at "
        "inference, average pooling, concatenation and "
        "skip connections are linear and exact.",
    ),
    Method(
        occlusion,
        "Occlusion",
        "perturbation",
        True,
        None,
        "Zeiler & Fergus 2014, arXiv 1311.2901",
        "windows + 1",
        "Removes one window at a time: features that stand in for each other get nothing; what is put in the window's place may "
        "itself be evidence.",
        any_length=lambda window_shape=None, **_: window_shape is None,  # else it may not fit
        spends=windows,
    ),
    Method(
        shapley_sampling,
        "Shapley value sampling",
        "perturbation",
        True,
        "f(x) − f(baseline)",
        "Castro, Gómez, Tejada 2009, Computers & Operations Research 36(5); Mitchell et al. 2022, arXiv 2104.12199",
        "samples · (players − 1) + 2",
        "An estimate: its error falls with the square root of samples. Features leave together, so that most inputs it asks "
        "about are unlike the data.",
        held=held_by_sampling,
        any_length=lambda estimator="", **_: estimator != "kernel",  # whose coalitions are chosen beforehand
        sampled=True,
        spends=coalitions,
    ),
)


def find_method(name: str) -> Method:
    """The row with this id or alias; UnknownMethodError if there is none."""
    return find_row("method", TABLE, name)


def methods() -> list[Method]:
    """The table: one frozen row for each method, in display order."""
    return list(TABLE)
