"""Trains the demo's models with a progress bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def train(
    model: Any, x: np.ndarray | dict[str, np.ndarray], y: np.ndarray, title: str, *, epochs: int, batch_size: int
) -> None:
    """Fit the compiled model to an array, or a dict with one for each input."""
    x = tf.nest.map_structure(
        lambda values: tf.constant(values.astype(str)) if values.dtype.kind in "OU" else values, x
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=epochs * math.ceil(len(y) / batch_size), epoch=1)

        show = tf.keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, *_, **__: bar.update(task, epoch=epoch + 1),
            on_train_batch_end=lambda *_, **__: bar.advance(task),
        )
        model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[show])
