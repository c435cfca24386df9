"""Files of the input, on this machine or in remote storage: patterns, reading, fingerprints."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from beam_pipelines.reading import beam_hdfs
from tb_deepexplain.errors import DeepExplainError, InputError
from tb_deepexplain.storage import describe_version, to_path

_BLOCK_BYTES = 1 << 20


class ListedFile(NamedTuple):
    """A file that a pattern matches."""

    path: str
    root: str  # the folder that the pattern begins with
    stamp: str  # size and time, or size and checksum
    in_folder: bool = False  # the pattern matches a folder above it, not the file itself


def is_remote(path: str) -> bool:
    return "://" in path


@contextlib.contextmanager
def open_file(path: str, compressed: bool = False) -> Iterator[BinaryIO]:
    """The file, seekable; decompressed if it is gzip. Raises OSError if it cannot be opened."""
    with _remote(path).open(path) if is_remote(path) else open(path, "rb") as file:
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(BinaryIO, stream)


def find(pattern: str) -> list[ListedFile]:
    """The files that match, and the files below folders that match, without hidden ones; sorted."""
    return sorted(_find_remote(pattern) if is_remote(pattern) else _find_local(os.path.expanduser(pattern)))


def exists(path: str) -> bool:
    return _remote(path).exists(path) if is_remote(path) else os.path.exists(path)


def fingerprint(path: str) -> bytes:
    """A digest of the content; for a remote file the checksum that its storage keeps, so that it is not read twice."""
    if is_remote(path):
        return _remote(path).version(path).encode()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder != "" else name


@contextlib.contextmanager
def _as_input_error(path: str) -> Iterator[None]:
    """Turns an error of a filesystem into an InputError, but for a file that is not there. Each filesystem has others."""
    try:
        yield
    except (FileNotFoundError, DeepExplainError):
        raise
    except Exception as error:
        raise InputError(f"cannot list {path}: {error}; check its name and your credentials") from error


class _RemoteFile(io.RawIOBase):
    """A remote file whose errors are OSErrors: they end the run, where an error of a decoder is damage of the file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(_as_os_error(self._file.seek, offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        content = _as_os_error(self._file.read, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _as_os_error(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns. OSError for any error: each filesystem has others."""
    try:
        return function(*arguments)
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error)) from error


class _Fsspec:
    """Files of gs://, s3:// and all other schemes that `storage` knows."""

    def open(self, path: str) -> BinaryIO:
        file = _as_os_error(_fsspec(path).open, path, "rb")  # such as missing credentials
        return io.BufferedReader(_RemoteFile(file), _BLOCK_BYTES)  # its readline takes a size, which fsspec's does not

    def exists(self, path: str) -> bool:
        with _as_input_error(path):
            return bool(_fsspec(path).exists(path))

    def version(self, path: str) -> str:
        """Changes with the content of the file."""
        with _as_input_error(path):
            return describe_version(_fsspec(path).info(path))

    def find(self, folder: str) -> list[tuple[str, str]]:
        """(path, stamp) of all files below the folder."""
        return self._listed(folder, folder, "find")

    def match(self, pattern: str) -> list[tuple[str, str]]:
        """(path, stamp) of the files that match."""
        return self._listed(pattern, _root(pattern), "glob")

    def _listed(self, pattern: str, root: str, method: str) -> list[tuple[str, str]]:
        filesystem = _fsspec(pattern)
        try:
            with _as_input_error(pattern):
                listed = getattr(filesystem, method)(pattern, detail=True)
        except FileNotFoundError:
            return []
        bare_root = filesystem._strip_protocol(root)  # noqa: SLF001  fsspec lists names without protocol
        # Object stores may hold an empty object for a folder.
        return [
            (root + name[len(bare_root) :], describe_version(info))
            for name, info in listed.items()
            if info["type"] == "file" and info["size"]
        ]


def _remote(path: str) -> _Fsspec | beam_hdfs.BeamHdfs:
    return beam_hdfs.BeamHdfs() if path.startswith(beam_hdfs.SCHEME) else _Fsspec()


def _fsspec(path: str) -> Any:
    return to_path(path).fs  # type: ignore[attr-defined]


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
    folder = pattern.rstrip("/")
    below = []
    if not glob.has_magic(pattern):  # perhaps a folder
        below = [
            (path, stamp)
            for path, stamp in _remote(pattern).find(folder)
            if path.startswith(f"{folder}/") and not any(map(_is_hidden, path[len(folder) + 1 :].split("/")))
        ]
    if below:
        yield from (ListedFile(path, folder, stamp, True) for path, stamp in below)
    else:
        yield from (ListedFile(path, _root(pattern), stamp) for path, stamp in _remote(pattern).match(pattern))


def _root(pattern: str) -> str:
    """The folder that a pattern begins with: its part before the first wildcard."""
    parts = pattern.split("/")[:-1]
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
