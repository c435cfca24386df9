"""What examples are filtered and sorted by: each field as SQL over the rows `m` of the index, grouped by example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tb_deepexplain.plugin.filter_grammar import FilterError, Term, number, span


def finite(value: str) -> str:
    """A number as SQL; what is not finite is null. (Not by isnan: DuckDB takes a Parquet file's bounds for proof that it holds
    no NaN, which they are not.)"""
    return f"CASE WHEN isfinite({value}) THEN {value} END"


_WRONG = "coalesce(max(label) >= 0 AND max(predicted) >= 0 AND max(label) <> max(predicted), false)"
_RIGHT = "coalesce(max(label) >= 0 AND max(label) = max(predicted), false)"
_DIFFERENCE = "(score - baseline_score)"
_GAP = f"CASE WHEN gap = 0 THEN 0 WHEN isfinite(gap) AND isfinite{_DIFFERENCE} THEN abs(gap / {_DIFFERENCE}) END"

# Of an example as a whole: the same in all its rows, up to rounding.
WHOLE = {name: f"max({finite(name)})" for name in ("score", "probability", "margin", "loss", "disagreement")}
# Of each map: how those of several methods are taken together.
OF_MAPS = {
    "gap": ("max", _GAP),
    "concentration": ("avg", finite("concentration")),
    "evaluations": ("max", "evaluations"),
}
CHANGE = "change"  # of the score of the class explained, from the first step to the last
STATES = {"error": _WRONG, "misclassified": _WRONG, "correct": _RIGHT}
_NEEDS = {"margin", "loss", "disagreement", "concentration"}  # columns that stores of earlier versions lack
CATEGORIES = ("id", "label", "pred", "target", "text", "is", "has")


@dataclasses.dataclass(frozen=True)
class Known:
    """What a store knows: columns of its index, methods, measures, the names of its classes."""

    columns: frozenset[str]
    methods: tuple[str, ...]
    measures: tuple[str, ...]
    labels: tuple[str, ...]
    steps: int  # how many the maps are of
    summing: tuple[str, ...]  # the methods whose maps have a gap
    text: str | None  # a query for the ids of examples whose text holds {0}; None of stores without texts

    @property
    def numbers(self) -> tuple[str, ...]:
        """The fields that have a number, and so can be sorted by."""
        plain = [name for name in (*WHOLE, *OF_MAPS) if name not in _NEEDS or name in self.columns]
        plain += [CHANGE] if self.steps > 1 else []
        return (*plain, *(m for m in self.measures if m in self.columns))


class Bindings:
    """Values of people, by the names under which SQL has them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"


def expression(known: Known, name: str, method: str | None, bind: Bindings) -> str:
    """A field that has a number, as SQL; FilterError if the store has none of that name."""
    if method is not None and method not in known.methods:
        raise FilterError(f"unknown method {method!r}; this store has {', '.join(known.methods)}")
    if name not in known.numbers:
        raise FilterError(f"unknown field {name!r}; this store has {', '.join((*CATEGORIES, *known.numbers))}")
    if name in (*WHOLE, CHANGE):
        if method is not None:
            raise FilterError(f"{name!r} is the same for all methods; leave out {method + '.'!r}")
        return WHOLE.get(name, f"max({CHANGE})")
    together, value = OF_MAPS.get(name, ("avg", finite(name)))
    return f"{together}({value})" + (f" FILTER (method = {bind.add(method)})" if method else "")


def methods(known: Known, sort: str, terms: Sequence[Term]) -> tuple[str, ...]:
    """Those whose maps tell all that a sort and a filter ask for, in a store whose examples have one by each method."""
    needed: set[str] = set()
    for asked in (sort, *(_asked(term) for term in terms)):
        method, _, name = asked.rpartition(".")
        if name in ("gap", "errors"):
            needed.update([method] if method else known.summing)
        elif name not in (*WHOLE, *CATEGORIES[:-1]):
            needed.update([method] if method else known.methods)
    return tuple(method for method in known.methods if method in needed) or known.methods[:1]


def _asked(term: Term) -> str:
    """The field of a term, as in a sort."""
    return f"{term.method}.{term.field}" if term.method else term.field or "id"


def condition(known: Known, terms: Sequence[Term], bind: Bindings) -> str:
    """What must hold of an example, as SQL over grouped rows."""
    return " AND ".join(_negated(_of(known, term, bind), term.negated) for term in terms) or "true"


