"""hdfs:// through Beam's filesystem, the only one that is not reached through `tb_deepexplain.storage`.

The namenode of hdfs:// is configured by Beam's flags --hdfs_host, --hdfs_port and --hdfs_user, and Beam passes flags to its
workers. fsspec would need a second configuration on every machine, and Hadoop's native library.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from tb_deepexplain.errors import DeepExplainError, InputError
from tb_deepexplain.first_request import first_request

SCHEME = "hdfs://"
_NAMENODE = f"{SCHEME} (the namenode at --hdfs_host and --hdfs_port)"


def configure(flags: Sequence[str]) -> None:
    """Set the address of hdfs:// from Beam's flags, for this process. Beam does the same in its workers."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions(list(flags)))


class BeamHdfs:
    """Files of hdfs://."""

    def open(self, path: str) -> BinaryIO:
        try:
            file: BinaryIO = _filesystem(path).open(path, compression_type="uncompressed")
        except (OSError, InputError):
            raise
        except Exception as error:  # of the namenode
            raise OSError(str(error)) from error
        return file

    def exists(self, path: str) -> bool:
        with _as_input_error(path):
            return bool(_filesystem(path).exists(path))

    def version(self, path: str) -> str:
        """Changes with the content of the file."""
        with _as_input_error(path):
            return str(_filesystem(path).checksum(path))

    def find(self, folder: str) -> list[tuple[str, str]]:
        """(path, size and time) of all files below the folder."""
        return self.match(f"{folder}/**")

    def match(self, pattern: str) -> list[tuple[str, str]]:
        """(path, size and time) of the files that match."""
        with _as_input_error(pattern):
            listed = _filesystem(pattern).match([pattern])[0].metadata_list
        # HDFS lists folders as empty files.
        return [(m.path, f"{m.size_in_bytes} {m.last_updated_in_seconds}") for m in listed if m.size_in_bytes]


@contextlib.contextmanager
def _as_input_error(path: str) -> Iterator[None]:
    """Turns any error of Beam's filesystem into an InputError."""
    try:
        yield
    except DeepExplainError:
        raise
    except Exception as error:
        raise InputError(f"cannot list {path}: {_cause(error)}; check its name, --hdfs_host and --hdfs_port") from error


def _filesystem(path: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except Exception as error:  # Beam wraps some of them
        cause, advice = _cause(error), "give --hdfs_host, --hdfs_port and --hdfs_user"
        if isinstance(cause, ImportError):
            advice = "pip install 'apache-beam[hadoop]'"
        raise InputError(f"{SCHEME}: {cause}; {advice}") from error
    with contextlib.suppress(_Answered):
        first_request(_NAMENODE, functools.partial(_connect, FileSystems, path))
    return FileSystems


class _Answered(Exception):
    """The namenode answered with an error, which the next request meets, too."""


def _connect(filesystems: Any, path: str) -> None:
    """Make a request, of any answer."""
    try:
        filesystems.exists(path)
    except Exception as error:
        raise _Answered(str(error)) from error


def _cause(error: Exception) -> Exception:
    """The error of one path that a BeamIOError holds; any other error itself."""
    details = getattr(error, "exception_details", None)
    causes = [cause for cause in details.values() if isinstance(cause, Exception)] if isinstance(details, dict) else []
    return causes[0] if causes else error
