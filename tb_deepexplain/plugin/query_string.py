"""The query strings of the HTTP API: every parameter checked; what is unknown or malformed is refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

PIVOTS = ("methods", "steps", "targets", "runs")
COLUMNS = (
    "id", "label", "label_name", "predicted", "predicted_name", "misclassified",
    "target", "target_name", "score", "probability", "gap", "relative_gap",
)  # fmt: skip
_FIELD = re.compile(r"([a-z][a-z0-9_]*\.)?[a-z][a-z0-9_]*")
MAX_LIMIT = 200
MAX_SIZE = 1024


class BadRequest(ValueError):
    """A query string that the API does not take; the message says which parameter and what it expects."""


class NotFound(LookupError):
    """Nothing is stored under what was asked for; the message names it."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which of an example's maps are shown: one step (None: the latest) and one target (None: as `pick` says)."""

    step: int | None = None
    target: str | int | None = None


@dataclasses.dataclass(frozen=True)
class Window:
    """A page of examples: filtered, sorted, cut."""

    selection: Selection
    filter: str
    sort: str
    descending: bool
    offset: int
    limit: int


def parse(args: Mapping[str, str], known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The parameters of `args`, each read by its reader in `known`; absent ones are left out."""
    unknown = sorted(set(args) - set(known))
    if unknown:
        raise BadRequest(f"unknown parameter {unknown[0]!r}; this route takes {', '.join(known) or 'none'}")
    values = {}
    for name, text in args.items():
        try:
            values[name] = known[name](text)
        except ValueError as error:
            raise BadRequest(f"parameter {name}={text[:80]!r}: expected {error}") from None
    return values


def integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text[1:] if text.startswith("-") else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def choice(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(map(repr, allowed))}")
        return text

    return read


def names(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    if not all(found) or len(set(found)) != len(found):
        raise ValueError("names separated by commas, each once")
    return found


def units(text: str) -> tuple[int, ...]:
    """Output units."""
    read = integer(0, 2**31 - 1)
    found = tuple(read(one) for one in text.split(","))
    if len(set(found)) != len(found) or len(found) > 16:
        raise ValueError("at most 16 whole numbers separated by commas, each once")
    return found


def columns(text: str) -> tuple[str, ...]:
    found = names(text)
    if not all(name in COLUMNS or _FIELD.fullmatch(name) for name in found):
        raise ValueError(f"names among {', '.join(COLUMNS)}, or fields as in sort")
    return found


def field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise ValueError("'errors', 'id' or a field with a number, such as score, gap or integrated_gradients.deletion")
    return text


def filter_(text: str) -> str:
    return text.strip()


def text(value: str) -> str:
    if not value:
        raise ValueError("some text")
    return value


def target(value: str) -> str | int:
    if value in ("predicted", "label", "sum"):
        return value
    try:
        return integer(0, 2**31 - 1)(value)
    except ValueError:
        raise ValueError("'predicted', 'label', 'sum' or the number of an output unit") from None


flag = choice(("0", "1"))
STORE: dict[str, Callable[[str], Any]] = {"run": text, "store": text, "v": text}
SELECTION: dict[str, Callable[[str], Any]] = {"step": integer(-(2**63), 2**63 - 1), "target": target}
WINDOW: dict[str, Callable[[str], Any]] = {
    **SELECTION,
    "filter": filter_,
    "sort": field,
    "desc": flag,
    "offset": integer(0, 2**53),
    "limit": integer(1, MAX_LIMIT),
}


LOOK: dict[str, Callable[[str], Any]] = {
    "pivot": choice(PIVOTS),
    "methods": names,
    "targets": units,
    "change": flag,
    "size": integer(16, MAX_SIZE),
}


def selection(values: Mapping[str, Any]) -> Selection:
    return Selection(values.get("step"), values.get("target"))


def window(values: Mapping[str, Any]) -> Window:
    """The window that parsed parameters describe; by default wrong answers first, worst gap first."""
    return Window(
        selection=selection(values),
        filter=values.get("filter", ""),
        sort=values.get("sort", "errors"),
        descending=values.get("desc", "1") == "1",
        offset=values.get("offset", 0),
        limit=values.get("limit", 24),
    )
