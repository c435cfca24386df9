"""Questions to the plugin's routes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from werkzeug.test import Client, TestResponse

from tests.plugin.dxt1 import Page

ROOT = "/data/plugin/deepexplain"
PICTURES = {"run": "pictures", "store": "attributions"}
REVIEWS = {"run": "reviews", "store": "attributions"}


def get(client: Client, route: str, **query: Any) -> TestResponse:
    return client.get(f"{ROOT}{route}?{urlencode(query)}")


def page(client: Client, **query: Any) -> Page:
    answer = get(client, "/api/tiles", **query)
    assert answer.status_code == 200, answer.text
    return Page(answer.data)


def summary(client: Client, kind: str, **query: Any) -> Any:
    answer = get(client, "/api/summary", **query, kind=kind)
    assert answer.status_code == 200, answer.text
    return answer.json
