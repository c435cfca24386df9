"""The least that evaluations of a model can cost: its compiled passes on ready tensors, at the best size of batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.nets import Net

BATCHES = (8, 16, 32, 64, 128, 256)


class Floor:
    """One kind of pass over one net: `call()` runs it once over a batch of `batch` examples."""

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
        found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        for _ in range(4):  # all sizes in turn, so that a disturbance hits none alone
            for batch in BATCHES:
                call = self._at(batch)
                call()
                found[batch].append(seconds(call, 0.1) / batch)
        self.by_batch = {batch: min(times) for batch, times in found.items()}
        return min(self.by_batch, key=lambda b: self.by_batch[b])


def seconds(call: Callable[[], Any], least: float) -> float:
    """Seconds of one call, called again until `least` have passed.

    On one thread it is the processor's time, which others on the same machine do not change; else the clock's.
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
