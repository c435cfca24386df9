"""Any filter and any request: an answer that openapi.json describes, never 500."""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from tb_deepexplain.filter_grammar import FilterError, Term, parse, parse_number, parse_range
from tests.plugin.api_client import DESCRIPTION, ROOT, check_described

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each property; `make fuzz` sets more
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SLOWEST_S = 2.0
WORDS = [
    *"label pred is has text id score probability gap concentration margin deletion change slice.a -a cat * 5% 0.2..0.9 1e-999".split(),
    *"saliency.gap occlusion.deletion.x is:error is:correct has:warning label:* pred:!cat text:a id:img* : > <= = , - . ( ) ; %".split(),
    *('"a b"', r'"a\"b"', '"', "\\", "'", "\x00", "ä", "\u2028"),
]
FILTERS = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=12).map(" ".join) | st.lists(
    st.sampled_from(WORDS), max_size=12
).map("".join)


@FUZZ
@given(FILTERS | st.text())
def test_any_filter_is_terms_or_one_sentence(text: str) -> None:
    try:
        terms = parse(text)
    except FilterError:
        return
    for term in terms:
        assert isinstance(term, Term) and term.values
        if term.op not in (":", "="):
            assert term.number == term.number


@FUZZ
@given(st.text(max_size=20) | st.from_regex(r"[-+0-9.e%]{1,40}", fullmatch=True))
def test_any_text_is_a_number_a_range_or_one_sentence(text: str) -> None:
    for read in (parse_number, parse_range):
        try:
            read(text)
        except FilterError:
            continue


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a parameter's schema allows, near its bounds too, and any others."""
    junk = st.text(max_size=12) | st.sampled_from(
        ["", "0", "-1", "1e9", "nan", "9" * 400, "\x00", "\ud7ff", "../..", "%", "a" * 5000]
    )
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | junk
    if "oneOf" in schema:
        return st.one_of(*map(values_of, schema["oneOf"])) | junk
    match schema.get("type"):
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            return st.integers(low - 1, high + 1).map(str) | st.sampled_from([low, high, 0, 1]).map(str) | junk
        case "array":
            return st.lists(values_of(schema["items"]), max_size=5).map(lambda items: ",".join(map(str, items))) | junk
    return (
        st.sampled_from(
            ["pictures", "reviews", "wine", "attributions", "img-0001", "0", "saliency", "gap", "score", "errors"]
        )
        | junk
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    route = draw(st.sampled_from(sorted(DESCRIPTION["paths"])))
    query = {}
    for parameter in DESCRIPTION["paths"][route]["get"]["parameters"]:
        name = parameter["name"]
        if name == "run" and draw(st.integers(0, 9)):
            query[name] = draw(st.sampled_from(["pictures", "reviews", "wine"]))
        elif name == "store" and draw(st.integers(0, 9)):
            query[name] = "attributions"
        elif parameter["required"] or draw(st.booleans()):
            query[name] = draw(FILTERS if name == "filter" else values_of(parameter["schema"]))
    if not draw(st.integers(0, 9)):
        query[draw(st.text(max_size=5))] = "1"
    return route, {name: str(value) for name, value in query.items()}


@FUZZ
@given(requests())
def test_any_request_is_answered_as_described_and_soon(client: Client, request_: tuple[str, dict[str, str]]) -> None:
    route, query = request_
    begin = time.process_time()
    answer = client.get(f"{ROOT}{route}?{urlencode(query)}")
    seconds = time.process_time() - begin
    check_described(route, answer)  # 500 is not described
    assert seconds < SLOWEST_S or query.get("panel") == "agreement" or route == "/api/export", (route, query, seconds)


@FUZZ
@given(st.text(max_size=300) | st.from_regex(r"assets/[A-Za-z0-9_.-]{1,400}\.(js|css)", fullmatch=True))
def test_any_name_of_a_static_file_is_it_or_not_there(client: Client, name: str) -> None:
    answer = client.get(f"{ROOT}/static/{urlencode({'': name})[1:]}")
    assert answer.status_code in (200, 404)
