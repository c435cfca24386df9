"""Reads one row group of a Parquet file within bounds: what its pages claim is added up before one of them is decompressed.

A page of a few bytes may claim two gigabytes, and a column of a few bytes two thousand million values or copies of one long text.
The footer need not know of it, so the headers of the pages are read:

    column chunk = (page header, compressed page)*        page header = a struct of Thrift's compact protocol
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import is_remote

MOST_BYTES = (
    256 << 20
)  # of a row group's columns, decompressed; a writer fills row groups of half a megabyte, or of one row
MOST_VALUES = 1 << 24  # of a column of a row group
_DICTIONARY_PAGE = 2
_USUAL_HEADER, _LONGEST_HEADER = 256, 1 << 16
_DAMAGED = "the header of a page is damaged"
_ADVICE = "it is damaged, or belongs to another store: run the pipeline again"


class _Page(NamedTuple):
    """The header of a page: its type, its sizes without the header, its values, and where its content begins."""

    type: int
    uncompressed: int
    compressed: int
    values: int
    begin: int


def read_row_group(file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str]) -> pa.Table:
    """These columns of a row group. StoreError if there is no such group, or if it holds more than the bounds allow."""
    if not 0 <= group < file.num_row_groups:
        raise StoreError(f"{path} has {file.num_row_groups} row groups, and the index names number {group}; {_ADVICE}")
    chunks = _chunks(file.metadata.row_group(group), columns)
    if not chunks:
        return file.read_row_group(group, columns=list(columns), use_threads=False)
    begin = min(chunk.begin for chunk in chunks)
    end = max(chunk.begin + chunk.size for chunk in chunks)
    if begin < 0 or end - begin > MOST_BYTES:
        raise _too_large(path, group, end - begin)
    with _open_range(path, begin, end) as source:
        total = 0
        for chunk in chunks:
            total += chunk.decoded_bytes(source, path, group)
            if total > MOST_BYTES:
                raise _too_large(path, group, total)
        if isinstance(source, _Window):  # a remote file is requested once
            file = pq.ParquetFile(source, metadata=file.metadata)
        # For one row group, threads cost more than they save.
        return file.read_row_group(group, columns=list(columns), use_threads=False)


def _too_large(path: Path, group: int, size: int) -> StoreError:
    return StoreError(
        f"row group {group} of {path} would take {size >> 20:,} MiB decompressed; at most {MOST_BYTES >> 20} MiB are read"
    )


class _Chunk(NamedTuple):
    """A column of a row group in the file, as the footer describes it."""

    begin: int
    size: int
    values: int
    claimed: int  # bytes, decompressed
    is_text: bool  # a column of texts or bytes
    codec: str

    def decoded_bytes(self, source: io.RawIOBase, path: Path, group: int) -> int:
        """The most bytes that decoding it may take, by the headers of its pages."""
        total, values, dictionary = 0, 0, None
        try:
            for page in _pages(source, self.begin, self.begin + self.size):
                total += page.uncompressed
                if page.type == _DICTIONARY_PAGE:
                    dictionary = page
                else:
                    values += page.values
                if total > MOST_BYTES:
                    return total
        except (ValueError, IndexError, struct.error) as error:
            raise StoreError(f"{path} cannot be read (row group {group}: {error}); run the pipeline again") from error
        values = max(values, self.values)
        if values > MOST_VALUES:
            raise StoreError(
                f"a column of row group {group} of {path} claims {values:,} values; at most {MOST_VALUES:,} are read"
            )
        total = max(total, self.claimed)
        if dictionary is not None and self.is_text and dictionary.uncompressed * values > MOST_BYTES:
            # Every value may be a copy of the longest entry.
            source.seek(dictionary.begin)
            compressed = source.read(dictionary.compressed) or b""
            total += _longest_text(compressed, dictionary.uncompressed, self.codec) * values
        return total


def _chunks(group: pq.RowGroupMetaData, columns: Sequence[str]) -> list[_Chunk]:
    """The columns, with all that lies below them."""
    chosen, chunks = set(columns), []
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema.split(".")[0] in chosen:
            first = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset:
                first = min(first, column.dictionary_page_offset)
            is_text = column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
            size, claimed = column.total_compressed_size, column.total_uncompressed_size
            chunks.append(_Chunk(first, max(size, 0), column.num_values, claimed, is_text, column.compression))
    return chunks


def _pages(source: io.RawIOBase, position: int, end: int) -> Iterator[_Page]:
    """The headers of the pages of a column chunk."""
    while position < end:
        header, length = _read_header(source, position)
        type_, uncompressed, compressed = (_size(header.get(field)) for field in (1, 2, 3))
        inner: dict[int, Any] = next((header[field] for field in (5, 8, 7) if isinstance(header.get(field), dict)), {})
        if position + length + compressed > end:
            raise ValueError(_DAMAGED)
        yield _Page(type_, uncompressed, compressed, _size(inner.get(1, 0)), position + length)
        position += length + compressed


def _size(value: Any) -> int:
    """A number that is not negative; ValueError for anything else."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(_DAMAGED)
    return value


