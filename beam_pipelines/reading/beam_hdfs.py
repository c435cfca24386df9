"""hdfs:// through Beam's filesystem, the only one that is not reached through `tb_deepexplain.storage`.

The namenode of hdfs:// is configured by Beam's flags --hdfs_host, --hdfs_port and --hdfs_user, and Beam passes flags to its
workers. fsspec would need a second configuration on every machine, and Hadoop's native library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from tb_deepexplain.errors import InputError

SCHEME = "hdfs://"


def configure(flags: Sequence[str]) -> None:
    """Set the address of hdfs:// from Beam's flags, for this process. Beam does the same in its workers."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions(list(flags)))


class BeamHdfs:
    """Files of hdfs://."""

    def open(self, path: str) -> BinaryIO:
        file: BinaryIO = _filesystem(path).open(path, compression_type="uncompressed")
        return file

    def exists(self, path: str) -> bool:
        return bool(_filesystem(path).exists(path))

    def version(self, path: str) -> str:
        """Changes with the content of the file."""
        return str(_filesystem(path).checksum(path))

    def find(self, folder: str) -> list[tuple[str, str]]:
        """(path, size and time) of all files below the folder."""
        return self.match(f"{folder}/**")

    def match(self, pattern: str) -> list[tuple[str, str]]:
        """(path, size and time) of the files that match."""
        from apache_beam.io.filesystem import BeamIOError

        try:
            listed = _filesystem(pattern).match([pattern])[0].metadata_list
        except BeamIOError as error:
            raise InputError(f"cannot list {pattern}: {str(error).splitlines()[0]}") from error
        # HDFS lists folders as empty files.
        return [(m.path, f"{m.size_in_bytes} {m.last_updated_in_seconds}") for m in listed if m.size_in_bytes]


def _filesystem(path: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except ImportError as error:
        raise InputError(f"{path}: {error}; pip install 'apache-beam[hadoop]'") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}; give --hdfs_host, --hdfs_port and --hdfs_user") from error
    return FileSystems
