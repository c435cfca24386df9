"""Batch sizes: how many evaluations at once, and how many examples in one call of a method.

Both are remembered for each method, shape of example, device and precision, as long as the submodel lives.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution import batch_growth, device_memory
from tb_deepexplain.attribution.batch_growth import BatchGrowth, MemoryBound
from tb_deepexplain.attribution.device_memory import MemoryUse
from tb_deepexplain.attribution.examples import compute_entries
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.methods import Method
from tb_deepexplain.attribution.xla_trial import XlaTrial
from tb_deepexplain.errors import InputError, OutOfMemoryError
from tb_deepexplain.graph.submodel import Submodel
from tb_deepexplain.user_warnings import warn

# On a CPU, as many evaluations at once as keep the numbers that the model computes in the processor's caches.
BATCH_VALUES, SMALLEST_BATCH = 32_000_000, 8
LARGEST_BATCH = 256
LARGEST_PACK = 64  # of methods with many evaluations an example, which need no large batches
FIRST_ON_GPU = 1024
CALL_BATCHES = 4  # batches of examples in a call that refines them: its last rounds are small
HELD_VALUES = 256_000_000  # one gigabyte of float32


@dataclasses.dataclass
class BatchLog:
    """The batches of an explainer, for those who report them."""

    batches: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)  # by evaluations at once
    batches_with_xla: int = 0
    halvings: int = 0  # for lack of memory
    size: int = 1  # evaluations at once that the last run would take
    say: Callable[[str], None] = warn  # one line, when a batch is made smaller

    def take(self) -> BatchLog:
        """The counts since the last call."""
        taken = dataclasses.replace(self)
        self.batches, self.batches_with_xla, self.halvings = collections.Counter(), 0, 0
        return taken


@dataclasses.dataclass
class _Measured:
    """What is known of a method's batches for one shape of example on one device."""

    growth: BatchGrowth
    memory: MemoryBound
    xla: XlaTrial
    values: int  # in the entries of an example
    evaluations: float = 1.0  # of an example, in the last batch
    seconds: float = 0.0  # of an example, in the last batch
    said: set[tuple[int, int]] = dataclasses.field(default_factory=set)  # sizes, and the fixed ones that they replace


_measured: weakref.WeakKeyDictionary[Submodel, dict[Any, _Measured]] = weakref.WeakKeyDictionary()
_measured_lock = threading.Lock()


class BatchSizes:
    """The batch sizes of one method on one submodel."""

    def __init__(
        self,
        submodel: Submodel,
        method: Method,
        parameters: Mapping[str, Any],
        precision: str,
        jit: bool | None,
        log: BatchLog,
    ) -> None:
        """`jit` None: XLA is tried, once, on a GPU."""
        self.submodel, self.method, self.precision, self.jit, self.log = submodel, method, precision, jit, log
        formula, values = method.values_per_feature, method.with_defaults(parameters)
        self.values_per_feature = None if formula is None else int(formula(values))
        self.refines = method.refines is not None and bool(method.refines(values))
        self.one_pass = method.family != "perturbation" and formula is None

    @property
    def held_values(self) -> int:
        """Numbers that a call of the method may keep in memory on the current device: of what is free a quarter at most."""
        free = device_memory.free_memory(device_memory.current_device())
        return HELD_VALUES if free is None else free // 4 // _bytes_of(self.precision)

    def of(self, inputs: Inputs, batch_size: int | None) -> RunSizes:
        """The sizes for these examples on the current device; `batch_size` is checked."""
        fixed = None if batch_size is None else check_batch_size(batch_size)
        device = device_memory.current_device()
        return RunSizes(self, self._state(inputs, device), fixed, device)

    def _state(self, inputs: Inputs, device: str) -> _Measured:
        shapes = tuple(a.shape[1:] for a in inputs.arrays)
        key = self.method.function, self.jit, inputs.are_entries, shapes, device, self.precision
        with _measured_lock:
            states = _measured.setdefault(self.submodel, {})
        if key not in states:
            states[key] = self._first_state(inputs, device_memory.device_type(device))
        return states[key]

    def _first_state(self, inputs: Inputs, device_type: str) -> _Measured:
        """Before anything is measured."""
        values, computed = self._count_values(inputs)
        on_cpu = device_type == "CPU"
        first = 2 ** round(math.log2(max(1, BATCH_VALUES / max(values, computed))))
        largest = LARGEST_BATCH if self.one_pass else LARGEST_PACK
        first = int(np.clip(first, SMALLEST_BATCH, largest)) if on_cpu else FIRST_ON_GPU
        rules = batch_growth.CPU if on_cpu else batch_growth.GPU
        passes = 1 if self.method.family == "perturbation" else 2  # the gradients are as many numbers as the values
        return _Measured(
            BatchGrowth(first, rules, compiles=bool(self.jit)),
            MemoryBound(_bytes_of(self.precision) * passes * max(values, computed)),
            XlaTrial(is_allowed=self.jit is None and not on_cpu),
            values,
        )

    def _count_values(self, inputs: Inputs) -> tuple[int, float]:
        """The numbers in the entries of one example, and the numbers that the submodel computes for it."""
        first = [tf.constant(a[:1]) for a in inputs.arrays]
        entries, context = compute_entries(self.submodel, first, inputs.are_entries, 1)
        values = max(1, sum(math.prod(e.shape[1:]) for e in entries))
        return values, values * self.submodel.activation_ratio(entries, context)


