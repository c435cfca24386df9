"""Area means, companding and thumbnails; and the colour table shared with the page."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tb_deepexplain.plugin import thumbnails, tile_encoding

PARITY = json.loads((Path(__file__).parents[2] / "frontend" / "test" / "parity.json").read_text())


def test_area_mean_of_whole_blocks_is_their_mean() -> None:
    values = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    np.testing.assert_allclose(tile_encoding.area_means(values, 6), values.reshape(6, 2, 4, 2).mean((1, 3)), rtol=1e-5)


@pytest.mark.parametrize(("shape", "size"), [((299, 299), 112), ((50, 31), 16), ((16, 200), 64), ((7, 7), 16)])
def test_area_mean_keeps_the_total_and_the_sign(shape: tuple[int, int], size: int) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    small = tile_encoding.area_means(values, size)
    assert max(small.shape) == min(size, max(shape))
    assert small.mean() == pytest.approx(values.mean(), abs=1e-6)
    np.testing.assert_array_equal(tile_encoding.area_means(-values, size), -small)


def test_a_value_that_is_not_finite_marks_every_pixel_that_it_touches() -> None:
    values = np.zeros((9, 9), np.float32)
    values[4, 4] = np.inf
    small = tile_encoding.area_means(values, 6)  # 1.5 old pixels each: old pixel 4 lies in new pixels 2 and 3
    assert np.isnan(small).sum() == 4 and np.isnan(small[2:4, 2:4]).all()


def test_codes_are_symmetric_and_zero_is_zero() -> None:
    values = np.array([[-2, -0.5, -1e-9, 0, 1e-9, 0.5, 2, np.nan, -np.inf]], np.float32)
    codes, scale = tile_encoding.compand(values)
    assert scale == 2
    assert codes.tolist() == [[-127, -64, 0, 0, 0, 64, 127, -128, -128]]
    negated, _ = tile_encoding.compand(-values)
    np.testing.assert_array_equal(negated[:, :7], -codes[:, :7])


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2), ()])
def test_a_map_that_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        tile_encoding.merge_channels(np.zeros(shape, np.float32), True)


def test_pictures_are_png_or_jpeg_only() -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), (10, 200, 30)).save(out, "PNG")
    assert thumbnails.thumbnail(out.getvalue(), 64) == (out.getvalue(), "image/png", (20, 40))
    small, media_type, full = thumbnails.thumbnail(out.getvalue(), 10)
    assert media_type == "image/jpeg" and full == (20, 40) and Image.open(io.BytesIO(small)).size == (10, 5)
    for foreign in (b"", b"<svg onload='alert(1)'/>", b"GIF89a"):
        with pytest.raises(ValueError, match="neither PNG nor JPEG"):
            thumbnails.thumbnail(foreign, 64)
    with pytest.raises(ValueError, match="cannot be decoded"):
        thumbnails.thumbnail(out.getvalue()[:30], 64)


def colours(values: np.ndarray, clip: float, stops: list[list[int]], signed: bool) -> np.ndarray:
    """The reference: linear interpolation between evenly spaced stops, symmetric about zero."""
    t = np.clip(values / clip, -1, 1)
    t = (t + 1) / 2 if signed else np.abs(t)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(t, at, [stop[c] for stop in stops]) for c in range(3)], -1)


@pytest.mark.parametrize("case", PARITY["cases"], ids=lambda case: case["name"])
def test_parity_fixture_is_what_the_rules_say(case: dict[str, object]) -> None:
    """The page's tests compare the same file with the page's colours."""
    codes = np.array(case["codes"], np.int8)
    values = tile_encoding.expand(codes, case["scale"])
    np.testing.assert_allclose(values[codes != -128], np.array([v for v in case["values"] if v is not None]), rtol=1e-5)
    expected = colours(
        values, case["clip"], PARITY["stops"]["signed" if case["signed"] else "unsigned"], case["signed"]
    )
    expected[codes == -128] = PARITY["not_finite"]
    assert np.abs(expected - np.array(case["colours"])).max() <= 1
    original = np.array([np.nan if v is None else v for v in case["original"]], np.float32)
    np.testing.assert_array_equal(tile_encoding.compand(original)[0], codes)
