"""A store that changes while it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.tensorboard_server import Server
from tests.plugin import stores

pytestmark = pytest.mark.slow


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    stores.write_image_store(tmp_path, count=30)
    server = Server(tmp_path)
    yield tmp_path, server
    server.stop()


def test_new_examples_are_shown_on_request(growing: tuple[Path, Server], tab: Page) -> None:
    logdir, server = growing
    tab.goto(f"{server.address}/#deepexplain&p.deepexplain.run=pictures&p.deepexplain.sort=id&p.deepexplain.desc=0")
    frame = tab.frame_locator("iframe")
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 30")
    first = frame.locator("[data-fact=id]").first
    expect(first).to_have_text("img-0000")
    for shard in (logdir / "pictures" / "plugins" / "deepexplain" / "attributions").glob("*.parquet"):
        shard.unlink()  # as a run with --overwrite does
    stores.write_image_store(logdir, count=60)
    tab.locator(".reload-button").click()
    expect(frame.locator(".States_newVersion")).to_contain_text("30 new examples")
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 30")  # the reader is not moved
    frame.get_by_role("button", name="Show").click()
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 60")
    expect(frame.locator(".States_newVersion")).to_have_count(0)
    # A hidden tab sends no requests until it is shown.
    hidden = "(height) => document.querySelector('iframe').style.cssText = height"
    tab.evaluate(hidden, "height: 0 !important; min-height: 0; flex: none")
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url) if "api/stores" in request.url else None)
    tab.locator(".reload-button").click()
    tab.wait_for_timeout(1000)
    assert requests == []
    with tab.expect_request("**/api/stores"):
        tab.evaluate(hidden, "")
    # Nothing new, no message.
    tab.locator(".reload-button").click()
    tab.wait_for_timeout(800)
    expect(frame.locator(".States_newVersion")).to_have_count(0)
