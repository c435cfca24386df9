"""Examples with what is explained of each, and batches of them at the entry tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batching import at_least_one, take_rows
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.targets import Explained
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.submodel import Submodel


class Examples(NamedTuple):
    """N checked examples, with what is explained of each."""

    inputs: Inputs
    explained: Explained
    seeds: np.ndarray | None  # [N]
    batch_size: int  # evaluations at once

    @property
    def n(self) -> int:
        return self.inputs.n


class Batch(NamedTuple):
    """Examples that are computed together, at the entry tensors."""

    rows: np.ndarray  # their numbers
    entries: list[Any]
    context: list[Any]
    target: np.ndarray | None  # as the unit of Explained
    ys: np.ndarray | None  # as its weights
    seeds: np.ndarray | None

    @property
    def signature(self) -> tuple[Any, ...]:
        """Equal for batches that one function can take, if their entries have the same shapes."""
        of_target = None if self.target is None else self.target.shape[1:]
        # A function of one weight an example may explain a probability; see compiled_method.trace.
        of_ys = None if self.ys is None else (self.ys.ndim, self.ys.dtype.str, self.ys[0].size == 1)
        return of_target, of_ys, self.seeds is None

    def with_entries(self, entries: Sequence[np.ndarray], rows: np.ndarray) -> Batch:
        """Other values of the entry tensors, in place of those of the examples `rows` of this batch."""
        target, ys, seeds = (None if a is None else a[rows] for a in (self.target, self.ys, self.seeds))
        context = [tf.gather(c, rows) for c in self.context]
        return Batch(self.rows[rows], [tf.constant(e) for e in entries], context, target, ys, seeds)


def make_batch(submodel: Submodel, examples: Examples, rows: np.ndarray) -> Batch:
    """The batch of these rows; UnsupportedModelError if the batch is not the first axis of an entry tensor."""
    arrays = [tf.constant(take_rows(array, rows)) for array in examples.inputs.arrays]
    entries, context = compute_entries(submodel, arrays, examples.inputs.are_entries, examples.batch_size)
    for name, entry in zip(submodel.entry_names, entries, strict=True):
        if not entry.shape.rank or len(entry) != len(rows):
            raise UnsupportedModelError(
                f"the input {name!r} has shape {tuple(entry.shape)} for {len(rows)} examples; it needs the batch as "
                "its first axis: choose another"
            )
    target, ys = (
        None if a is None else at_least_one([a])[0][rows] for a in (examples.explained.unit, examples.explained.weights)
    )
    return Batch(rows, entries, context, target, ys, None if examples.seeds is None else examples.seeds[rows])


def compute_entries(submodel: Submodel, arrays: list[Any], are_entries: bool, size: int) -> tuple[list[Any], list[Any]]:
    """(entries, context) of any number of examples, at most `size` of them at once."""
    if are_entries:
        return [tf.cast(x, spec.dtype) for x, spec in zip(arrays, submodel.entry_specs, strict=True)], []
    parts = [submodel.compute_entries([x[i : i + size] for x in arrays]) for i in range(0, len(arrays[0]), size)]
    if len(parts) == 1:
        return parts[0]
    entries, context = ([tf.concat(t, 0) for t in zip(*side, strict=True)] for side in zip(*parts, strict=True))
    return entries, context
