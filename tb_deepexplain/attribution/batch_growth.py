"""How many evaluations at once: as many as give the most evaluations a second, and as fit into memory.

BatchGrowth and MemoryBound know no model, device or clock: they take what batches took, and answer the size of the next one.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable
from typing import NamedTuple

LARGEST = 2**20  # so that counts of evaluations fit into 32 bits


class Rules(NamedTuple):
    """When a size is taken in place of half of it."""

    gain: float  # its evaluations a second must be so many times the most of its half
    rate: Callable[[list[float]], float]  # which of its batches' evaluations a second must be so
    to_accept: int  # batches of it, at least
    to_refuse: int
    doublings: int  # of the first size, at most


# Other work slows batches, and nothing makes them faster than they are. On a CPU the first size suits the caches, and much other work
# disturbs: most of several batches must be clearly faster than the fastest of the half size.
CPU = Rules(gain=1.1, rate=statistics.median, to_accept=5, to_refuse=3, doublings=2)
# On a GPU larger sizes gain until all of its processors are at work.
GPU = Rules(gain=1.03, rate=max, to_accept=2, to_refuse=2, doublings=20)

_LESS = 8  # times what is counted, a pass forward may take, which forgets values; less would be a mistake
_SLOW, _SLOW_BATCHES, _RESTARTS = 1.25, 3, 3


class BatchGrowth:
    """The size of the next batch: doubled as long as that pays.

    The first batch of a size is not counted, in which kernels are chosen or compiled. `compiles`: each size is compiled for, as by
    XLA; then a size is tried only when the work at the present one has taken as long as its first batch. Safe for threads.
    """

    def __init__(self, first: int, rules: Rules, *, compiles: bool = False) -> None:
        self._first, self._rules, self._compiles = first, rules, compiles
        self._best, self._candidate = first, 0  # 0: none is tried
        self._most = min(LARGEST, first * 2**rules.doublings)
        self._rates: dict[int, list[float]] = {}
        self._started: dict[int, float] = {}  # the seconds of the first batch of each size
        self._worked = 0.0  # seconds, at the best size
        self._slow_batches = self._restarts = 0
        self._lock = threading.Lock()

    def next_size(self, bound: int = LARGEST, available: float = math.inf) -> int:
        """The size of the next batch, at most `bound`. `available`: the evaluations that can be done at once."""
        with self._lock:
            is_tried = 0 < self._candidate <= available
            # In turn with the best size.
            is_tried = is_tried and len(self._rates.get(self._candidate, ())) < len(self._rates.get(self._best, ()))
            return max(1, min(self._candidate if is_tried else self._best, bound))

    @property
    def best(self) -> int:
        """The size with the most evaluations a second so far."""
        return self._best

    def is_settled(self, bound: int = LARGEST, available: float = math.inf) -> bool:
        """Whether no larger size is to be tried; arguments as for `next_size`."""
        return 2 * self._best > min(self._most, bound, available)

    def _rate(self, size: int) -> float:
        """Evaluations a second in batches of this size; 0 if they are not known."""
        return max(self._rates.get(size, ()), default=0.0)

    def record(self, size: int, evaluations: float, seconds: float) -> None:
        """Learn what full batches of this size took."""
        with self._lock:
            if size not in self._started:
                self._started[size] = seconds
                return
            rates = self._rates.setdefault(size, [])
            rates.append(evaluations / max(seconds, 1e-9))
            del rates[:-8]
            if size == self._candidate:
                self._judge()
            elif size == self._best:
                self._worked += seconds
                self._watch(rates)
            self._propose()

    def _propose(self) -> None:
        """Try twice the best size."""
        if self._candidate or not self._rates.get(self._best) or 2 * self._best > self._most:
            return
        if not self._compiles or self._worked >= self._started[self._best]:
            self._candidate = 2 * self._best
            self._rates[self._best].clear()  # both are measured in turn from now on: the device may have become slower

    def _judge(self) -> None:
        """Take the candidate, or go back to the best size, once it is clear which is faster."""
        rules, rates = self._rules, self._rates[self._candidate]
        is_faster = rules.rate(rates) > rules.gain * self._rate(self._best)
        if is_faster and len(rates) >= rules.to_accept:
            self._best, self._candidate, self._worked = self._candidate, 0, 0.0
        elif not is_faster and len(rates) >= rules.to_refuse:
            self._most, self._candidate = self._best, 0

    def _watch(self, rates: list[float]) -> None:
        """Measure again from half of the best size, if that was faster than several batches in a row: the device has changed."""
        half = self._best // 2
        slow = half >= self._first and _SLOW * rates[-1] < self._rate(half)
        self._slow_batches = self._slow_batches + 1 if slow else 0
        if self._slow_batches >= _SLOW_BATCHES and self._restarts < _RESTARTS:
            self._best, self._candidate, self._slow_batches, self._restarts = half, 0, 0, self._restarts + 1
            self._rates.clear()


class MemoryBound:
    """The evaluations at once that fit into half of the memory that is free, by the bytes of one."""

    def __init__(self, bytes_of_one: float) -> None:
        """`bytes_of_one`: an estimate, which batches correct."""
        self._bytes_of_one = max(1.0, bytes_of_one)
        self._least = self._bytes_of_one / _LESS
        self._most = self.most_examples = LARGEST

    def evaluations(self, free: int | None) -> int:
        """At most so many, a power of two; `free` bytes, None: not known."""
        if free is None:
            return self._most
        fit = max(1.0, free / 2 / self._bytes_of_one)
        return int(min(self._most, 2 ** math.floor(math.log2(fit))))

    def record(self, size: int, taken: int, is_full: bool = True) -> None:
        """A batch of this size took so many bytes. One that is not full takes less: a full one takes at least as much."""
        self._bytes_of_one = max(self._least if is_full else self._bytes_of_one, taken / size)

    def run_out(self, size: int, examples: int) -> bool:
        """A batch of this size, of so many examples, did not fit: at most half of it from now on. False: it was the smallest."""
        self._most, self.most_examples = max(1, size // 2), max(1, examples // 2)
        return max(size, examples) > 1
