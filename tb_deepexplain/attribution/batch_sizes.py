"""Batch sizes: how many evaluations at once, and how many examples in one call of a method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.examples import compute_entries
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.methods import Method
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.submodel import Submodel

# By default, as many evaluations at once as keep the numbers that the model computes in the processor's caches.
BATCH_VALUES, SMALLEST_BATCH = 32_000_000, 8
LARGEST_BATCH = 256
LARGEST_PACK = {"CPU": 64, "GPU": 256}  # of methods with many evaluations an example, which need no large batches
HELD_VALUES = 256_000_000  # numbers that a method may keep in memory: one gigabyte of float32
_LIMIT = 2**20  # so that counts of evaluations fit into 32 bits


class BatchSizes:
    """The batch sizes of one method on one submodel."""

    def __init__(self, submodel: Submodel, method: Method, parameters: Mapping[str, Any]) -> None:
        self._submodel, self._method = submodel, method
        formula = method.values_per_feature
        self._values_per_feature = None if formula is None else int(formula(method.with_defaults(parameters)))
        self._sizes: dict[Any, tuple[int, float]] = {}

    def evaluations(self, inputs: Inputs, batch_size: int | None) -> int:
        """Evaluations at once: `batch_size` if there is one, checked, else by the size of an example."""
        if batch_size is not None:
            return check_batch_size(batch_size)
        values, computed = self._example_sizes(inputs)
        one_pass = self._method.family != "perturbation" and self._values_per_feature is None
        device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        size = 2 ** round(math.log2(max(1, BATCH_VALUES / max(values, computed))))
        return int(np.clip(size, SMALLEST_BATCH, LARGEST_BATCH if one_pass else LARGEST_PACK[device]))

    def examples(self, inputs: Inputs, batch_size: int) -> int:
        """Examples in one call: `batch_size`; for methods that refine or sample, as many as fit into memory."""
        if self._values_per_feature is None:
            return batch_size
        values = self._example_sizes(inputs)[0] * self._values_per_feature
        return int(np.clip(HELD_VALUES // values, 1, max(batch_size, LARGEST_BATCH)))

    def _example_sizes(self, inputs: Inputs) -> tuple[int, float]:
        """The numbers in the entries of one example, and the numbers that the submodel computes for it."""
        shapes = tuple(a.shape[1:] for a in inputs.arrays)
        if shapes not in self._sizes:
            first = [tf.constant(a[:1]) for a in inputs.arrays]
            entries, context = compute_entries(self._submodel, first, inputs.are_entries, 1)
            values = max(1, sum(math.prod(e.shape[1:]) for e in entries))
            self._sizes[shapes] = values, values * self._submodel.activation_ratio(entries, context)
        return self._sizes[shapes]


def check_batch_size(size: Any) -> int:
    """The batch size; InputError if it is no whole number of at least 1."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"batch_size={size!r}: expected a whole number of at least 1, or None")
    return min(int(size), _LIMIT)
