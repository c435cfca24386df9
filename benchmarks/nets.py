"""The four models of the benchmarks, trained once and kept in benchmarks/.cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import data

CACHE = Path(__file__).parent / ".cache"
HELD_OUT = 1000
layers = tf.keras.layers


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained model and held-out examples."""

    name: str
    model: Any  # inputs → logits
    body: Any  # the part after the explained tensor, which is the embedding of a text
    x: np.ndarray  # [1000, ...] held out
    y: np.ndarray
    accuracy: float

    def examples(self, count: int) -> np.ndarray:
        """Held-out examples [count, ...], repeated where there are not enough."""
        return np.resize(self.x, (count, *self.x.shape[1:]))

    def entries(self, x: np.ndarray) -> Any:
        """The explained tensor."""
        return tf.constant(x) if self.body is self.model else self.model.get_layer("embedding")(x)


def cnn28() -> tuple[Any, Any]:
    """Two convolutions on MNIST's digits."""
    model = tf.keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    return model, model


def resnet() -> tuple[Any, Any]:
    """ResNet-18's eight basic blocks with batch norm, three eighths as wide, on digits of 64×64×3."""

    def conv(x: Any, filters: int, size: int, stride: int) -> Any:
        x = layers.Conv2D(filters, size, stride, "same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    def block(x: Any, filters: int, stride: int) -> Any:
        y = conv(layers.ReLU()(conv(x, filters, 3, stride)), filters, 3, 1)
        short = x if stride == 1 else conv(x, filters, 1, stride)
        return layers.ReLU()(layers.Add()([y, short]))

    image = layers.Input((64, 64, 3))
    x = layers.ReLU()(conv(image, 24, 3, 1))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for filters, stride in ((24, 1), (24, 1), (48, 2), (48, 1), (96, 2), (96, 1), (192, 2), (192, 1)):
        x = block(x, filters, stride)
    model = tf.keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
    return model, model


def textcnn() -> tuple[Any, Any]:
    """Convolutions of three widths over 100 words of a film review."""
    embedded = layers.Input((100, 50))
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(64, w, activation="relu")(embedded)) for w in (3, 4, 5)]
    x = layers.Dropout(0.5)(layers.Concatenate()(pooled))
    return _of_ids(tf.keras.Model(embedded, layers.Dense(2)(x)))


class Positions(layers.Layer):
    """Adds a learned vector to each position of a text."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(
            shape=shape[1:], initializer=tf.keras.initializers.RandomNormal(stddev=0.02), name="table"
        )

    def call(self, x: Any) -> Any:
        return x + self.table


def transformer() -> tuple[Any, Any]:
    """Four pre-norm encoder blocks of four heads over 64 words."""
    norm = functools.partial(layers.LayerNormalization, epsilon=1e-6)

    def block(x: Any) -> Any:
        y = norm()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 32)(y, y)])
        y = layers.Dense(512, activation="gelu")(norm()(x))
        return layers.Add()([x, layers.Dense(128)(y)])

    embedded = layers.Input((64, 128))
    x = Positions()(embedded)
    for _ in range(4):
        x = block(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling1D()(norm()(x)))
    return _of_ids(tf.keras.Model(embedded, layers.Dense(2)(x)))


def _of_ids(body: Any) -> tuple[Any, Any]:
    """A text model from the part after its embedding."""
    length, size = body.input_shape[1:]
    ids = layers.Input((length,), dtype="int32")
    return tf.keras.Model(ids, body(layers.Embedding(data.WORDS, size, name="embedding")(ids))), body


# How each is built, its data, epochs of training.
NETS: dict[str, tuple[Callable[[], tuple[Any, Any]], Callable[[], tuple[np.ndarray, np.ndarray]], int]] = {
    "cnn28": (cnn28, data.small_digits, 4),
    "resnet": (resnet, data.large_digits, 2),
    "textcnn": (textcnn, functools.partial(data.reviews, 100), 4),
    "transformer": (transformer, functools.partial(data.reviews, 64), 3),
}


def load(name: str) -> Net:
    """The model, from the cache or trained now."""
    build, read, epochs = NETS[name]
    tf.keras.utils.set_random_seed(0)
    model, body = build()
    x, y = read()
    weights = CACHE / f"{name}.weights.h5"
    try:
        model.load_weights(weights)
    except (OSError, ValueError):  # missing, or of another architecture
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        model.fit(x[:-HELD_OUT], y[:-HELD_OUT], epochs=epochs, batch_size=64, verbose=0)
        CACHE.mkdir(exist_ok=True)
        model.save_weights(weights)
    x, y = x[-HELD_OUT:], y[-HELD_OUT:]
    accuracy = float((model.predict(x, verbose=0).argmax(1) == y).mean())
    return Net(name, model, body, x, y, accuracy)
