"""Input pictures as the page gets them: PNG or JPEG only, reduced to the requested size."""

from __future__ import annotations

import io

from tb_deepexplain.store.media_types import JPEG, PNG, media_type, without_orientation

MOST_PIXELS = 1 << 25  # of a stored picture that is decoded, which takes a second
MOST_PIXELS_OF_PAGE = 1 << 27
_QUALITY = 92


class Thumbnails:
    """Makes the thumbnails of one page, within a number of pixels that are decoded."""

    def __init__(self, size: int) -> None:
        self._size, self._pixels = size, 0

    def make(self, picture: bytes) -> tuple[bytes, str, tuple[int, int]]:
        """As `thumbnail`. ValueError once the pictures of the page have had too many pixels."""
        if self._pixels >= MOST_PIXELS_OF_PAGE:
            raise ValueError(
                f"the pictures of this page have more than {MOST_PIXELS_OF_PAGE:,} pixels; show fewer examples"
            )
        data, stored_type, (height, width) = thumbnail(picture, self._size)
        self._pixels += height * width if max(height, width) > self._size else 0
        return data, stored_type, (height, width)


def thumbnail(picture: bytes, size: int) -> tuple[bytes, str, tuple[int, int]]:
    """(bytes, media type, (height, width) of the original); the original without EXIF data if no side exceeds `size`.

    ValueError for a picture that cannot be decoded, or that claims more than MOST_PIXELS: a few bytes may claim any number.
    """
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
            if width * height > MOST_PIXELS:
                raise ValueError(
                    f"the stored picture has {width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are decoded"
                )
            # BOX is the mean over an area, as for maps: pixel by pixel both show the same part.
            opaque = image.convert("L" if image.mode in ("1", "L", "I", "I;16", "F") else "RGB")
            small = opaque.resize((max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BOX)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the stored picture cannot be decoded ({error})") from error
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), JPEG, (height, width)
