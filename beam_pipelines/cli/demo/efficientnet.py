"""EfficientNet-Lite0 in Keras, with weights trained in PyTorch.

Tan & Le 2019 (arXiv 1905.11946), in the variant without squeeze-and-excite and with ReLU6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.errors import InputError

SIZE = 224
CLASSES = 1000
_EPSILON = 1e-3
# repeats, kernel, stride of the first, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build() -> Any:
    """The untrained model: `image` in 0..255 in, 1000 probabilities out; its layers are named as in the checkpoint."""
    layers = tf.keras.layers
    image = layers.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128, name="rescale")(image)
    x = _conv(x, "_conv_stem", "_bn0", 32, 3, stride=2)
    number = 0
    for repeats, kernel, first_stride, expansion, channels in _STAGES:
        for repeat in range(repeats):
            x = _block(x, f"_blocks.{number}.", kernel, first_stride if repeat == 0 else 1, expansion, channels)
            number += 1
    x = _conv(x, "_conv_head", "_bn1", 1280, 1)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(CLASSES, name=_layer_name("_fc"))(x)
    return tf.keras.Model(image, layers.Softmax(name="probabilities")(x), name="efficientnet_lite0")


def load(weights: Mapping[str, np.ndarray]) -> Any:
    """The model with the weights of a checkpoint; InputError if they belong to another model."""
    model = build()
    keys = {_layer_name(name.rpartition(".")[0]): name.rpartition(".")[0] for name in weights}
    used = set()
    for layer in model.layers:
        if not layer.weights:
            continue
        key = keys.get(layer.name, layer.name)
        parts: tuple[str, ...] = ("weight", "bias") if isinstance(layer, tf.keras.layers.Dense) else ("weight",)
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
        names = [f"{key}.{part}" for part in parts]
        if missing := [name for name in names if name not in weights]:
            raise InputError(
                f"the checkpoint has no {', '.join(missing)}; it is not a checkpoint of EfficientNet-Lite0"
            )
        layer.set_weights([_in_keras_order(layer, weights[name]) for name in names])
        used.update(names)
    if unknown := [name for name in weights if name not in used and not name.endswith("num_batches_tracked")]:
        raise InputError(
            f"the checkpoint has {', '.join(unknown[:3])}, ...; it is not a checkpoint of EfficientNet-Lite0"
        )
    return model


def _block(x: Any, prefix: str, kernel: int, stride: int, expansion: int, channels: int) -> Any:
    """Inverted residual: widen, filter each channel, narrow; added to its input if the shapes agree."""
    layers = tf.keras.layers
    y = x if expansion == 1 else _conv(x, f"{prefix}_expand_conv", f"{prefix}_bn0", expansion * x.shape[-1], 1)
    name = _layer_name(f"{prefix}_depthwise_conv")
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=name)(y)
    y = layers.ReLU(6, name=f"{name}.relu6")(_norm(f"{prefix}_bn1")(y))
    y = _conv(y, f"{prefix}_project_conv", f"{prefix}_bn2", channels, 1, activation=False)
    return layers.Add(name=_layer_name(f"{prefix}add"))([x, y]) if stride == 1 and x.shape[-1] == channels else y


def _conv(x: Any, name: str, norm: str, channels: int, kernel: int, stride: int = 1, activation: bool = True) -> Any:
    layers = tf.keras.layers
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=_layer_name(name))(x)
    x = _norm(norm)(x)
    return layers.ReLU(6, name=f"{_layer_name(name)}.relu6")(x) if activation else x


def _norm(name: str) -> Any:
    return tf.keras.layers.BatchNormalization(epsilon=_EPSILON, name=_layer_name(name))


def _layer_name(name: str) -> str:
    return name.replace("._", ".").lstrip("_")  # TensorFlow's names cannot begin with an underscore


def _in_keras_order(layer: Any, array: np.ndarray) -> np.ndarray:
    """PyTorch's (out, in, height, width) in the order of Keras."""
    if isinstance(layer, tf.keras.layers.DepthwiseConv2D):
        return array.transpose(2, 3, 0, 1)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
