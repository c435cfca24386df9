"""Reads one row group of a Parquet file within bounds: what its pages claim is added up before one of them is decompressed.

A page of a few bytes may claim two gigabytes, and a column of a few bytes two thousand million values, or as many copies of one
long text. The footer need not know of it, so the headers of the pages are read, in the bytes that Arrow requests of the file:

    bytes = (page header, compressed page)*        page header = a struct of Thrift's compact protocol

(The footer could be asked through `row_group(i).column(j)`, but that ends the process where a footer is damaged: PyArrow 25.)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import is_remote

MOST_BYTES = (
    256 << 20
)  # of a row group's columns, decompressed; a writer fills row groups of half a megabyte, or of one row
MOST_VALUES = 1 << 25  # of a row group's columns together
_DICTIONARY_PAGE = 2
_LONGEST_NUMBER = 12  # bytes of a value of fixed size
_ZSTD = b"\x28\xb5\x2f\xfd"
_LONGEST_HEADER = 1 << 16
_DAMAGED = "the header of a page is damaged"


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
        raise StoreError(
            f"{path} has {file.num_row_groups} row groups, and the index names number {group}; it is damaged, or belongs to another "
            "store: run the pipeline again"
        )
    if (rows := file.metadata.row_group(group).num_rows) > MOST_VALUES:
        raise StoreError(f"row group {group} of {path} claims {rows:,} rows; at most {MOST_VALUES:,} are read")
    place = f"row group {group} of {path}"
    with contextlib.closing(_CheckedFile(_open(path), place)) as checked:
        bounded = pq.ParquetFile(checked, metadata=file.metadata, pre_buffer=is_remote(path))
        try:
            # For one row group, threads cost more than they save.
            return bounded.read_row_group(group, columns=list(columns), use_threads=False)
        except Exception as error:
            raise checked.refusal or error from None


class _CheckedFile(io.RawIOBase):
    """A Parquet file of which only pages are read. A read of pages that claim too much raises a StoreError, which `refusal` keeps."""

    def __init__(self, file: BinaryIO, place: str) -> None:
        self._file, self._place = file, place
        self._bytes = self._values = 0
        self.refusal: StoreError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes: whole pages of one or several columns."""
        try:
            if not 0 <= size <= MOST_BYTES:
                raise self._too_large(size)
            content = self._file.read(size)
            self._check(content)
        except StoreError as error:
            self.refusal = error
            raise
        return content

    def _check(self, content: bytes) -> None:
        dictionary, values = None, 0  # of the column
        try:
            for page in _pages(content):
                self._bytes += page.uncompressed
                if page.type == _DICTIONARY_PAGE:
                    self._add_copies(content, dictionary, values)
                    dictionary, values = page, 0
                else:
                    values += page.values
                    self._values += page.values
                if self._bytes > MOST_BYTES:
                    raise self._too_large(self._bytes)
                if self._values > MOST_VALUES:
                    raise StoreError(f"{self._place} claims {self._values:,} values; at most {MOST_VALUES:,} are read")
            self._add_copies(content, dictionary, values)
        except (ValueError, IndexError) as error:
            raise StoreError(f"{self._place} cannot be read ({error}); run the pipeline again") from error

    def _add_copies(self, content: bytes, dictionary: _Page | None, values: int) -> None:
        """Count what a column takes of whose dictionary every value may be the longest entry."""
        if dictionary is None or dictionary.uncompressed * values <= MOST_BYTES:
            return
        page = content[dictionary.begin : dictionary.begin + dictionary.compressed]
        self._bytes += _longest_entry(page, dictionary) * values
        if self._bytes > MOST_BYTES:
            raise self._too_large(self._bytes)

    def _too_large(self, size: int) -> StoreError:
        return StoreError(
            f"{self._place} would take {size >> 20:,} MiB decompressed; at most {MOST_BYTES >> 20} MiB are read"
        )


def _open(path: Path) -> BinaryIO:
    if is_remote(path):
        return cast(BinaryIO, path.fs.open(path.path, cache_type="none"))  # type: ignore[attr-defined]
    return cast(BinaryIO, path.open("rb", buffering=0))


def _pages(content: bytes) -> Iterator[_Page]:
    """The headers of the pages."""
    position = 0
    while position < len(content):
        header, begin = _read_struct(content, position, 0)
        type_, uncompressed, compressed = (_size(header.get(field)) for field in (1, 2, 3))
        inner: dict[int, Any] = next((header[field] for field in (5, 8, 7) if isinstance(header.get(field), dict)), {})
        position = begin + compressed
        if position > len(content):
            raise ValueError(_DAMAGED)
        yield _Page(type_, uncompressed, compressed, _size(inner.get(1, 0)), begin)


def _size(value: Any) -> int:
    """A number that is not negative; ValueError for anything else."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(_DAMAGED)
    return value


def _longest_entry(content: bytes, page: _Page) -> int:
    """The length of the longest entry of a dictionary page, at most."""
    plain = content
    if content.startswith(_ZSTD):
        try:
            plain = pa.Codec("zstd").decompress(content, page.uncompressed).to_pybytes()
        except (pa.ArrowException, OSError, ValueError):
            plain = b""
    if len(plain) != page.uncompressed:
        return page.uncompressed  # nothing is known of what another codec compressed
    longest = position = entries = 0
    while position + 4 <= len(plain):  # if it has texts
        length = int.from_bytes(plain[position : position + 4], "little")
        longest, position, entries = max(longest, length), position + 4 + length, entries + 1
    if position == len(plain) and entries == page.values:
        return longest
    is_fixed = page.uncompressed in (4 * page.values, 8 * page.values, _LONGEST_NUMBER * page.values)
    return min(page.uncompressed, _LONGEST_NUMBER if is_fixed else page.uncompressed)


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
