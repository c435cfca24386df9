"""NumPy arrays: an .npy file, or an .npz file with one array for each column. Row i of all arrays is example i.

Arrays may differ in length, such as those of a training and a test set: the features that the user names choose those of one
length.

Rows are read by their offsets, also within an .npz that np.savez wrote, which is not compressed. One of
np.savez_compressed can only be read from its start and is one work unit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from beam_pipelines.reading.files import fingerprint, open_file
from beam_pipelines.reading.format_interface import DAMAGE, BrokenFile, Damaged, RecordRange, Source
from beam_pipelines.reading.record_ranges import group_by_number
from beam_pipelines.reading.work_unit import WorkUnit

NPY_COLUMN = "array"  # the column of an .npy file, which has no name
_BLOCK_BYTES = 1 << 20  # read at once
_MOST_MISSING = 10_000  # rows without bytes that are failures one by one
_MOST_EMPTY_ROWS = 1 << 20  # of an array whose rows have no bytes
_MOST_RATIO = {
    zipfile.ZIP_DEFLATED: 1032,
    zipfile.ZIP_LZMA: 1 << 14,
    zipfile.ZIP_BZIP2: 1 << 21,
}  # of bytes to compressed bytes
_ZIP, _LOCAL_HEADER = b"PK\x03\x04", 30  # the fixed part of a member's header


@dataclasses.dataclass
class _Column:
    """An array in a file that is at the array's first row."""

    name: str
    file: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int | None  # of the first row, in bytes; None if the file cannot be read from there
    size: int  # bytes that are there for its rows, at most

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def most_rows(self) -> int:
        """The rows that the file has bytes for: a header of a few bytes may claim any number."""
        return self.size // self.row_bytes if self.row_bytes else _MOST_EMPTY_ROWS


def plan(source: Source, unit_size: int, digest: Any) -> Iterator[RecordRange]:
    """Ranges of rows."""
    with _columns(source.path, digest) as columns:
        lengths = {column.name: column.shape[0] for column in columns}
        rows = _choose_length(lengths, source.named)
        chosen = [column for column in columns if column.shape[0] == rows]
        sequential = any(column.offset is None for column in chosen)
        arrays = tuple(column.name for column in chosen) if len(chosen) < len(columns) else ()
        shortest = min(chosen, key=lambda column: column.most_rows)
        present = min(rows, shortest.most_rows)
        if rows - present <= _MOST_MISSING:
            present = rows
    for part in group_by_number(present, max(present, 1) if sequential else unit_size):
        yield dataclasses.replace(part, arrays=arrays)
    if present < rows:
        raise BrokenFile(f"its array {shortest.name} claims {rows:,} rows, and the file has bytes for {present:,}")


def _choose_length(lengths: Mapping[str, int], named: Sequence[str]) -> int:
    """The only length of the arrays, or that of the named ones. BrokenFile if there are several."""
    of_named = {lengths[name] for name in named if name in lengths}
    if len(candidates := of_named or set(lengths.values())) <= 1:
        return next(iter(candidates), 0)
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    example = "INPUT=x_test --label_feature y_test" if {"x_test", "y_test"} <= lengths.keys() else "INPUT=NAME"
    raise BrokenFile(f"its arrays differ in length ({listed}); choose those of one length with --feature {example}")


