"""Files on this machine or in remote storage such as gs://bucket/folder, by fsspec: paths, atomic writes, Parquet files.

A local file is written under a temporary name and renamed; a remote one is prepared on this machine and appears when its upload
ends. So a reader never sees half a file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.first_request import first_request

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_CONCURRENT_REQUESTS = 16
# What filesystems know of a remote file, most reliable first: checksums, else times.
_VERSION_KEYS = (
    "md5Hash", "crc32c", "ETag", "etag", "checksum", "LastModified", "mtime", "updated", "modified", "created",
)  # fmt: skip
_PACKAGES = {
    "gs": "'tensorboard-plugin-deepexplain[gcp]'", "gcs": "'tensorboard-plugin-deepexplain[gcp]'",
    "s3": "'tensorboard-plugin-deepexplain[s3]'", "s3a": "'tensorboard-plugin-deepexplain[s3]'",
    "abfs": "adlfs", "az": "adlfs",
}  # fmt: skip
_T = TypeVar("_T")
_U = TypeVar("_U")


def to_path(location: str | os.PathLike[str]) -> Path:
    """A local path, or an object with the methods of one for a remote location.

    ParameterError for an unknown scheme, and for a storage that does not answer the first request of this process.
    """
    text = str(location)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(location)
    from upath import UPath

    root = f"{scheme}://{rest.split('/')[0]}"
    try:
        path = UPath(text, use_listings_cache=False)  # other processes write, too
        with contextlib.suppress(_Answered):
            first_request(root, functools.partial(_connect, path))
        _ = path.fs
    except ImportError as error:
        advice = f"; pip install {_PACKAGES[scheme]}" if scheme in _PACKAGES else ""
        raise ParameterError(f"{root}: {error}{advice}") from error
    except ValueError as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{text}: there is no filesystem {scheme}://; give a folder, gs:// or s3://") from error
    except Exception as error:  # each filesystem has others: Hadoop's library is missing, say
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise ParameterError(f"{root}: {reason}; give a folder, gs:// or s3://") from error
    return cast(Path, path)


class _Answered(Exception):
    """A storage answered with an error, which the next request meets, too."""


def _connect(path: Any) -> None:
    """Make a request, of any answer."""
    filesystem = path.fs
    try:
        filesystem.info(path.path)  # `exists` says no where it cannot connect
    except Exception as error:  # no permission, say
        raise _Answered(str(error)) from error


def is_remote(path: Path) -> bool:
    return not isinstance(path, Path)


def make_directory(directory: Path) -> None:
    """Make the directory and its parents. Does nothing in an object store, which has only names."""
    if not is_remote(directory):
        directory.mkdir(parents=True, exist_ok=True)
    elif not _is_object_store(directory):
        directory.fs.makedirs(directory.path, exist_ok=True)  # type: ignore[attr-defined]


def temporary_path(path: Path) -> Path:
    """A local path at which a file can be prepared; `move_into_place` then gives it its final name."""
    name = f".{uuid.uuid4().hex}.tmp"  # unlike the final name: TensorBoard reads every file that is named like events
    return Path(tempfile.gettempdir()) / f"tb_deepexplain{name}" if is_remote(path) else path.with_name(name)


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename or upload a prepared file; it appears at `path` whole."""
    if is_remote(path):
        path.fs.put_file(str(temporary), path.path)  # type: ignore[attr-defined]
        temporary.unlink()
    else:
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A local path to write to; at the end of the block the file moves to `path`. On an error nothing is left."""
    temporary = temporary_path(path)
    try:
        yield temporary
        move_into_place(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_file(path: Path) -> None:
    """Remove the file, if it is there."""
    path.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """A small file that another process may be replacing. One request reads it, so its content is of one moment."""
    return path.fs.cat_file(path.path).decode() if is_remote(path) else path.read_text("utf-8")  # type: ignore[attr-defined]


def read_bounded_text(path: Path, most_bytes: int) -> str | None:
    """As `read_text`; None for a file of more bytes, of which no more are read."""
    if is_remote(path):
        content: bytes = path.fs.cat_file(path.path, end=most_bytes + 1)  # type: ignore[attr-defined]
    else:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    return None if len(content) > most_bytes else content.decode()


def describe_version(info: Mapping[str, Any]) -> str:
    """Size and checksum or time of a remote file, from fsspec's `info`: changes with its content."""
    version = next((info[key] for key in _VERSION_KEYS if info.get(key)), "")
    return f"{info.get('size')} {version}"


def map_files(function: Callable[[_T], _U], items: Iterable[_T], directory: Path) -> list[_U]:
    """`function` of every item, in order; concurrently if `directory` is remote, where each call waits for a request."""
    return map_concurrently(function, items) if is_remote(directory) else [function(item) for item in items]


def map_concurrently(function: Callable[[_T], _U], items: Iterable[_T]) -> list[_U]:
    """`function` of every item, in order, many at a time: for requests to other machines."""
    with ThreadPoolExecutor(_CONCURRENT_REQUESTS) as pool:
        return list(pool.map(function, items))


@contextlib.contextmanager
def open_parquet(path: Path, footer: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """A Parquet file, read only where it is used. `footer`: its metadata, if they have been read before."""
    import pyarrow.parquet as pq  # imported late: most callers of this module only need paths

    if not is_remote(path):
        with pq.ParquetFile(path, metadata=footer) as file:
            yield file
        return
    with path.fs.open(path.path, cache_type="none") as stream:  # type: ignore[attr-defined]
        yield pq.ParquetFile(stream, metadata=footer, pre_buffer=True)


def read_table(path: Path) -> pa.Table:
    """A whole Parquet file as a pyarrow.Table."""
    with open_parquet(path) as file:
        return read_columns(file)


def read_columns(file: pq.ParquetFile, names: Sequence[str] | None = None) -> pa.Table:
    """These columns of an open Parquet file (None: all), of any number of rows.

    PyArrow 18 raises an OSError for a file that was closed before its first row.
    """
    if file.num_row_groups:
        return file.read(names)
    schema = file.schema_arrow
    columns = schema.names if names is None else {name.split(".")[0] for name in names}
    return schema.empty_table().select([name for name in schema.names if name in columns])


@contextlib.contextmanager
def local_copy(location: str) -> Iterator[str]:
    """A local path of a file or folder: `location` itself, or a copy of a remote one that lives as long as the block."""
    path = to_path(location)
    if not is_remote(path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="tb_deepexplain-") as folder:
        copy = Path(folder) / path.name
        path.fs.get(path.path, str(copy), recursive=path.is_dir())  # type: ignore[attr-defined]
        yield str(copy)


def _is_object_store(path: Path) -> bool:
    from upath.implementations.cloud import CloudPath

    return isinstance(path, CloudPath)
