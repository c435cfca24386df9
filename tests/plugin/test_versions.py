"""The page reads stores of every format version: the fixtures of tests/store hold the same examples in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.test import Client

from tests.plugin.api_client import get, page, summary

FIXTURES = Path(__file__).parents[1] / "store" / "fixtures"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_store_of_each_version_is_shown(version: str, served: Callable[..., Client]) -> None:
    client = served(FIXTURES / version)
    stores = get(client, "/api/stores").json["stores"]
    assert [store["run"] for store in stores] == ["image", "tabular", "text", "training"]
    assert not any("error" in store for store in stores)
    for store in stores:
        query = {"run": store["run"], "store": "default"}
        header = page(client, **query).header
        assert header["total"] == store["examples"]
        for row in header["rows"]:
            assert "error" not in row["input"]
            assert not any("error" in cell for cell in row["maps"])
            facts = get(client, "/api/example", **query, id=row["id"])
            assert facts.status_code == 200, facts.text
            assert {m["id"]: m.get("baseline", "none") for m in facts.json["methods"]} == {
                "saliency": "none",
                "intgrad": None,
            }
        for panel in ("global", "faithfulness"):
            summary(client, panel, **query)
        sums = get(client, "/api/query", **query, target="sum").json
        assert sums["total"] == (store["examples"] if store["run"] == "text" else 0)
