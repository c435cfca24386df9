"""The HTTP API: the table of its routes with their parameters and answers. routes.py serves it, openapi.py describes it."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from tb_deepexplain.plugin import answers
from tb_deepexplain.plugin.parameters import (
    Parameter,
    choice,
    columns,
    filter_terms,
    flag,
    integer,
    names,
    sort_field,
    target,
    text,
    units,
)

PREFIX = "/api/"
JSON, BINARY = "application/json", "application/octet-stream"
EXPORT_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
EXAMPLE_COLUMNS = (
    "id", "label", "label_name", "predicted", "predicted_name", "misclassified",
    "target", "target_name", "score", "probability", "gap", "relative_gap",
)  # fmt: skip
PANELS = get_type_hints(answers.Summaries)  # the type of the answer by panel
MAX_LIMIT, MAX_EXPORT, MAX_EXPORT_VALUES = 200, 100_000, 10_000
MAX_OFFSET = 2**53


@dataclasses.dataclass(frozen=True)
class Route:
    """A route that answers GET. `answers` gives the type of the answer for each media type; None where it is no JSON."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    answers: Mapping[str, Any]
    details: str = ""  # Markdown
    header: Any = None  # the type of the JSON header within a binary answer
    response_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> str:
        return PREFIX + self.name


_STORE = (
    text("run", "the run, as `/api/stores` lists it", required=True),
    text("store", "the store's name, as `/api/stores` lists it", required=True),
    text("v", "the store's `version`; if it is the current one, the answer may be cached for an hour"),
)
_SELECTION = (
    integer("step", "training step; by default the latest", -(2**63), 2**63 - 1),
    target("target", "the target of the maps; by default the predicted class of each example, or the target that was explained instead"),
)  # fmt: skip
_FILTER = filter_terms("filter", "which examples; by default all")
_ORDER = (
    sort_field(
        "sort", "`errors`, `id`, a field with a number (`METHOD.FIELD` for one method), or a slice feature", "errors"
    ),
    flag("desc", "largest first", default=True),
)
_OFFSET = integer("offset", "rank of the first example", 0, MAX_OFFSET, 0)
_QUERY = (*_STORE, *_SELECTION, _FILTER, *_ORDER, _OFFSET)
_PAGE = (*_QUERY, integer("limit", "largest number of examples", 1, MAX_LIMIT, 24))
_ID = text("id", "the example's id", required=True)

_TILES = """\
One binary answer holds a whole page; [its format](#the-binary-answer) is below. With `pivot=runs` every run shows its latest step that is
not after `step`."""

_EXPORT = """\
An attachment with a line for each example: the columns of `/api/query`, `margin`, `loss` and `disagreement`, `slice.NAME` for each slice
feature, and for each method `METHOD.gap`, `METHOD.concentration` and `METHOD.MEASURE`. Text that a spreadsheet would run as a formula
begins with an apostrophe.

`values=1` adds lists (JSON in a cell of CSV): `tokens` of a text, or `features` and `values`; and `METHOD.attributions`, one number for
each of them. The columns of an example with several inputs of any kind begin with the name of the input, such as
`review.tokens` and `METHOD.review.attributions`; pictures have none. It sends at most 10,000 examples."""

_SUMMARY = """\
`faithfulness` gives what the manifest holds and ignores the selection and the filter; `gap` covers all examples of the filter; `agreement`
and `global` cover a sample of at most 240 and 500 examples, evenly spread."""

_QUERY_DETAILS = """\
One array for each column, and `version`, `total` (examples of the filter) and `offset`. `gap` is the largest `|gap|`,
`relative_gap` the largest relative gap of the example's maps. An example is listed when it has a map for the step and target."""

ROUTES = {
    route.name: route
    for route in (
        Route("stores", "All stores, from their manifests alone", (), {JSON: answers.Stores}),
        Route(
            "query",
            "Columns of numbers of a page of examples",
            (*_PAGE, columns("columns", "fields, separated by commas", EXAMPLE_COLUMNS)),
            {JSON: answers.Columns},
            _QUERY_DETAILS,
        ),
        Route(
            "tiles",
            "A page of examples with inputs and maps",
            (
                *_PAGE,
                choice("pivot", "what the columns are", get_args(answers.Pivot), "methods"),
                names("methods", "which methods, by default all; other pivots show the first of them"),
                units("targets", "which targets, for the pivot `targets`; by default the most frequent"),
                flag("change", "adds a column: the last map minus the first", default=False),
                integer("size", "largest side of a picture's maps, in pixels", 16, 1024, 224),
            ),
            {BINARY: None},
            _TILES,
            header=answers.PageHeader,
        ),
        Route(
            "facet",
            "The distribution of the sort field over the examples of a filter",
            (*_PAGE, integer("bins", "largest number of bins", 2, 200, 60)),
            {JSON: answers.Facet},
        ),
        Route(
            "tile",
            "One map at full size, as little-endian float32",
            (
                *_STORE,
                *_SELECTION,
                _ID,
                text("method", "the method's id", required=True),
                flag("flat", "reduce the channels of a picture to one number", default=False),
                text("input", "the input whose part of the map is wanted, of a mixed example; by default the whole map, flat"),
            ),
            {BINARY: None},
            response_headers={"X-Shape": "the map's shape as JSON"},
        ),
        Route(
            "example", "Every number stored about one example", (*_STORE, *_SELECTION, _ID), {JSON: answers.ExampleFacts}
        ),
        Route(
            "export",
            "The numbers of many examples as a file",
            (
                *_QUERY,
                integer("limit", "largest number of examples", 1, MAX_EXPORT, MAX_EXPORT),
                choice("format", "of the file", EXPORT_TYPES, required=True),
                flag("values", "adds tokens or features, and their attributions", default=False),
            ),
            dict.fromkeys(EXPORT_TYPES.values()),
            _EXPORT,
        ),
        Route(
            "summary",
            "One panel of the Summary",
            (*_STORE, *_SELECTION, _FILTER, choice("panel", "which one", PANELS, required=True)),
            {JSON: functools.reduce(operator.or_, PANELS.values())},
            _SUMMARY,
        ),
    )
}  # fmt: skip
