"""The configuration of a store: what its content depends on. A run may only resume a store of the same configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tb_deepexplain.errors import StoreError, UnsupportedModelError
from tb_deepexplain.storage import (
    atomic_write,
    is_remote,
    make_directory,
    map_files,
    read_text,
    remove_file,
    to_path,
)
from tb_deepexplain.store import version_1
from tb_deepexplain.store.layout import (
    CONFIGURATION,
    INDEX_PATTERN,
    MANIFEST,
    TABLES,
    TEMPORARY_PATTERN,
    shard_file,
    shard_files,
    shard_pattern,
    unit_of,
)
from tb_deepexplain.store.records import FORMAT_VERSION
from tb_deepexplain.store.write_errors import as_store_error
from tb_deepexplain.store.writer import StoreWriter

_REPLACE = "--overwrite replaces it, --name NAME makes another"
_SHORT = 60  # characters of a value in a message
_FEW_VALUES = 48  # of an array that is kept as it is
_ABSENT = {"precision": "TensorFlow's (TF32 on a GPU)"}  # in stores of versions that had no such entry


@dataclasses.dataclass(frozen=True)
class StoredConfiguration:
    """A configuration as a store keeps it, with the format version of the store."""

    format_version: int
    contents: dict[str, Any]

    def check_format(self, directory: Path) -> None:
        """StoreError if this version cannot add to the store."""
        if self.format_version != FORMAT_VERSION:
            version_1.refuse_to_continue(directory)


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A digest of every file of a model. UnsupportedModelError if there is none, or if it cannot be read."""
    root = to_path(path)
    try:
        if not root.exists():
            raise UnsupportedModelError(f"no model at {path}: give a SavedModel directory or a .keras, .h5 or .pb file")
        return _digest_files(root)
    except Exception as error:  # of a remote filesystem: each has others
        if isinstance(error, UnsupportedModelError) or not is_remote(root):
            raise
        raise UnsupportedModelError(f"cannot read {path}: {error}; check its name and your credentials") from error


def _digest_files(root: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    for file in files:
        digest.update(f"{'/'.join(file.parts[len(root.parts) :]) or '.'}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def digest(configuration: dict[str, Any]) -> str:
    """Six hexadecimal digits by which configurations differ."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:6]


def as_json(value: Any) -> Any:
    """A method's parameter as the manifest holds it; of an array the values if they are few, else its shape and a digest.

    JSON has no NaN and no infinity: these are the texts "nan", "inf" and "-inf".
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        return as_json(value.item())
    if isinstance(value, np.ndarray):
        if value.size <= _FEW_VALUES:
            return as_json(value.tolist())
        content = repr(value.tolist()).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
        return f"array {list(value.shape)} {hashlib.sha256(content).hexdigest()[:16]}"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if hasattr(value, "__array__"):  # a tensor, a column of a frame
        return as_json(np.asarray(value))
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list | tuple) else value


def check(directory: Path, configuration: dict[str, Any], resume: bool) -> None:
    """StoreError unless the directory holds no store, or one of the same configuration and `resume`."""
    stored = read(directory)
    if stored is None:
        if (directory / MANIFEST).exists() or shard_files(directory, "attributions"):
            raise StoreError(f"{directory} holds a store that another program made; {_REPLACE}")
        return
    stored.check_format(directory)
    if changed := list(differences("", stored.contents, configuration)):
        raise StoreError(f"{directory} was made differently ({'; '.join(changed)}); {_REPLACE}")
    if not resume:
        state = "finished" if (directory / MANIFEST).exists() else "partly finished"
        raise StoreError(
            f"{directory} holds a {state} store of the same configuration; --resume continues it, --overwrite starts over"
        )


def begin(directory: Path, configuration: dict[str, Any]) -> None:
    """Write the configuration of a store that begins."""
    contents = {"format_version": FORMAT_VERSION, **configuration}
    with as_store_error(directory), atomic_write(directory / CONFIGURATION) as temporary:
        temporary.write_text(json.dumps(contents, indent=1), encoding="utf-8")


def read(directory: Path) -> StoredConfiguration | None:
    """The configuration of the directory's store; None if it has none. StoreError if it cannot be read."""
    try:
        contents: dict[str, Any] = json.loads(read_text(directory / CONFIGURATION))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(
            f"{directory / CONFIGURATION} is not JSON ({error}); --overwrite replaces the store"
        ) from error
    return StoredConfiguration(contents.pop("format_version", 1), contents)


def differences(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two configurations, in words; `prefix` precedes every name."""
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from differences(f"{prefix}{key}.", was, now)
        elif was != now:
            yield f"{prefix}{key} was {_short(was, _ABSENT.get(key))}, now {_short(now)}"


def clear(directory: Path) -> None:
    """Remove a store's files and, if nothing else is in it, its directory."""
    # The manifest goes first: what is half removed does not count as a store.
    for pattern in (MANIFEST, *map(shard_pattern, TABLES), INDEX_PATTERN, TEMPORARY_PATTERN, CONFIGURATION):
        map_files(remove_file, list(directory.glob(pattern)), directory)
    with contextlib.suppress(OSError):  # there are other files, or the directory cannot be removed
        directory.rmdir()


def remove_failed_units(directory: Path) -> None:
    """Remove the units with errors, and the manifest if there are any, so that a run explains these units again."""
    units = [unit_of(path) for path in shard_files(directory, "errors")]
    counts = StoreWriter(directory).count_rows("errors", units)
    failed = [unit for unit, errors in zip(units, counts, strict=True) if errors]
    if failed:
        remove_file(directory / MANIFEST)
    for unit in failed:
        for table in TABLES:  # attributions first: without them the unit does not count
            remove_file(shard_file(directory, table, unit))


def remove_leftovers(directory: Path) -> None:
    """Remove the files that killed processes left in a committed store."""
    index = json.loads(read_text(directory / MANIFEST))["index"]
    old_indexes = [path for path in directory.glob(INDEX_PATTERN) if path.name not in index]
    map_files(remove_file, [*directory.glob(TEMPORARY_PATTERN), *old_indexes], directory)


def check_writable(directory: Path) -> None:
    """StoreError unless the directory, or its nearest existing parent, can be written to. Remote ones are written to."""
    if is_remote(directory):
        with as_store_error(directory):
            probe = directory / f".probe-{uuid.uuid4().hex[:8]}"
            make_directory(directory)
            probe.write_bytes(b"")
            probe.unlink()
        return
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists() or path.is_symlink())
    if not nearest.is_dir():
        raise StoreError(f"cannot write to {directory}: {nearest} is not a directory; choose another --logdir")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to {directory}: no permission to write in {nearest}; choose another --logdir")


def _short(value: Any, absent: str | None = None) -> str:
    text = absent or "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
