"""Keras' layers that make numbers of categories and text: each between raw values, often beside a float, and a small net."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.zoo.keras_layers import randomise
from tests.zoo.member import Member

ENCODER = "encoder"
CITIES, WORDS = ["Bern", "Graz", "Rome"], ["good", "bad", "film"]


def _net(make: Callable[[Any], Any], shape: tuple[int, ...], dtype: str) -> Any:
    """Raw values → the layers, beside a float → six tanh units → two outputs."""
    import keras

    raw, size = keras.Input(shape, name="raw", dtype=dtype), keras.Input((1,), name="size")
    chain = make(keras.layers)
    encoded = raw
    for one in chain if isinstance(chain, tuple) else (chain,):
        encoded = one(encoded)
    one.name = ENCODER
    return _with_head({"raw": raw, "size": size}, [encoded, size])


def _with_head(inputs: Mapping[str, Any], encoded: Sequence[Any]) -> Any:
    import keras

    flat = [keras.layers.Flatten()(one) if len(one.shape) > 2 else keras.ops.cast(one, "float32") for one in encoded]
    hidden = keras.layers.Dense(6, "tanh", kernel_initializer="normal")(keras.layers.Concatenate()(flat))
    head = keras.layers.Dense(2)
    model = keras.Model(inputs, head(hidden))
    randomise(head)
    return model


def category(name: str, values: Any, make: Callable[[Any], Any], map_rank: int | None = None, **options: Any) -> Member:
    """A member whose raw values, those of two examples, go through this layer; `map_rank` is that of the raw values if None."""
    array = np.asarray(values)
    dtype = "string" if array.dtype.kind == "U" else str(array.dtype)
    return Member(
        name,
        functools.partial(_net, make, array.shape[1:], dtype),
        lambda _: {"raw": array, "size": np.array([[0.4], [-1.3]], np.float32)},
        **{
            "entries": lambda _: ["raw", "size"],
            "encodings": _encodings,
            "map_ranks": [array.ndim - 1 if map_rank is None else map_rank, 1],
        }
        | options,
    )


def _encodings(model: Any) -> list[Any]:
    return [model.get_layer(ENCODER), "size"]


def text(name: str, make: Callable[[Any], Any]) -> Member:
    """A member that is explained word by word: of the vocabulary where words are counted, of the text where they are embedded."""
    words = np.array(["good film", "bad bad dog"])
    return category(name, words, make, entries=_encodings, encodings=None, map_ranks=[1, 1])


CITY, CLASS = np.array([["Rome"], ["Bern"]]), np.array([[3], [1]])
TAGS, COUNTS = np.array([["Rome", "Bern", "?"], ["Graz", "Graz", "Bern"]]), np.array([[1, 3, 2], [3, 3, 0]])
NUMBERS = np.array([[0.3], [2.5]], np.float32)
CATEGORIES = [
    category("StringLookup, one_hot", CITY, lambda k: k.StringLookup(vocabulary=CITIES, output_mode="one_hot")),
    category("StringLookup, multi_hot", TAGS, lambda k: k.StringLookup(vocabulary=CITIES, output_mode="multi_hot"), 0),
    category("StringLookup, count", TAGS, lambda k: k.StringLookup(vocabulary=CITIES, output_mode="count"), 0),
    category("IntegerLookup, one_hot", CLASS, lambda k: k.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot")),
    category(
        "IntegerLookup, multi_hot", COUNTS, lambda k: k.IntegerLookup(vocabulary=[1, 2, 3], output_mode="multi_hot"), 0
    ),
    category("Hashing, one_hot", CITY, lambda k: k.Hashing(5, output_mode="one_hot")),
    category("Hashing of integers, one_hot", CLASS, lambda k: k.Hashing(5, output_mode="one_hot")),
    category("Discretization, one_hot", NUMBERS, lambda k: k.Discretization([0.0, 1.0, 2.0], output_mode="one_hot")),
    category("CategoryEncoding, one_hot", CLASS, lambda k: k.CategoryEncoding(4, "one_hot")),
    category("CategoryEncoding, multi_hot", COUNTS, lambda k: k.CategoryEncoding(4, "multi_hot"), 0),
    category("CategoryEncoding, count", COUNTS, lambda k: k.CategoryEncoding(4, "count"), 0),
    text("TextVectorization, multi_hot", lambda k: k.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")),
    text("TextVectorization, count", lambda k: k.TextVectorization(vocabulary=WORDS, output_mode="count")),
    text(
        "TextVectorization, tf_idf",
        lambda k: k.TextVectorization(vocabulary=WORDS, output_mode="tf_idf", idf_weights=[1, 1, 1]),
    ),
    text(
        "TextVectorization, Embedding",
        lambda k: (k.TextVectorization(vocabulary=WORDS, output_sequence_length=3), k.Embedding(5, 3, "normal")),
    ),
    category(
        "StringLookup, Embedding", CITY, lambda k: (k.StringLookup(vocabulary=CITIES), k.Embedding(4, 3, "normal"))
    ),
    category("Hashing, Embedding", CITY, lambda k: (k.Hashing(5), k.Embedding(5, 3, "normal"))),
    category(
        "IntegerLookup, Embedding",
        CLASS,
        lambda k: (k.IntegerLookup(vocabulary=[1, 2, 3]), k.Embedding(4, 3, "normal")),
    ),
    category(
        "Discretization, Embedding", NUMBERS, lambda k: (k.Discretization([0.0, 1.0, 2.0]), k.Embedding(4, 3, "normal"))
    ),
]


def _table_and_features() -> Any:
    """A FeatureSpace of four columns; its model takes a dict of them."""
    import keras
    import tensorflow as tf

    space = keras.utils.FeatureSpace
    features = space(
        {
            "age": space.float_normalized(),
            "rooms": space.integer_categorical(num_oov_indices=0),
            "city": space.string_categorical(),
            "size": space.float_discretized(num_bins=3),
        },
        output_mode="dict",
    )
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.random(32, np.float32),
        "rooms": rng.integers(0, 3, 32),
        "city": rng.choice(CITIES, 32),
        "size": rng.random(32, np.float32),
    }
    features.adapt(tf.data.Dataset.from_tensor_slices(columns))
    encoded = features.get_encoded_features()
    inputs = features.get_inputs()
    model = _with_head(inputs, [encoded[name] for name in inputs])
    model.features = features
    return model


CATEGORIES.append(
    Member(
        "FeatureSpace",
        _table_and_features,
        lambda _: {
            "age": np.array([[0.4], [1.3]], np.float32),
            "rooms": np.array([[2], [1]]),
            "city": CITY,
            "size": np.array([[0.1], [0.8]], np.float32),
        },
        entries=lambda _: ["age", "city", "rooms", "size"],
        encodings=lambda model: ["age", *(model.features.one_hot_encoders[name] for name in ("city", "rooms", "size"))],
        map_ranks=[1, 1, 1, 1],
    )
)
