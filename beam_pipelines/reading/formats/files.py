"""Files wherever they are: local ones plainly, gs://, s3://, hdfs:// and the like through Beam's filesystems."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from tb_deepexplain.errors import InputError

_BLOCK = 1 << 20


class Found(NamedTuple):
    """A file that a pattern matches, and the folder that the pattern begins with."""

    path: str
    root: str
    stamp: str  # size and time
    walked: bool = False  # found in a folder that matches


def is_remote(path: str) -> bool:
    return "://" in path


@contextlib.contextmanager
def opened(path: str, compressed: bool = False) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed if it is gzip; seekable."""
    with (
        _filesystems(path).open(path, compression_type="uncompressed") if is_remote(path) else open(path, "rb") as file
    ):
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(BinaryIO, stream)


def find(pattern: str) -> list[Found]:
    """The files that match, and those below the folders that match but for hidden ones; sorted."""
    found = _find_remote(pattern) if is_remote(pattern) else _find_local(os.path.expanduser(pattern))
    return sorted(found)


def exists(path: str) -> bool:
    return bool(_filesystems(path).exists(path)) if is_remote(path) else os.path.exists(path)


def fingerprint(path: str) -> bytes:
    """A digest of the content; of a remote file the checksum that its filesystem keeps, so that it is not read twice."""
    if is_remote(path):
        return str(_filesystems(path).checksum(path)).encode()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder != "" else name


def _find_local(pattern: str) -> Iterator[Found]:
    is_folder = os.path.isdir(pattern)
    root = pattern.rstrip("/") or "/" if is_folder else _root(pattern)
    for path in [pattern] if is_folder else glob.glob(pattern, recursive=True):
        walked = os.path.isdir(path)
        for file in _below(path) if walked else [path]:
            with contextlib.suppress(FileNotFoundError):  # a link to nowhere
                stat = os.stat(file)
                if os.path.isfile(file):
                    yield Found(file, root, f"{stat.st_size} {stat.st_mtime_ns}", walked)


def _below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (os.path.join(parent, name) for name in names if not _is_hidden(name))


def _find_remote(pattern: str) -> Iterator[Found]:
    filesystem = _filesystems(pattern)
    folder, listed = pattern.rstrip("/"), []
    if not glob.has_magic(pattern):  # perhaps a folder: some filesystems match it as if it were a file
        below = _match(filesystem, f"{folder}/**")
        listed = [m for m in below if not any(map(_is_hidden, m.path[len(folder) + 1 :].split("/")))]
    walked = bool(listed)
    for m in listed or _match(filesystem, pattern):
        # Object stores may hold an object for a folder, and HDFS lists folders as empty files.
        if m.size_in_bytes and not m.path.endswith("/"):
            root = folder if walked else _root(pattern)
            yield Found(m.path, root, f"{m.size_in_bytes} {m.last_updated_in_seconds}", walked)


def _match(filesystem: Any, pattern: str) -> list[Any]:
    from apache_beam.io.filesystem import BeamIOError

    try:
        return list(filesystem.match([pattern])[0].metadata_list)
    except BeamIOError as error:
        raise InputError(f"cannot list {pattern}: {str(error).splitlines()[0]}") from error


def _root(pattern: str) -> str:
    """The part of a pattern that holds no wildcard, as a folder."""
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
