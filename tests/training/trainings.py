"""Small trainings with the callback, and their stores as the page reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.index_rows import IndexRow, rows_by_id
from tb_deepexplain.plugin.parameters import Selection
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.training.callback import AttributionCallback
from tests.closeness import assert_map_close

METHODS = {"integrated_gradients": {"steps": 8}, "epsilon_lrp": {}}
NOISE = np.random.default_rng(0)
PICTURES, PICTURE_LABELS = NOISE.random((24, 8, 8, 3), np.float32), NOISE.integers(0, 3, 24)
TEXTS = np.array([[2, 3, 4, 0], [5, 6, 0, 0], [7, 4, 3, 2], [2, 0, 0, 0]] * 3)
TEXT_LABELS = np.array([0, 1, 1, 0] * 3)
NUMBERS, NUMBER_LABELS = NOISE.random((12, 4), np.float32), NOISE.integers(0, 3, 12)


class At(keras.callbacks.Callback):
    """Does something at the end of every epoch, or of every batch."""

    def __init__(self, do: Callable[[keras.Model, int], object], batches: bool = False) -> None:
        super().__init__()
        self.do, self.batches, self.calls = do, batches, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls += 1
        if self.batches:
            self.do(self.model, self.calls)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.batches:
            self.do(self.model, epoch)


def store_directory(logdir: Path) -> Path:
    return store_path(logdir, "attributions", "default")


def served(logdir: Path) -> ServedStore:
    """The store as TensorBoard reads it."""
    return ServedStore(store_directory(logdir), Engine([str(logdir)]))


def index_rows(store: ServedStore, step: int, method: str) -> list[IndexRow]:
    ids = store.reader.index["example_id"].unique().to_pylist()
    return [row for rows in rows_by_id(store, ids, Selection(step), [method]).values() for row in rows]


def steps(logdir: Path) -> list[int]:
    """As the page lists them, which are those of the manifest."""
    store = served(logdir)
    assert store.steps == store.manifest["steps"]
    return store.steps


def maps_at(logdir: Path, step: int, method: str) -> dict[str, np.ndarray]:
    """The maps by example, as the page shows them."""
    store = served(logdir)
    rows = index_rows(store, step, method)
    assert {row.step for row in rows} == {step}
    maps = store.reader.maps_at([row.map_location for row in rows])
    return dict(zip([row.example_id for row in rows], maps, strict=True))


def assert_explains(stored: dict[str, np.ndarray], expected: np.ndarray) -> None:
    assert list(stored) == [str(i) for i in range(len(expected))]
    for actual, values in zip(stored.values(), expected, strict=True):
        assert_map_close(actual, values, share=1e-3)


def numeric() -> keras.Model:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(
    logdir: Path, epochs: int = 1, initial_epoch: int = 0, model: Any = None, more: Any = (), **options: Any
) -> keras.Model:
    model = model or numeric()
    arguments = {"examples": NUMBERS[:2], "methods": ["saliency"]} | options
    callbacks = [AttributionCallback(logdir, **arguments), *more]
    model.fit(
        NUMBERS, NUMBER_LABELS, batch_size=4, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=callbacks
    )
    return model
