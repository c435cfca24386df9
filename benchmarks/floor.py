"""The floor: the least that evaluations of a model can cost. Compiled passes on prepared tensors, at the best batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.nets import Net

BATCHES = (8, 16, 32, 64, 128, 256)


class Floor:
    """Forward passes, or forward and backward passes, of one model; `call()` runs one over a batch of `batch` examples."""

    def __init__(self, net: Net, *, gradient: bool, jit: bool = False) -> None:
        def forward(entries: Any, target: Any) -> Any:
            return tf.gather(net.body(entries, training=False), target, axis=1, batch_dims=1)

        def both(entries: Any, target: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(entries)
                score = forward(entries, target)
            return score, tape.gradient(score, entries)

        self._pass = tf.function(both if gradient else forward, jit_compile=jit or None)
        self._net = net
        self.batch = self._best()

    def call(self) -> None:
        self._at(self.batch)()

    def per_example(self, least: float = 0.3) -> float:
        """Seconds of one evaluation, measured now."""
        return seconds(self.call, least) / self.batch

    def _at(self, batch: int) -> Callable[[], Any]:
        if not hasattr(self, "_ready") or len(self._ready[0]) != batch:
            x = self._net.examples(batch)
            target = self._net.model.predict(x, verbose=0).argmax(1)
            self._ready = (tf.constant(self._net.entries(x)), tf.constant(target))
        return lambda: tf.nest.map_structure(lambda t: t.numpy(), self._pass(*self._ready))

    def _best(self) -> int:
        times_by_batch: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        for _ in range(4):  # all sizes in turn, so that a disturbance does not hit one size alone
            for batch in BATCHES:
                call = self._at(batch)
                call()
                times_by_batch[batch].append(seconds(call, 0.1) / batch)
        self.by_batch = {batch: min(times) for batch, times in times_by_batch.items()}
        return min(self.by_batch, key=lambda b: self.by_batch[b])


def seconds(call: Callable[[], Any], least: float) -> float:
    """Seconds per call, repeated until `least` seconds have passed.

    CPU time on one thread, so that other work on the machine does not count; otherwise wall-clock time.
    """
    alone = tf.config.threading.get_intra_op_parallelism_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    calls, start = 0, clock()
    while True:
        call()
        calls += 1
        passed = clock() - start
        if passed >= least:
            return passed / calls
