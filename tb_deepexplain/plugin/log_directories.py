"""Where the runs that TensorBoard lists lie: below --logdir, or below the directories of --logdir_spec. No path leads elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tensorboard.plugins.base_plugin import TBContext

from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store.layout import MANIFEST, store_path

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9.]*://")


class StoreDirectory(NamedTuple):
    """The directory of a store, and the directory that none of its files may lie outside of (None: it is remote)."""

    path: Path
    boundary: str | None


class LogDirectories:
    """The log directories of a TensorBoard. `flag` is what it was started with."""

    def __init__(self, context: TBContext) -> None:
        specification = getattr(context.flags, "logdir_spec", None) or ""
        self.flag = context.logdir or specification
        self._roots = [("", context.logdir)] if context.logdir else list(_parse_specification(specification))

    @property
    def local(self) -> list[str]:
        """The directories on this machine, without symbolic links."""
        return [_real(root) for _, root in self._roots if not _REMOTE.match(root)]

    def find(self, run: str, store: str) -> StoreDirectory:
        """The directory of a store of a run that TensorBoard lists; StoreError if that lies outside the log directories.

        The directory of the run may be a symbolic link, because TensorBoard follows such links; what lies below it must stay
        in it, or in the log directory.
        """
        if not self._roots:
            raise StoreError(
                "attribution stores are read from a log directory, and this TensorBoard has none; start it with --logdir DIRECTORY"
            )
        candidates = [_inside(root, relative, run, store) for root, relative in self._candidates(run)]
        if not candidates:
            raise StoreError(f"--logdir_spec {self.flag} has no directory for run {run!r}")
        # Several directories of --logdir_spec may have the run; TensorBoard reads the last.
        committed = [one for one in candidates if len(candidates) > 1 and (one.path / MANIFEST).exists()]
        return (committed or candidates)[-1]

    def _candidates(self, run: str) -> Iterator[tuple[str, str]]:
        """(log directory, path of the run in it), where the name of the run allows it."""
        for name, root in self._roots:
            if not name:
                yield root, run
            elif run == name or run.startswith(f"{name}/"):
                yield root, run[len(name) + 1 :]


def check_links(directory: StoreDirectory, run: str, store: str) -> None:
    """StoreError if a file of a local store is a symbolic link that leads outside."""
    if directory.boundary is None or not directory.path.is_dir():
        return
    with os.scandir(directory.path) as entries:
        links = [entry.path for entry in entries if entry.is_symlink()]
    if not all(_contains(directory.boundary, os.path.realpath(link)) for link in links):
        raise _outside(run, store)


def _inside(root: str, relative: str, run: str, store: str) -> StoreDirectory:
    if ".." in relative.split("/") or os.path.isabs(relative):
        raise _outside(run, store)
    if _REMOTE.match(root):
        try:
            return StoreDirectory(store_path(root, relative, store), None)
        except ParameterError as error:
            raise StoreError(str(error)) from error
    root = _real(root)
    path = os.path.realpath(store_path(root, relative, store))
    manifest = os.path.realpath(os.path.join(path, MANIFEST))
    for boundary in (root, os.path.realpath(os.path.join(root, relative))):
        if _contains(boundary, path) and _contains(boundary, manifest):
            return StoreDirectory(Path(path), boundary)
    raise _outside(run, store)


def _parse_specification(specification: str) -> Iterator[tuple[str, str]]:
    """(name, directory) of `name:directory,directory,...`; the name is empty where there is none."""
    for entry in filter(None, specification.split(",")):
        name, colon, directory = entry.partition(":")
        yield ("", entry) if not colon or entry.startswith("/") or _REMOTE.match(entry) else (name, directory)


def _real(directory: str) -> str:
    return os.path.realpath(os.path.expanduser(directory))


def _contains(directory: str, path: str) -> bool:
    return os.path.commonpath([directory, path]) == directory


def _outside(run: str, store: str) -> StoreError:
    return StoreError(f"the store {store!r} of run {run!r} leads outside the logdir; move it inside")
