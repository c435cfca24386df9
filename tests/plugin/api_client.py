"""Requests to the plugin's routes; every answer is checked against openapi.json."""

from __future__ import annotations

import functools
import json
from typing import Any
from urllib.parse import urlencode

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from werkzeug.test import Client, TestResponse

from tb_deepexplain.plugin import openapi
from tests.plugin.binary_page import Page

ROOT = "/data/plugin/deepexplain"
PICTURES = {"run": "pictures", "store": "attributions"}
REVIEWS = {"run": "reviews", "store": "attributions"}
DESCRIPTION = json.loads(openapi.DESCRIPTION.read_text(encoding="utf-8"))


def get(client: Client, route: str, **query: Any) -> TestResponse:
    """The answer of a route such as "/api/stores"; AssertionError if it is not as described."""
    answer = client.get(f"{ROOT}{route}?{urlencode(query)}")
    check_described(route, answer)
    return answer


def page(client: Client, **query: Any) -> Page:
    answer = get(client, "/api/tiles", **query)
    assert answer.status_code == 200, answer.text
    return Page(answer.data)


def summary(client: Client, panel: str, **query: Any) -> Any:
    answer = get(client, "/api/summary", **query, panel=panel)
    assert answer.status_code == 200, answer.text
    _validate({"$ref": "#/components/schemas/Summaries/properties/" + panel}, answer.json)
    return answer.json


def check_described(route: str, answer: TestResponse) -> None:
    """AssertionError unless status, media type, headers and JSON of the answer are as openapi.json describes."""
    responses = DESCRIPTION["paths"][route]["get"]["responses"]
    assert str(answer.status_code) in responses, f"{route} answers {answer.status_code}, which is not described"
    response = responses[str(answer.status_code)]
    media_type = answer.content_type.partition(";")[0]
    assert media_type in response["content"], f"{route} answers {media_type}, which is not described"
    assert set(response.get("headers", {})) <= set(answer.headers.keys())
    content = response["content"][media_type]
    if media_type == "application/json":
        _validate(content["schema"], answer.json)
    if "x-header" in content:
        _validate(content["x-header"], Page(answer.data).header)


def _validate(schema: dict[str, Any], value: Any) -> None:
    error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    assert error is None, f"{error.json_path}: {error.message[:500]}"


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    """A validator for a schema of the description, as JSON; its references are to the description's components."""
    return Draft202012Validator({**json.loads(schema), "components": DESCRIPTION["components"]})
