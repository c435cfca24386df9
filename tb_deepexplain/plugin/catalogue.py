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

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.log_directories import LogDirectories, check_links
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS
from tb_deepexplain.storage import describe_version, is_remote
from tb_deepexplain.store.layout import MANIFEST
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
        self._directories = LogDirectories(context)
        self._opened: OrderedDict[Path, tuple[tuple[int, ...], ServedStore]] = OrderedDict()
        self._remote_signatures: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._lock = threading.Lock()

    @property
    def logdir(self) -> str:
        """What TensorBoard was started with: --logdir or --logdir_spec."""
        return self._directories.flag

    @functools.cached_property
    def _readable(self) -> list[str]:
        """The directories in which DuckDB may read."""
        return self._directories.local

    @functools.cached_property
    def _engine(self) -> Engine:
        return Engine(self._readable)

    def keys(self, request: RequestContext, experiment: str) -> list[StoreKey]:
        """Every (run, store) that has a marker event, in natural order: run 5 before run 10."""
        runs = self._provider.list_tensors(request, experiment_id=experiment, plugin_name=PLUGIN_NAME)
        names = ((run, read_marker(series.plugin_content)) for run, tags in runs.items() for series in tags.values())
        return sorted({StoreKey(run, name) for run, name in names if name is not None}, key=_natural_order)

    def directory(self, key: StoreKey) -> Path:
        """The directory of a store; StoreError if that is outside the log directories."""
        return self._directories.find(*key).path

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
        directory, boundary = located = self._directories.find(*key)
        signature = self.manifest_signature(directory)
        with self._lock:
            kept = self._opened.get(directory)
            if kept and kept[0] == signature:
                self._opened.move_to_end(directory)
                return kept[1]
            check_links(located, *key)
            self._allow(boundary)
            store = self._read(directory, signature)
            self._opened[directory] = (signature, store)
            self._opened.move_to_end(directory)
            while len(self._opened) > _STORES_KEPT:
                self._opened.popitem(last=False)
            return store

    def _allow(self, boundary: str | None) -> None:
        """Let DuckDB read in the target of a link. Its settings are locked: a new one takes over from the next store on."""
        if boundary is not None and boundary not in self._readable:
            self._readable.append(boundary)
            self._engine = Engine(self._readable)

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


def _natural_order(key: StoreKey) -> tuple[Any, ...]:
    """A sort key in which numbers within names are compared as numbers."""
    parts = re.split(r"(\d+)", f"{key.run}\0{key.store}")
    return (*((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)), key)
