"""What a store was made of: a run may only go on with a store that was begun with the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tb_deepexplain.errors import StoreError, UnsupportedModelError
from tb_deepexplain.storage import each, is_remote, make, place, read_text, whole
from tb_deepexplain.store.records import FORMAT_VERSION
from tb_deepexplain.store.store import MANIFEST, StoreWriter, writing
from tb_deepexplain.store.version_1 import refuse_to_continue

_FILE = "configuration.json"
_FORMAT = "format_version"  # beside the configuration
_OURS = ("attributions-*.parquet", "inputs-*.parquet", "errors-*.parquet", "index-*.parquet", ".*.tmp")


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A digest of every file of a model."""
    root, digest = place(path), hashlib.sha256()
    if not root.exists():
        raise UnsupportedModelError(f"no model at {path}: give a SavedModel directory or a .keras, .h5 or .pb file")
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    for file in files:
        digest.update(f"{'/'.join(file.parts[len(root.parts) :]) or '.'}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def digest(configuration: dict[str, Any]) -> str:
    """A few letters that tell it from others."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:6]


def as_json(value: Any) -> Any:
    """A method parameter as the manifest holds it; an array by its shape and a digest."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        return value.item()
    if isinstance(value, np.ndarray):
        return f"array {list(value.shape)} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list | tuple) else value


def check(directory: Path, configuration: dict[str, Any], resume: bool) -> None:
    """StoreError unless the directory holds no store, or one of this configuration that is to be resumed."""
    begun = read(directory)
    if begun is None:
        if (directory / MANIFEST).exists() or any(directory.glob(_OURS[0])):
            raise StoreError(
                f"{directory} holds a store that another program made; --overwrite replaces it, --name NAME makes another"
            )
        return
    if begun.pop(_FORMAT, 1) != FORMAT_VERSION:
        refuse_to_continue(directory)
    if changed := list(differences("", begun, configuration)):
        raise StoreError(
            f"{directory} was made differently ({'; '.join(changed)}); --overwrite replaces it, --name NAME makes another"
        )
    if not resume:
        state = "finished" if (directory / MANIFEST).exists() else "partly finished"
        raise StoreError(
            f"{directory} holds a {state} store of the same configuration; --resume goes on with it, --overwrite begins again"
        )


def begin(directory: Path, configuration: dict[str, Any]) -> None:
    """Note in the directory what its store is made of."""
    with writing(directory), whole(directory / _FILE) as temporary:
        temporary.write_text(json.dumps({_FORMAT: FORMAT_VERSION, **configuration}, indent=1), encoding="utf-8")


def clear(directory: Path) -> None:
    """Remove a store's files and, where nothing else is in it, its directory."""
    for pattern in (MANIFEST, *_OURS, _FILE):  # the manifest first: what is half removed is no store
        each(_remove, list(directory.glob(pattern)), directory)
    with contextlib.suppress(OSError):  # others' files are in it, or there is nothing that could be removed
        directory.rmdir()


def forget_failures(directory: Path) -> None:
    """Take back the units in which examples failed, and with them the manifest."""
    errors = list(directory.glob(_OURS[2]))
    rows = StoreWriter(directory).rows("errors", [path.stem.removeprefix("errors-") for path in errors])
    failed = [path for path, number in zip(errors, rows, strict=True) if number]
    for path in [directory / MANIFEST, *failed] if failed else []:
        for kind in ("attributions", "inputs", "errors"):  # attributions first: the unit then does not count
            path.with_name(path.name.replace("errors", kind, 1)).unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what workers and drivers that were killed left; for when the manifest stands."""
    index = json.loads(read_text(directory / MANIFEST))["index"]
    old = [path for path in directory.glob("index-*.parquet") if path.name not in index]
    each(_remove, [*directory.glob(_OURS[-1]), *old], directory)


def check_writable(directory: Path) -> None:
    """StoreError unless the directory, or the nearest one above it that exists, can be written to; remote ones are tried."""
    if is_remote(directory):
        with writing(directory):
            probe = directory / f".probe-{uuid.uuid4().hex[:8]}"
            make(directory)
            probe.write_bytes(b"")
            probe.unlink()
        return
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists() or path.is_symlink())
    if not nearest.is_dir():
        raise StoreError(f"cannot write to {directory}: {nearest} is not a directory; choose another --logdir")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to {directory}: no permission to write in {nearest}; choose another --logdir")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def read(directory: Path) -> dict[str, Any] | None:
    """What the directory's store is made of, as `begin` noted it; None if that was not done."""
    try:
        found: dict[str, Any] = json.loads(read_text(directory / _FILE))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{directory / _FILE} is not JSON ({error}); --overwrite replaces the store") from error
    return found


def differences(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """In words; `prefix` stands before every name."""
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from differences(f"{prefix}{key}.", was, now)
        elif was != now:
            yield f"{prefix}{key} was {_short(was)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
