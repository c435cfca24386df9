"""Files of the input: local ones, or gs://, s3://, hdfs:// and the like through Beam's filesystems."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from tb_deepexplain.errors import InputError

_BLOCK_BYTES = 1 << 20


class ListedFile(NamedTuple):
    """A file that a pattern matches."""

    path: str
    root: str  # the folder that the pattern begins with
    stamp: str  # size and time
    in_folder: bool = False  # the pattern matches a folder above it, not the file itself


def is_remote(path: str) -> bool:
    return "://" in path


@contextlib.contextmanager
def opened(path: str, compressed: bool = False) -> Iterator[BinaryIO]:
    """The file, seekable; decompressed if it is gzip."""
    with (
        _filesystems(path).open(path, compression_type="uncompressed") if is_remote(path) else open(path, "rb") as file
    ):
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(BinaryIO, stream)


def find(pattern: str) -> list[ListedFile]:
    """The files that match, and the files below folders that match, without hidden ones; sorted."""
    return sorted(_find_remote(pattern) if is_remote(pattern) else _find_local(os.path.expanduser(pattern)))


def exists(path: str) -> bool:
    return bool(_filesystems(path).exists(path)) if is_remote(path) else os.path.exists(path)


def fingerprint(path: str) -> bytes:
    """A digest of the content; for a remote file its filesystem's checksum, so that it is not read twice."""
    if is_remote(path):
        return str(_filesystems(path).checksum(path)).encode()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder != "" else name


def _find_local(pattern: str) -> Iterator[ListedFile]:
    is_folder = os.path.isdir(pattern)
    root = pattern.rstrip("/") or "/" if is_folder else _root(pattern)
    for path in [pattern] if is_folder else glob.glob(pattern, recursive=True):
        in_folder = os.path.isdir(path)
        for file in _walk(path) if in_folder else [path]:
            with contextlib.suppress(FileNotFoundError):  # a dangling link
                stat = os.stat(file)
                if os.path.isfile(file):
                    yield ListedFile(file, root, f"{stat.st_size} {stat.st_mtime_ns}", in_folder)


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (os.path.join(parent, name) for name in names if not _is_hidden(name))


def _find_remote(pattern: str) -> Iterator[ListedFile]:
    filesystem = _filesystems(pattern)
    folder, listed = pattern.rstrip("/"), []
    if not glob.has_magic(pattern):  # perhaps a folder: some filesystems match a folder as if it were a file
        below = _match(filesystem, f"{folder}/**")
        listed = [m for m in below if not any(map(_is_hidden, m.path[len(folder) + 1 :].split("/")))]
    in_folder = bool(listed)
    for m in listed or _match(filesystem, pattern):
        # Object stores may hold an object for a folder, and HDFS lists folders as empty files.
        if m.size_in_bytes and not m.path.endswith("/"):
            root = folder if in_folder else _root(pattern)
            yield ListedFile(m.path, root, f"{m.size_in_bytes} {m.last_updated_in_seconds}", in_folder)


def _match(filesystem: Any, pattern: str) -> list[Any]:
    from apache_beam.io.filesystem import BeamIOError

    try:
        return list(filesystem.match([pattern])[0].metadata_list)
    except BeamIOError as error:
        raise InputError(f"cannot list {pattern}: {str(error).splitlines()[0]}") from error


def _root(pattern: str) -> str:
    """The folder that a pattern begins with: its part before the first wildcard."""
    parts = pattern.split("/")[:-1]
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _filesystems(path: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        raise InputError(
            f"{path}: Beam knows no filesystem for {path.partition('://')[0]}://; install the extra of apache-beam that has it "
            "(apache-beam[gcp], [aws], [azure]; hdfs is there)"
        ) from error
    return FileSystems
