"""Pictures are recognised by their first bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tb_deepexplain.store.media_types import media_type, without_orientation


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP"])
def test_encoded_pictures_are_recognised(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, name)
    assert media_type(file.getvalue()) == f"image/{name.lower()}"


@pytest.mark.parametrize("content", [b"", b"\x89PN", b"GIF88a", b"a text"])
def test_anything_else_is_no_picture(content: bytes) -> None:
    assert media_type(content) is None


@pytest.mark.parametrize("format_", ["png", "jpeg"])
def test_a_picture_without_exif_data_stays_as_it_is(format_: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, format_)
    assert without_orientation(file.getvalue()) == file.getvalue()
    assert without_orientation(file.getvalue()[:-9]) == file.getvalue()[:-9]  # cut off
    assert without_orientation(b"GIF89a") == b"GIF89a"
