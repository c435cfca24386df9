"""Pictures are recognised by their first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tb_deepexplain.store.media_types import media_type


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP"])
def test_encoded_pictures_are_recognised(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, name)
    assert media_type(file.getvalue()) == f"image/{name.lower()}"


@pytest.mark.parametrize("content", [b"", b"\x89PN", b"GIF88a", b"a text"])
def test_anything_else_is_no_picture(content: bytes) -> None:
    assert media_type(content) is None
