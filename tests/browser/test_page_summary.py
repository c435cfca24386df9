"""The Summary: what all maps of a store say together."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Frame, Page, expect

from tests.browser.test_page_journeys import frame_of


def test_faithfulness_beside_chance(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures")
    frame.get_by_role("button", name="Summary").click()
    expect(frame.get_by_role("heading", name="Faithfulness")).to_be_visible()
    expect(frame.locator(".Summary_panel .note").first).to_contain_text("A sample: 24 of 60 examples")
    assert "p.deepexplain.view=summary" in tab.url
    # A curve for each method and for chance, in each measure that has curves.
    charts = frame.locator(".LineChart_chart")
    expect(charts).to_have_count(2)
    assert charts.nth(1).locator("path[stroke]").count() == 5
    assert charts.nth(1).locator("path[stroke-dasharray='3 3']").count() == 1
    rows = frame.locator("tbody tr")
    expect(rows).to_have_count(5)
    # Saliency is no better than random maps by either measure; integrated gradients is, by both.
    expect(rows.nth(0).locator("td.faint")).to_have_count(2)
    expect(rows.nth(2).locator("td.faint")).to_have_count(0)
    expect(rows.nth(4)).to_contain_text("random maps")
    charts.nth(1).hover(position={"x": 200, "y": 60})
    expect(frame.locator(".Tooltip_tooltip")).to_contain_text("50\u202f% of features removed")
    expect(frame.locator(".Tooltip_tooltip")).to_contain_text("random maps")

    tab.go_back()
    expect(frame.locator("[role=grid]")).to_be_visible()
    tab.go_forward()
    expect(frame.locator(".LineChart_chart")).to_have_count(2)
    frame.get_by_role("button", name="Integrated gradients").click()
    expect(charts.nth(0).locator("path[stroke-width='3']")).to_have_count(1)


def test_a_link_to_the_summary_of_a_store_without_measures(tab: Page, server: str) -> None:
    tab.goto(
        f"{server}/#deepexplain&p.deepexplain.view=summary&p.deepexplain.run=reviews&p.deepexplain.store=attributions"
    )
    expect(tab.frame_locator("iframe").locator(".Summary_panel").first).to_contain_text("holds no measures")
    expect(tab.frame_locator("iframe").locator(".Summary_panel").first).to_contain_text("--measures deletion")
    frame = frame_of(tab)
    frame.get_by_label("Run").select_option(label="pictures")
    expect(frame.locator(".LineChart_chart")).to_have_count(2)


def test_a_summary_that_fails_says_so(tab: Page, server: str) -> None:
    tab.expected = "status of 503"  # type: ignore[attr-defined]
    tab.route(
        re.compile(r"api/summary"),
        lambda r: r.fulfill(status=503, content_type="text/plain", body="deepexplain: its shard is gone"),
    )
    tab.goto(f"{server}/#deepexplain&p.deepexplain.view=summary&p.deepexplain.run=pictures")
    frame = tab.frame_locator("iframe")
    expect(frame.locator("[role=alert]")).to_contain_text("its shard is gone")
    tab.unroute(re.compile(r"api/summary"))
    frame.get_by_role("button", name="Retry").click()
    expect(frame.locator(".LineChart_chart")).to_have_count(2)


def test_each_panel_leads_back_to_examples(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    def shown(frame: Frame) -> int:
        return int(frame.locator(".Footer_position").inner_text().split(" of ")[1])

    frame = visit(server, "pictures", "view=summary", wait=".GlobalPanel_meanMap")
    bar = frame.locator(".GapPanel_bars button:enabled").first
    count = int(bar.locator(".GapPanel_count").inner_text())
    bar.click()
    expect(frame.locator(".FilterBox_chip")).to_contain_text("integrated_gradients.gap:")
    expect(frame.locator("[role=grid]")).to_be_visible()
    assert shown(frame) == count
    tab.go_back()
    frame.get_by_role("button", name="espresso").click()
    expect(frame.locator(".FilterBox_chip")).to_have_text(re.compile("pred:espresso"))
    expect(frame.locator("button.ExampleFacts_class").first).to_have_text("espresso")
    frame = visit(server, "reviews", "view=summary", wait=".GlobalPanel_words")
    frame.locator(".GlobalPanel_words").nth(2).get_by_role("button", name="awful").click()
    expect(frame.locator(".FilterBox_chip")).to_have_text(re.compile("text:awful"))
    expect(frame.locator(".TextMap_text").first).to_contain_text("awful")
    # What the Summary says is then of those examples alone.
    frame.get_by_role("button", name="Summary").click()
    expect(frame.locator(".Summary_panel", has_text="Completeness gap")).to_contain_text("filter text:awful")
    frame.get_by_role("button", name="remove text:awful").click()
    expect(frame.locator(".Summary_panel", has_text="Completeness gap")).to_contain_text("All 37 examples; the gap")
