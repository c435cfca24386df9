"""Rows of the tables of methods and measures: a function, whose signature is its specification, and what people read."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from tb_deepexplain.errors import ParameterError, UnknownMethodError
from tb_deepexplain.registry.formula import Formula
from tb_deepexplain.registry.parameters import Parameter, Role, read_parameters

Selection: TypeAlias = Sequence[str] | Mapping[str, Mapping[str, Any]]  # ids of rows, perhaps with parameters

# Arguments of the calls that also take a row's parameters; no parameter may have such a name. → where the argument goes
RESERVED = {
    **dict.fromkeys(
        (
            "method",
            "model",
            "target",
            "inputs",
            "output",
            "logits",
            "score",
            "class_names",
            "jit",
            "background",
            "vocabulary",
            "check_model",
            "check_batch",
            "precision",
        ),
        "Explainer()",
    ),
    **dict.fromkeys(("xs", "ys", "batch_size", "seed", "progress", "return_result", "encode"), "run()"),
    **dict.fromkeys(("measures", "segments"), "evaluate()"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A function with its description; `id` is the function's name, and its keyword parameters are the row's parameters.

    Formulas may use the parameters and the `quantities`: functions `(shapes, whole, **parameters) -> int` of the shapes of an
    example's inputs and whether the last axis of each is one feature (an embedding). A quantity is named like its function.
    """

    function: Callable[..., Any]
    title: str
    family: str
    paper: str
    limits: str  # what it does not say, and where it cannot be used
    cost: Formula  # for each example
    quantities: tuple[Callable[..., int], ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = {p.name for p in self.parameters}
        if reserved := sorted(names & RESERVED.keys()):
            raise ParameterError(
                f"{self.id}: a parameter cannot be called {reserved[0]}, which is an argument of {RESERVED[reserved[0]]}; "
                "rename it"
            )
        known = names | {quantity.__name__ for quantity in self.quantities}
        for field in dataclasses.fields(self):
            formula = getattr(self, field.name)
            unknown = set(formula.names) - known if isinstance(formula, Formula) else set()
            if unknown:
                raise ParameterError(
                    f"{self.id}: {field.name} uses {', '.join(sorted(unknown))}; expected parameters or quantities: "
                    f"{', '.join(sorted(known)) or 'there are none'}"
                )

    @property
    def id(self) -> str:
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    @property
    def details(self) -> str:
        """The rest of the docstring, as one paragraph."""
        return " ".join((self.function.__doc__ or "").split("\n", 1)[-1].split())

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return read_parameters(self.id, self.function)

    def parameter_of(self, role: Role) -> str | None:
        """The name of the parameter with this role."""
        return next((p.name for p in self.parameters if p.role is role), None)

    @property
    def baseline_parameter(self) -> str | None:
        return self.parameter_of(Role.BASELINE)

    @property
    def map_axes_parameter(self) -> str | None:
        return self.parameter_of(Role.MAP_AXES)

    def baseline(self, parameters: Mapping[str, Any]) -> Any:
        """The baseline among these parameters; None if there is none."""
        return parameters.get(self.baseline_parameter or "")

    def with_baseline(self, parameters: Mapping[str, Any], baseline: Any) -> dict[str, Any]:
        """The parameters with this baseline, unless they have one already or the function takes none."""
        name = self.baseline_parameter
        return dict(parameters) if name is None else {name: baseline, **parameters}

    def with_defaults(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every parameter."""
        return {p.name: parameters.get(p.name, p.default) for p in self.parameters}

    def cost_of(
        self, parameters: Mapping[str, Any], shapes: Sequence[Sequence[int]] = (), whole: Sequence[bool] = ()
    ) -> int:
        """The cost of an example whose inputs have these shapes; `whole` says whose last axis is one feature."""
        values = self.with_defaults(parameters)
        counts = {quantity.__name__: quantity(shapes, whole, **values) for quantity in self.quantities}
        return int(self.cost(values | counts))

    def check(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """These parameters, each in its type; ParameterError names the wrong one."""
        known = {p.name: p for p in self.parameters}
        for name in parameters:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"; did you mean {similar[0]}?" if similar else ""
                hint = f"; that goes to {RESERVED[name]}" if name in RESERVED else hint
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ParameterError(f"{self.id} has no parameter {name!r}{hint} ({takes})")
        return {name: known[name].check(value) for name, value in parameters.items()}


_R = TypeVar("_R", bound=Row)


def find_row(noun: str, table: Sequence[_R], name: str) -> _R:
    """The row with this id or alias, in any case, with spaces or hyphens; UnknownMethodError if there is none. `noun`: "method" or
    "measure"."""
    rows = {n: row for row in table for n in (row.id, *row.aliases)}
    if not isinstance(name, str):
        raise UnknownMethodError(
            f"expected the name of a {noun}, got {type(name).__name__}; known: {', '.join(r.id for r in table)}"
        )
    by_plain_name = {_plain(n): row for n, row in rows.items()}
    if _plain(name) in by_plain_name:
        return by_plain_name[_plain(name)]
    similar = difflib.get_close_matches(name, rows, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(similar)}? Known: " if similar else "known: "
    raise UnknownMethodError(f"unknown {noun} {name!r}; {hint}{', '.join(row.id for row in table)}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def check_selection(
    noun: str, selection: Selection, find: Callable[[str], Row], at_least_one: bool
) -> dict[str, dict[str, Any]]:
    """Ids with checked parameters; ParameterError or UnknownMethodError. `noun`: "methods" or "measures"."""
    names = [selection] if isinstance(selection, str) else selection
    if not isinstance(names, Iterable):
        raise ParameterError(f"{noun}: expected names, or a dict of names and parameters; got {type(names).__name__}")
    parameters = names if isinstance(names, Mapping) else {name: {} for name in names}
    for name, value in parameters.items():
        if not isinstance(value, Mapping):
            raise ParameterError(f"{noun}: {name}: expected a dict of parameters, got {value!r}")
    checked = {row.id: row.check(dict(parameters[name])) for name in parameters for row in [find(name)]}
    if len(checked) != len(parameters) or len(parameters) != len(names) or (at_least_one and not checked):
        least = ", at least one" if at_least_one else ""
        raise ParameterError(f"{noun}={list(names)}: expected different {noun}{least}")
    return checked
