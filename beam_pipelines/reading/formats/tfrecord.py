"""TFRecord files, plain or gzip: serialized tf.Examples.

A record is framed as [length: 8][crc of length: 4][payload: length][crc of payload: 4], little endian
(tensorflow/core/lib/io/record_writer.h). Planning walks over the frames without reading payloads and digests their
checksums: so the plan depends on the content of the files, not only on their names.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c

from beam_pipelines.reading.files import open_file
from beam_pipelines.reading.format_interface import BrokenFile, Damaged, RecordRange, Source
from beam_pipelines.reading.record_ranges import group_by_offset
from beam_pipelines.reading.work_unit import WorkUnit

_HEADER, _CRC = 12, 4


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Ranges of frames; a gzip file is one range, since it can only be read from its start."""
    with open_file(source.path, source.compressed) as file:
        start = file.read(_HEADER)
        if start and not is_tfrecord(start):
            raise BrokenFile(
                "it is not a TFRecord file (the checksum of its first header is wrong); give TFRecords of tf.Example, plain or gzip"
            )
        file.seek(0)
        yield from group_by_offset(_frame_offsets(file, digest), None if source.compressed else unit_size)


def read(unit: WorkUnit) -> Iterator[bytes | Damaged]:
    """The payloads."""
    with open_file(unit.path, unit.compressed) as file:
        file.seek(unit.offset)
        for _ in range(unit.count):
            payload = _read_payload(file)
            yield Damaged("its checksum does not match") if payload is None else payload


def is_tfrecord(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a TFRecord file: its first header has a valid checksum."""
    return len(start) >= _HEADER and struct.unpack("<I", start[8:_HEADER])[0] == _masked_crc(start[:8])


def _frame_offsets(file: BinaryIO, digest: Any) -> Iterator[int]:
    offset = 0
    while (length := _read_length(file)) is not None:
        file.seek(length, os.SEEK_CUR)
        crc = file.read(_CRC)
        if len(crc) < _CRC:
            raise BrokenFile(f"cut off within a record of {length} bytes")
        digest.update(crc)
        yield offset
        offset += _HEADER + length + _CRC


def _read_length(file: BinaryIO) -> int | None:
    """The payload length of the frame that begins here; None at the end of the file."""
    header = file.read(_HEADER)
    if not header:
        return None
    if len(header) < _HEADER:
        raise BrokenFile("cut off within the header of a record")
    length, crc = struct.unpack("<QI", header)
    if crc != _masked_crc(header[:8]) or length > 2**40:
        raise BrokenFile("the header of a record is damaged")
    return int(length)


def _read_payload(file: BinaryIO) -> bytes | None:
    """The payload of the frame that begins here; None if its checksum does not match."""
    length = _read_length(file)
    if length is None:
        raise BrokenFile("the file has become shorter")
    payload = file.read(length)
    crc = file.read(_CRC)
    if len(payload) < length or len(crc) < _CRC:
        raise BrokenFile("the file has become shorter")
    return payload if struct.unpack("<I", crc)[0] == _masked_crc(payload) else None


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord does, so that checksums of data with checksums stay useful."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
