"""The page looks as it did when a person last looked at it.

LOOK=take python -m pytest -m slow tests/browser/test_page_look.py      writes new pictures to tests/browser/look: look at them
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parent / "look"
TAKEN_WITH = PICTURES / "taken_with.json"
TAKE = os.environ.get("LOOK") == "take"
TOLERANCE = 0.005  # share of pixels
DIFFERENT = 24  # levels of 255: less is another way of smoothing edges
# name: address, theme, what shows when it is ready
VIEWS = {
    "pictures_light": ("run=pictures", "light", "[role=row]:nth-child(5) canvas"),
    "pictures_dark": ("run=pictures", "dark", "[role=row]:nth-child(5) canvas"),
    "texts_light": ("run=reviews", "light", "[data-word]"),
    "texts_dark": ("run=reviews", "dark", "[data-word]"),
    "drawer": ("run=pictures&example=img-0002", "light", ".Baselines_baselines figure"),
    "summary": ("run=pictures&view=summary", "light", ".GlobalPanel_meanMap"),
    "empty": ("", "light", ".States_message pre"),
    "error": ("run=pictures", "light", "[role=alert]"),
}
_WIDTHS = """() => {
  const pen = document.createElement('canvas').getContext('2d');
  return ['13px', 'bold 15px'].map((size) => (pen.font = `${size} ${getComputedStyle(document.body).fontFamily}`,
    Math.round(pen.measureText('Integrated gradients, 0123456789 Ωµ').width * 100) / 100));
}"""


@pytest.fixture
def ready(tab: Page, browser: Browser, server: str) -> dict[str, object]:
    """What pictures depend on besides the page: the version of the browser and the fonts of the machine."""
    tab.set_viewport_size({"width": 1100, "height": 720})
    tab.goto(f"{server}/data/plugin_entry.html?name=deepexplain")
    tab.locator(".Toolbar_toolbar").wait_for()
    return {"chromium": browser.version.split(".")[0], "widths": tab.evaluate(_WIDTHS)}


@pytest.mark.parametrize("name", VIEWS)
def test_look(tab: Page, server: str, ready: dict[str, object], name: str) -> None:
    keys, theme, sign = VIEWS[name]
    if not TAKE and (taken := json.loads(TAKEN_WITH.read_text())) != ready:
        pytest.skip(f"the pictures were taken with {taken}, this machine draws with {ready}: LOOK=take takes new ones")
    tab.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    if name == "empty":
        tab.route("**/api/stores", lambda route: route.fulfill(json={"logdir": "/logs", "stores": []}))
    if name == "error":
        tab.expected = "status of 503"  # type: ignore[attr-defined]
        tab.route(
            "**/api/tiles*",
            lambda route: route.fulfill(status=503, content_type="text/plain", body="the index cannot be read"),
        )
    hash_ = "".join(f"&p.deepexplain.{key}" for key in keys.split("&") if key)
    tab.goto("about:blank")
    tab.goto(f"{server}/data/plugin_entry.html?name=deepexplain#{hash_}")
    tab.locator(sign).first.wait_for()
    expect(tab.locator(".Grid_dim, .States_skeleton")).to_have_count(0)
    tab.evaluate("document.fonts.ready")
    tab.wait_for_load_state("networkidle")
    shown = tab.screenshot(animations="disabled", caret="hide")
    if TAKE:
        PICTURES.mkdir(exist_ok=True)
        Image.open(io.BytesIO(shown)).convert("RGB").save(PICTURES / f"{name}.png", optimize=True)
        TAKEN_WITH.write_text(json.dumps(ready) + "\n")
    difference = unlike(shown, (PICTURES / f"{name}.png").read_bytes())
    if difference > TOLERANCE:
        where = Path(os.environ.get("TMPDIR", "/tmp")) / f"look-{name}.png"
        where.write_bytes(shown)
        pytest.fail(f"{difference:.2%} of the pixels differ from {name}.png; what was shown is in {where}")


def unlike(one: bytes, other: bytes) -> float:
    """The share of pixels that differ."""
    a, b = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), np.int16) for each in (one, other))
    return 1.0 if a.shape != b.shape else float((np.abs(a - b).max(-1) > DIFFERENT).mean())


def test_pictures_of_another_clip_are_unlike(tab: Page, server: str, ready: dict[str, object]) -> None:
    """The measure sees what matters: coarser colours, an unsigned map's hue, a caption gone."""
    del ready
    address = f"{server}/data/plugin_entry.html?name=deepexplain#&p.deepexplain.run=pictures"
    shots = []
    for more in ("", "&p.deepexplain.clip=p90"):
        tab.goto("about:blank")
        tab.goto(address + more)
        tab.locator("[role=row]:nth-child(5) canvas").first.wait_for()
        tab.wait_for_load_state("networkidle")
        shots.append(tab.screenshot(animations="disabled"))
    assert unlike(shots[0], shots[0]) == 0
    assert unlike(*shots) > TOLERANCE