def read(unit: WorkUnit) -> Iterator[dict[str, Any] | Damaged]:
    """The rows: a value by column."""
    with _columns(unit.path) as all_columns:
        columns = [column for column in all_columns if column.name in unit.arrays or not unit.arrays]
        for column in columns:
            if column.offset is not None:
                column.file.seek(column.offset + unit.first * column.row_bytes)
        step = max(1, _BLOCK_BYTES // max(sum(column.row_bytes for column in columns), 1))
        for done in range(0, unit.count, step):
            rows = min(step, unit.count - done)
            block = {column.name: _read_rows(column, rows) for column in columns}
            complete = min(len(values) for values in block.values())
            # Whole numbers at once: making each of an array takes ten times as long.
            cells = {name: v.tolist() if v.ndim == 1 and v.dtype.kind in "iu" else v for name, v in block.items()}
            for i in range(complete):
                yield {name: values[i] for name, values in cells.items()}
            if complete < rows:
                raise BrokenFile("the file ends before the array does")


def _read_rows(column: _Column, rows: int) -> np.ndarray:
    """The next rows, [rows, ...]; fewer where the file ends."""
    try:
        data = column.file.read(min(rows, column.most_rows) * column.row_bytes)
    except (*DAMAGE, OSError) as error:  # bz2 raises plain OSErrors; those of a filesystem have a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BrokenFile(f"its array {column.name} is damaged ({error})") from error
    if not column.row_bytes:
        return np.empty((rows, *column.shape[1:]), column.dtype)
    complete = len(data) // column.row_bytes
    return np.frombuffer(data[: complete * column.row_bytes], column.dtype).reshape(complete, *column.shape[1:])


@contextlib.contextmanager
def _columns(path: str, digest: Any = None) -> Iterator[list[_Column]]:
    """The arrays of the file, opened. Updates `digest` with what identifies their content."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        start = file.read(len(_ZIP))
        file.seek(0)
        if start[:2] != _ZIP[:2]:
            if digest:
                digest.update(fingerprint(path))
            dtype, shape = _read_header(file, NPY_COLUMN)
            offset = file.tell()
            yield [_Column(NPY_COLUMN, file, dtype, shape, offset, file.seek(0, os.SEEK_END) - offset)]
            return
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            columns = []
            for info in archive.infolist():
                if digest:
                    digest.update(f"{info.filename}\0{info.file_size}\0{info.CRC}\0".encode())
                if info.filename.endswith(".npy"):
                    columns.append(_open_member(path, archive, info, stack))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # unknown compression, encryption
            raise BrokenFile(f"it is not a whole .npz file ({error})") from error
        if not columns:
            raise BrokenFile("it holds no .npy arrays; write it with np.savez")
        yield columns


def _open_member(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, stack: contextlib.ExitStack) -> _Column:
    name = info.filename.removesuffix(".npy")
    if info.compress_type != zipfile.ZIP_STORED:
        stream = cast(BinaryIO, stack.enter_context(archive.open(info)))
        dtype, shape = _read_header(stream, name)
        size = min(info.file_size, info.compress_size * _MOST_RATIO.get(info.compress_type, 1))
        return _Column(name, stream, dtype, shape, None, size - stream.tell())
    file = stack.enter_context(open_file(path))  # each column has its own position in the file
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(_ZIP):
        raise BrokenFile(f"its array {name} is damaged")
    begin = file.seek(sum(struct.unpack("<HH", header[26:30])), os.SEEK_CUR)
    dtype, shape = _read_header(file, name)
    offset = file.tell()
    return _Column(name, file, dtype, shape, offset, min(info.file_size + begin, file.seek(0, os.SEEK_END)) - offset)


def _read_header(file: BinaryIO, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """(dtype, shape) of the array that begins here."""
    try:
        version = npy.read_magic(file)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except DAMAGE:
        raise
    except Exception as error:  # NumPy evaluates the header: it may raise anything
        raise BrokenFile(f"its array {name} has no .npy header ({' '.join(str(error).split())[:200]})") from error
    if any(size < 0 for size in shape):
        raise BrokenFile(f"its array {name} claims the shape {list(shape)}")
    if dtype.hasobject:
        raise BrokenFile(f"its array {name} holds Python objects; save numbers, or strings with dtype 'S' or 'U'")
    if not shape:
        raise BrokenFile(f"its array {name} is a single value; expected one example in each row")
    if fortran and len(shape) > 1:
        raise BrokenFile(f"its array {name} is in Fortran order; save np.ascontiguousarray(...)")
    return dtype, shape
