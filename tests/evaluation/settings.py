"""Models with examples on which the measures are tested, and the literal measures of their maps.

All tests of a process share them, and so what was compiled for them; examples are read only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.inputs import example_seeds
from tests import models
from tests.evaluation.literal_measures import LiteralMeasures


@dataclasses.dataclass
class Setting:
    """A method on a model, and examples."""

    explainer: dx.Explainer
    xs: np.ndarray
    literal: Callable[[np.ndarray], Iterator[LiteralMeasures]]  # maps [N, ...] → the literal measures of each

    def __post_init__(self) -> None:
        self.xs.flags.writeable = False

    def result(self) -> dx.Result:
        result: dx.Result = self.explainer.run(self.xs, return_result=True)
        return result


@functools.cache
def pixels() -> Setting:
    """Pictures and a softmax: the levels of curves are probabilities."""
    model = models.image()
    xs = np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    logits = keras.Model(model.input, model.get_layer("head").output)
    explainer = dx.Explainer("gradient_x_input", model, target=1)

    def literal(maps: np.ndarray) -> Iterator[LiteralMeasures]:
        groups = [np.zeros((8, 8, 3), bool) for _ in range(64)]
        for i, group in enumerate(groups):
            group[i // 8, i % 8] = True
        for x, values, seed in zip(xs, maps, example_seeds([xs], 0), strict=True):
            yield LiteralMeasures(
                lambda z: float(explainer.predict(z[None]).outputs[0, 1]),
                lambda z: float(logits(z[None]).numpy()[0, 1]),
                x,
                values,
                groups,
                int(seed),
            )

    return Setting(explainer, xs, literal)


@functools.cache
def numbers() -> Setting:
    """Seven numbers and no softmax: the levels of curves are what is left of the score's change."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(9, "tanh")(inputs)))
    xs = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)

    def literal(maps: np.ndarray) -> Iterator[LiteralMeasures]:
        groups = list(np.eye(7, dtype=bool))
        for x, values, seed in zip(xs, maps, example_seeds([xs], 0), strict=True):
            yield LiteralMeasures(lambda z: float(model(z[None])[0, 1]), None, x, values, groups, int(seed))

    return Setting(dx.Explainer("gradient_x_input", model, target=1), xs, literal)


@functools.cache
def words() -> Setting:
    """Texts of several lengths, padded with zeros, which are no features."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9,), dtype="int32")
    embedding = layers.Embedding(20, 4, embeddings_initializer="normal")
    embedded = embedding(inputs)
    y = layers.GlobalMaxPooling1D()(layers.Conv1D(6, 2, activation="tanh", name="conv")(embedded))
    model = keras.Model(inputs, layers.Dense(2, name="head")(y))
    after_embedding = keras.Model(embedded, model.output)
    xs = np.random.default_rng(0).integers(1, 20, (3, 9)).astype(np.int32)
    xs[0, 5:], xs[1, 8:] = 0, 0

    def literal(maps: np.ndarray) -> Iterator[LiteralMeasures]:
        for ids, values, seed in zip(xs, maps, example_seeds([xs], 0), strict=True):
            groups = [np.zeros((9, 4), bool) for _ in range(np.count_nonzero(ids))]
            for i, group in enumerate(groups):
                group[i] = True
            x = embedding(ids[None]).numpy()[0]
            yield LiteralMeasures(
                lambda z: float(after_embedding(z[None])[0, 1]), None, x, values, groups, int(seed), draws=9
            )

    return Setting(dx.Explainer("gradient_x_input", model, target=1), xs, literal)


PICTURES_ONLY = {"road"}  # measures that refuse other inputs
SETTINGS = {"pixels": pixels, "numbers": numbers, "words": words}


@functools.cache
def linear(inputs: int = 12, n: int = 40) -> tuple[dx.ModelGraph, np.ndarray]:
    """A linear model of three units, and n examples."""
    xs = np.random.default_rng(0).normal(size=(n, inputs)).astype(np.float32)
    xs.flags.writeable = False
    return dx.load_model(_linear_model(inputs)), xs


def linear_weights(inputs: int = 12) -> np.ndarray:
    """`[inputs, 3]` the weights of `linear(inputs)`."""
    weights: np.ndarray = _linear_model(inputs).layers[-1].kernel.numpy()
    return weights


@functools.cache
def _linear_model(inputs: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((inputs,))
    return keras.Model(x, layers.Dense(3, bias_initializer="normal")(x))


def with_maps(result: dx.Result, attributions: Any) -> dx.Result:
    """The result with these maps."""
    return dataclasses.replace(result, attributions=attributions)
