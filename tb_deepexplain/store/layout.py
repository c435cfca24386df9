"""The files of a store: where they lie and what they are called.

A store is the directory `<logdir>/<run>/plugins/deepexplain/<name>/`. Every work unit has a shard of three files,
`attributions-<unit>.parquet`, `inputs-<unit>.parquet` and `errors-<unit>.parquet`; a commit adds one `index-*.parquet` and
`manifest.json`, which names it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tb_deepexplain.storage import to_path
from tb_deepexplain.store.marker import PLUGIN_NAME

MANIFEST = "manifest.json"
CONFIGURATION = "configuration.json"
DUPLICATES = "duplicates"  # the unit whose errors are the examples with the id of another example
TABLES = ("attributions", "inputs", "errors")
INDEX_PATTERN, TEMPORARY_PATTERN = "index-*.parquet", ".*.tmp"


def store_path(logdir: str | os.PathLike[str], run: str, name: str) -> Path:
    return to_path(logdir) / run / "plugins" / PLUGIN_NAME / name


def shard_file(directory: Path, table: str, unit: str) -> Path:
    """The file of a unit's shard that holds one of TABLES."""
    return directory / f"{table}-{unit}.parquet"


def shard_files(directory: Path, table: str) -> list[Path]:
    """The files of one of TABLES, of all units that have them."""
    return list(directory.glob(shard_pattern(table)))


def shard_pattern(table: str) -> str:
    """A glob pattern of the files of one of TABLES."""
    return f"{table}-*.parquet"


def unit_of(shard_file: Path) -> str:
    return shard_file.stem.split("-", 1)[1]


def new_index_name() -> str:
    return f"index-{uuid.uuid4().hex[:8]}.parquet"
