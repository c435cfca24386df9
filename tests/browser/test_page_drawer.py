"""The drawer: everything about one example, with files to take away."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Frame, Locator, Page, expect

from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.plugin import stores


def exact(logdir: Path, example: str, method: str) -> np.ndarray:
    """The stored map, its channels reduced to one number as the page does."""
    store = Store(store_path(logdir, "pictures", "attributions"))
    rows = store.index.select(["example_id", "method"]).to_pylist()
    [values] = store.maps([rows.index({"example_id": example, "method": method})])
    return tile_encoding.merge_channels(values, next(m["signed"] for m in stores.METHODS if m["id"] == method))


def test_the_drawer_shows_all_about_one_example(
    visit: Callable[..., Frame], server: str, tab: Page, logdir: Path, tmp_path: Path
) -> None:
    frame = visit(server, "pictures", "sort=id", "desc=0")
    frame.locator('[data-cell="2,0"]').focus()
    tab.keyboard.press("Enter")
    drawer = frame.get_by_role("complementary")
    expect(drawer).to_contain_text("Example img-0002")
    assert "p.deepexplain.example=img-0002" in tab.url
    expect(drawer.locator(".PictureMaps_plate")).to_have_count(5)
    # The arithmetic of integrated gradients: what is stored, and the exact sum of the map.
    stored = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    row = stored[(stored["example_id"] == "img-0002") & (stored["method"] == "integrated_gradients")].iloc[0]
    sums = drawer.locator("section", has_text="What the maps sum to")
    line_of = sums.locator("tr", has_text="Integrated gradients").locator("td")
    expect(line_of.nth(2)).not_to_have_text("–")
    line = line_of.all_inner_texts()
    numbers = [float(n.replace("−", "-")) for n in line[:4]]
    sum_ = float(exact(logdir, "img-0002", "integrated_gradients").sum())
    assert numbers == pytest.approx([row["score"], row["baseline_score"], sum_, row["gap"]], rel=5e-3)
    expect(sums.locator("tr", has_text="Occlusion")).to_contain_text("no promise")
    expect(drawer.locator(".LineChart_chart")).to_have_count(2)  # sensitivity-n and deletion of this example
    # One cursor over all maps.
    plate = drawer.locator(".PictureMaps_plate .Tile_tile").nth(1)
    side = plate.bounding_box()["width"]  # type: ignore[index]
    plate.hover(position={"x": (40.5) / 96 * side, "y": (20.5) / 96 * side})
    expect(drawer.locator(".PictureMaps_cross")).to_have_count(5)
    cursor_values = drawer.locator(".PictureMaps_values")
    expect(cursor_values).to_contain_text("x 40, y 20")
    for method in ("gradient_x_input", "occlusion"):
        value = float(exact(logdir, "img-0002", method)[20, 40])
        title = next(m["title"] for m in stores.METHODS if m["id"] == method)
        shown = cursor_values.locator(f"dt:has-text('{title}') + dd").inner_text().split(" above")[0]
        assert float(shown.replace("−", "-")) == pytest.approx(value, rel=1e-3)
    # The strongest pixels of the chosen method.
    drawer.get_by_role("button", name="Occlusion").click()
    values = exact(logdir, "img-0002", "occlusion")
    y, x = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    expect(drawer.locator("tbody", has_text="x ").last.locator("tr").first).to_contain_text(f"x {x}, y {y}")
    check_files(drawer, tab, tmp_path, logdir)
    # Keys open the next example and close the drawer; the address follows.
    frame.locator('[data-cell="2,0"]').focus()
    tab.keyboard.press("j")
    expect(drawer).to_contain_text("Example img-0003")
    tab.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    assert "example=" not in tab.url


def check_files(drawer: Locator, tab: Page, folder: Path, logdir: Path) -> None:
    values = exact(logdir, "img-0002", "integrated_gradients")
    with tab.expect_download() as download:
        drawer.get_by_role("button", name="CSV").click()
    lines = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
    assert lines[0] == ["x", "y", "Saliency", "Gradient × input", "Integrated gradients", "Occlusion"]
    assert len(lines) == 1 + 96 * 96
    np.testing.assert_allclose(np.array([float(line[4]) for line in lines[1:]]).reshape(96, 96), values, rtol=1e-6)
    arrays: dict[str, np.ndarray] = {}
    keep = lambda d: arrays.update({d.suggested_filename: np.load(d.path())})  # noqa: E731
    tab.on("download", keep)
    drawer.get_by_role("button", name="NPY").click()
    for _ in range(600):
        if len(arrays) == 4:
            break
        tab.wait_for_timeout(100)
    tab.remove_listener("download", keep)
    np.testing.assert_array_equal(arrays["pictures_img-0002_integrated_gradients.npy"], values)
    with tab.expect_download() as download:
        drawer.get_by_role("button", name="PNG").click()
    picture = Image.open(download.value.path())
    assert picture.size == (24 + 5 * 280, 56 + 256 + 46)
    # The legend is burnt in: dark blue, neutral, dark red along the ramp of a signed map.
    ramp = np.asarray(picture.convert("RGB"))[56 + 256 + 15]
    start = 24 + 3 * 280
    assert ramp[start + 2].tolist()[2] > 90 and ramp[start + 253].tolist()[0] > 90 and ramp[start + 128].min() > 230


def test_a_link_opens_an_example_of_another_page(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures", "sort=id", "desc=0", "example=img-0055")
    expect(frame.get_by_role("complementary")).to_contain_text("img-0055")
    expect(frame.get_by_role("complementary").locator(".PictureMaps_plate")).to_have_count(5)
    frame = visit(server, "pictures", "example=nobody")
    expect(frame.get_by_role("complementary").locator("[role=alert]")).to_contain_text("No example “nobody”")
    frame.get_by_role("button", name="close").click()
    expect(frame.get_by_role("complementary")).to_have_count(0)


def test_all_maps_zoom_together(visit: Callable[..., Frame], server: str, tab: Page) -> None:
    frame = visit(server, "pictures", "sort=id", "desc=0", "example=img-0001")
    expect(frame.locator(".PictureMaps_plate")).to_have_count(5)
    box = frame.locator(".PictureMaps_plate .Tile_tile").nth(2).bounding_box()
    assert box
    tab.mouse.move(box["x"] + 60, box["y"] + 60)
    tab.mouse.wheel(0, -300)
    expect(frame.locator(".PictureMaps_blend .note")).to_contain_text("× 2.7")
    transforms = frame.locator(".PictureMaps_zoomed").evaluate_all(
        "(all) => [...new Set(all.map((e) => e.style.transform))]"
    )
    assert len(transforms) == 1 and "scale(2.7" in transforms[0]
    frame.locator(".PictureMaps_plate .Tile_tile").nth(2).dblclick()
    expect(frame.locator(".PictureMaps_blend .note")).to_contain_text("scroll to zoom")


def test_words_in_the_drawer(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "reviews", "example=review-002")
    drawer = frame.get_by_role("complementary")
    expect(drawer.locator(".TextMap_text")).to_have_count(4)
    expect(drawer.locator(".TextMap_text").first).to_have_text("not bad at all, though the second half drags")
    expect(drawer.locator("tbody").last.locator("th").first).to_have_text(re.compile("drags|bad"))
    expect(drawer).to_contain_text("No measure of this map was taken")


def test_the_drawer_shows_baselines(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "pictures", "example=img-0002", wait=".Baselines_baselines figure")
    zeros, array = frame.locator(".Baselines_baselines figure").all()
    expect(zeros).to_contain_text("0 everywhere, as the model takes it Integrated gradients")
    assert zeros.locator("img").count() == 0
    expect(array).to_contain_text("an array, as the model takes it Occlusion")
    assert array.locator("img").evaluate("(i) => [i.naturalWidth, i.naturalHeight]") == [32, 32]
