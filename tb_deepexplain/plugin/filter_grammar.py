"""The filter grammar: `label:cat pred:!cat score>0.9 gap>5% text:"not bad"`. Parsed here, never evaluated.

filter  = term { " " term }                          every term must hold
term    = [ "-" ] ( field ":" [ "!" ] values | field compare number | word )      "-" and "!" negate
field   = [ method "." ] name                        the fields of fields.py
values  = value { "," value }                        any of them; `*` in a value stands for anything
value   = characters without blanks and commas, or quoted: "not bad"
compare = ">" | ">=" | "<" | "<=" | "="
number  = 0.9 | -3e-2 | 5%                           and field:low..high for a range, both ends within
"""

from __future__ import annotations

import dataclasses
import math
import re

_FIELD = re.compile(r"(?:(?P<method>[a-z][a-z0-9_]*)\.)?(?P<name>[a-z][a-z0-9_]*)(?P<op>>=|<=|:|>|<|=)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r'[^\s,"]+')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?%?", re.IGNORECASE)
MAX_LENGTH, MAX_TERMS = 2000, 40


class FilterError(ValueError):
    """A filter that cannot be read; says where and why."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One condition. `op` is ":" with `values` (any of them), or a comparison with `number`; field None: a bare word."""

    field: str | None
    method: str | None
    op: str
    values: tuple[str, ...]
    negated: bool = False

    @property
    def number(self) -> float:
        return number(self.values[0])


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a filter; FilterError says what is wrong with it."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    terms, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        term, at = _term(text, at)
        terms.append(term)
    if len(terms) > MAX_TERMS:
        raise FilterError(f"the filter has {len(terms)} terms; at most {MAX_TERMS} are read")
    return tuple(terms)


def number(text: str) -> float:
    """0.05 of "0.05" or "5%"."""
    if not _NUMBER.fullmatch(text):
        raise FilterError(f"expected a number such as 0.9 or 5%, not {text!r}")
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not math.isfinite(value):
        raise FilterError(f"{text!r} is too large a number")
    return value


def span(text: str) -> tuple[float, float] | None:
    """The ends of "0.2..0.9"; None if the text is no range."""
    low, dots, high = text.partition("..")
    return (number(low), number(high)) if dots and _NUMBER.fullmatch(low) and _NUMBER.fullmatch(high) else None


def _term(text: str, start: int) -> tuple[Term, int]:
    negated = text[start] == "-" and start + 1 < len(text) and not text[start + 1].isspace()
    at = start + negated
    head = _FIELD.match(text, at)
    if not head:
        value, at = _value(text, at)
        return Term(None, None, ":", (value,), negated), _ended(text, at)
    op, at = head["op"], head.end()
    if op == ":" and text[at : at + 1] == "!":
        negated, at = not negated, at + 1
    value, at = _value(text, at)
    values = [value]
    while op == ":" and text[at : at + 1] == ",":
        value, at = _value(text, at + 1)
        values.append(value)
    if op != ":":
        number(values[0])
    return Term(head["name"], head["method"], op, tuple(values), negated), _ended(text, at)


def _value(text: str, at: int) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, at):
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    if plain := _PLAIN.match(text, at):
        return plain[0], plain.end()
    if text[at : at + 1] == '"':
        raise FilterError(f"a quotation mark at character {at + 1} has no partner")
    raise FilterError(f"expected a value at character {at + 1}, after {text[:at][-20:]!r}")


def _ended(text: str, at: int) -> int:
    if at < len(text) and not text[at].isspace():
        raise FilterError(
            f"expected a blank at character {at + 1}, before {text[at:][:20]!r}; quote values that hold blanks, commas or quotation marks"
        )
    return at
