"""Small real Keras models that tests share; weights are random but fixed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

import tb_deepexplain as dx

VOCABULARY = ["a", "dull", "film", "great", "not", "the"]


@functools.cache
def graph(model: Callable[..., keras.Model], **options: Any) -> dx.ModelGraph:
    """The ModelGraph of one of the models below, which all tests of a process share, and so what was compiled for it."""
    return dx.load_model(model(**options))


def image(classes: int = 3, activation: str = "softmax") -> keras.Model:
    """8×8×3 pictures; batch norm and dropout, so that training mode would show."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(classes, activation=activation, name="head")(x))
    norm = model.get_layer("norm")
    norm.moving_mean.assign(np.linspace(-0.2, 0.2, 6))
    norm.moving_variance.assign(np.linspace(0.5, 2, 6))
    return model


def text(mask_zero: bool = True, strings: bool = False) -> keras.Model:
    """Token ids (or raw strings, with the vocabulary in the graph) → embedding → LSTM → two classes."""
    keras.utils.set_random_seed(2)
    inputs = (
        keras.Input((), dtype="string", name="text") if strings else keras.Input((None,), dtype="int64", name="ids")
    )
    ids = layers.TextVectorization(vocabulary=VOCABULARY)(inputs) if strings else inputs
    x = layers.Embedding(
        len(VOCABULARY) + 2, 5, mask_zero=mask_zero, embeddings_initializer="normal", name="embedding"
    )(ids)
    x = layers.LSTM(4, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="head")(x))


def two_inputs(by_name: bool = True) -> keras.Model:
    """A number vector and token ids, added up after separate ways; without names, the ids come first."""
    keras.utils.set_random_seed(3)
    numbers, ids = keras.Input((4,), name="numbers"), keras.Input((6,), dtype="int32", name="ids")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(10, 5, embeddings_initializer="normal")(ids))
    x = layers.Concatenate()([layers.Dense(5, activation="tanh")(numbers), words])
    inputs = {"numbers": numbers, "ids": ids} if by_name else [ids, numbers]
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def sequential() -> keras.Model:
    """Ten numbers → two classes, as most people first write a model."""
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [keras.Input((10,)), layers.Dense(8, activation="relu"), layers.Dense(2, activation="softmax")]
    )


def binary() -> keras.Model:
    """Four numbers → one sigmoid."""
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(6, activation="tanh"), layers.Dense(1, activation="sigmoid")]
    )


def columns() -> keras.Model:
    """Two numeric inputs → one quantity."""
    keras.utils.set_random_seed(6)
    age, sizes = keras.Input((1,), name="age"), keras.Input((2, 2), name="sizes")
    x = layers.Concatenate()([age, layers.Flatten()(sizes)])
    return keras.Model({"age": age, "sizes": sizes}, layers.Dense(1)(layers.Dense(3, activation="tanh")(x)))
