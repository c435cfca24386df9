"""TFRecord files cut into work units, and a unit read record by record; nothing goes missing without a word.

A record is framed as [length: 8][crc of length: 4][payload: length][crc of payload: 4], little endian
(tensorflow/core/lib/io/record_writer.h). Planning walks the frames without reading a payload, and digests the
checksums it passes: the plan therefore knows the content of the files, not only their names.
"""

from __future__ import annotations

import dataclasses
import glob
import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from tb_deepexplain.errors import InputError
from tb_deepexplain.record import Failure

_HEADER, _CRC = 12, 4
_SUFFIXES = (".gz", ".tfrecord", ".tfrecords", ".tfrec")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A range of one file: the work that is done, written and repeated as a whole."""

    id: str
    path: str
    source: str  # the file's name in example ids
    offset: int  # bytes; of the decompressed stream for gzip
    first: int  # number of the first record in the file
    count: int  # whole frames
    compressed: bool
    broken: str | None = None  # why the file cannot be read behind these records

    @property
    def records(self) -> int:
        """How many records or errors it gives."""
        return self.count + (self.broken is not None)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All units of the input, and a digest of what is in them."""

    units: tuple[Unit, ...]
    fingerprint: str

    @property
    def records(self) -> int:
        return sum(unit.records for unit in self.units)


@dataclasses.dataclass(frozen=True)
class Record:
    """One serialized example and the id of its place, such as `digits:000012`."""

    position: str
    payload: bytes


class _Broken(Exception):
    """The frames end here."""


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that match, sorted; InputError where a pattern matches none."""
    found: set[str] = set()
    for pattern in patterns:
        files = [path for path in glob.glob(os.path.expanduser(pattern), recursive=True) if os.path.isfile(path)]
        if not files:
            raise InputError(
                f"--input {pattern}: no file matches; give a path or a quoted pattern such as 'data/*.tfrecord'"
            )
        found.update(files)
    return sorted(found)


def plan(files: Sequence[str], unit_size: int) -> Plan:
    """Units of `unit_size` records (a gzip file is one unit: it can only be read from its start)."""
    digest, units = hashlib.sha256(), []
    for number, (path, source) in enumerate(zip(files, _sources(files), strict=True)):
        digest.update(f"{source}\0".encode())
        for unit, seen in _plan_file(number, path, source, unit_size):
            digest.update(seen)
            units.append(unit)
    return Plan(tuple(units), digest.hexdigest()[:16])


def read(unit: Unit) -> Iterator[Record | Failure]:
    """The unit's records in order, with a Failure in the place of each that is damaged or out of reach."""
    end = unit.first + unit.count
    number = unit.first
    try:
        with _open(unit.path, unit.compressed) as file:
            file.seek(unit.offset)
            for number in range(unit.first, end):
                position, payload = _position(unit.source, number), _read_record(file)
                yield (
                    Record(position, payload)
                    if payload is not None
                    else _failure(position, "its checksum does not match")
                )
    except (_Broken, EOFError, zlib.error, gzip.BadGzipFile) as error:
        for missed in range(number, end):
            yield _failure(_position(unit.source, missed), f"cannot be reached: {error}")
    except OSError as error:
        raise InputError(f"cannot read {unit.path}: {error.strerror or error}") from error
    if unit.broken:
        yield _failure(_position(unit.source, end), unit.broken)


def _plan_file(number: int, path: str, source: str, unit_size: int) -> Iterator[tuple[Unit, bytes]]:
    try:
        compressed = _is_gzip(path)
        with _open(path, compressed) as file:
            frames, broken = _walk(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if broken and not frames and _is_foreign(path, compressed):
        raise InputError(f"{path} is not a TFRecord file ({broken}); give TFRecords of tf.Example, plain or gzip")
    step = len(frames) or 1 if compressed else unit_size
    starts = range(0, max(len(frames), 1 if broken else 0), step)
    for i, first in enumerate(starts):
        part = frames[first : first + step]
        last = i == len(starts) - 1
        offset = part[0][0] if part else 0
        unit = Unit(
            f"{number:05d}-{i:05d}", path, source, offset, first, len(part), compressed, broken if last else None
        )
        yield unit, b"".join(crc for _, crc in part) + (broken or "").encode() * last


def _walk(file: BinaryIO) -> tuple[list[tuple[int, bytes]], str | None]:
    """(offset, payload checksum) of every whole frame, and why the walk stopped before the end of the file."""
    frames: list[tuple[int, bytes]] = []
    offset = 0
    try:
        while (length := _read_length(file)) is not None:
            file.seek(length, os.SEEK_CUR)
            crc = file.read(_CRC)
            if len(crc) < _CRC:
                raise _Broken(f"cut off within a record of {length} bytes")
            frames.append((offset, crc))
            offset += _HEADER + length + _CRC
    except (_Broken, EOFError, zlib.error, gzip.BadGzipFile) as error:
        return frames, f"{error}, at byte {offset}; nothing behind it in this file can be read"
    return frames, None


def _read_length(file: BinaryIO) -> int | None:
    """The payload length of the frame that begins here; None at the end of the file."""
    header = file.read(_HEADER)
    if not header:
        return None
    if len(header) < _HEADER:
        raise _Broken("cut off within the header of a record")
    length, crc = struct.unpack("<QI", header)
    if crc != _masked_crc(header[:8]) or length > 2**40:
        raise _Broken("the header of a record is damaged")
    return int(length)


def _read_record(file: BinaryIO) -> bytes | None:
    """The payload; None if its checksum does not match."""
    length = _read_length(file)
    if length is None:
        raise _Broken("it has become shorter")
    payload = file.read(length)
    crc = file.read(_CRC)
    if len(payload) < length or len(crc) < _CRC:
        raise _Broken("it has become shorter")
    return payload if struct.unpack("<I", crc)[0] == _masked_crc(payload) else None


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord does so that checksums of checksums stay useful."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _is_foreign(path: str, compressed: bool) -> bool:
    """Whether a file without one whole frame is something else, not a TFRecord that was cut off."""
    with _open(path, compressed) as file:
        try:
            header = file.read(_HEADER)
        except gzip.BadGzipFile:
            return True
        except (EOFError, zlib.error):
            return False
    return len(header) < _HEADER or struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8])


def _is_gzip(path: str) -> bool:
    with open(path, "rb") as file:
        start = file.read(_HEADER)
    # A plain file may begin with the same two bytes: its first record's length.
    plain = len(start) == _HEADER and struct.unpack("<I", start[8:])[0] == _masked_crc(start[:8])
    return start[:2] == b"\x1f\x8b" and not plain


def _open(path: str, compressed: bool) -> BinaryIO:
    return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]


def _sources(files: Sequence[str]) -> list[str]:
    """A short name for each file: without directory and suffix, as long as that tells them apart."""
    short = [_strip(Path(path).name) for path in files]
    if len(set(short)) == len(short):
        return short
    parent = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in files])
    return [os.path.relpath(os.path.abspath(path), parent) for path in files]


def _strip(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return name


def _position(source: str, number: int) -> str:
    return f"{source}:{number:06d}"


def _failure(position: str, message: str) -> Failure:
    return Failure(position, "read", "DataLoss", message)
