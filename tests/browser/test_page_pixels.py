"""What is painted equals a NumPy reference of the colour rules, and nothing on the page tints it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Frame, Page, expect

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.plugin import stores

STOPS = json.loads((Path(__file__).parents[2] / "frontend" / "test" / "parity.json").read_text())["stops"]
BY_ID = ("sort=id", "desc=0")
COLUMN = {m["id"]: i + 2 for i, m in enumerate(stores.METHODS)}


def painted(frame: Frame, row: int, method: str) -> np.ndarray:
    """The canvas of a cell, as [H, W, 4] uint8."""
    height, width, rgba = frame.evaluate(
        """(cell) => { const canvas = document.querySelector(`[data-cell="${cell}"] canvas`);
        const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let s = ''; for (const b of d.data) s += String.fromCharCode(b); return [d.height, d.width, btoa(s)]; }""",
        f"{row},{COLUMN[method]}",
    )
    return np.frombuffer(base64.b64decode(rgba), np.uint8).reshape(height, width, 4)


def stored(logdir: Path, identity: str, method: str) -> np.ndarray:
    store = Store(store_path(logdir, "pictures", "attributions"))
    rows = store.index.select(["example_id", "method"]).to_pylist()
    [values] = store.maps([rows.index({"example_id": identity, "method": method})])
    return np.abs(values).max(2) if method == "saliency" else values.sum(2)


def companded(flat: np.ndarray) -> np.ndarray:
    scale = np.abs(flat[np.isfinite(flat)]).max()
    codes = np.sign(flat) * np.rint(127 * np.sqrt(np.abs(flat) / scale))
    return np.sign(codes) * (codes / 127) ** 2 * scale


def reference(values: np.ndarray, clip: float, signed: bool) -> np.ndarray:
    t = np.clip(values / clip, -1, 1)
    t = (t + 1) / 2 if signed else np.abs(t)
    stops = np.array(STOPS["signed" if signed else "unsigned"])
    colours = np.stack([np.interp(t, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], -1)
    return np.where(np.isfinite(values)[..., None], colours, [255, 214, 0])


def clip_of(flat: np.ndarray, q: float = 0.99) -> float:
    return float(np.quantile(np.abs(flat[np.isfinite(flat)]), q))


def test_maps_are_painted_as_the_rules_say(visit: Callable[..., Frame], server: str, logdir: Path) -> None:
    frame = visit(server, "pictures", *BY_ID)
    for row in range(12):
        identity = f"img-{row:04d}"
        for method in COLUMN:
            if (identity, method) in ((stores.ZERO, "integrated_gradients"), (stores.LACKING, "gradient_x_input")):
                continue
            flat = stored(logdir, identity, method)
            expected = reference(companded(flat), clip_of(flat), method != "saliency")
            shown = painted(frame, row, method)
            assert (shown[..., 3] == 255).all()
            assert np.abs(shown[..., :3] - expected).max() <= 1, (identity, method)
            # Companding costs little colour: against the values themselves, not their codes.
            exact = reference(flat, clip_of(flat), method != "saliency")
            assert np.abs(shown[..., :3] - exact).mean() < 1.5


def test_a_negated_map_swaps_hues_and_zero_is_neutral(visit: Callable[..., Frame], server: str, logdir: Path) -> None:
    frame = visit(server, "pictures", *BY_ID)
    plain_row, negated_row = int(stores.PLAIN[-4:]), int(stores.NEGATED[-4:])
    flat = stored(logdir, stores.PLAIN, "occlusion")
    plain, negated = (painted(frame, row, "occlusion")[..., :3].astype(int) for row in (plain_row, negated_row))
    strong = np.abs(flat) > 0.3 * clip_of(flat)
    red = plain[..., 0] > plain[..., 2]
    assert strong.sum() > 100 and (red == (flat > 0))[strong].all()
    assert (red != (negated[..., 0] > negated[..., 2]))[strong].all()
    zero = companded(flat) == 0
    assert (plain[zero] == 247).all() and (negated[zero] == 247).all()


def test_values_that_are_not_finite_show(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "pictures", *BY_ID)
    row = int(stores.NAN[-4:])
    shown = painted(frame, row, "occlusion")[..., :3]
    odd = (shown == [255, 214, 0]).all(-1)
    assert odd[40:48, 16:56].all() and odd.sum() == 8 * 40
    assert frame.locator(f'[data-cell="{row},{COLUMN["occlusion"]}"] .Caption_caption').inner_text().endswith("320 NaN")
    assert "1 map on this page with values that are not finite" in frame.locator(".Footer_health").inner_text()


def test_no_square_is_ever_empty(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "pictures", *BY_ID)
    for identity, method, says in (
        (stores.ZERO, "integrated_gradients", "all zero"),
        (stores.LACKING, "gradient_x_input", "—"),
    ):
        cell = frame.locator(f'[data-cell="{int(identity[-4:])},{COLUMN[method]}"]')
        assert cell.locator(".Placeholder_placeholder").inner_text() == says and cell.locator("canvas").count() == 0


def test_a_shared_scale_gives_equal_colours_to_equal_values(
    visit: Callable[..., Frame], server: str, logdir: Path
) -> None:
    frame = visit(server, "pictures", *BY_ID, "scope=row", "clip=p95")
    flats = {m: stored(logdir, "img-0004", m) for m in COLUMN}
    shared = max(clip_of(flat, 0.95) for flat in flats.values())
    for method in ("gradient_x_input", "integrated_gradients", "occlusion"):
        expected = reference(companded(flats[method]), shared, True)
        assert np.abs(painted(frame, 4, method)[..., :3] - expected).max() <= 1
    caption = {
        frame.locator(f'[data-cell="4,{c}"] .Caption_caption span').first.inner_text()[1:].strip()
        for c in COLUMN.values()
    }
    assert len(caption) == 1


@pytest.mark.parametrize("change", ["dark", "focus", "hover-row"])
def test_nothing_tints_a_tile(visit: Callable[..., Frame], server: str, tab: Page, change: str) -> None:
    frame = visit(server, "pictures", *BY_ID)
    cell = frame.locator(f'[data-cell="2,{COLUMN["occlusion"]}"]')
    canvas = cell.locator("canvas")
    before = canvas.screenshot()
    if change == "dark":
        tab.evaluate("document.body.classList.add('dark-mode')")
        frame.locator("html[data-theme=dark]").wait_for()
    elif change == "focus":
        cell.focus()
    else:
        frame.locator('[data-cell="2,0"]').hover()
    assert canvas.screenshot() == before


def test_small_tiles_are_means_and_large_ones_plain_squares(visit: Callable[..., Frame], server: str) -> None:
    frame = visit(server, "pictures", *BY_ID, "size=64")
    assert painted(frame, 0, "occlusion").shape == (64, 64, 4)
    frame = visit(server, "pictures", *BY_ID, "size=224")
    assert painted(frame, 0, "occlusion").shape == (96, 96, 4)
    style = frame.evaluate("getComputedStyle(document.querySelector('.Tile_tile canvas')).imageRendering")
    assert style == "pixelated"


def test_maps_out_of_sight_follow_the_clip_when_they_come(
    visit: Callable[..., Frame], server: str, logdir: Path
) -> None:
    frame = visit(server, "pictures", *BY_ID)
    flat = stored(logdir, "img-0023", "integrated_gradients")
    seen = frame.locator(f'[data-cell="0,{COLUMN["integrated_gradients"]}"] canvas')
    expect(seen).to_be_visible()
    frame.page.wait_for_timeout(300)  # until the observer has reported
    before = painted(frame, 23, "integrated_gradients")
    frame.get_by_label("Clip").select_option("p90")
    frame.page.wait_for_timeout(300)
    np.testing.assert_array_equal(painted(frame, 23, "integrated_gradients"), before)  # not painted while out of view
    frame.locator(f'[data-cell="23,{COLUMN["integrated_gradients"]}"]').scroll_into_view_if_needed()
    expected = reference(companded(flat), clip_of(flat, 0.9), True)
    for _ in range(600):
        if (error := np.abs(painted(frame, 23, "integrated_gradients")[..., :3] - expected).max()) <= 1:
            break
        frame.page.wait_for_timeout(100)
    assert error <= 1
