"""The store of a training: one unit with all inputs, then one unit with the maps of each step.

It is committed after every step, so that it can be read at any time; until `finish` its manifest says `"complete": false`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import map_files, remove_file
from tb_deepexplain.store import configuration
from tb_deepexplain.store.layout import MANIFEST, TABLES, shard_files, store_path, unit_of
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Failure, Input
from tb_deepexplain.store.writer import StoreWriter

EXAMPLES = "examples"  # the unit of the inputs
_TRAINING = "training"  # a key of the configuration: whether the steps are epochs or batches


class TrainingStore:
    """The store `name` of `run`. `configuration`: what all its steps must have in common, from `training_configuration`.

    The manifest's means of `measures` are those of the last step.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        run: str,
        name: str,
        configuration: dict[str, Any],
        describe: Callable[[], dict[str, Any]],
        measures: Sequence[str] = (),
    ) -> None:
        """`describe` returns the manifest without the steps, which are added here."""
        self.directory = store_path(logdir, run, name)
        self._location = (logdir, run, name)
        self._configuration, self._describe = configuration, describe
        self._writer, self._measures = StoreWriter(self.directory, measures=measures), measures
        self._version: str | None = None  # of the last commit
        self.steps: list[int] = []
        self._restored_step: int | None = None

    def open(self, first_step: int, inputs: Sequence[Input], overwrite: bool) -> None:
        """Prepare for steps from `first_step` on; an existing store keeps its earlier steps.

        A step of restored weights at the end is replaced. StoreError if the store has later steps and not `overwrite`, was made
        with another configuration, or by no training.
        """
        stored_configuration = configuration.read(self.directory)
        committed = (self.directory / MANIFEST).exists()
        if stored_configuration is None:
            foreign = committed or bool(shard_files(self.directory, "attributions"))
        else:
            foreign = _TRAINING not in stored_configuration.contents
        if foreign:
            raise StoreError(
                f"{self.directory} holds a store that no training made; give another run or name, or if_exists='new run'"
            )
        manifest = Store(self.directory).manifest if committed else {"steps": [], "version": None}
        earlier = [step for step in manifest["steps"] if step < first_step]
        restored = manifest.get("restored_step")
        later = [step for step in manifest["steps"] if step >= first_step and step != restored]
        if earlier and stored_configuration is not None:
            stored_configuration.check_format(self.directory)
            self._check_configuration(stored_configuration.contents)
        if later and not overwrite:
            first, last = manifest["steps"][0], later[-1]
            raise StoreError(
                f"{self.directory} holds steps {first} to {last} of an earlier training, and this one begins at {first_step}; "
                "give if_exists='new run' to write beside it, if_exists='overwrite' to replace the steps from "
                f"{first_step} on, another logdir, run or name, or continue after them (initial_epoch={last + 1} if steps "
                "are epochs)"
            )
        self._restored_step = restored if restored in earlier else None
        if earlier:
            self._keep(earlier, manifest)
        else:
            self._begin(inputs)

    def add(
        self, step: int, attributions: Sequence[Attribution], errors: Sequence[Failure], restored: bool = False
    ) -> None:
        """Commit the maps of one more step, and the examples that could not be explained.

        `restored`: the weights of this last step are not those with which the training ended.
        """
        failures = [dataclasses.replace(error, message=f"step {step}: {error.message}") for error in errors]
        with self._writer.shard(_unit(step), EXAMPLES) as shard:
            shard.add(attributions, errors=failures)
        self._restored_step = step if restored else None
        steps = [*self.steps, step]
        if self._version is None:
            self._commit(steps)
            write_marker(*self._location)
        else:
            manifest = self._writer.append(_unit(step), self._manifest(steps, complete=False), self._version)
            self.steps, self._version = steps, manifest["version"]

    def finish(self) -> None:
        """Mark the store complete: the training is over."""
        if self._version is not None:
            manifest = self._writer.rewrite_manifest(self._manifest(self.steps, complete=True), self._version)
            self._version = manifest["version"]
            configuration.remove_leftovers(self.directory)

    def _begin(self, inputs: Sequence[Input]) -> None:
        configuration.clear(self.directory)
        self._writer.begin()
        configuration.begin(self.directory, self._configuration)
        with self._writer.shard(EXAMPLES) as shard:
            shard.add(inputs=inputs)

    def _check_configuration(self, stored: dict[str, Any]) -> None:
        if changed := list(configuration.differences("", stored, self._configuration)):
            raise StoreError(
                f"{self.directory} was made differently ({'; '.join(changed)}); a continued training must explain the same "
                "examples in the same way: give another run or name, if_exists='new run', or start from the first step with "
                "if_exists='overwrite'"
            )

    def _keep(self, steps: list[int], manifest: dict[str, Any]) -> None:
        """Keep only these steps. Units of others are removed, because a unit that exists is not written again."""
        self.steps, self._version = steps, manifest["version"]
        if steps != manifest["steps"]:
            self._commit(steps)
        units = {EXAMPLES, *map(_unit, steps)}
        paths = [path for table in TABLES for path in shard_files(self.directory, table)]
        map_files(remove_file, [path for path in paths if unit_of(path) not in units], self.directory)
        configuration.remove_leftovers(self.directory)

    def _commit(self, steps: list[int]) -> None:
        manifest = self._writer.commit([EXAMPLES, *map(_unit, steps)], self._manifest(steps, complete=False))
        self.steps, self._version = steps, manifest["version"]

    def _manifest(self, steps: list[int], complete: bool) -> dict[str, Any]:
        means = {"faithfulness": self._writer.means(_unit(steps[-1]))} if self._measures else {}
        of_steps = {"step": steps[-1], "steps": steps, "restored_step": self._restored_step}
        return {**self._describe(), **means, **of_steps, "complete": complete}


def training_configuration(step_unit: str, **contents: Any) -> dict[str, Any]:
    """The configuration of a training's store. `step_unit`: what a step is, "epoch" or "batch"."""
    return {_TRAINING: step_unit, **contents}


def _unit(step: int) -> str:
    return f"step-{step:012d}"
