"""Where things lie: paths of this machine, or places such as gs://bucket/folder, by fsspec.

A file of this machine is written beside its place and renamed; an object is prepared on this machine and stands when
its upload ends. Either way, what is there is whole.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tb_deepexplain.errors import ParameterError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_REQUESTS = 16  # under way at once
_EXTRAS = {"gs": "gcp", "gcs": "gcp", "s3": "s3", "s3a": "s3"}
_T = TypeVar("_T")
_U = TypeVar("_U")


def place(where: str | os.PathLike[str]) -> Path:
    """A path of this machine, or what behaves like one. ParameterError for a scheme that nothing here can read."""
    text = str(where)
    scheme, sign, _ = text.partition("://")
    if not sign:
        return Path(where)
    from upath import UPath

    try:
        found = UPath(text, use_listings_cache=False)  # other processes write, too
        _ = found.fs
    except ImportError as error:
        extra = (
            f"'tensorboard-plugin-deepexplain[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else "fsspec's package for it"
        )
        raise ParameterError(f"{text}: {error}; pip install {extra}") from error
    except ValueError as error:
        raise ParameterError(f"{text}: there is no filesystem {scheme}://; give a folder, gs:// or s3://") from error
    return cast(Path, found)


def is_remote(path: Path) -> bool:
    return not isinstance(path, Path)


def make(directory: Path) -> None:
    """The directory, where there are such things: object stores have only names."""
    if not is_remote(directory):
        directory.mkdir(parents=True, exist_ok=True)
    elif not _is_object_store(directory):
        directory.fs.makedirs(directory.path, exist_ok=True)  # type: ignore[attr-defined]


def draft(path: Path) -> Path:
    """A name of this machine under which the file can be prepared; `publish` gives it its own."""
    name = f".{uuid.uuid4().hex}.tmp"  # not like its own: TensorBoard reads what looks like events
    return Path(tempfile.gettempdir()) / f"tb_deepexplain{name}" if is_remote(path) else path.with_name(name)


def publish(draft: Path, path: Path) -> None:
    """The file under its own name, whole."""
    if is_remote(path):
        path.fs.put_file(str(draft), path.path)  # type: ignore[attr-defined]
        draft.unlink()
    else:
        os.replace(draft, path)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to; the file gets its own when that is done."""
    temporary = draft(path)
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_text(path: Path) -> str:
    """A small file that another process may be writing anew: of one moment, by one request."""
    return path.fs.cat_file(path.path).decode() if is_remote(path) else path.read_text("utf-8")  # type: ignore[attr-defined]


def each(do: Callable[[_T], _U], items: Iterable[_T], directory: Path) -> list[_U]:
    """`do` of every item, in order; many at once where each is a request to another machine."""
    return at_once(do, items) if is_remote(directory) else [do(item) for item in items]


def at_once(do: Callable[[_T], _U], items: Iterable[_T]) -> list[_U]:
    """`do` of every item, in order, many at a time: for requests to other machines."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(do, items))


@contextlib.contextmanager
def open_parquet(path: Path, footer: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """A file of which only what is asked for is read; `footer` is its metadata, if that has been read before."""
    import pyarrow.parquet as pq  # not before: many only ask for a place

    if not is_remote(path):
        with pq.ParquetFile(path, metadata=footer) as file:
            yield file
        return
    with path.fs.open(path.path, cache_type="none") as stream:  # type: ignore[attr-defined]
        yield pq.ParquetFile(stream, metadata=footer, pre_buffer=True)


def read_table(path: Path) -> Any:
    """A whole file."""
    with open_parquet(path) as file:
        return file.read()


@contextlib.contextmanager
def fetched(where: str) -> Iterator[str]:
    """A path of this machine with what lies there: within, a copy if it comes from elsewhere."""
    path = place(where)
    if not is_remote(path):
        yield where
        return
    with tempfile.TemporaryDirectory(prefix="tb_deepexplain-") as folder:
        copy = Path(folder) / path.name
        path.fs.get(path.path, str(copy), recursive=path.is_dir())  # type: ignore[attr-defined]
        yield str(copy)


def _is_object_store(path: Path) -> bool:
    from upath.implementations.cloud import CloudPath

    return isinstance(path, CloudPath)
