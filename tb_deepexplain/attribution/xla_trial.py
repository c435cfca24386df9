"""XlaTrial: whether a method's passes are compiled by XLA, tried once while work is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

COMPILE_SECONDS = 20.0  # that are expected of a compilation, until it has been done
GAIN = 1.05  # a batch must be so many times faster
CLOSE = 1e-3  # of a map's largest value: the median over a batch's maps; single maps differ more, at kinks


class XlaTrial:
    """Tried once the expected work takes longer than a compilation, and kept where a batch is faster and its maps are the same.

    The expected work is what is known to be left, or as much as was done: who has waited long is likely to wait as long again.
    """

    def __init__(self, is_allowed: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        self._is_open, self._clock = is_allowed, clock
        self._seconds_worked, self._lock = 0.0, threading.Lock()
        self.is_kept = False

    def record(self, seconds: float) -> None:
        """A batch without XLA took so long."""
        self._seconds_worked += seconds

    def is_due(self, seconds_left: float) -> bool:
        """Whether the next batch is to be explained with XLA, too. `seconds_left`: of work that is known. True at most once."""
        with self._lock:
            is_due = self._is_open and max(self._seconds_worked, seconds_left) >= COMPILE_SECONDS
            self._is_open = self._is_open and not is_due
            return is_due

    def compare(self, plain: Callable[[], Any], compiled: Callable[[], Any]) -> Any:
        """What `plain()` returns, with `maps`; XLA is kept if `compiled()`, called again, is faster and returns the same maps."""
        started = self._clock()
        output = plain()
        seconds = self._clock() - started
        try:
            compiled()  # compiles
            started = self._clock()
            other = compiled()
            compiled_seconds = self._clock() - started
        except Exception:  # XLA cannot compile every model
            return output
        self.is_kept = GAIN * compiled_seconds < seconds and agree(output.maps, other.maps)
        return output


def agree(maps: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether the maps `[N, ...]` of a batch are the same, but for rounding."""
    differences, largest = (
        np.max([np.abs(np.nan_to_num(m)).reshape(len(m), -1).max(1, initial=0) for m in of_inputs], axis=0)
        for of_inputs in ([a - b for a, b in zip(maps, others, strict=True)], maps)
    )
    return bool(np.median(differences / np.maximum(largest, np.finfo(np.float32).tiny)) <= CLOSE)