def _negated(sql: str, negated: bool) -> str:
    return f"NOT coalesce({sql}, false)" if negated else f"({sql})"


def _of(known: Known, term: Term, bind: Bindings) -> str:
    if term.field is None:
        word = term.values[0]
        ways = [_id(word, bind), _named(known, "label", word, bind), _named(known, "pred", word, bind)]
        return " OR ".join([*ways, _text(known, word, bind)] if known.text else ways)
    reader = _READERS.get(term.field)
    if reader is None:
        return _compared(known, term, bind)
    if term.op != ":":
        raise FilterError(f"{term.field!r} has no order; write {term.field}:{term.values[0]}")
    if term.method is not None:
        raise FilterError(f"{term.field!r} is the same for all methods; leave out {term.method + '.'!r}")
    return " OR ".join(f"({reader(known, value, bind)})" for value in term.values)


def _compared(known: Known, term: Term, bind: Bindings) -> str:
    field = expression(known, term.field or "", term.method, bind)
    if term.op != ":":
        return f"{field} {term.op} {bind.add(term.number)}"
    ways = []
    for value in term.values:
        low, high = span(value) or (number(value),) * 2
        ways.append(f"{field} BETWEEN {bind.add(low)} AND {bind.add(high)}")
    return " OR ".join(ways)


def _id(value: str, bind: Bindings) -> str:
    return f"example_id {_like(value, bind)}"


def _like(value: str, bind: Bindings) -> str:
    """Equal but for case; `*` stands for anything."""
    escaped = value.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return f"ILIKE {bind.add(escaped)} ESCAPE '\\'" if "*" in value else f"= {bind.add(value)}"


def _named(known: Known, which: str, value: str, bind: Bindings) -> str:
    """A class by its name or its number."""
    unit = {"label": "label", "pred": "predicted", "target": "target"}[which]
    name = {
        "label": "label_name",
        "pred": "CASE WHEN target = predicted THEN target_label END",
        "target": "target_label",
    }[which]
    ways = [f"bool_or(lower({name}) {_like(value.lower(), bind)})"]
    pattern = value.lower().split("*")
    units = [i for i, label in enumerate(known.labels) if _matches(label.lower(), pattern)]
    if value.isascii() and value.isdigit() and len(value) < 10:
        units.append(int(value))
    if units:
        ways.append(f"list_contains({bind.add(units)}, max({unit}))")
    return " OR ".join(ways)


def _matches(text: str, parts: Sequence[str]) -> bool:
    """Whether the text is the parts in turn, with anything between them."""
    if len(parts) == 1:
        return text == parts[0]
    if not (text.startswith(parts[0]) and text.endswith(parts[-1]) and len(text) >= len(parts[0]) + len(parts[-1])):
        return False
    rest = text[len(parts[0]) : len(text) - len(parts[-1])]
    for part in filter(None, parts[1:-1]):
        _, there, rest = rest.partition(part)
        if not there:
            return False
    return True


def _text(known: Known, value: str, bind: Bindings) -> str:
    if known.text is None:
        raise FilterError("'text' is a field of texts, and this store holds none")
    return f"example_id IN ({known.text.format(bind.add(value.lower()))})"


def _state(_: Known, value: str, __: Bindings) -> str:
    if value not in STATES:
        raise FilterError(f"is:{value} is not known; expected is:error or is:correct")
    return STATES[value]


def _has(known: Known, value: str, _: Bindings) -> str:
    ways = {"warning": "bool_or(len(warnings) > 0)", "label": "max(label) >= 0"}
    ways |= {f"{m}": f"count({m}) > 0" for m in known.measures if m in known.columns}
    if value not in ways:
        raise FilterError(f"has:{value} is not known; expected one of {', '.join(f'has:{w}' for w in ways)}")
    return ways[value]


_READERS: Mapping[str, Callable[[Known, str, Bindings], str]] = {
    "id": lambda _, value, bind: _id(value, bind),
    "label": lambda known, value, bind: _named(known, "label", value, bind),
    "pred": lambda known, value, bind: _named(known, "pred", value, bind),
    "target": lambda known, value, bind: _named(known, "target", value, bind),
    "text": _text,
    "is": _state,
    "has": _has,
}
