"""Arrays of NumPy: an .npy file, or an .npz with an array for each column, an example in every row of all of them.

Rows are read by their place in the file, also within an .npz that np.savez wrote, which is not compressed; one of
np.savez_compressed can only be read from its start and is one unit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from beam_pipelines.reading.formats.files import fingerprint, opened
from beam_pipelines.reading.formats.ranges import even
from beam_pipelines.reading.formats.unit import Broken, Damaged, Part, Place, Unit

ALONE = "array"  # the column of an .npy file
_BLOCK = 1 << 20
_ZIP, _LOCAL = b"PK\x03\x04", 30  # the fixed part of a member's header


@dataclasses.dataclass
class _Column:
    """An array in a file, standing at its first row."""

    name: str
    file: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int | None  # of its first row, in bytes; None where it cannot be sought

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


def plan(place: Place, size: int, digest: Any) -> Iterator[Part]:
    """Ranges of rows."""
    with _columns(place.path, digest) as columns:
        lengths = {column.name: column.shape[0] for column in columns}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise Broken(f"its arrays differ in length ({said}); expected an example in each row of all of them")
        rows = next(iter(lengths.values()), 0)
        whole = any(column.begin is None for column in columns)
    yield from even(rows, max(rows, 1) if whole else size)


def read(unit: Unit) -> Iterator[dict[str, Any] | Damaged]:
    """The rows, a value by column."""
    with _columns(unit.path) as columns:
        for column in columns:
            if column.begin is not None:
                column.file.seek(column.begin + unit.first * column.row)
        step = max(1, _BLOCK // max(sum(column.row for column in columns), 1))
        for done in range(0, unit.count, step):
            rows = min(step, unit.count - done)
            block = {column.name: _read(column, rows) for column in columns}
            whole = min(len(values) for values in block.values())
            for i in range(whole):
                yield {name: values[i] for name, values in block.items()}
            if whole < rows:
                raise Broken("the file ends before the array does")


def _read(column: _Column, rows: int) -> np.ndarray:
    data = column.file.read(rows * column.row)
    whole = len(data) // column.row if column.row else rows
    values = np.frombuffer(data[: whole * column.row], column.dtype) if column.row else np.empty(0, column.dtype)
    return values.reshape(whole, *column.shape[1:])


@contextlib.contextmanager
def _columns(path: str, digest: Any = None) -> Iterator[list[_Column]]:
    """The arrays of the file, opened; `digest` is fed what their content depends on."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(opened(path))
        start = file.read(len(_ZIP))
        file.seek(0)
        if start[:2] != _ZIP[:2]:
            if digest:
                digest.update(fingerprint(path))
            dtype, shape = _read_header(file, ALONE)
            yield [_Column(ALONE, file, dtype, shape, file.tell())]
            return
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            columns = []
            for info in archive.infolist():
                if digest:
                    digest.update(f"{info.filename}\0{info.file_size}\0{info.CRC}\0".encode())
                if info.filename.endswith(".npy"):
                    columns.append(_member(path, archive, info, stack))
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise Broken(f"it is not a whole .npz file ({error})") from error
        if not columns:
            raise Broken("it holds no .npy arrays; write it with np.savez")
        yield columns


def _member(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, stack: contextlib.ExitStack) -> _Column:
    name = info.filename.removesuffix(".npy")
    if info.compress_type != zipfile.ZIP_STORED:
        stream = cast(BinaryIO, stack.enter_context(archive.open(info)))
        return _Column(name, stream, *_read_header(stream, name), None)
    file = stack.enter_context(opened(path))  # each column with its own place in the file
    file.seek(info.header_offset)
    header = file.read(_LOCAL)
    if len(header) < _LOCAL or not header.startswith(_ZIP):
        raise Broken(f"its array {name} is damaged")
    file.seek(sum(struct.unpack("<HH", header[26:30])), os.SEEK_CUR)
    return _Column(name, file, *_read_header(file, name), file.tell())


def _read_header(file: BinaryIO, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    try:
        version = npy.read_magic(file)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except ValueError as error:
        raise Broken(f"its array {name} has no .npy header ({error})") from error
    if dtype.hasobject:
        raise Broken(f"its array {name} holds Python objects; save numbers, or strings with dtype 'S' or 'U'")
    if not shape:
        raise Broken(f"its array {name} is a single value; expected an example in each row")
    if fortran and len(shape) > 1:
        raise Broken(f"its array {name} is in Fortran order; save np.ascontiguousarray(...)")
    return dtype, shape
