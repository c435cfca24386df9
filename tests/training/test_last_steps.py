"""The end of a training: its last epoch is explained, and the weights that it keeps if they are others."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tb_deepexplain as dx
from tb_deepexplain.store.reader import Store
from tb_deepexplain.training.callback import RESTORED_WEIGHTS, AttributionCallback
from tests.training.trainings import (
    NUMBER_LABELS,
    NUMBERS,
    assert_explains,
    maps_at,
    numeric,
    steps,
    store_directory,
)


class Worse(keras.callbacks.Callback):
    """Makes a monitored number that is best at epoch 1."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["number"] = abs(epoch - 1)


def stop(restore: bool) -> keras.callbacks.Callback:
    return keras.callbacks.EarlyStopping("number", patience=2, mode="min", restore_best_weights=restore)


def fit(model: keras.Model, callbacks: list[Any], epochs: int = 9, initial_epoch: int = 0) -> None:
    model.fit(
        NUMBERS, NUMBER_LABELS, batch_size=4, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=callbacks
    )


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("options", [{"every": 2}, {"every_steps": 8}])
def test_the_epoch_in_which_early_stopping_stops_is_explained(
    tmp_path: Path, before: bool, options: dict[str, Any]
) -> None:
    model, ours = numeric(), AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, [Worse(), *([ours, stop(False)] if before else [stop(False), ours])])  # stops in epoch 3
    assert steps(tmp_path) == ([0, 2, 3] if "every" in options else [8, 12])
    assert_explains(
        maps_at(tmp_path, steps(tmp_path)[-1], "saliency"),
        dx.explain("saliency", model, NUMBERS[:2], target="predicted"),
    )
    assert Store(store_directory(tmp_path)).manifest["complete"] is True


def test_restored_weights_are_one_more_step(tmp_path: Path) -> None:
    model = numeric()
    fit(model, [Worse(), stop(True), AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"], every=3)])
    assert steps(tmp_path) == [0, 3, 4]
    kept = dx.explain("saliency", model, NUMBERS[:2], target="predicted")
    assert_explains(maps_at(tmp_path, 4, "saliency"), kept)
    assert not np.allclose(maps_at(tmp_path, 3, "saliency")["0"], kept[0], rtol=1e-3)
    rows = Store(store_directory(tmp_path)).index.to_pylist()
    assert [RESTORED_WEIGHTS in row["warnings"] for row in rows] == [False] * 4 + [True] * 2
    # A training that goes on from these weights has a step 4 of its own.
    fit(model, [AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"])], epochs=6, initial_epoch=4)
    assert steps(tmp_path) == [0, 3, 4, 5]
    assert not any(row["warnings"] for row in Store(store_directory(tmp_path)).index.to_pylist())


def test_averaged_weights_are_one_more_step(tmp_path: Path) -> None:
    model = numeric()
    model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9), "sparse_categorical_crossentropy")
    fit(model, [AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"])], epochs=2)
    assert steps(tmp_path) == [0, 1, 2]
    assert_explains(maps_at(tmp_path, 2, "saliency"), dx.explain("saliency", model, NUMBERS[:2], target="predicted"))


def test_a_callback_before_one_that_restores_weights_warns(tmp_path: Path) -> None:
    ours = AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"])
    with pytest.warns(UserWarning, match="stands before EarlyStopping.*put AttributionCallback after EarlyStopping"):
        fit(numeric(), [ours, keras.callbacks.EarlyStopping("loss", restore_best_weights=True)], epochs=1)
    assert steps(tmp_path) == [0]
