"""Passengers of the Titanic, and a small net on strings and numbers, with Keras' preprocessing layers, that the demo trains."""

from __future__ import annotations

import collections
import csv
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich import get_console

from beam_pipelines.cli.demo import packages
from beam_pipelines.cli.demo.records import export, write_examples, write_lines
from beam_pipelines.cli.demo.training import train

TRAINED, COPIES, EPOCHS = 500, 4, 12
COLUMNS = {"travel_class": "string", "sex": "string", "title": "string", "namesakes": "int64", "age": "float32"}
# The baseline is one number for all numeric inputs: the median age, and a number of namesakes that is in no vocabulary, like the
# empty string that stands for a missing class, sex or title.
UNKNOWN = 28
_HIDDEN = 0.15  # share of the values that training hides, so that the net knows what an unknown value is
_BASELINE = {"baseline": str(UNKNOWN)}
METHODS: dict[str, dict[str, str]] = {
    "integrated_gradients": _BASELINE,
    "deeplift": _BASELINE,
    "occlusion": _BASELINE,
    # Five features have 30 coalitions beside none and all: with 8 · (5 − 1) evaluations, the values are exact.
    "shapley_sampling": {**_BASELINE, "estimator": "kernel", "samples": "8"},
}
_TITLE = re.compile(r",\s*(Mr|Mrs|Miss|Master)\b")


def prepare(folder: Path) -> list[str]:
    """Train the model; write it, its examples and labels. Returns options of `explain`."""
    with get_console().status("reading passengers"):
        table, survived, names = data()
        trained = {column: values[:TRAINED] for column, values in table.items()}
        model = build(trained)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    x, y = _hide(trained), np.tile(survived[:TRAINED], COPIES)
    train(model, x, y, "training the net on passengers", epochs=EPOCHS, batch_size=32)
    export(model, folder / "model")
    write_lines(folder / "labels.txt", ["died", "survived"])
    write_examples(
        folder / "passengers.tfrecord",
        (
            {column: values[i, 0].item() for column, values in table.items()}
            | {"label": int(survived[i]), "id": names[i]}
            for i in range(TRAINED, len(names))
        ),
    )
    return ["--input", str(folder / "passengers.tfrecord"), "--labels", str(folder / "labels.txt")]


def data() -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """(columns [N, 1], survived [N], names) of the passengers whose age is known, shuffled; from bokeh-sampledata.

    `namesakes` are the passengers of the same class with the same surname, a family as a rule.
    """
    path = packages.find("bokeh_sampledata", "_data", "titanic_all.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    surnames = collections.Counter((row["class"], row["name"].split(",")[0]) for row in rows)
    rows = [row for row in rows if row["age"]]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    values = {
        "travel_class": [row["class"] for row in rows],
        "sex": [row["sex"] for row in rows],
        "title": [match[1] if (match := _TITLE.search(row["name"])) else "other" for row in rows],
        "namesakes": [surnames[row["class"], row["name"].split(",")[0]] - 1 for row in rows],
        "age": [float(row["age"]) for row in rows],
    }
    kinds = {name: np.str_ if dtype == "string" else dtype for name, dtype in COLUMNS.items()}
    table = {name: np.array(column, kinds[name])[:, None] for name, column in values.items()}
    return table, np.array([int(row["survived"]) for row in rows]), [row["name"] for row in rows]


def _hide(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies of the table, one below the other, with some values unknown."""
    random, hidden = np.random.default_rng(0), {}
    for column, values in table.items():
        copies = np.tile(values, (COPIES, 1))
        unknown = "" if COLUMNS[column] == "string" else UNKNOWN
        hidden[column] = np.where(random.random(copies.shape) < _HIDDEN, unknown, copies).astype(copies.dtype)
    return hidden


def build(table: dict[str, np.ndarray]) -> tf.keras.Model:
    """The untrained model, one input for each column and two probabilities out; `table` gives vocabularies and scales."""
    layers = tf.keras.layers
    inputs = {name: layers.Input((1,), dtype=dtype, name=name) for name, dtype in COLUMNS.items()}
    encoded = []
    for name, values in table.items():
        if COLUMNS[name] == "float32":
            scale = layers.Normalization(mean=float(values.mean()), variance=float(values.var()))
            decades = layers.Discretization(bin_boundaries=[10.0, 20.0, 30.0, 40.0, 50.0, 60.0], output_mode="one_hot")
            encoded += [scale(inputs[name]), decades(inputs[name])]
        else:
            is_string, vocabulary = COLUMNS[name] == "string", sorted(set(values.ravel().tolist()))
            lookup, unknown = (layers.StringLookup, "") if is_string else (layers.IntegerLookup, UNKNOWN)
            encode = lookup(vocabulary=vocabulary, mask_token=unknown, output_mode="one_hot")  # zeros at the mask token
            encoded.append(encode(inputs[name]))
    x = layers.Dense(16, activation="relu")(layers.Concatenate()(encoded))
    x = layers.Dense(16, activation="relu")(layers.Dropout(0.2)(x))
    return tf.keras.Model(inputs, layers.Dense(2, activation="softmax")(x), name="passengers")
