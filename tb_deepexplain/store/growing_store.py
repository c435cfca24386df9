"""A store that grows with a training: one unit with all inputs, then one with the maps of each step.

It is committed after every step, so that it can be read at any time; until `finish` its manifest says `"complete": false`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import each
from tb_deepexplain.store import configuration
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import FORMAT_VERSION, Attribution, Failure, Input
from tb_deepexplain.store.store import MANIFEST, Store, StoreWriter, store_path
from tb_deepexplain.store.version_1 import refuse_to_continue

EXAMPLES = "examples"  # the unit of the inputs
_MADE_BY = "training"  # of a configuration: "epoch" or "batch", whichever is counted


class GrowingStore:
    """The store `name` of `run`, of one configuration: what its steps must have in common."""

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        run: str,
        name: str,
        made_of: dict[str, Any],
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        """`describe` gives the manifest, less what is known here."""
        self.directory = store_path(logdir, run, name)
        self._place = (logdir, run, name)
        self._made_of, self._describe = made_of, describe
        self._writer = StoreWriter(self.directory)
        self._version: str | None = None  # of the last commit
        self.steps: list[int] = []

    def open(self, first: int, inputs: Sequence[Input], overwrite: bool) -> None:
        """Make room for steps from `first` on: a store that is there keeps what lies before.

        StoreError if it has later ones, which only `overwrite` drops, or was made of something else, or elsewhere.
        """
        begun = configuration.read(self.directory)
        stands = (self.directory / MANIFEST).exists()
        foreign = stands or any(self.directory.glob("attributions-*")) if begun is None else _MADE_BY not in begun
        if foreign:
            raise StoreError(f"{self.directory} holds a store that no training made; give another run or name")
        written = Store(self.directory).manifest if stands else {"steps": [], "version": None}
        kept = [step for step in written["steps"] if step < first]
        if kept and (begun or {}).pop("format_version", 1) != FORMAT_VERSION:
            refuse_to_continue(self.directory)
        if kept and (changed := list(configuration.differences("", begun or {}, self._made_of))):
            raise StoreError(
                f"{self.directory} was made differently ({'; '.join(changed)}); a training that goes on explains the same "
                "examples in the same way: give another run or name, or train anew with overwrite=True"
            )
        if len(kept) < len(written["steps"]) and not overwrite:
            raise StoreError(
                f"{self.directory} holds steps {written['steps'][0]} to {written['steps'][-1]} of an earlier training, and this "
                f"one begins at {first}; give another logdir, run or name, overwrite=True to replace those from {first} on, "
                f"or go on behind them (initial_epoch={written['steps'][-1] + 1}, where epochs are counted)"
            )
        if kept:
            self._keep(kept, written)
        else:
            configuration.clear(self.directory)
            self._writer.begin()
            configuration.begin(self.directory, self._made_of)
            with self._writer.shard(EXAMPLES) as shard:
                shard.add(inputs=inputs)

    def add(self, step: int, attributions: Sequence[Attribution], errors: Sequence[Failure]) -> None:
        """The maps of one more step; the examples that it could not explain."""
        with self._writer.shard(_unit(step), EXAMPLES) as shard:
            shard.add(
                attributions, errors=[dataclasses.replace(e, message=f"step {step}: {e.message}") for e in errors]
            )
        steps = [*self.steps, step]
        if self._version is None:
            self._commit(steps)
            write_marker(*self._place)
        else:
            written = self._writer.append(_unit(step), self._described(steps, False), self._version)
            self.steps, self._version = steps, written["version"]

    def finish(self) -> None:
        """The training is over."""
        if self._version is not None:
            self._version = self._writer.describe(self._described(self.steps, True), self._version)["version"]
            configuration.remove_leftovers(self.directory)

    def _keep(self, steps: list[int], written: dict[str, Any]) -> None:
        """These steps alone; a unit that stands would not be written again, so others' files go."""
        self.steps, self._version = steps, written["version"]
        if steps != written["steps"]:
            self._commit(steps)
        units = {EXAMPLES, *map(_unit, steps)}
        paths = [
            path for kind in ("attributions", "inputs", "errors") for path in self.directory.glob(f"{kind}-*.parquet")
        ]
        each(_remove, [path for path in paths if path.stem.split("-", 1)[1] not in units], self.directory)
        configuration.remove_leftovers(self.directory)

    def _commit(self, steps: list[int]) -> None:
        written = self._writer.commit([EXAMPLES, *map(_unit, steps)], self._described(steps, False))
        self.steps, self._version = steps, written["version"]

    def _described(self, steps: list[int], complete: bool) -> dict[str, Any]:
        return {**self._describe(), "step": steps[-1], "steps": steps, "complete": complete}


def made_of(counted: str, **facts: Any) -> dict[str, Any]:
    """The configuration of a training's store. `counted`: "epoch" or "batch"."""
    return {_MADE_BY: counted, **facts}


def _unit(step: int) -> str:
    return f"step-{step:012d}"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
