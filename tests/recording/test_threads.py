"""Threads that explain with one BatchExplainer: two units of a worker are in flight at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_deepexplain.attribution.batch_sizes import BatchLog
from tb_deepexplain.attribution.precision_error import PrecisionError
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Records
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.recording.work_metrics import Metrics
from tests import models
from tests.watched_lock import WatchedLock


def _explainer(**options: Any) -> BatchExplainer:
    request = make_request("", ["gradient_x_input", "saliency"], target=0, **options)
    return BatchExplainer(request, load_model(models.sequential()))


def _examples(explainer: BatchExplainer) -> list[Example]:
    xs = np.random.default_rng(0).random((3, 10), np.float32)
    return [Example(f"{i}", {explainer.names[0]: x}) for i, x in enumerate(xs)]


def test_batches_are_counted_before_another_thread_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, take, is_held, metrics = _explainer(), BatchLog.take, list[bool](), Metrics()

    def take_in_test(log: BatchLog) -> BatchLog:
        is_held.append(explainer._device.locked())
        return take(log)

    monkeypatch.setattr(BatchLog, "take", take_in_test)
    explainer.explain(_examples(explainer), metrics=metrics)
    assert is_held == [True, True]  # one for each method
    assert {name: sum(counts.values()) for name, counts in metrics.evaluation_batches.items()} == {
        "gradient_x_input": 1,
        "saliency": 1,
    }


def test_the_error_of_a_precision_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, lock, metrics = _explainer(), WatchedLock(), [Metrics(), Metrics()]

    def note_second() -> None:
        explainer._note_precision(1, metrics[1])
        lock.arrived.set()

    class Noted(dict[str, int]):
        def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
            noted = super().get(key, default)
            if not second.ident:
                second.start()
                assert lock.arrived.wait(60)
            return noted

    monkeypatch.setattr(explainer, "_counts", lock, raising=False)
    monkeypatch.setattr(explainer, "_noted", Noted())
    monkeypatch.setattr(explainer, "precision_errors", lambda: {"saliency": PrecisionError([0.1, 0.2], [1.0, 0.9])})
    second = threading.Thread(target=note_second)
    explainer._note_precision(1, metrics[0])
    second.join()
    assert sum(metrics, Metrics()).precision_errors == {"saliency": [[0.1, 1.0], [0.2, 0.9]]}


def test_threads_that_fail_for_one_batch_size_halve_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, both = _explainer(batch_size=8), threading.Barrier(2)
    attempt: Callable[..., Records] = explainer.attempt

    def attempt_in_test(*arguments: Any) -> Records:
        if explainer._batch_size == 8:
            both.wait()
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return attempt(*arguments)

    monkeypatch.setattr(explainer, "attempt", attempt_in_test)
    threads = [threading.Thread(target=lambda: explainer.explain(_examples(explainer))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert explainer._batch_size == 4
