"""Filters and sort fields as SQL: expressions over the rows `selected` of the index, grouped by example.

The columns `misclassified`, `correct` and `relative_gap` of the rows come from index_source.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tb_deepexplain.filter_grammar import FilterError, Term, parse_number, parse_range
from tb_deepexplain.plugin.api import EXAMPLE_COLUMNS
from tb_deepexplain.plugin.duckdb_engine import identifier
from tb_deepexplain.plugin.index_source import finite, several_classes
from tb_deepexplain.store.slice_features import MANIFEST_KEY, PREFIX, column_name

# Fields of an example: the same in all its rows, up to rounding.
EXAMPLE_FIELDS = {name: f"max({finite(name)})" for name in ("score", "probability", "margin", "loss", "disagreement")}
# Fields of maps: (how those of several methods are aggregated, the value of one).
MAP_FIELDS = {
    "gap": ("max", "relative_gap"),
    "concentration": ("avg", finite("concentration")),
    "evaluations": ("max", "evaluations"),
}
CHANGE = "change"  # of the score of the class explained, from the first step to the last
STATES = {
    "error": "bool_or(misclassified)",
    "misclassified": "bool_or(misclassified)",
    "correct": "bool_or(correct)",
}
_OPTIONAL = {"margin", "loss", "disagreement", "concentration"}  # columns that stores of earlier versions lack
CATEGORIES = ("id", "label", "pred", "target", "text", "is", "has")
_NAMES_OF_THE_PAGE = frozenset(
    (*CATEGORIES, *EXAMPLE_FIELDS, *MAP_FIELDS, CHANGE, "errors", *EXAMPLE_COLUMNS, "version", "total", "offset")
)  # a slice feature of such a name is always written with its prefix


@dataclasses.dataclass(frozen=True)
class SliceField:
    """A slice feature as a field of filter and sort: `field` is its name, or `slice.NAME` where the page has a field of that name."""

    name: str
    field: str
    is_number: bool
    values: tuple[str, ...] | None  # of a text that has few

    @property
    def column(self) -> str:
        """Its column of the index, as SQL."""
        return identifier(column_name(self.name))

    @property
    def value(self) -> str:
        """The value of an example, as SQL over its rows."""
        return f"max({finite(self.column)})" if self.is_number else f"max({self.column})"


def slice_fields(manifest: Mapping[str, Any]) -> tuple[SliceField, ...]:
    """The slice features of a store."""
    measures = {measure["id"] for measure in manifest.get("measures") or ()}
    methods = {method["id"] for method in manifest["methods"]}
    fields = []
    for feature in manifest.get(MANIFEST_KEY) or ():
        name = feature["name"]
        first, *rest = name.lower().split(".")
        is_of_page = name.lower() in _NAMES_OF_THE_PAGE | measures or (rest and first in {*methods, PREFIX[:-1]})
        values = feature.get("values")
        fields.append(
            SliceField(
                name,
                column_name(name) if is_of_page else name,
                feature.get("type") == "number",
                None if values is None else tuple(values),
            )
        )
    return tuple(fields)


@dataclasses.dataclass(frozen=True)
class StoreFields:
    """The fields of one store: columns of its index, methods, measures, and names of classes."""

    columns: frozenset[str]
    methods: tuple[str, ...]
    measures: tuple[str, ...]
    labels: tuple[str, ...]
    steps: int  # number of them
    methods_with_gap: tuple[str, ...]
    text_search: str | None  # a query for the ids of examples whose text holds {0}; None for stores without texts
    slices: tuple[SliceField, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The fields that have a number, and so can be sorted by."""
        names = [name for name in (*EXAMPLE_FIELDS, *MAP_FIELDS) if name not in _OPTIONAL or name in self.columns]
        names += [CHANGE] if self.steps > 1 else []
        return (*names, *(measure for measure in self.measures if measure in self.columns))

    @property
    def known(self) -> tuple[str, ...]:
        """All fields, for messages."""
        return (*CATEGORIES, *self.numbers, *(feature.field for feature in self.slices))

    def find_slice(self, name: str | None) -> SliceField | None:
        """The slice feature that a field is: its name, without regard to case, or `slice.NAME`; None if it is none."""
        lower = (name or "").lower()
        names = ((feature, feature.field.lower(), column_name(feature.name).lower()) for feature in self.slices)
        return next((feature for feature, *spellings in names if lower in spellings), None)


