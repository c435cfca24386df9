"""What the tables of methods and of measures have in common: a row is a function whose signature is its specification."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from tb_deepexplain.errors import ParameterError, UnknownMethodError
from tb_deepexplain.registry.parameters import Parameter, read_parameters

Chosen: TypeAlias = Sequence[str] | Mapping[str, Mapping[str, Any]]  # names of rows, perhaps with parameters


@dataclasses.dataclass(frozen=True)
class Row:
    """A function with a name that people read; its keyword parameters are the row's."""

    function: Callable[..., Any]
    title: str

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


_R = TypeVar("_R", bound=Row)


def find_row(kind: str, table: Sequence[_R], name: str) -> _R:
    """The row with this id or alias; UnknownMethodError if there is none."""
    names = {n: row for row in table for n in (row.id, *getattr(row, "aliases", ()))}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UnknownMethodError(f"unknown {kind} {name!r}; {hint}Known: {', '.join(row.id for row in table)}")


def check_rows(kind: str, chosen: Chosen, find: Callable[[str], Row]) -> dict[str, dict[str, Any]]:
    """Ids with checked parameters; ParameterError or UnknownMethodError. `kind`: "methods", of which one is needed, or "measures"."""
    names = [chosen] if isinstance(chosen, str) else chosen
    given = names if isinstance(names, Mapping) else {name: {} for name in names}
    found = {row.id: row.check(dict(given[name])) for name in given for row in [find(name)]}
    if len(found) != len(given) or len(given) != len(names) or (kind == "methods" and not found):
        least = ", at least one" if kind == "methods" else ""
        raise ParameterError(f"{kind}={list(names)}: expected different {kind}{least}")
    return found
