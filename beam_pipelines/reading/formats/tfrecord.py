"""TFRecord files, plain or gzip: serialized tf.Examples.

A record is framed as [length: 8][crc of length: 4][payload: length][crc of payload: 4], little endian
(tensorflow/core/lib/io/record_writer.h). Planning walks the frames without reading a payload, and digests the
checksums it passes: the plan therefore knows the content of the files, not only their names.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c

from beam_pipelines.reading.formats.files import opened
from beam_pipelines.reading.formats.ranges import gather
from beam_pipelines.reading.formats.unit import Broken, Damaged, Part, Place, Unit

_HEADER, _CRC = 12, 4


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Ranges of frames; a gzip file is one, since it can only be read from its start."""
    with opened(place.path, place.compressed) as file:
        start = file.read(_HEADER)
        if start and not begins(start):
            raise Broken(
                "it is not a TFRecord file (the checksum of its first header is wrong); give TFRecords of tf.Example, plain or gzip"
            )
        file.seek(0)
        yield from gather(_walk(file, digest), None if place.compressed else size)


def read(unit: Unit) -> Iterator[bytes | Damaged]:
    """The payloads."""
    with opened(unit.path, unit.compressed) as file:
        file.seek(unit.offset)
        for _ in range(unit.count):
            payload = _read_record(file)
            yield Damaged("its checksum does not match") if payload is None else payload


def begins(start: bytes) -> bool:
    """Whether a file that begins so is a TFRecord file, if perhaps a damaged one."""
    return len(start) == _HEADER and struct.unpack("<I", start[8:])[0] == _masked_crc(start[:8])


def _walk(file: BinaryIO, digest: Any) -> Iterator[int]:
    """Where each frame begins."""
    offset = 0
    while (length := _read_length(file)) is not None:
        file.seek(length, os.SEEK_CUR)
        crc = file.read(_CRC)
        if len(crc) < _CRC:
            raise Broken(f"cut off within a record of {length} bytes")
        digest.update(crc)
        yield offset
        offset += _HEADER + length + _CRC


def _read_length(file: BinaryIO) -> int | None:
    """The payload length of the frame that begins here; None at the end of the file."""
    header = file.read(_HEADER)
    if not header:
        return None
    if len(header) < _HEADER:
        raise Broken("cut off within the header of a record")
    length, crc = struct.unpack("<QI", header)
    if crc != _masked_crc(header[:8]) or length > 2**40:
        raise Broken("the header of a record is damaged")
    return int(length)


def _read_record(file: BinaryIO) -> bytes | None:
    """The payload; None if its checksum does not match."""
    length = _read_length(file)
    if length is None:
        raise Broken("it has become shorter")
    payload = file.read(length)
    crc = file.read(_CRC)
    if len(payload) < length or len(crc) < _CRC:
        raise Broken("it has become shorter")
    return payload if struct.unpack("<I", crc)[0] == _masked_crc(payload) else None


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord does so that checksums of checksums stay useful."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
