"""Batches are filled from many examples at once, and maps are those of each example alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from benchmarks.fill import counted
from tb_deepexplain.attribution.batch_sizes import BatchSizes
from tests import models

module = importlib.import_module("tb_deepexplain.attribution.methods.integrated_gradients")  # the function has its name
RNG = np.random.default_rng(0)
N = 12
NUMBERS = RNG.normal(size=(N, 10)).astype(np.float32)
BOTH = {"numbers": RNG.normal(size=(N, 4)).astype(np.float32), "ids": RNG.integers(0, 10, (N, 6)).astype(np.int32)}
REFINED: dict[str, tuple[Callable[[], keras.Model], Any, dict[str, Any]]] = {
    "a baseline": (models.sequential, NUMBERS, {"tolerance": 1e-3, "baseline": 0.3, "max_evaluations": 40}),
    "several inputs, one of them an embedding": (models.two_inputs, BOTH, {"tolerance": 1e-5}),
}


def _take(xs: Any, i: int) -> Any:
    return {name: values[i : i + 1] for name, values in xs.items()} if isinstance(xs, dict) else xs[i : i + 1]


def _arrays(attributions: Any) -> list[np.ndarray]:
    return list(attributions.values()) if isinstance(attributions, dict) else [attributions]


@pytest.mark.parametrize("case", REFINED)
def test_refined_examples_are_those_of_each_alone(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are in work at once, and whenever they are admitted."""
    model, xs, parameters = REFINED[case]
    monkeypatch.setattr(module, "ROUND", 9)  # as few examples as fill a batch
    explainer = dx.Explainer("integrated_gradients", model(), target=0, **parameters)
    alone = [explainer.run(_take(xs, i), batch_size=64, return_result=True) for i in range(N)]
    evaluations = np.concatenate([one.evaluations for one in alone])
    assert len(set(evaluations)) > 2  # examples are ready in different rounds
    values = sum(a[0].size for a in _arrays(alone[0].attributions))
    most = values * explainer.parameters.get("max_evaluations", 512)
    for size, live in ((7, 2), (50, 3), (1000, N)):
        with mock.patch.object(BatchSizes, "held_values", live * most):
            together = explainer.run(xs, batch_size=size, return_result=True)
        np.testing.assert_array_equal(together.evaluations, evaluations)
        for k, values in enumerate(_arrays(together.attributions)):
            expected = np.concatenate([_arrays(one.attributions)[k] for one in alone])
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_refining_fills_batches_as_long_as_there_are_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND", 9)
    with counted() as sizes:
        explainer = dx.Explainer("integrated_gradients", models.sequential(), target=0, tolerance=1e-3, baseline=0.3)
        xs = np.resize(NUMBERS, (400, 10))
        explainer.run(xs, batch_size=100)  # one call
        full = [size > 100 - 9 for size in sizes]
        assert all(full[: len(full) * 9 // 10])
        assert sum(sizes) / (100 * len(sizes)) > 0.9


def test_refining_keeps_no_more_examples_than_fit_into_memory() -> None:
    batches: list[set[int]] = []
    evaluate = module._Path.evaluate

    def record_rows(path: Any, rows: Any, alpha: Any) -> Any:
        tf.py_function(lambda rows: batches.append(set(rows.numpy().tolist())), [rows], [])
        return evaluate(path, rows, alpha)

    with (
        mock.patch.object(module._Path, "evaluate", record_rows),
        mock.patch.object(BatchSizes, "held_values", 3 * 10 * 512 + 5),
    ):
        explainer = dx.Explainer("integrated_gradients", models.sequential(), target=0, tolerance=1e-3, baseline=0.3)
        explainer.run(NUMBERS, batch_size=64)
    assert max(map(len, batches)) == 3
    assert set.union(*batches) == set(range(N))
