"""Encoded pictures: their type, by the signature at the beginning, and their bytes without EXIF data."""

from __future__ import annotations

PNG, JPEG = "image/png", "image/jpeg"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIGNATURES = {
    PNG_SIGNATURE: PNG,
    b"\xff\xd8\xff": JPEG,
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",  # so short that a text may begin with it
}


def media_type(content: bytes) -> str | None:
    """The media type of a PNG, JPEG, GIF or BMP picture; None for anything else."""
    return next((name for signature, name in SIGNATURES.items() if content.startswith(signature)), None)


def without_orientation(content: bytes) -> bytes:
    """A PNG or JPEG without its EXIF data: its pixels appear as they are stored, as models read them.

    Browsers turn a picture by the orientation in its EXIF data. Other bytes are unchanged.
    """
    if media_type(content) == JPEG:
        return _without_exif_segments(content)
    return _without_exif_chunks(content) if media_type(content) == PNG else content


def _without_exif_segments(jpeg: bytes) -> bytes:
    kept, position = [jpeg[:2]], 2
    while jpeg[position : position + 1] == b"\xff":
        marker, length = jpeg[position + 1 : position + 2], int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == b"\xff":  # a fill byte
            position += 1
            continue
        if marker == b"\xda" or length < 2:  # the scan begins
            break
        segment = jpeg[position : position + 2 + length]
        if not (marker == b"\xe1" and segment[4:].startswith(b"Exif\0")):
            kept.append(segment)
        position += len(segment)
    return b"".join([*kept, jpeg[position:]])


def _without_exif_chunks(png: bytes) -> bytes:
    kept, position = [png[:8]], 8
    while position < len(png):
        chunk = png[position : position + 12 + int.from_bytes(png[position : position + 4], "big")]
        if chunk[4:8] != b"eXIf":
            kept.append(chunk)
        position += len(chunk)
    return b"".join(kept)
