"""The stores of a log directory: from marker events to opened stores, safely and within bounded memory."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext

from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS
from tb_deepexplain.storage import describe_version, is_remote
from tb_deepexplain.store.layout import MANIFEST, store_path
from tb_deepexplain.store.marker import PLUGIN_NAME, read_marker
from tb_deepexplain.store.reader import not_committed

_REMOTE_SIGNATURE_AGE_S = 3.0
_STORES_KEPT = 16  # each with a manifest and at most a few orders


class StoreKey(NamedTuple):
    run: str
    store: str


class Catalogue:
    """The stores that TensorBoard's data provider announces; opened ones are kept until their manifest changes."""

    def __init__(self, context: TBContext) -> None:
        self._provider = context.data_provider
        self.logdir = context.logdir or ""
        self._opened: OrderedDict[Path, tuple[tuple[int, ...], ServedStore]] = OrderedDict()
        self._remote_signatures: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def _engine(self) -> Engine:
        return Engine([] if "://" in self.logdir else [self._root])

    @property
    def _root(self) -> str:
        return os.path.realpath(os.path.expanduser(self.logdir))

    def keys(self, request: RequestContext, experiment: str) -> list[StoreKey]:
        """Every (run, store) that has a marker event, in natural order: run 5 before run 10."""
        runs = self._provider.list_tensors(request, experiment_id=experiment, plugin_name=PLUGIN_NAME)
        names = ((run, read_marker(series.plugin_content)) for run, tags in runs.items() for series in tags.values())
        return sorted({StoreKey(run, name) for run, name in names if name is not None}, key=_natural_order)

    def directory(self, key: StoreKey) -> Path:
        """The directory of a store; StoreError if that is outside the log directory."""
        if not self.logdir:
            raise StoreError(
                "attribution stores are read from a --logdir, and this TensorBoard has none (--logdir_spec?); start it with --logdir "
                "DIRECTORY"
            )
        if "://" in self.logdir:
            return self._remote_directory(key)
        root = self._root
        path = os.path.realpath(store_path(root, key.run, key.store))
        if os.path.commonpath([root, path]) != root:
            raise _outside(key)
        return Path(path)

    def _remote_directory(self, key: StoreKey) -> Path:
        if ".." in key.run.split("/"):
            raise _outside(key)
        try:
            return store_path(self.logdir, key.run, key.store)
        except ParameterError as error:
            raise StoreError(str(error)) from error

    def manifest_signature(self, directory: Path) -> tuple[int, ...]:
        """Numbers that change when the manifest does; StoreError if there is none."""
        if is_remote(directory):
            return self._remote_signature(directory)
        try:
            stat = os.stat(directory / MANIFEST)
        except OSError:
            raise not_committed(directory) from None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _remote_signature(self, directory: Path) -> tuple[int, ...]:
        """The signature, up to a few seconds old: a request for it takes as long as one for the manifest."""
        kept = self._remote_signatures.get(str(directory))
        if kept and time.monotonic() - kept[0] < _REMOTE_SIGNATURE_AGE_S:
            return kept[1]
        path = directory / MANIFEST
        try:
            info = path.fs.info(path.path)  # type: ignore[attr-defined]
        except FileNotFoundError:
            raise not_committed(directory) from None
        except Exception as error:  # each filesystem has other errors
            raise StoreError(
                f"{directory} cannot be read ({type(error).__name__}: {error}); check your credentials"
            ) from error
        signature = (hash(describe_version(info)),)
        self._remote_signatures[str(directory)] = (time.monotonic(), signature)
        return signature

    def open(self, key: StoreKey) -> ServedStore:
        """The store, opened once for each version of its manifest; StoreError if it cannot be read."""
        directory = self.directory(key)
        signature = self.manifest_signature(directory)
        with self._lock:
            kept = self._opened.get(directory)
            if kept and kept[0] == signature:
                self._opened.move_to_end(directory)
                return kept[1]
            store = self._read(directory, signature)
            self._opened[directory] = (signature, store)
            self._opened.move_to_end(directory)
            while len(self._opened) > _STORES_KEPT:
                self._opened.popitem(last=False)
            return store

    def _read(self, directory: Path, signature: tuple[int, ...]) -> ServedStore:
        try:
            return ServedStore(directory, self._engine)
        except READ_ERRORS as error:
            # A commit between the reads of manifest and index removes the old index: try once more.
            if self.manifest_signature(directory) != signature:
                return ServedStore(directory, self._engine)
            if isinstance(error, StoreError):
                raise
            sentence = f"{directory} cannot be read ({type(error).__name__}: {error}); run the pipeline again"
            raise StoreError(sentence) from error


def _outside(key: StoreKey) -> StoreError:
    return StoreError(f"the store {key.store!r} of run {key.run!r} lies outside the logdir; move it inside")


def _natural_order(key: StoreKey) -> tuple[Any, ...]:
    """A sort key in which numbers within names are compared as numbers."""
    parts = re.split(r"(\d+)", f"{key.run}\0{key.store}")
    return (*((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)), key)
