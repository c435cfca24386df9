"""keras.applications: the smallest member of a family at the smallest picture that builds, without trained weights."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tests.zoo.keras_layers import randomise
from tests.zoo.member import RULES, Member


def _build(name: str, size: int, **options: Any) -> Any:
    """The model with logits of three classes. One pass in training mode sets the statistics of batch norm."""
    import keras

    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=3, classifier_activation=None, **options
    )
    randomise(model, 0.05)
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        model(np.random.default_rng(2).normal(size=(64, size, size, 3)).astype(np.float32), training=True)
    return model


def application(name: str, size: int = 32, options: Any = (), **expected: Any) -> Member:
    """A member of keras.applications for pictures of this size."""
    return Member(
        name,
        functools.partial(_build, name, size, **dict(options)),
        lambda rng: rng.normal(size=(2, size, size, 3)).astype(np.float32),
        **expected,
    )


SQUEEZE: Any = {"refused": {RULES: "product"}}  # squeeze and excitation
# Dozens of layers of random weights multiply what float32 rounds: hence the tolerances. In double precision (keras.config.set_floatx)
# ε-LRP of MobileNetV2, NASNetMobile and ResNet50 equals the literal computation to 1e-6.
# With random weights a picture of zeros is far from the pictures that set the statistics, and the score is steep there.
STEEP: Any = {"warned": {"integrated_gradients": "completeness gap"}}
APPLICATIONS = [
    application("ConvNeXtTiny", refused={RULES: "product"}),
    application("DenseNet121", **STEEP),
    application("EfficientNetB0", **SQUEEZE),
    application("EfficientNetV2B0", **SQUEEZE),
    application("InceptionResNetV2", 75),
    application("InceptionV3", 75),
    application("MobileNet", options={"alpha": 0.25}, **STEEP),
    application("MobileNetV2", options={"alpha": 0.35}, lrp_tolerance=5e-3, **STEEP),
    application("MobileNetV3Small", options={"alpha": 0.75}, **SQUEEZE, **STEEP),
    application("NASNetMobile", lrp_tolerance=5e-3, **STEEP),
    application("ResNet50", tolerance=5e-3, lrp_tolerance=2e-2, **STEEP),
    application("ResNet50V2", **STEEP),
    application("VGG16"),
    application("Xception", 71, **STEEP),
]
