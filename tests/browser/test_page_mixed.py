"""Examples with a picture, a text and numbers beside strings: one map for each input."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Frame, Page, expect

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import split_map


@pytest.fixture
def stored(logdir: Path) -> dict[str, np.ndarray]:
    """The parts of the map of meal-00 by integrated gradients."""
    store = Store(store_path(logdir, "recipes", "attributions"))
    rows = store.index.select(["example_id", "method", "parts"]).to_pylist()
    number = next(
        i for i, row in enumerate(rows) if (row["example_id"], row["method"]) == ("meal-00", "integrated_gradients")
    )
    return split_map(store.maps([number])[0], rows[number]["parts"])


def test_every_cell_has_a_map_for_each_input(
    visit: Callable[..., Frame], server: str, tab: Page, stored: dict[str, np.ndarray]
) -> None:
    frame = visit(server, "recipes", "sort=id", "desc=0")
    expect(frame.get_by_role("columnheader")).to_have_count(6)  # example, input and four methods
    cell = frame.locator('[data-cell="0,4"]')
    total = sum(np.abs(part).sum() for part in stored.values())
    names = cell.locator("section > div:first-child")
    expect(names).to_have_count(3)
    expect(names.nth(0)).to_contain_text(f"photo{100 * np.abs(stored['photo']).sum() / total:.0f}")
    expect(cell.locator("canvas")).to_have_count(1)
    expect(cell.locator("[data-word]")).to_have_text(
        "a warm and quietly funny film that never once talks down to its audience".split()
    )
    strongest = sorted(("price", "seats", "city"), key=lambda name: -abs(float(stored[name])))
    raw = {"price": "price = 8.5", "seats": "seats = 20", "city": "city = Bern"}
    expect(cell.locator(".TabularMap_name")).to_have_text([raw[name] for name in strongest])
    expect(frame.locator('[data-cell="0,1"] img')).to_have_count(1)
    # A word is marked in every column.
    cell.locator("[data-word='4']").hover()
    expect(frame.locator(".TextMap_same")).to_have_text(["funny"] * 4)
    # The arrow keys reach the last column.
    frame.locator('[data-cell="0,0"]').focus()
    for _ in range(7):
        tab.keyboard.press("ArrowRight")
    expect(frame.locator('[data-cell="0,5"]')).to_be_focused()


def test_the_drawer_shows_every_input(
    visit: Callable[..., Frame], server: str, tab: Page, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    frame = visit(server, "recipes", "sort=id", "desc=0", "example=meal-00")
    drawer = frame.get_by_role("complementary")
    shares = drawer.locator("section", has_text="What each input contributes")
    expect(shares.locator("tbody th")).to_have_text(["photo", "review", "price", "seats", "city"])
    expect(drawer.locator(".Drawer_part > h2")).to_have_text(["photo", "review", "features"])
    expect(drawer.locator(".PictureMaps_plate")).to_have_count(5)
    expect(drawer.locator("section", has_text="Strongest features").locator("tbody tr")).to_have_count(3)
    line = drawer.locator("section", has_text="What the maps sum to").locator("tr", has_text="Integrated gradients")
    sum_ = float(sum(part.sum(dtype=np.float64) for part in stored.values()))
    expect(line.locator("td").nth(2)).not_to_have_text("–")
    assert float(line.locator("td").nth(2).inner_text().replace("−", "-")) == pytest.approx(sum_, rel=5e-3)
    with tab.expect_download() as download:
        drawer.get_by_role("button", name="CSV").click()
    lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    of_city = [float(one["Integrated gradients"]) for one in lines if one["feature"] == "city"]
    assert of_city == pytest.approx([float(stored["city"])], rel=1e-3)
    of_photo = np.array([float(one["Integrated gradients"]) for one in lines if one["input"] == "photo"])
    np.testing.assert_allclose(of_photo, stored["photo"].sum(2).ravel(), rtol=1e-3, atol=1e-4)


def test_the_summary_shows_the_share_of_each_input(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "recipes", "view=summary", wait=".GlobalPanel_share")
    expect(frame.locator("tr", has_text="photo").locator("td")).to_have_count(4)
