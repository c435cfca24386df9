"""Input pictures as the page gets them: PNG or JPEG only, reduced to the requested size."""

from __future__ import annotations

import io

from tb_deepexplain.store.media_types import JPEG, PNG, media_type, without_orientation

_QUALITY = 92


def thumbnail(picture: bytes, size: int) -> tuple[bytes, str, tuple[int, int]]:
    """(bytes, media type, (height, width) of the original); the original without EXIF data if no side exceeds `size`."""
    from PIL import Image

    stored_type = media_type(picture)
    if stored_type not in (PNG, JPEG):
        raise ValueError("the stored picture is neither PNG nor JPEG")
    try:
        with Image.open(io.BytesIO(picture), formats=["PNG", "JPEG"]) as image:
            width, height = image.size
            factor = max(width, height) / size
            if factor <= 1:
                return without_orientation(picture), stored_type, (height, width)
            # BOX is the mean over an area, as for maps: pixel by pixel both show the same part.
            opaque = image.convert("L" if image.mode in ("1", "L", "I", "I;16", "F") else "RGB")
            small = opaque.resize((max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BOX)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the stored picture cannot be decoded ({error})") from error
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), JPEG, (height, width)
