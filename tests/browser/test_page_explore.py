"""Filter, sort, histogram, pivot and display, by pointer and by keyboard; all of it is in the address."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, expect

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.plugin import stores

PLACE = re.compile(r"of (\d+)")


def total(frame: Frame) -> int:
    return int(PLACE.search(frame.locator(".Footer_position").inner_text())[1])  # type: ignore[index]


def press(frame: Frame, tab: Page, key: str) -> None:
    """Press a key while no field has the focus."""
    frame.locator(".Header_title").first.click()
    tab.keyboard.press(key)


def test_filter_by_typing_and_by_chips(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures")
    press(frame, tab, "/")
    assert frame.evaluate("document.activeElement.ariaLabel") == "Filter"
    tab.keyboard.type("label:coins,moon -id:img-0008")
    tab.keyboard.press("Enter")
    expect(frame.locator(".Footer_position")).to_contain_text("of 11")
    expect(frame.locator(".FilterBox_chip")).to_have_count(2)
    assert "p.deepexplain.filter=label%3Acoins%2Cmoon%20-id%3Aimg-0008" in tab.url
    frame.get_by_role("button", name="remove -id:img-0008").click()
    expect(frame.locator(".Footer_position")).to_contain_text("of 12")
    frame.get_by_label("misclassified only").check()
    expect(frame.locator(".FilterBox_chip")).to_have_count(2)
    expect(frame.locator(".Footer_position")).not_to_contain_text("of 12")
    assert 0 < total(frame) < 12
    frame.get_by_label("Filter", exact=True).fill("colour:red")
    tab.expected = "status of 400"  # type: ignore[attr-defined]
    tab.keyboard.press("Enter")
    expect(frame.locator(".States_failure")).to_contain_text("unknown field 'colour'; this store has id, label, pred")
    frame.get_by_role("button", name="remove colour:red").click()
    expect(frame.locator(".States_failure")).to_have_count(0)
    frame.get_by_label("Filter", exact=True).fill("probability>2")
    tab.keyboard.press("Enter")
    expect(frame.locator(".States_message")).to_contain_text("No example meets every term of the filter")


def test_sort_by_a_measure_and_jump_by_its_histogram(visit: Callable[..., Frame], server: str, logdir: Path) -> None:
    frame = visit(server, "pictures", "n=24")
    # In the group "gap of" or of a measure.
    frame.get_by_label("Sort", exact=True).select_option(label="Integrated gradients")
    frame.get_by_label("Sort", exact=True).select_option("score")
    bars = frame.locator(".Scrubber_histogram g")
    expect(bars.first).to_be_visible()
    assert frame.locator(".Scrubber_histogram [data-shown]").count() == 1
    scores = (
        Store(store_path(logdir, "pictures", "attributions")).index.to_pandas().groupby("example_id")["score"].first()
    )
    ordered = sorted(scores, reverse=True)
    titles = [bars.nth(i).locator("title").text_content() or "" for i in range(bars.count())]
    counts = [int(re.search(r": (\d+) examples", t)[1]) for t in titles]  # type: ignore[index]
    assert sum(counts) == 60
    low = next(i for i in range(len(counts)) if sum(counts[:i]) >= 30 and counts[i])
    number = frame.locator("[data-fact=score]").first
    before = number.inner_text()
    bars.nth(low).click()
    expect(frame.locator(".Footer_position")).to_have_text(
        f"{sum(counts[:low]) + 1}–{min(60, sum(counts[:low]) + 24)} of 60"
    )
    expect(number).not_to_have_text(before)
    assert float(number.inner_text().replace("−", "-")) == pytest.approx(ordered[sum(counts[:low])], rel=1e-3)


def test_go_to_a_rank(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures", "sort=id", "desc=0")
    press(frame, tab, "g")
    tab.keyboard.type("31")
    tab.keyboard.press("Enter")
    expect(frame.locator(".Footer_position")).to_have_text("31–54 of 60")
    expect(frame.locator("[data-fact=id]").first).to_have_text("img-0030")


def test_columns_of_steps_runs_and_classes(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "training")
    frame.get_by_label("Columns").select_option("steps")
    heads = frame.locator(".Header_title")
    expect(heads).to_have_text(["30 examples", "Input", "step 0", "step 500", "step 2,000"])
    expect(frame.get_by_label("Scale")).to_have_value("row")  # equal colours are equal values
    frame.get_by_label("change").check()
    expect(heads.last).to_have_text("step 2,000 − step 0")
    frame.get_by_label("Columns").select_option("targets")
    expect(heads).to_have_count(5)
    assert sorted(heads.all_inner_texts()[2:]) == sorted(stores.CLASSES[:3])
    frame.get_by_label("Columns").select_option("runs")
    expect(heads).to_have_text(["30 examples", "Input", "stronger", "training", "training − stronger"])
    frame.get_by_label("Method", exact=True).select_option(label="Integrated gradients")
    assert "p.deepexplain.method=integrated_gradients" in tab.url and "columns=runs" in tab.url
    # With a scale for each map, a map three times as strong has a clip three times as large.
    frame.get_by_label("Scale").select_option("map")
    ends = [
        float(t[1:])
        for t in frame.locator('[role=row]:nth-child(2) .Caption_caption span[title^="colours"]').all_inner_texts()[:2]
    ]
    assert ends[0] / ends[1] == pytest.approx(3, rel=0.02)
    frame.get_by_label("Columns").select_option("methods")
    frame.get_by_label("Explaining").select_option(label=stores.CLASSES[2])
    expect(frame.locator(".ExampleFacts_facts dd").nth(1)).to_contain_text(stores.CLASSES[2])
    press(frame, tab, "[")
    expect(frame.locator(".field output")).to_have_text("500")


def test_one_column_alone(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures")
    press(frame, tab, "3")
    expect(frame.locator(".Header_title:visible")).to_have_text(
        [re.compile("examples"), "Input", "Integrated gradients"]
    )
    press(frame, tab, "0")
    expect(frame.locator(".Header_title:visible")).to_have_count(6)


def test_signals_and_dna(visit: Callable[..., Frame], server: str, logdir: Path) -> None:
    frame = visit(server, "signals", "sort=id", "desc=0", wait=".TabularMap_signal canvas")
    cell = frame.locator('[data-cell="0,3"]')  # integrated gradients
    expect(cell.locator(".TabularMap_signalName")).to_have_text(["ecg", "dna"])
    expect(cell.locator(".TabularMap_name")).to_have_text(["age = 40"])
    expect(cell).to_contain_text("of 60, the strongest; A C G T for channels 0 to 3")
    store = Store(store_path(logdir, "signals", "attributions"))
    rows = store.index.select(["example_id", "method"]).to_pylist()
    [values] = store.maps([rows.index({"example_id": "0", "method": "integrated_gradients"})])
    canvas = cell.locator("canvas").first
    box = canvas.bounding_box()
    assert box
    canvas.hover(position={"x": (80.5) / 200 * box["width"], "y": 20})
    tip = frame.locator(".Tooltip_tooltip")
    expect(tip).to_contain_text("ecg[80] of 200")
    shown = float(tip.locator(".Tooltip_value").inner_text().replace("−", "-"))
    assert shown == pytest.approx(float(values[1 + 80]), rel=2e-3, abs=1e-6)
    # Positive letters stand above the middle, and the motif is among what is shown.
    upper = "c.getContext('2d').getImageData(0, 0, c.width, c.height / 2 - 2).data"
    inked = f"(c) => [...{upper}].filter((v, i) => i % 4 === 0 && v < 240).length"
    pixels = cell.locator("canvas").nth(1).evaluate(inked)
    assert pixels > 200


def test_steps_by_a_slider(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "training")
    slider = frame.get_by_label("Step")
    expect(frame.locator(".field output")).to_have_text("2,000")
    slider.focus()
    tab.keyboard.press("Home")
    expect(frame.locator(".field output")).to_have_text("0")
    assert re.search(r"p\.deepexplain\.step=0(&|$)", tab.url)
    expect(frame.locator(".Grid_dim")).to_have_count(0)
    tab.keyboard.press("ArrowRight")
    expect(frame.locator(".field output")).to_have_text("500")
    assert slider.get_attribute("aria-valuetext") == "step 500"
    tab.keyboard.press("End")
    expect(frame.locator(".field output")).to_have_text("2,000")
    assert "p.deepexplain.step" not in tab.url  # the latest, also when there are more


def test_smoothing_is_optional(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures")
    rendering = "getComputedStyle(document.querySelector('.Tile_tile canvas')).imageRendering"
    assert frame.evaluate(rendering) == "pixelated"
    frame.get_by_label("smooth").check()
    expect(frame.locator(".Tile_smooth")).to_be_visible()
    assert frame.evaluate(rendering) == "auto" and "p.deepexplain.smooth=1" in tab.url


def test_whitespace_is_drawn_and_not_copied(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "reviews", "sort=id", "n=48")
    text = frame.locator("[role=row]", has_text="review-pieces").locator(".TextMap_text").first
    before = text.evaluate("(p) => p.textContent")
    assert text.locator(".TextMap_blank").count() == 0
    frame.get_by_label("whitespace").check()
    expect(text.locator(".TextMap_blank")).to_have_count(before.count(" "))
    assert text.locator(".TextMap_blank").first.get_attribute("data-mark") == "·"
    selected = "(p) => (getSelection().selectAllChildren(p), getSelection().toString())"
    assert text.evaluate("(p) => p.textContent") == before and text.evaluate(selected) == before
    assert "p.deepexplain.blanks=1" in tab.url


def test_slice_features_filter_and_sort(visit: Callable[..., Frame], server: str, tab: Page, logdir: Path) -> None:
    """By typing, from the list, and by a click on a value; also those whose names need quotes or have another field beside them."""
    frame = visit(server, "subscribers")
    index = Store(store_path(logdir, "subscribers", "attributions")).index.to_pandas()
    examples = index.groupby("example_id").first()
    shown = frame.locator("[role=row]:nth-child(2) [data-slice]")
    expect(shown).to_have_count(3)
    frame.get_by_label("Filter", exact=True).fill("city:bern age>30")
    tab.keyboard.press("Enter")
    chosen = examples[(examples["slice.city"] == "Bern") & (examples["slice.age"] > 30)]
    expect(frame.locator(".Footer_position")).to_contain_text(f"of {len(chosen)}")
    frame.get_by_label("Sort", exact=True).select_option("age")
    expect(frame.locator("[data-slice=age]").first).to_have_text(f"{chosen['slice.age'].max():g}")
    assert shown.evaluate_all("(all) => all.map((each) => each.dataset.slice)") == ["city", "age", "plan"]
    for name in ("remove age>30", "remove city:bern"):
        frame.get_by_role("button", name=name).click()
    frame.get_by_label("Sort", exact=True).select_option("city")  # a text begins with the smallest
    expect(frame.locator("[data-slice=city]").first).to_have_text("Bern")
    expect(frame.get_by_role("button", name="sorted smallest first; reverse")).to_be_visible()

    frame.locator(".ExampleFacts_class").first.click()
    drawer = frame.locator(".Drawer_drawer")
    expect(drawer.locator("[data-slice]")).to_have_count(5)
    value = drawer.locator("[data-slice='account.plan type'] button")
    of_plan = examples[examples["slice.account.plan type"] == value.inner_text()]
    value.click()
    expect(frame.locator(".FilterBox_chip")).to_have_text(f'"account.plan type":"{value.inner_text()}"×')
    expect(frame.locator(".Footer_position")).to_contain_text(f"of {len(of_plan)}")
    number = drawer.locator("[data-slice=label] button")
    of_label = of_plan[of_plan["slice.label"] == number.inner_text()]
    number.click()
    expect(frame.locator(".FilterBox_chip").last).to_have_text(f"slice.label:{number.inner_text()}×")
    expect(frame.locator(".Footer_position")).to_contain_text(f"of {len(of_label)}")
    hints = frame.locator("#filter-hints option").evaluate_all("(all) => all.map((each) => each.value)")
    assert {"plan:pro", 'city:"São Paulo"', "age>", '"account.plan type":"pro monthly"', "slice.label:00"} <= set(hints)
