"""Requests: malformed and unknown ones are refused, no path escapes, answers are cached by version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.test import Client

from tests.plugin import stores
from tests.plugin.api_client import PICTURES, ROOT, get
from tests.plugin.small_stores import small_store


@pytest.mark.parametrize(
    ("route", "query", "sentence"),
    [
        ("/api/stores", {"run": "pictures"}, "unknown parameter 'run'"),
        ("/api/query", {}, "'run' is missing"),
        ("/api/query", {"run": "pictures"}, "'store' is missing"),
        ("/api/query", {**PICTURES, "limit": "0"}, "a whole number from 1 to 200"),
        ("/api/query", {**PICTURES, "limit": "201"}, "a whole number from 1 to 200"),
        ("/api/query", {**PICTURES, "limit": "1e2"}, "a whole number"),
        ("/api/query", {**PICTURES, "offset": "-1"}, "a whole number"),
        ("/api/query", {**PICTURES, "offset": "٣"}, "a whole number"),
        ("/api/query", {**PICTURES, "sort": "shuffle"}, "unknown field 'shuffle'; this store has id, label, pred"),
        ("/api/query", {**PICTURES, "sort": "score; DROP TABLE m"}, "unknown field 'score; DROP TABLE m'"),
        ("/api/query", {**PICTURES, "sort": 'score"'}, "'errors', 'id', a field with a number"),
        ("/api/query", {**PICTURES, "sort": "lime.gap"}, "unknown method 'lime'; this store has saliency"),
        ("/api/query", {**PICTURES, "filter": "score>>3"}, "expected a number such as 0.9 or 5%, not '>3'"),
        ("/api/query", {**PICTURES, "columns": "id,attribution"}, "unknown field 'attribution'"),
        ("/api/query", {**PICTURES, "columns": "id,max(gap)"}, "unknown field 'max(gap)'"),
        ("/api/query", {**PICTURES, "columns": 'id,"gap"'}, "names among"),
        ("/api/tiles", {**PICTURES, "pivot": "colours"}, "one of 'methods', 'steps', 'targets', 'runs'"),
        ("/api/tiles", {**PICTURES, "pivot": "targets", "targets": "1,x"}, "a whole number"),
        ("/api/facet", {**PICTURES, "bins": "1000"}, "a whole number from 2 to 200"),
        ("/api/query", {**PICTURES, "size": "3"}, "unknown parameter 'size'"),
        ("/api/tiles", {**PICTURES, "size": "100000"}, "a whole number from 16 to 1024"),
        ("/api/tiles", {**PICTURES, "methods": "saliency,saliency"}, "each once"),
        ("/api/tiles", {**PICTURES, "methods": "lime"}, "unknown method 'lime'; this store has saliency"),
        ("/api/tiles", {**PICTURES, "target": "cat"}, "'predicted', 'label', 'sum'"),
        ("/api/tiles", {**PICTURES, "step": "last"}, "a whole number"),
        ("/api/tile", {**PICTURES, "method": "saliency"}, "'id' is missing"),
        ("/api/tile", {**PICTURES, "id": "img-0000", "method": "lime"}, "unknown method 'lime'"),
        ("/api/example", {**PICTURES, "id": ""}, "some text"),
    ],
)
def test_malformed_requests_are_refused_in_a_sentence(
    client: Client, route: str, query: dict[str, str], sentence: str
) -> None:
    answer = get(client, route, **query)
    assert answer.status_code == 400
    assert answer.content_type.startswith("text/plain") and sentence in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_repeated_parameter_is_refused(client: Client) -> None:
    answer = client.get(f"{ROOT}/api/query?run=pictures&run=reviews&store=attributions")
    assert answer.status_code == 400 and "more than once" in answer.text


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("/api/example", {**PICTURES, "id": "nobody"}),
        ("/api/tile", {**PICTURES, "id": "nobody", "method": "saliency"}),
        ("/api/tile", {**PICTURES, "id": stores.LACKING, "method": "gradient_x_input"}),
        ("/api/query", {"run": "pictures", "store": "other"}),
    ],
)
def test_unknown_stores_examples_and_maps_are_404(client: Client, route: str, query: dict[str, str]) -> None:
    assert get(client, route, **query).status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_only_get_is_answered(client: Client, method: str) -> None:
    assert getattr(client, method)(f"{ROOT}/api/stores").status_code == 405


ESCAPES = ["../../etc", "..", ".", "", "/etc", "pictures/../../..", "..%2f..", "pictures\0", "\\..\\.."]


@pytest.mark.parametrize("run", ESCAPES)
@pytest.mark.parametrize("store", ["attributions", *ESCAPES[:3]])
def test_no_path_is_taken_from_the_query(client: Client, run: str, store: str) -> None:
    answer = get(client, "/api/query", run=run, store=store)
    assert answer.status_code in (400, 404) and "root:" not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "../__init__.py",
        "assets/../../__init__.py",
        "..%2f__init__.py",
        "assets/%2e%2e/index.js",
        "/etc/passwd",
        "assets/",
        "",
        ".hidden.js",
    ],
)
def test_static_serves_nothing_but_the_built_page(client: Client, name: str) -> None:
    answer = client.get(f"{ROOT}/static/{name}")
    assert answer.status_code == 404 and "import" not in answer.text


def test_the_static_entry_is_not_cached_and_assets_are(client: Client) -> None:
    entry = client.get(f"{ROOT}/static/index.js")
    assert entry.status_code == 200 and "no-cache" in entry.headers["Cache-Control"] and len(entry.data) < 4096
    asset = next(
        line
        for line in entry.text.replace('"', "`").split("`")
        if line.startswith("./assets/") and line.endswith(".js")
    )
    answer = client.get(f"{ROOT}/static/{asset[2:]}")
    assert answer.status_code == 200 and "max-age=31536000" in answer.headers["Cache-Control"]


def test_answers_about_a_version_may_be_cached(client: Client) -> None:
    version = get(client, "/api/stores").json["stores"][0]["version"]
    assert "max-age" in get(client, "/api/tiles", **PICTURES, v=version).headers["Cache-Control"]
    assert "no-cache" in get(client, "/api/tiles", **PICTURES, v="older").headers["Cache-Control"]


def test_a_path_prefix_changes_nothing(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r")
    client = served(tmp_path, prefix="/a/b")
    assert client.get(f"/a/b{ROOT}/api/stores").json["stores"][0]["run"] == "r"


@pytest.mark.parametrize("query", [{}, {"panel": "all"}, {"panel": "faithfulness", "size": "3"}])
def test_an_unknown_panel_is_refused(client: Client, query: dict[str, str]) -> None:
    answer = get(client, "/api/summary", **PICTURES, **query)
    assert answer.status_code == 400 and ("panel" in answer.text or "size" in answer.text)