class RunSizes:
    """The batch sizes of one run: measured, unless `fixed`; bounded by the memory that is free."""

    def __init__(self, sizes: BatchSizes, state: _Measured, fixed: int | None, device: str) -> None:
        self._sizes, self._state, self._fixed, self._device = sizes, state, fixed, device
        self._use: MemoryUse | None = None

    @property
    def xla(self) -> XlaTrial:
        """Whether XLA compiles full batches."""
        return self._state.xla

    def evaluations(self, examples: int = 0) -> int:
        """Evaluations at once in the next batch. `examples`: that are left; by default too few to try a larger size."""
        bound = self._bound()
        if self._fixed is None:
            self._sizes.log.size = self._state.growth.next_size(bound, 0)
            return self._state.growth.next_size(bound, self._available(examples))
        self._sizes.log.size = min(self._fixed, bound)
        if bound < self._fixed and (bound, self._fixed) not in self._state.said:
            self._state.said.add((bound, self._fixed))
            self._sizes.log.say(
                f"batch_size={self._fixed} needs more than half of the memory that is free of {self._device_name}: {bound} evaluations at "
                "once instead"
            )
        return min(self._fixed, bound)

    def examples(self, size: int) -> int:
        """Examples in one call, so many that few batches are partly empty: `size`, or more for methods with many evaluations an
        example; for methods that refine or sample, no more than fit into memory."""
        most = self._state.memory.most_examples
        if self._sizes.values_per_feature is None:
            return min(size, most)
        held = self._sizes.held_values
        values = self._state.values * self._sizes.values_per_feature
        many = CALL_BATCHES * size if self._sizes.refines else max(size, LARGEST_BATCH)
        return int(np.clip(held // values, 1, min(many, most)))

    @property
    def _device_name(self) -> str:
        return self._device.rpartition("device:")[2]

    def begin(self) -> None:
        """A batch begins."""
        self._use = device_memory.memory_use(self._device)

    def record(self, size: int, examples: int, evaluations: int, seconds: float) -> None:
        """Learn what the batch took."""
        state, use = self._state, device_memory.memory_use(self._device)
        self.count(size)
        if use and self._use and use.peak > self._use.peak:
            taken = use.peak - self._use.current - self._held_bytes(examples, evaluations)
            state.memory.record(size, taken, evaluations >= size)
        state.xla.record(seconds)
        state.evaluations, state.seconds = evaluations / max(1, examples), seconds / max(1, examples)
        if self._fixed is None and self.is_full(size, examples):
            state.growth.record(size, evaluations, seconds)

    def count(self, size: int, with_xla: bool = False) -> None:
        """A batch is done."""
        self._sizes.log.batches[size] += 1
        self._sizes.log.batches_with_xla += with_xla

    def run_out(self, size: int, examples: int, error: Exception) -> None:
        """A batch did not fit into memory: make the next ones smaller. OutOfMemoryError if it was the smallest."""
        size = min(size, examples) if self._sizes.one_pass else size  # what was computed at once
        if not self._state.memory.run_out(size, examples):
            free = device_memory.free_memory(self._device)
            has = "" if free is None else f", which has {device_memory.format_bytes(free)} free,"
            raise OutOfMemoryError(
                f"one evaluation of one example does not fit into the memory of {self._device_name}{has}; explain on another device, "
                "or a smaller model or example"
            ) from error
        self._sizes.log.halvings += 1
        self._sizes.log.say(f"out of memory with {size} evaluations at once: {max(1, size // 2)} from now on")

    def xla_is_due(self, size: int, examples: int, left: int) -> bool:
        """Whether to try XLA with a batch of this size, of so many examples; `left` are left, with these."""
        is_settled = self._fixed is not None or self._state.growth.is_settled(self._bound(), self._available(left))
        return is_settled and self.is_full(size, examples) and self._state.xla.is_due(left * self._state.seconds)

    def _held_bytes(self, examples: int, evaluations: int) -> int:
        """What the method itself keeps of so many examples, at most; one that refines keeps gradients of its evaluations, too."""
        sizes = self._sizes
        if sizes.values_per_feature is None:
            return 0
        values = examples * self._state.values * sizes.values_per_feature
        if sizes.refines:
            values = min(sizes.held_values, values + evaluations * self._state.values)
        return values * _bytes_of(sizes.precision)

    def is_full(self, size: int, examples: int) -> bool:
        """Whether so many examples fill a batch of this size."""
        return examples * (1.0 if self._sizes.one_pass else self._state.evaluations) >= size

    def _bound(self) -> int:
        return self._state.memory.evaluations(device_memory.free_memory(self._device))

    def _available(self, examples: int) -> float:
        """The evaluations that can be done at once, with so many examples left."""
        if self._sizes.one_pass:
            return examples
        return min(examples, self.examples(self._state.growth.best)) * self._state.evaluations


def _bytes_of(precision: str) -> int:
    """The bytes of a number; at most."""
    return 8 if precision == "float64" else 4


def check_batch_size(size: Any) -> int:
    """The batch size; InputError if it is no whole number of at least 1."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"batch_size={size!r}: expected a whole number of at least 1, or None")
    return min(int(size), batch_growth.LARGEST)
