"""Query parameters of the HTTP API: one object describes each of them, for parsing, for openapi.json and for docs/http_api.md."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tb_deepexplain.plugin.errors import BadRequest

MAX_UNIT = 2**31 - 1
MAX_TARGETS = 16
FIELD_PATTERN = r"[^,\"\\]{1,200}"  # names of slice features are those of people's columns

Read = Callable[[str], Any]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One query parameter: its JSON schema, and the function that reads its text (ValueError says what was expected)."""

    name: str
    description: str
    schema: Mapping[str, Any]
    read: Read
    default: Any = None
    required: bool = False


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which maps of an example are shown: one step (None: the latest) and one target (None: the predicted class, where it was
    explained; else what was)."""

    step: int | None = None
    target: str | int | None = None


@dataclasses.dataclass(frozen=True)
class ExampleQuery:
    """Which examples are shown: a selection of their maps, a filter, an order, and a page of the result."""

    selection: Selection
    filter: str = ""
    sort: str = "errors"
    descending: bool = True
    offset: int = 0
    limit: int = 24


def parse(arguments: Mapping[str, str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The value of each parameter by name; its default where `arguments` has none. BadRequest for what is unknown, missing or
    malformed."""
    names = [parameter.name for parameter in parameters]
    if unknown := sorted(set(arguments) - set(names)):
        raise BadRequest(f"unknown parameter {unknown[0]!r}; this route takes {', '.join(names) or 'none'}")
    values = {}
    for parameter in parameters:
        text = arguments.get(parameter.name)
        if text is None:
            if parameter.required:
                raise BadRequest(f"parameter {parameter.name!r} is missing; this route takes {', '.join(names)}")
            values[parameter.name] = parameter.default
            continue
        try:
            values[parameter.name] = parameter.read(text)
        except ValueError as error:
            raise BadRequest(f"parameter {parameter.name}={text[:80]!r}: expected {error}") from None
    return values


def selection(values: Mapping[str, Any]) -> Selection:
    """The selection in parsed parameters."""
    return Selection(values["step"], values["target"])


def example_query(values: Mapping[str, Any]) -> ExampleQuery:
    """The query in parsed parameters."""
    return ExampleQuery(
        selection(values), values["filter"], values["sort"], values["desc"], values["offset"], values["limit"]
    )


def integer(name: str, description: str, low: int, high: int, default: int | None = None) -> Parameter:
    """A whole number within bounds, both included."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name, description, schema, lambda text: _integer(text, low, high), default)


def choice(
    name: str, description: str, options: Iterable[str], default: str | None = None, required: bool = False
) -> Parameter:
    """One of several words."""
    allowed = tuple(options)

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(map(repr, allowed))}")
        return text

    return Parameter(name, description, {"type": "string", "enum": list(allowed)}, read, default, required)


def flag(name: str, description: str, default: bool) -> Parameter:
    """`0` or `1`, read as a bool."""
    digits = choice(name, description, ("0", "1"))
    return dataclasses.replace(digits, read=lambda text: digits.read(text) == "1", default=default)


def text(name: str, description: str, required: bool = False) -> Parameter:
    """Any text but the empty one."""

    def read(value: str) -> str:
        if not value:
            raise ValueError("some text")
        return value

    return Parameter(name, description, {"type": "string", "minLength": 1}, read, required=required)


def names(name: str, description: str) -> Parameter:
    """Names separated by commas."""
    return Parameter(name, description, _list_schema({"type": "string"}), _names)


def columns(name: str, description: str, default: Sequence[str]) -> Parameter:
    """Fields of examples, separated by commas; `default` are those that are no field to sort by, too."""

    def read(value: str) -> tuple[str, ...]:
        fields = _names(value)
        if not all(re.fullmatch(FIELD_PATTERN, field) for field in fields):
            raise ValueError(f"names among {', '.join(default)}, or fields as in sort")
        return fields

    schema = _list_schema({"type": "string", "pattern": f"^{FIELD_PATTERN}$"})
    return Parameter(name, description, schema, read, tuple(default))


def units(name: str, description: str) -> Parameter:
    """Output units separated by commas."""

    def read(value: str) -> tuple[int, ...]:
        numbers = tuple(_integer(part, 0, MAX_UNIT) for part in value.split(","))
        if len(set(numbers)) != len(numbers) or len(numbers) > MAX_TARGETS:
            raise ValueError(f"at most {MAX_TARGETS} whole numbers separated by commas, each once")
        return numbers

    schema = _list_schema({"type": "integer", "minimum": 0, "maximum": MAX_UNIT}) | {"maxItems": MAX_TARGETS}
    return Parameter(name, description, schema, read)


def sort_field(name: str, description: str, default: str) -> Parameter:
    """A field to sort by; whether the store has it is checked with the store."""

    def read(value: str) -> str:
        if not re.fullmatch(FIELD_PATTERN, value):
            raise ValueError(
                "'errors', 'id', a field with a number, such as score, gap or integrated_gradients.deletion, or a slice feature"
            )
        return value

    return Parameter(name, description, {"type": "string", "pattern": f"^{FIELD_PATTERN}$"}, read, default)


def filter_terms(name: str, description: str) -> Parameter:
    """A filter; filter_grammar.py parses it with the store."""
    return Parameter(name, description, {"type": "string"}, str.strip, "")


def target(name: str, description: str) -> Parameter:
    """A rule for the target, or an output unit."""
    rules = ("predicted", "label", "sum")

    def read(value: str) -> str | int:
        if value in rules:
            return value
        try:
            return _integer(value, 0, MAX_UNIT)
        except ValueError:
            raise ValueError("'predicted', 'label', 'sum' or the number of an output unit") from None

    unit = {"type": "integer", "minimum": 0, "maximum": MAX_UNIT}
    return Parameter(name, description, {"oneOf": [{"type": "string", "enum": list(rules)}, unit]}, read)


def _integer(text: str, low: int, high: int) -> int:
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and low <= int(text) <= high):
        raise ValueError(f"a whole number from {low} to {high}")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if not all(parts) or len(set(parts)) != len(parts):
        raise ValueError("names separated by commas, each once")
    return parts


def _list_schema(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items), "minItems": 1, "uniqueItems": True}