def _read_header(source: io.RawIOBase, position: int) -> tuple[dict[int, Any], int]:
    """(values by field, length) of the page header at a position."""
    for size in (_USUAL_HEADER, _LONGEST_HEADER):
        source.seek(position)
        try:
            return _read_struct(source.read(size) or b"", 0, 0)
        except IndexError:  # it is longer
            continue
    raise ValueError(_DAMAGED)


def _longest_text(page: bytes, size: int, codec: str) -> int:
    """The length of the longest entry of a dictionary page of texts."""
    try:
        plain = page if codec == "UNCOMPRESSED" else pa.Codec(codec.lower()).decompress(page, size).to_pybytes()
    except (pa.ArrowException, OSError, ValueError):
        return size  # of what cannot be decompressed nothing is known
    longest = position = 0
    while position + 4 <= len(plain):
        (length,) = struct.unpack_from("<I", plain, position)
        longest, position = max(longest, length), position + 4 + length
    return min(longest, size)


def _read_struct(content: bytes, position: int, level: int) -> tuple[dict[int, Any], int]:
    """(values by field, position after it) of a struct of Thrift's compact protocol. ValueError, or IndexError where it ends early."""
    if level > 4:
        raise ValueError(_DAMAGED)
    fields: dict[int, Any] = {}
    field = 0
    while True:
        byte = content[position]
        position += 1
        if not byte:
            return fields, position
        kind, delta = byte & 15, byte >> 4
        if delta:
            field += delta
        else:
            number, position = _read_varint(content, position)
            field = _zigzag(number)
        fields[field], position = _read_value(content, position, kind, level)


def _read_value(content: bytes, position: int, kind: int, level: int) -> tuple[Any, int]:
    """(a value, position after it); None for those that no page header needs."""
    if kind in (1, 2):  # true, false
        return kind == 1, position
    if kind == 3:
        return None, position + 1
    if kind in (4, 5, 6):
        number, position = _read_varint(content, position)
        return _zigzag(number), position
    if kind == 7:
        return None, position + 8
    if kind == 8:
        length, position = _read_varint(content, position)
        if length > _LONGEST_HEADER:
            raise ValueError(_DAMAGED)
        return None, position + length
    if kind == 12:
        return _read_struct(content, position, level + 1)
    raise ValueError(_DAMAGED)


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 64:
        byte = content[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
    raise ValueError(_DAMAGED)


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


@contextlib.contextmanager
def _open_range(path: Path, begin: int, end: int) -> Iterator[io.RawIOBase]:
    """A file of which the bytes from `begin` to `end` can be read."""
    if is_remote(path):
        yield _Window(path.fs.cat_file(path.path, start=begin, end=end), begin, end)  # type: ignore[attr-defined]
    else:
        with path.open("rb", buffering=0) as file:
            yield file


class _Window(io.RawIOBase):
    """A file of which only some bytes are there. Reads of others are errors."""

    def __init__(self, content: bytes, begin: int, end: int) -> None:
        self._content, self._begin, self._end, self._position = content, begin, end, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if self._position < self._begin:
            raise OSError("a part of the file was not read")
        first = self._position - self._begin
        part = self._content[first:] if size < 0 else self._content[first : first + size]
        self._position += len(part)
        return part
