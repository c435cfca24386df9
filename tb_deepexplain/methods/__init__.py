"""THE table of attribution methods, in display order: everything that lists methods or parameters reads it."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
from collections.abc import Callable
from functools import cached_property
from typing import Any

from tb_deepexplain.errors import ParameterError, UnknownMethodError
from tb_deepexplain.methods.deeplift import deeplift
from tb_deepexplain.methods.epsilon_lrp import epsilon_lrp
from tb_deepexplain.methods.gradient_x_input import gradient_x_input
from tb_deepexplain.methods.integrated_gradients import held, integrated_gradients
from tb_deepexplain.methods.occlusion import occlusion
from tb_deepexplain.methods.parameters import Parameter, read_parameters
from tb_deepexplain.methods.saliency import saliency
from tb_deepexplain.methods.shapley_sampling import held as held_by_sampling
from tb_deepexplain.methods.shapley_sampling import shapley_sampling
from tb_deepexplain.score import Explanation


@dataclasses.dataclass(frozen=True)
class Method:
    """One attribution method: what a person needs to choose it and the program to run it."""

    function: Callable[..., Explanation]
    title: str
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

    @property
    def id(self) -> str:
        return self.function.__name__

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").strip().splitlines()[0]

    @property
    def details(self) -> str:
        """What its docstring says behind the summary, as one paragraph."""
        return " ".join((self.function.__doc__ or "").split("\n", 1)[-1].split())

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return read_parameters(self.id, self.function)

    def check(self, given: dict[str, Any]) -> dict[str, Any]:
        """The parameters given, in their own types; ParameterError names what is wrong."""
        known = {p.name: p for p in self.parameters}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                hint = "; that goes to run()" if name in ("batch_size", "seed", "ys", "progress") else hint
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ParameterError(f"{self.id} has no parameter {name!r}{hint} ({takes})")
        return {name: known[name].check(value) for name, value in given.items()}


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
    ),
)


def find_method(name: str) -> Method:
    """The row with this id or alias."""
    for method in TABLE:
        if name == method.id or name in method.aliases:
            return method
    known = [n for m in TABLE for n in (m.id, *m.aliases)]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UnknownMethodError(f"unknown method {name!r}; {hint}Known: {', '.join(m.id for m in TABLE)}")


class _Table(types.ModuleType):
    """This package is also the public function `tb_deepexplain.methods()`."""

    def __call__(self) -> list[Method]:
        """The table: one frozen row for each method, in display order."""
        return list(TABLE)


sys.modules[__name__].__class__ = _Table
