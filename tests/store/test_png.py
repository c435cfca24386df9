"""Pictures become PNGs that any reader decodes to the same pixels, about as small as libpng's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tb_deepexplain.recording.display import encode_arrays, encode_png
from tb_deepexplain.store.png import encode_pngs

RNG = np.random.default_rng(0)


def decode(png: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (28, 30)])
def test_every_pixel_comes_back(size: tuple[int, int], channels: int) -> None:
    noise = RNG.integers(0, 256, (3, *size, channels)).astype(np.uint8)
    flat = np.full((1, *size, channels), 255, np.uint8)
    for pictures in (noise, flat):
        for picture, png in zip(pictures, encode_pngs(pictures), strict=True):
            np.testing.assert_array_equal(decode(png), picture)
            np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), picture)


def test_files_are_about_as_small_as_those_of_libpng() -> None:
    rows, columns = np.mgrid[:64, :64]
    smooth = np.stack([rows * 2, columns * 3, 128 + 60 * np.sin(rows / 9) * np.cos(columns / 7)], -1)
    picture = (smooth + RNG.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)
    assert len(encode_pngs(picture[None])[0]) < 1.15 * len(tf.io.encode_png(picture).numpy())


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0×3 has no pixels"):
        encode_pngs(np.zeros((1, 0, 3, 1), np.uint8))


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([0, 0.5, 1], [0, 128, 255]),  # within 0..1
        ([0, 1, 255], [0, 1, 255]),  # within 0..255
        ([-1, 0, 1], [0, 128, 255]),  # others: from minimum to maximum
        ([0, 255, 510], [0, 128, 255]),
        ([-2, -2, -2], [0, 0, 0]),
        ([np.nan, 0.5, 1], [0, 128, 255]),
        ([-np.inf, 0, np.inf], [0, 128, 255]),
    ],
)
def test_ranges_are_those_of_each_picture_also_among_others(values: list[float], pixels: list[int]) -> None:
    array = np.array(values, np.float32).reshape(1, 3, 1)
    others = RNG.normal(size=(4, 1, 3, 1)).astype(np.float32)
    encoded = encode_arrays(np.stack([*others[:2], array, *others[2:]]))
    np.testing.assert_array_equal(decode(encoded[2]).ravel(), pixels)
    assert encoded == [encode_png(one) for one in (*others[:2], array, *others[2:])]


def test_other_numbers_of_channels_are_shown_by_their_mean() -> None:
    np.testing.assert_array_equal(decode(encode_png(np.array([[[0.0, 1.0], [1.0, 1.0]]]))).ravel(), [128, 255])
