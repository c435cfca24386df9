"""The type of an encoded picture, by the signature at its beginning."""

from __future__ import annotations

PNG, JPEG = "image/png", "image/jpeg"
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",  # so short that a text may begin with it
}


def media_type(content: bytes) -> str | None:
    """The media type of a PNG, JPEG, GIF or BMP picture; None for anything else."""
    return next((name for signature, name in SIGNATURES.items() if content.startswith(signature)), None)
