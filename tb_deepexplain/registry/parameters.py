"""A method's signature read as its specification: types, defaults and bounds of its keyword parameters."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from tb_deepexplain.errors import ParameterError


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """The smallest value allowed."""

    bound: float

    def __str__(self) -> str:
        return f"at least {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value >= self.bound


@dataclasses.dataclass(frozen=True)
class Above:
    """A value that must be exceeded."""

    bound: float

    def __str__(self) -> str:
        return f"above {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value > self.bound


@dataclasses.dataclass(frozen=True)
class Below:
    """All allowed values are smaller."""

    bound: float

    def __str__(self) -> str:
        return f"below {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value < self.bound


@dataclasses.dataclass(frozen=True)
class Doc:
    """What a parameter means, in one sentence."""

    text: str


class Lengths(tuple[int, ...]):
    """One whole number for each axis of an example."""


Baseline = Annotated[
    np.ndarray | float | None,
    Doc(
        "What stands for a missing feature: zeros, one number, or an array like one example; of several inputs, a list or dict of these."
    ),
]

OnUnsupported = Annotated[
    Literal["error", "gradient"],
    Doc("What to do about steps that no rule treats (products, softmax, loops): refuse, or keep their plain gradient."),
]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One keyword parameter of a method."""

    method: str
    name: str
    default: Any
    types: tuple[Any, ...]
    bounds: tuple[AtLeast | Below | Above, ...]
    doc: str

    @property
    def expected(self) -> str:
        """What values are accepted, in words."""
        names = []
        for kind in self.types:
            if typing.get_origin(kind) is Literal:
                names.append(" | ".join(map(repr, typing.get_args(kind))))
            else:
                names.append(
                    {
                        int: "whole number",
                        float: "number",
                        Lengths: "list of whole numbers",
                        np.ndarray: "array",
                    }.get(kind, "none")
                )
        return " | ".join(names) + "".join(f", {bound}" for bound in self.bounds)

    def check(self, value: Any) -> Any:
        """The value in its own type; ParameterError if it is none of those accepted."""
        for kind in self.types:
            found = _as_kind(kind, value)
            if found is not _NO:
                for part in found if isinstance(found, tuple) else (found,):
                    if isinstance(part, int | float) and not all(bound.holds(part) for bound in self.bounds):
                        raise self._error(value)
                return found
        raise self._error(value)

    def parse(self, text: str) -> Any:
        """The value written on a command line: `8`, `0.5`, `4,4,1`, `none`, `right`, `baseline.npy`."""
        text = text.strip()
        if text.lower() == "none" and type(None) in self.types:
            return None
        if np.ndarray in self.types and text.endswith(".npy"):
            try:
                return np.load(Path(text), allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ParameterError(f"{self.method}.{self.name}: cannot read {text}: {error}") from error
        try:
            if Lengths in self.types and "," in text:
                return self.check(tuple(int(part) for part in text.strip("()").split(",") if part))
            number = float(text)
            return self.check(int(number) if number.is_integer() and int in self.types else number)
        except ValueError as error:
            if isinstance(error, ParameterError):
                raise
            return self.check(text)

    def _error(self, value: Any) -> ParameterError:
        shown = repr(value) if len(repr(value)) < 80 else type(value).__name__
        return ParameterError(
            f"{self.method}: {self.name}={shown} is not accepted; expected {self.expected} (default {self.default!r})"
        )


_NO = object()


def _as_kind(kind: Any, value: Any) -> Any:
    if kind is type(None):
        return None if value is None else _NO
    if typing.get_origin(kind) is Literal:
        return value if isinstance(value, str) and value in typing.get_args(kind) else _NO
    if isinstance(value, bool):
        return _NO
    if kind is int:
        return int(value) if isinstance(value, numbers.Integral) else _NO
    if kind is float:
        return float(value) if isinstance(value, numbers.Real) and math.isfinite(value) else _NO
    if kind is Lengths:
        whole = isinstance(value, list | tuple) and value and all(isinstance(v, numbers.Integral) for v in value)
        return Lengths(int(v) for v in value) if whole else _NO
    if kind is np.ndarray:  # fitted to the model by Score.baseline, put in order by Explainer
        return value if isinstance(value, list | tuple | dict | np.ndarray) or hasattr(value, "__array__") else _NO
    raise TypeError(f"a method parameter cannot be of type {kind}")


def read_parameters(method: str, function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The keyword-only parameters of a method function."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kind, extras = _unpack(hints[name])
            bounds = tuple(e for e in extras if isinstance(e, AtLeast | Below | Above))
            doc = " ".join(e.text for e in extras if isinstance(e, Doc))
            found.append(Parameter(method, name, parameter.default, kind, bounds, doc))
    return tuple(found)


def _unpack(hint: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if typing.get_origin(hint) is Annotated:
        inner, *extras = typing.get_args(hint)
        kinds, more = _unpack(inner)
        return kinds, (*extras, *more)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_unpack(part) for part in typing.get_args(hint)]
        return tuple(k for kinds, _ in parts for k in kinds), tuple(e for _, extras in parts for e in extras)
    return (hint,), ()
