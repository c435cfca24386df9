"""Which stores a logdir has: from marker events to opened stores, safely and within bounded memory."""

from __future__ import annotations

import collections
import functools
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext

from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.store_query import Grid
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS
from tb_deepexplain.storage import is_remote
from tb_deepexplain.store.marker import PLUGIN_NAME, read_marker
from tb_deepexplain.store.store import MANIFEST, store_path

_REMOTE_AGE_S = 3.0
_GRIDS_KEPT = 16  # each with a manifest and at most a few orders


class Place(NamedTuple):
    run: str
    store: str


class Catalogue:
    """The stores that TensorBoard's data provider announces; opened ones are kept until their manifest changes."""

    def __init__(self, context: TBContext) -> None:
        self._provider = context.data_provider
        self.logdir = context.logdir or ""
        self._open: collections.OrderedDict[Path, tuple[tuple[int, ...], Grid]] = collections.OrderedDict()
        self._signatures: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def _engine(self) -> Engine:
        return Engine([] if "://" in self.logdir else [self._root])

    @property
    def _root(self) -> str:
        return os.path.realpath(os.path.expanduser(self.logdir))

    def places(self, request: RequestContext, experiment: str) -> list[Place]:
        """Every (run, store) that has a marker event, in the order in which people count: run 5 before run 10."""
        found = self._provider.list_tensors(request, experiment_id=experiment, plugin_name=PLUGIN_NAME)
        names = ((run, read_marker(series.plugin_content)) for run, tags in found.items() for series in tags.values())
        return sorted({Place(run, name) for run, name in names if name is not None}, key=_counted)

    def directory(self, place: Place) -> Path:
        """Where a listed store lies; refused if that is outside the logdir."""
        if not self.logdir:
            raise StoreError(
                "attribution stores are read from a --logdir, and this TensorBoard has none (--logdir_spec?); start it with --logdir "
                "DIRECTORY"
            )
        if "://" in self.logdir:
            return self._remote(place)
        root = self._root
        path = os.path.realpath(store_path(root, place.run, place.store))
        if os.path.commonpath([root, path]) != root:
            raise StoreError(f"the store {place.store!r} of run {place.run!r} lies outside the logdir; move it inside")
        return Path(path)

    def _remote(self, place: Place) -> Path:
        if ".." in (*place.run.split("/"), place.store):
            raise StoreError(f"the store {place.store!r} of run {place.run!r} lies outside the logdir; move it inside")
        try:
            return store_path(self.logdir, place.run, place.store)
        except ParameterError as error:
            raise StoreError(str(error)) from error

    def manifest_signature(self, directory: Path) -> tuple[int, ...]:
        if is_remote(directory):
            return self._remote_signature(directory)
        try:
            stat = os.stat(directory / MANIFEST)
        except OSError:
            raise StoreError(f"{directory} holds no committed store (no {MANIFEST}); finish its run first") from None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _remote_signature(self, directory: Path) -> tuple[int, ...]:
        """As of a few seconds ago: to ask takes as long as to answer."""
        known = self._signatures.get(str(directory))
        if known and time.monotonic() - known[0] < _REMOTE_AGE_S:
            return known[1]
        path = directory / MANIFEST
        try:
            info = path.fs.info(path.path)  # type: ignore[attr-defined]
        except FileNotFoundError:
            raise StoreError(f"{directory} holds no committed store (no {MANIFEST}); finish its run first") from None
        except Exception as error:  # whatever its filesystem raises
            raise StoreError(
                f"{directory} cannot be read ({type(error).__name__}: {error}); check your credentials"
            ) from error
        marks = [
            str(info[name]) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated") if name in info
        ]
        signature = (hash(tuple(marks)), int(info.get("size") or 0))
        self._signatures[str(directory)] = (time.monotonic(), signature)
        return signature

    def open(self, place: Place) -> Grid:
        """The store, opened once for each version of its manifest; StoreError says what is wrong with it."""
        directory = self.directory(place)
        signature = self.manifest_signature(directory)
        with self._lock:
            kept = self._open.get(directory)
            if kept and kept[0] == signature:
                self._open.move_to_end(directory)
                return kept[1]
            grid = self._read(directory, signature)
            self._open[directory] = (signature, grid)
            self._open.move_to_end(directory)
            while len(self._open) > _GRIDS_KEPT:
                self._open.popitem(last=False)
            return grid

    def _read(self, directory: Path, signature: tuple[int, ...]) -> Grid:
        try:
            return Grid(directory, self._engine)
        except READ_ERRORS as error:
            # A commit between reading the manifest and reading its index takes the old index away: look again, once.
            if self.manifest_signature(directory) != signature:
                return Grid(directory, self._engine)
            raise as_store_error(directory, error) from error


def as_store_error(directory: Path, error: BaseException) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(f"{directory} cannot be read ({type(error).__name__}: {error}); run the pipeline again")


def _counted(place: Place) -> tuple[Any, ...]:
    """Numbers within names as numbers."""
    parts = re.split(r"(\d+)", f"{place.run}\0{place.store}")
    return (*((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)), place)
