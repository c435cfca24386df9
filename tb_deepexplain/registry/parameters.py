"""Reads a function's signature as its specification: types, bounds, defaults and meaning of its keyword parameters."""

from __future__ import annotations

import dataclasses
import enum
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
    """An inclusive lower bound."""

    bound: float

    def __str__(self) -> str:
        return f"at least {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value >= self.bound


@dataclasses.dataclass(frozen=True)
class Above:
    """An exclusive lower bound."""

    bound: float

    def __str__(self) -> str:
        return f"above {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value > self.bound


@dataclasses.dataclass(frozen=True)
class Below:
    """An exclusive upper bound."""

    bound: float

    def __str__(self) -> str:
        return f"below {self.bound:g}"

    def holds(self, value: float) -> bool:
        return value < self.bound


@dataclasses.dataclass(frozen=True)
class Doc:
    """The meaning of a parameter, in one sentence."""

    text: str


class Role(enum.Enum):
    """What the core must know about a parameter; the parameter's name is free."""

    BASELINE = "the input that stands for missing features"
    MAP_AXES = "the axes of an example that its map has, the batch being axis 0"


class Lengths(tuple[int, ...]):
    """One whole number for each axis of an example."""


Baseline = Annotated[
    np.ndarray | int | float | str | None,
    Role.BASELINE,
    Doc(
        "The input that stands for missing features: zeros (empty strings), one number, or an array or picture like one example; for "
        "texts also a token id, token ids, 'pad', 'mask' or another word of the vocabulary; for a category one of its values; with "
        "background= 'most_frequent' (the default then), 'median' or 'mean'. For several inputs, a list or dict of these."
    ),
]

OnUnsupported = Annotated[
    Literal["error", "gradient"],
    Doc("What to do about operations without a rule (products, softmax, loops): refuse, or keep their plain gradient."),
]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One keyword parameter of a method or measure."""

    owner: str  # id of the method or measure
    name: str
    default: Any
    types: tuple[Any, ...]
    bounds: tuple[AtLeast | Below | Above, ...]
    doc: str
    role: Role | None = None

    @property
    def expected(self) -> str:
        """The accepted values, in words."""
        names: list[str] = []
        for accepted in self.types:
            if typing.get_origin(accepted) is Literal:
                names += map(repr, typing.get_args(accepted))
            else:
                names.append(_TYPE_NAMES.get(accepted, "none"))
        *others, last = names
        listed = f"{', '.join(others)} or {last}" if others else last
        return listed + "".join(f", {bound}" for bound in self.bounds)

    def check(self, value: Any) -> Any:
        """The value in the first type that accepts it; ParameterError if none does, or a bound is violated."""
        for accepted in self.types:
            converted = _convert(accepted, value)
            if converted is not _REJECTED:
                for part in converted if isinstance(converted, tuple) else (converted,):
                    if isinstance(part, int | float) and not all(bound.holds(part) for bound in self.bounds):
                        raise self._error(value)
                return converted
        raise self._error(value)

    def parse(self, text: str) -> Any:
        """The value of a command line argument: `8`, `0.5`, `4,4,1`, `none`, `right`, `baseline.npy`."""
        text = text.strip()
        if text.lower() == "none" and type(None) in self.types:
            return None
        if np.ndarray in self.types and text.endswith(".npy"):
            try:
                return np.load(Path(text), allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ParameterError(f"{self.owner}.{self.name}: cannot read {text}: {error}") from error
        try:
            if Lengths in self.types and "," in text:
                return self.check(tuple(int(part) for part in text.strip("()").split(",") if part))
            number = float(text)
            is_whole = (
                number.is_integer() and int in self.types and (float not in self.types or text.lstrip("+-").isdigit())
            )
            return self.check(int(number) if is_whole else number)
        except ValueError as error:
            if isinstance(error, ParameterError):
                raise
            return self.check(text)

    def _error(self, value: Any) -> ParameterError:
        shown = repr(value) if len(repr(value)) < 80 else type(value).__name__
        return ParameterError(
            f"{self.owner}: {self.name}={shown} is not accepted; expected {self.expected} (default {self.default!r})"
        )


_TYPE_NAMES = {int: "whole number", float: "number", str: "text", Lengths: "list of whole numbers", np.ndarray: "array"}
_REJECTED = object()


def _convert(accepted: Any, value: Any) -> Any:
    """The value in this type, or _REJECTED."""
    if accepted is type(None):
        return None if value is None else _REJECTED
    if typing.get_origin(accepted) is Literal:
        return value if isinstance(value, str) and value in typing.get_args(accepted) else _REJECTED
    if isinstance(value, bool):
        return _REJECTED
    if accepted is int:
        return int(value) if isinstance(value, numbers.Integral) else _REJECTED
    if accepted is str:
        return value if isinstance(value, str) else _REJECTED
    if accepted is float:
        return float(value) if isinstance(value, numbers.Real) and math.isfinite(value) else _REJECTED
    if accepted is Lengths:
        whole = isinstance(value, list | tuple) and value and all(isinstance(v, numbers.Integral) for v in value)
        return Lengths(int(v) for v in value) if whole else _REJECTED
    if accepted is np.ndarray:  # Score.baseline checks its shape; Explainer turns a dict into a list
        is_array = isinstance(value, list | tuple | dict | np.ndarray)
        is_array |= hasattr(value, "__array__") or hasattr(
            value, "__array_interface__"
        )  # the latter: a picture of Pillow
        return value if is_array else _REJECTED
    raise TypeError(f"a parameter cannot be of type {accepted}")


def read_parameters(owner: str, function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The keyword-only parameters of a function."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            accepted, annotations = _unpack(hints[name])
            bounds = tuple(a for a in annotations if isinstance(a, AtLeast | Below | Above))
            doc = " ".join(a.text for a in annotations if isinstance(a, Doc))
            role = next((a for a in annotations if isinstance(a, Role)), None)
            parameters.append(Parameter(owner, name, parameter.default, accepted, bounds, doc, role))
    return tuple(parameters)


def _unpack(hint: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The types that a hint accepts, and its annotations."""
    if typing.get_origin(hint) is Annotated:
        inner, *annotations = typing.get_args(hint)
        accepted, inner_annotations = _unpack(inner)
        return accepted, (*annotations, *inner_annotations)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_unpack(part) for part in typing.get_args(hint)]
        return tuple(t for accepted, _ in parts for t in accepted), tuple(a for _, extras in parts for a in extras)
    return (hint,), ()
