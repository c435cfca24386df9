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


def picture_sides(content: bytes) -> tuple[int, int] | None:
    """(width, height) that the header of an encoded picture claims; None for anything else, and for a header that is cut off."""
    match media_type(content):
        case "image/png":
            sides = content[16:20], content[20:24]
            return (int.from_bytes(sides[0], "big"), int.from_bytes(sides[1], "big")) if len(sides[1]) == 4 else None
        case "image/gif":
            width, height = int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
            return (width, height) if len(content) >= 10 else None
        case "image/bmp":
            width = int.from_bytes(content[18:22], "little", signed=True)
            height = int.from_bytes(content[22:26], "little", signed=True)
            return (abs(width), abs(height)) if len(content) >= 26 else None
        case "image/jpeg":
            return _sides_of_jpeg(content)
    return None


def _sides_of_jpeg(jpeg: bytes) -> tuple[int, int] | None:
    position = 2
    while jpeg[position : position + 1] == b"\xff" and position + 9 <= len(jpeg):
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # without a length
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the header of a frame
            sides = jpeg[position + 7 : position + 9], jpeg[position + 5 : position + 7]
            return int.from_bytes(sides[0], "big"), int.from_bytes(sides[1], "big")
        else:
            position += 2 + length
    return None


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
