"""The description of the HTTP API is that of the code, and valid. api_client.py checks every answer of the other tests against it."""

from __future__ import annotations

import json

from openapi_spec_validator import validate

from tb_deepexplain.plugin import openapi, routes, summary
from tb_deepexplain.plugin.api import PANELS, ROUTES


def test_the_description_is_valid_and_up_to_date() -> None:
    description = openapi.description()
    validate(description)
    stored = json.loads(openapi.DESCRIPTION.read_text(encoding="utf-8"))
    assert stored == description, "run `make types`"


def test_the_page_of_documentation_is_up_to_date() -> None:
    page = openapi.PAGE.read_text(encoding="utf-8")
    assert page == openapi.document(page), "run `make types`"


def test_every_described_route_is_served() -> None:
    assert {"stores", *routes._HANDLERS} == set(ROUTES)
    assert set(summary.PANELS) == set(PANELS)
