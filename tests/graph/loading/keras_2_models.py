"""Small models of Keras 2."""

from __future__ import annotations

from typing import Any

import tf_keras


def functional(nested: bool = False) -> tf_keras.Model:
    """Three numbers → two classes; `nested`: its first layer is a model."""
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input((3,), name="x")
    hidden = tf_keras.layers.Dense(4, "tanh", name="hidden")
    if nested:
        hidden = tf_keras.Sequential([tf_keras.Input((3,)), hidden], name="base")
    x = tf_keras.layers.Dropout(0.5)(hidden(inputs))
    x = tf_keras.layers.Dense(4, "tanh", name="hidden_1")(x)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(2, "softmax", name="head")(x), name="old")


def text(**options: Any) -> tf_keras.Model:
    """Five token ids → LSTM with these options → two numbers. The ids are floats, the default of a Keras 2 Input."""
    tf_keras.utils.set_random_seed(2)
    ids = tf_keras.Input((5,), name="ids")
    x = tf_keras.layers.Embedding(9, 4, mask_zero=True, embeddings_initializer="normal", name="embedding")(ids)
    x = tf_keras.layers.LSTM(4, name="lstm", **options)(x)
    return tf_keras.Model(ids, tf_keras.layers.Dense(2, name="head")(x))