class Bindings:
    """Values that people typed, by the names of their SQL parameters."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The parameter for a value, as SQL."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"


def expression(fields: StoreFields, name: str, method: str | None, bindings: Bindings) -> str:
    """A field that has a number, or a slice feature, as SQL; FilterError if the store has none of that name."""
    if feature := fields.find_slice(f"{method}.{name}" if method else name):
        return feature.value
    if method is not None and method not in fields.methods:
        if fields.slices:  # names of features may have dots, too
            raise FilterError(f"unknown field {method + '.' + name!r}; this store has {', '.join(fields.known)}")
        raise FilterError(f"unknown method {method!r}; this store has {', '.join(fields.methods)}")
    if name not in fields.numbers:
        raise FilterError(f"unknown field {name!r}; this store has {', '.join(fields.known)}")
    if name in (*EXAMPLE_FIELDS, CHANGE):
        if method is not None:
            raise FilterError(f"{name!r} is the same for all methods; leave out {method + '.'!r}")
        return EXAMPLE_FIELDS.get(name, f"max({CHANGE})")
    aggregate, value = MAP_FIELDS.get(name, ("avg", finite(name)))
    return f"{aggregate}({value})" + (f" FILTER (method = {bindings.add(method)})" if method else "")


def needed_methods(fields: StoreFields, sort: str, terms: Sequence[Term]) -> tuple[str, ...]:
    """The methods whose maps suffice for a sort and a filter, in a store where every example has a map by every method."""
    needed: set[str] = set()
    for qualified in (sort, *(term.qualified_field or "id" for term in terms)):
        if fields.find_slice(qualified):
            continue
        method, _, name = qualified.rpartition(".")
        if name in ("gap", "errors"):
            needed.update([method] if method else fields.methods_with_gap)
        elif name not in (*EXAMPLE_FIELDS, *CATEGORIES[:-1]):
            needed.update([method] if method else fields.methods)
    return tuple(method for method in fields.methods if method in needed) or fields.methods[:1]


def condition(fields: StoreFields, terms: Sequence[Term], bindings: Bindings) -> str:
    """The condition that an example must satisfy, as SQL over its grouped rows."""
    conditions = [_negate(_condition(fields, term, bindings), term.negated) for term in terms]
    return " AND ".join(conditions) or "true"


def _negate(sql: str, negated: bool) -> str:
    return f"NOT coalesce({sql}, false)" if negated else f"({sql})"


def _condition(fields: StoreFields, term: Term, bindings: Bindings) -> str:
    if term.field is None:
        return _match_word(fields, term.values[0], bindings)
    if feature := fields.find_slice(term.qualified_field):
        return _match_slice(feature, term, bindings)
    match = _CATEGORY_MATCHERS.get(term.field)
    if match is None:
        return _compare(fields, term, bindings)
    if term.op != ":":
        raise FilterError(f"{term.field!r} has no order; write {term.field}:{term.values[0]}")
    if term.method is not None:
        raise FilterError(f"{term.field!r} is the same for all methods; leave out {term.method + '.'!r}")
    return " OR ".join(f"({match(fields, value, bindings)})" for value in term.values)


def _match_word(fields: StoreFields, word: str, bindings: Bindings) -> str:
    """A bare word is an id, a class, a value of a slice feature, or a part of the text."""
    alternatives = [_match_id(fields, word, bindings)]
    alternatives += [_match_class(fields, "label", word, bindings), _match_class(fields, "pred", word, bindings)]
    alternatives += [_match_text_slice(feature, word, bindings) for feature in fields.slices if not feature.is_number]
    if fields.text_search:
        alternatives.append(_match_text(fields, word, bindings))
    return " OR ".join(alternatives)


def _compare(fields: StoreFields, term: Term, bindings: Bindings) -> str:
    return _compare_number(expression(fields, term.field or "", term.method, bindings), term, bindings)


def _compare_number(field: str, term: Term, bindings: Bindings) -> str:
    if term.op != ":":
        return f"{field} {term.op} {bindings.add(term.number)}"
    alternatives = []
    for value in term.values:
        low, high = parse_range(value) or (parse_number(value),) * 2
        alternatives.append(f"{field} BETWEEN {bindings.add(low)} AND {bindings.add(high)}")
    return " OR ".join(alternatives)


def _match_slice(feature: SliceField, term: Term, bindings: Bindings) -> str:
    if feature.is_number:
        return _compare_number(feature.value, term, bindings)
    if term.op not in (":", "="):
        raise FilterError(f"{feature.field!r} is text and has no order; write {feature.field}:{term.values[0]}")
    return " OR ".join(_match_text_slice(feature, value, bindings) for value in term.values)


def _match_text_slice(feature: SliceField, value: str, bindings: Bindings) -> str:
    return f"bool_or(lower({feature.column}) {_like(value.lower(), bindings)})"


def _match_id(_: StoreFields, value: str, bindings: Bindings) -> str:
    return f"example_id {_like(value, bindings)}"


def _like(value: str, bindings: Bindings) -> str:
    """Equal to the value; with `*`, which stands for any text, without regard to case."""
    escaped = value.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return f"ILIKE {bindings.add(escaped)} ESCAPE '\\'" if "*" in value else f"= {bindings.add(value)}"


_SEVERAL = {
    "label": several_classes("labels"),
    "pred": several_classes("predictions"),
}  # where an example may have several
_CLASS_COLUMNS = {  # field: (number, name)
    "label": ("label", "label_name"),
    "pred": ("predicted", "CASE WHEN target = predicted THEN target_label END"),
    "target": ("target", "target_label"),
}


def _match_class(fields: StoreFields, field: str, value: str, bindings: Bindings) -> str:
    """A class by its name or its number."""
    number, name = _CLASS_COLUMNS[field]
    alternatives = [f"bool_or(lower({name}) {_like(value.lower(), bindings)})"]
    pattern = value.lower().split("*")
    units = [unit for unit, label in enumerate(fields.labels) if _matches(label.lower(), pattern)]
    if value.isascii() and value.isdigit() and len(value) < 10:
        units.append(int(value))
    if units:
        alternatives.append(f"list_contains({bindings.add(units)}, max({number}))")
        if field in _SEVERAL:
            numbers = bindings.add([str(unit) for unit in units])
            alternatives.append(f"list_has_any({numbers}, string_split(max({_SEVERAL[field]}), ','))")
    return " OR ".join(alternatives)


def _matches(text: str, parts: Sequence[str]) -> bool:
    """Whether the text is the parts one after the other, with any text between them."""
    if len(parts) == 1:
        return text == parts[0]
    if not (text.startswith(parts[0]) and text.endswith(parts[-1]) and len(text) >= len(parts[0]) + len(parts[-1])):
        return False
    rest = text[len(parts[0]) : len(text) - len(parts[-1])]
    for part in filter(None, parts[1:-1]):
        _, match, rest = rest.partition(part)
        if not match:
            return False
    return True


def _match_text(fields: StoreFields, value: str, bindings: Bindings) -> str:
    if fields.text_search is None:
        raise FilterError("'text' is a field of texts, and this store holds none")
    return f"example_id IN ({fields.text_search.format(bindings.add(value.lower()))})"


def _match_state(_: StoreFields, value: str, __: Bindings) -> str:
    if value not in STATES:
        raise FilterError(f"is:{value} is unknown; expected is:error or is:correct")
    return STATES[value]


def _match_presence(fields: StoreFields, value: str, _: Bindings) -> str:
    conditions = {
        "warning": "bool_or(len(warnings) > 0)",
        "label": f"max(label) >= 0 OR count({_SEVERAL['label']}) > 0",
    }
    conditions |= {measure: f"count({measure}) > 0" for measure in fields.measures if measure in fields.columns}
    conditions |= {feature.field: f"count({feature.column}) > 0" for feature in fields.slices}
    if value not in conditions:
        options = ", ".join(f"has:{option}" for option in conditions)
        raise FilterError(f"has:{value} is unknown; expected one of {options}")
    return conditions[value]


_CATEGORY_MATCHERS: Mapping[str, Callable[[StoreFields, str, Bindings], str]] = {
    "id": _match_id,
    "label": lambda fields, value, bindings: _match_class(fields, "label", value, bindings),
    "pred": lambda fields, value, bindings: _match_class(fields, "pred", value, bindings),
    "target": lambda fields, value, bindings: _match_class(fields, "target", value, bindings),
    "text": _match_text,
    "is": _match_state,
    "has": _match_presence,
}
