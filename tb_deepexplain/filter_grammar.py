"""The filter grammar: `label:cat pred:!cat score>0.9 gap>5% text:"not bad"`. Parsed here, never evaluated.

filter  = term { " " term }                          every term must hold
term    = [ "-" ] ( field ":" [ "!" ] values | field compare number | word )      "-" and "!" negate
field   = name { "." name }                          the fields of plugin/filter_sql.py or recording/example_condition.py; of a method's
                                                     number METHOD.name; a name with other characters is quoted: "plan type":basic
values  = value { "," value }                        any of them; `*` in a value stands for any text
value   = characters other than blanks and commas, or quoted: "not bad"
compare = ">" | ">=" | "<" | "<=" | "="
number  = 0.9 | -3e-2 | 5%                           and field:low..high for a range that includes both ends
"""

from __future__ import annotations

import dataclasses
import math
import re

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FIELD = re.compile(
    rf"(?P<plain>[^\W\d]\w*(?:\.\w+)*)(?P<op>>=|<=|:|>|<|=)|{_QUOTED.pattern}(?P<op_of_quoted>>=|<=|:|>|<|=)"
)
_UNQUOTED = re.compile(r'[^\s,"]+')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?%?", re.IGNORECASE)
MAX_LENGTH, MAX_TERMS = 2000, 40


class FilterError(ValueError):
    """A filter that cannot be parsed; the message says where and why."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One condition. `op` is ":" with `values` (any of them), or a comparison with `number`. A bare word has no field.

    `method`: what precedes the last dot of a field.
    """

    field: str | None
    method: str | None
    op: str
    values: tuple[str, ...]
    negated: bool = False

    @property
    def number(self) -> float:
        return parse_number(self.values[0])

    @property
    def qualified_field(self) -> str | None:
        """The field with its method."""
        return f"{self.method}.{self.field}" if self.method else self.field


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a filter; FilterError if it is malformed."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    terms, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        term, position = _parse_term(text, position)
        terms.append(term)
    if len(terms) > MAX_TERMS:
        raise FilterError(f"the filter has {len(terms)} terms; at most {MAX_TERMS} are read")
    return tuple(terms)


def parse_number(text: str) -> float:
    """0.05 for "0.05" or "5%"."""
    if not _NUMBER.fullmatch(text):
        raise FilterError(f"expected a number such as 0.9 or 5%, not {text!r}")
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not math.isfinite(value):
        raise FilterError(f"{text!r} is too large a number")
    return value


def parse_range(text: str) -> tuple[float, float] | None:
    """The ends of "0.2..0.9"; None if the text is no range."""
    low, dots, high = text.partition("..")
    is_range = dots and _NUMBER.fullmatch(low) and _NUMBER.fullmatch(high)
    return (parse_number(low), parse_number(high)) if is_range else None


def _parse_term(text: str, start: int) -> tuple[Term, int]:
    """The term that starts at a position, and the position after it."""
    negated = text[start] == "-" and start + 1 < len(text) and not text[start + 1].isspace()
    position = start + negated
    head = _FIELD.match(text, position)
    if not head:
        word, position = _parse_value(text, position)
        return Term(None, None, ":", (word,), negated), _check_end(text, position)
    op, position = head["op"] or head["op_of_quoted"], head.end()
    method, _, name = (head["plain"] or _unescape(head[3])).rpartition(".")
    if op == ":" and text[position : position + 1] == "!":
        negated, position = not negated, position + 1
    value, position = _parse_value(text, position)
    values = [value]
    while op == ":" and text[position : position + 1] == ",":
        value, position = _parse_value(text, position + 1)
        values.append(value)
    if op not in (":", "="):
        parse_number(values[0])
    return Term(name, method or None, op, tuple(values), negated), _check_end(text, position)


def _parse_value(text: str, position: int) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, position):
        return _unescape(quoted[1]), quoted.end()
    if unquoted := _UNQUOTED.match(text, position):
        return unquoted[0], unquoted.end()
    if text[position : position + 1] == '"':
        raise FilterError(f"a quotation mark at character {position + 1} has no partner")
    raise FilterError(f"expected a value at character {position + 1}, after {text[:position][-20:]!r}")


def _unescape(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _check_end(text: str, position: int) -> int:
    """The position, if a term can end there."""
    if position < len(text) and not text[position].isspace():
        raise FilterError(
            f"expected a blank at character {position + 1}, before {text[position:][:20]!r}; quote values that hold blanks, "
            "commas or quotation marks"
        )
    return position
