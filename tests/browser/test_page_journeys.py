"""What a person does on the page inside TensorBoard, by pointer and by keyboard; and the states of the page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, Route, expect

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.plugin import stores


def frame_of(tab: Page) -> Frame:
    return next(f for f in tab.frames if "plugin_entry" in f.url)


@pytest.fixture(
    scope="module",
    params=["fast", *(pytest.param(way, marks=pytest.mark.slow) for way in ("fast /a/b", "python", "python /a/b"))],
)
def server(request: pytest.FixtureRequest, serve: Callable[..., str]) -> str:
    """A server with each of TensorBoard's two readers of log directories, also below a path."""
    reader, _, prefix = request.param.partition(" ")
    flags = ["--load_fast", "true" if reader == "fast" else "false"]
    return serve(*flags, *(["--path_prefix", prefix] if prefix else []))


def test_journey(server: str, tab: Page) -> None:
    """Open TensorBoard, find the tab, errors first, next page and back, the text run, dark."""
    tab.goto(server)
    tab.get_by_role("tab", name=re.compile("deepexplain", re.I)).click()
    page = tab.frame_locator("iframe")
    rows = page.locator("[role=row]:not(.Grid_header)")
    expect(rows).to_have_count(24)
    expect(rows.first).to_have_attribute("data-misclassified", "true")
    expect(rows.first.locator(".ExampleFacts_facts")).to_contain_text("explains")
    # Names from the store are text, never markup.
    expect(page.locator("b")).to_have_count(0)
    expect(page.locator(".Footer_position")).to_have_text("1–24 of 60")

    page.get_by_role("button", name="Next").click()
    expect(page.locator(".Footer_position")).to_have_text("25–48 of 60")
    assert "p.deepexplain.at=24" in tab.url
    tab.go_back()
    expect(page.locator(".Footer_position")).to_have_text("1–24 of 60")

    page.get_by_label("misclassified only").check()
    expect(page.locator(".Footer_position")).not_to_contain_text("of 60")
    assert 0 < rows.count() == page.locator("[data-misclassified]").count() < 24

    page.get_by_label("Run").select_option(label="reviews")
    expect(page.locator("[data-word]").first).to_be_visible()
    assert (
        page.locator(".TextMap_text")
        .first.inner_text()
        .startswith(tuple(s.split(",")[0].strip() for s in stores.SENTENCES))
    )
    assert "run=reviews" in tab.url

    tab.evaluate("document.body.classList.add('dark-mode')")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert frame_of(tab).evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(48, 48, 48)"


def test_a_link_that_names_a_run_shows_its_store(server: str, tab: Page) -> None:
    tab.goto(f"{server}/#deepexplain&p.deepexplain.run=reviews")
    expect(tab.frame_locator("iframe").locator("[data-word]").first).to_be_visible(timeout=30_000)
    expect(tab.frame_locator("iframe").get_by_label("Run").locator("option:checked")).to_have_text("reviews")


def test_a_link_restores_the_view(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "pictures", "sort=score", "desc=0", "at=24", "n=48", "size=64", "clip=p90", "scope=row")
    expect(frame.get_by_label("Sort", exact=True)).to_have_value("score")
    expect(frame.locator(".Footer_position")).to_have_text("25–60 of 60")
    expect(frame.get_by_label("Clip")).to_have_value("p90")
    expect(frame.get_by_label("Scale")).to_have_value("row")
    expect(frame.get_by_label("64 pixels")).to_be_checked()


def test_the_page_opens_alone(tab: Page, server: str) -> None:
    tab.goto(f"{server}/data/plugin_entry.html?name=deepexplain")
    expect(tab.locator("[role=row]").first).to_be_visible()
    tab.keyboard.press("n")
    expect(tab.locator(".Footer_position")).to_have_text("25–48 of 60")
    assert tab.url.endswith("p.deepexplain.at=24") and tab.title() == "DeepExplain"


