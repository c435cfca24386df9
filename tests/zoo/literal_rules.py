"""ε-LRP and DeepLIFT by hand: Keras' activations are replaced while its model is called eagerly under a gradient tape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from keras.src.activations.activations import Mish
from keras.src.backend.tensorflow import nn
from keras.src.backend.tensorflow import numpy as keras_numpy

from tests.zoo.as_called import AsCalled

ACTIVATIONS = {
    nn: """celu elu gelu hard_shrink hard_silu hard_tanh leaky_relu log_sigmoid relu relu6 selu sigmoid silu
    softplus softsign squareplus tanh tanh_shrink soft_shrink sparse_plus threshold""".split(),
    keras_numpy: ["tanh", "exp", "sin", "square", "sqrt", "power", "log10"],
    Mish: ["static_call"],
}  # a hard sigmoid is a ReLU between affine steps
Multiplier = Callable[[int, Any, Any], Any]  # (number of the activation, z, y) → like z


@contextlib.contextmanager
def _activations(replacement: Callable[[int, Any, Any], Any]) -> Iterator[None]:
    """Every activation y = f(z) gives `replacement(its number, z, y)`; one inside another is left as it is."""
    count, inside = 0, False

    def wrap(original: Any) -> Any:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal count, inside
            if inside:
                return original(x, *args, **kwargs)
            inside = True
            try:
                y = original(x, *args, **kwargs)
            finally:
                inside = False
            count += 1
            return replacement(count, tf.convert_to_tensor(x), y)

        return call

    with contextlib.ExitStack() as stack:
        for module, names in ACTIVATIONS.items():
            for name in names:
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, wrap(getattr(module, name))))
        yield


def _with_multiplier(multiplier: Multiplier) -> Callable[[int, Any, Any], Any]:
    def replace(number: int, z: Any, y: Any) -> Any:
        @tf.custom_gradient
        def value(z: Any) -> Any:
            return tf.identity(y), lambda gradient: gradient * multiplier(number, z, y)

        return value(z)

    return replace


def literal_lrp(called: AsCalled, epsilon: float = 1e-4) -> list[np.ndarray]:
    """x · gradient, with y / (z ± ε) for the slope of every activation."""
    with _activations(
        _with_multiplier(
            lambda _, z, y: y / (z + tf.cast(epsilon, z.dtype) * tf.cast(tf.where(z >= 0, 1, -1), z.dtype))
        )
    ):
        return [x * g for x, g in zip(called.entries, called.gradient(called.entries), strict=True)]


def literal_deeplift(called: AsCalled) -> list[np.ndarray]:
    """x · gradient, with (y − y′) / (z − z′) for the slope of every activation; z′ and y′ are those of a zero input."""
    reference: dict[int, tuple[Any, Any]] = {}

    def record(number: int, z: Any, y: Any) -> Any:
        reference[number] = z, y
        return y

    def multiplier(number: int, z: Any, y: Any) -> Any:
        z_reference, y_reference = reference[number]
        change = z - z_reference
        return tf.where(tf.abs(change) > 1e-5, (y - y_reference) / change, tf.cast(z > 0, z.dtype))

    with _activations(record):
        called.scores(called.baselines, np.arange(called.n))
    with _activations(_with_multiplier(multiplier)):
        gradient = called.gradient(called.entries)
    return [(x - x0) * g for x, x0, g in zip(called.entries, called.baselines, gradient, strict=True)]
