"""Formula: an arithmetic expression that the program evaluates and a person reads."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property
from types import CodeType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Formula:
    """A Python expression of named numbers, such as `samples * (players - 1) + 2`; written in a table, never read from input."""

    expression: str
    upper_bound: bool = False  # whether the true number may be smaller

    @cached_property
    def _code(self) -> CodeType:
        return compile(self.expression, self.expression, "eval")

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers that the expression depends on."""
        return self._code.co_names

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The expression's value; `values` has all its names."""
        return eval(self._code, {"__builtins__": {}}, dict(values))  # noqa: S307 (expressions stand in our tables)

    def __str__(self) -> str:
        text = self.expression.replace("*", "·").replace("-", "−")
        if match := re.fullmatch(r"(.+) if (\w+) is None else (.+)", text):
            text = f"{match[1]}, or {match[3]} if {match[2]} is set"
        return f"at most {text}" if self.upper_bound else text