def test_keys(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures")
    frame.locator("body").focus()
    frame.locator(".Header_title").first.click()

    def focused_cell() -> str | None:
        return frame.evaluate("document.activeElement.getAttribute('data-cell')")

    for key, cell in [
        ("j", "0,0"),
        ("j", "1,0"),
        ("k", "0,0"),
        ("k", "0,0"),
        ("ArrowRight", "0,1"),
        ("ArrowDown", "1,1"),
        ("ArrowLeft", "1,0"),
    ]:
        tab.keyboard.press(key)
        assert focused_cell() == cell, key
    assert frame.locator("[data-cell][tabindex='0']").count() == 1
    # No trap: Tab leaves the grid for the pager.
    tab.keyboard.press("Tab")
    assert focused_cell() is None and frame.evaluate("document.activeElement.closest('footer') !== null")

    tab.keyboard.press("c")
    expect(frame.get_by_label("Clip")).to_have_value("p100")
    tab.keyboard.press("s")
    expect(frame.get_by_label("Scale")).to_have_value("row")
    tab.keyboard.press("n")
    expect(frame.locator(".Footer_position")).to_have_text("25–48 of 60")
    tab.keyboard.press("p")
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 60")
    tab.keyboard.down("o")
    assert frame.locator(".Tile_peek").count() > 50
    tab.keyboard.up("o")
    expect(frame.locator(".Tile_peek")).to_have_count(0)
    tab.keyboard.press("?")
    expect(frame.get_by_role("dialog")).to_be_visible()
    tab.keyboard.press("n")
    tab.keyboard.press("Escape")
    expect(frame.get_by_role("dialog")).to_be_hidden()
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 60")


def test_hover_shows_the_exact_value_and_the_ends(visit: Callable[..., Frame], server: str, logdir: Path) -> None:
    frame = visit(server, "pictures", "sort=id", "desc=0")
    store = Store(store_path(logdir, "pictures", "attributions"))
    rows = store.index.select(["example_id", "method"]).to_pylist()
    [values] = store.maps([rows.index({"example_id": "img-0000", "method": "occlusion"})])
    canvas = frame.locator('[data-cell="0,5"] canvas')
    side = canvas.bounding_box()["width"]  # type: ignore[index]
    canvas.hover(position={"x": (50 + 0.5) / 96 * side, "y": (30 + 0.5) / 96 * side})
    tip = frame.locator(".Tooltip_tooltip")
    expect(tip).to_contain_text("beyond the clip")
    expect(tip).to_contain_text("x 50, y 30 of 96 × 96")
    exact = float(values[30, 50].sum())
    shown = tip.locator(".Tooltip_value").inner_text().replace("−", "-")
    assert not shown.startswith("≈") and float(shown) == pytest.approx(exact, rel=1e-3)
    ends = frame.locator(".Header_ends").nth(3).locator("span").all_inner_texts()
    caption = frame.locator('[data-cell="0,5"] .Caption_caption span').first.inner_text()
    assert ends == [caption.replace("±", "−"), "0", caption.replace("±", "+")]


def test_words_merge_pieces_and_copy_as_plain_text(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "reviews", "sort=id", "n=48")
    row = frame.locator("[role=row]", has_text="review-pieces")
    text = row.locator(".TextMap_text").nth(2)
    assert text.evaluate("(p) => p.textContent") == "[CLS] unbelievable good, not dull [SEP]"
    assert text.locator(".TextMap_special").all_inner_texts() == ["[CLS]", "[SEP]"]
    assert text.locator(".TextMap_negative").all_inner_texts() == ["not"]
    text.locator("text=unbelievable").hover()
    expect(frame.locator(".Tooltip_value")).to_have_text("+1.100")
    expect(frame.locator(".Tooltip_tooltip")).to_contain_text("##believ")
    assert row.locator(".TextMap_same").count() == 4
    frame.get_by_label("whole words").uncheck()
    expect(row.locator(".TextMap_text").nth(2).locator("[data-word]")).to_have_text(
        ["[CLS]", "un", "believ", "able", "good", ",", "not", "dull", "[SEP]"]
    )
    assert text.evaluate("(p) => p.textContent") == "[CLS] unbelievable good, not dull [SEP]"  # it still reads as text
    assert "p.deepexplain.pieces=1" in frame.page.url
    frame.get_by_label("whole words").check()
    # [CLS] carries ±3 and is no part of the scale.
    assert row.locator(".Caption_caption span").nth(2).inner_text() < "±1.2"


def test_long_texts_fold_around_their_strongest_words(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "reviews", "sort=id", "n=48", "size=64")
    row = frame.locator("[role=row]", has_text="review-020")
    expect(row.locator(".TextMap_folded").first).to_contain_text("words")
    before = row.locator(".TextMap_text").first.locator("[data-word]").count()
    row.locator(".TextMap_folded").first.click()
    expect(row.locator(".TextMap_folded")).to_have_count(0)
    assert row.locator(".TextMap_text").first.locator("[data-word]").count() > 500 > before


def test_fast_paging_ends_on_the_last_requested_page(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    tab.route("**/api/tiles*", lambda route: (tab.wait_for_timeout(600), route.continue_()))
    frame = visit(server, "pictures", "sort=id", "desc=0")
    frame.locator("main").evaluate("document.body.tabIndex = -1, document.body.focus()")
    tab.keyboard.press("n")  # this page was prefetched
    expect(frame.locator(".Footer_position")).to_have_text("25–48 of 60")
    for key in "npp":
        tab.keyboard.press(key)
    expect(frame.locator(".Footer_position")).to_have_text("1–24 of 60")
    expect(frame.locator("[data-fact=id]").first).to_have_text("img-0000")
    expect(frame.locator(".States_failure")).to_have_count(0)


# — states —


def test_an_error_is_a_sentence_with_retry(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    def fail(route: Route) -> None:
        route.fulfill(status=500, content_type="text/html", body="<h1>oops</h1>")

    tab.expected = "status of 500"  # type: ignore[attr-defined]  # Chromium reports each such answer
    tab.route("**/api/tiles*", fail)
    frame = visit(server, "pictures", wait="[role=alert]")
    expect(frame.locator("[role=alert]")).to_contain_text("The server failed to answer.")
    expect(frame.locator("[role=alert]")).to_contain_text("api/tiles · 500")
    tab.unroute("**/api/tiles*")
    frame.get_by_role("button", name="Retry").click()
    expect(frame.locator("[role=row]").nth(1)).to_be_visible()


def test_a_page_that_fails_leaves_the_old_one(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures", "n=24")
    tab.route("**/api/tiles*", lambda route: route.fulfill(status=200, body=b"DXT1\xff\xff\x00\x00{"))
    frame.get_by_label("Sort", exact=True).select_option("score")
    expect(frame.locator(".States_failure")).to_contain_text("cut off")
    expect(frame.locator("[role=row]:not(.Grid_header)")).to_have_count(24)


def test_a_slow_page_dims_the_old_one_and_the_last_request_wins(
    visit: Callable[..., Frame], server: str, tab: Page
) -> None:
    frame = visit(server, "pictures")
    held: list[Route] = []
    tab.route(
        "**/api/tiles*", lambda route: held.append(route) if "sort=score" in route.request.url else route.continue_()
    )
    frame.get_by_label("Sort", exact=True).select_option("score")
    expect(frame.locator(".Grid_dim")).to_be_visible()
    frame.get_by_label("Sort", exact=True).select_option("id")
    expect(frame.locator(".Grid_dim")).to_have_count(0)
    expect(frame.locator("[data-fact=id]").first).to_have_text("img-0000")
    for route in held:
        route.continue_()
    tab.wait_for_timeout(500)
    expect(frame.locator("[data-fact=id]").first).to_have_text("img-0000")


def test_troubled_stores(server: str, visit: Callable[..., Frame]) -> None:
    frame = visit(server, "x-newer", wait="[role=alert]")
    expect(frame.locator("[role=alert]")).to_contain_text("upgrade tensorboard-plugin-deepexplain")
    frame = visit(server, "x-unfinished", wait="[role=alert]")
    expect(frame.locator("[role=alert]")).to_contain_text("finish its run first")
    frame = visit(server, "elsewhere", wait=".States_message")
    expect(frame.locator(".States_message")).to_contain_text("lists no store")
    frame = visit(server, "x-damaged", "sort=id", "desc=0")
    expect(frame.locator(".Placeholder_placeholder", has_text="cannot be read")).to_have_count(32)
    expect(frame.locator("canvas")).to_have_count(24 * 4 - 32 - 2)
    expect(frame.locator(".Footer_health")).to_contain_text("32 maps on this page cannot be read")
    assert frame.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")


def test_an_empty_logdir_says_how_to_fill_it(tab: Page, tmp_path: Path, server: str) -> None:
    tab.route("**/api/stores", lambda route: route.fulfill(json={"logdir": "/logs", "stores": []}))
    tab.goto(f"{server}/data/plugin_entry.html?name=deepexplain")
    expect(tab.locator(".States_message")).to_contain_text("No run under /logs announces an attribution store")
    program = tab.locator("pre").inner_text().replace("LOGDIR", str(tmp_path))
    exec(program, {})  # the snippet must run unchanged
    assert Store(store_path(tmp_path, "my_run", "attributions")).index.num_rows == 1
    shutil.rmtree(tmp_path / "my_run")
