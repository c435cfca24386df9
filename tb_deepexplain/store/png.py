"""Pictures as PNG: each row is stored as its difference to the row above, and compressed by runs of equal bytes.

That takes a sixth of the time of libpng's default, which tries five filters for each row and searches for repeated strings, and makes
files of the same size.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from tb_deepexplain.store.media_types import PNG_SIGNATURE

_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # by the number of channels: gray, RGB, RGBA
_UP = 2  # the filter that subtracts the row above
_END = b"\0\0\0\0IEND\xaeB`\x82"


def encode_pngs(pictures: np.ndarray) -> list[bytes]:
    """Each of the pictures, uint8 `[N, H, W, 1, 3 or 4]`, as a PNG."""
    n, height, width, channels = pictures.shape
    if not height * width:
        raise ValueError(f"a picture of {height}×{width} has no pixels")
    rows = pictures.reshape(n, height, width * channels)
    filtered = np.empty((n, height, 1 + width * channels), np.uint8)
    filtered[..., 0] = _UP
    filtered[:, 0, 1:] = rows[:, 0]
    np.subtract(rows[:, 1:], rows[:, :-1], out=filtered[:, 1:, 1:])
    header = struct.pack(">II5B", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    start = PNG_SIGNATURE + _chunk(b"IHDR", header)
    return [start + _chunk(b"IDAT", _compress(one)) + _END for one in filtered]


def _compress(data: np.ndarray) -> bytes:
    compressor = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return compressor.compress(data) + compressor.flush()  # type: ignore[arg-type]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
