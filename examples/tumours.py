"""Tumours: the data and the model of `tfma_slices.py`, all of whose columns are numbers.

The data are scikit-learn's breast cancer data: thirty measurements of the cell nuclei in a biopsy, benign or malignant. The
serving signature parses tf.Examples; each measurement gets an attribution.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

LABEL = "malignant"


def write_csv(folder: Path) -> list[str]:
    """Write `folder/tumours.csv`; the names of the measurements."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tumours.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, LABEL])
        for values, benign in zip(data.data, data.target, strict=True):
            writer.writerow([*map(float, values), 1 - int(benign)])
    return names


def train(columns: dict[str, np.ndarray], labels: np.ndarray, epochs: int, seed: int) -> keras.Model:
    """Train a small model on the columns, each `[N]`; it returns the probability that a tumour is malignant."""
    keras.utils.set_random_seed(seed)
    inputs = {name: keras.Input((), name=name) for name in columns}
    table = np.stack(list(columns.values()), 1)
    x = keras.ops.stack(list(inputs.values()), axis=1)
    x = keras.layers.Normalization(mean=table.mean(0), variance=table.var(0) + 1e-6)(x)
    x = keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(columns, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def export(model: keras.Model, spec: dict[str, Any], directory: str) -> None:
    """Write a SavedModel whose serving signature takes serialized tf.Examples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"probability": model(tf.io.parse_example(examples, spec), training=False)}

    tf.saved_model.save(model, directory, signatures={"serving_default": serve})
