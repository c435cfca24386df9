"""Axe finds nothing serious on any view, in either theme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, expect

pytestmark = pytest.mark.slow

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = {
    "pictures": ("pictures", ("filter=-label:moon", "sort=score"), ".Scrubber_histogram"),
    "texts": ("reviews", (), "[data-word]"),
    "drawer": ("pictures", ("example=img-0002",), ".PictureMaps_plate canvas"),
    "steps": ("training", ("columns=steps", "change=1"), "canvas"),
    "summary": ("pictures", ("view=summary",), ".GlobalPanel_meanMap"),
    "words": ("reviews", ("view=summary",), ".GlobalPanel_words"),
    "mixed": ("recipes", ("example=meal-00",), ".PictureMaps_plate canvas"),
    "slices": ("subscribers", ("filter=city%3ABern", "example=c-04"), ".Drawer_drawer [data-slice]"),
    "trouble": ("x-newer", (), "[role=alert]"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing_serious(visit: Callable[..., Frame], server: str, tab: Page, name: str) -> None:
    run, keys, ready = VIEWS[name]
    frame = visit(server, run, *keys, wait=ready)
    frame.evaluate(AXE.read_text(encoding="utf-8"))  # a script element would be against TensorBoard's policy
    for theme in ("light", "dark"):
        if theme == "dark":
            tab.evaluate("document.body.classList.add('dark-mode')")
        expect(frame.locator("html")).to_have_attribute("data-theme", theme)
        results = frame.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (theme, v["id"], v["help"], [(n["html"][:160], n.get("failureSummary", "")[:200]) for n in v["nodes"][:3]])
            for v in results["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []
        assert len(results["passes"]) > 10  # it did look
