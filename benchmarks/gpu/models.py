"""Four nets with random weights, and random examples of theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from beam_pipelines.cli.demo import efficientnet
from benchmarks import data, nets
from benchmarks.nets import Net

PERTURBING = "perturbation"


@dataclasses.dataclass(frozen=True)
class Spec:
    """How a net is built and measured."""

    build: Callable[[], tuple[Any, Any]]  # the model, and its part after the explained tensor
    examples: int  # that a measurement has at most
    batches: tuple[int, ...]  # of the floor, which counts at the best of them
    goal: float  # share of the floor that each method is to reach
    window: dict[str, Any]  # of occlusion


def _lite0() -> tuple[Any, Any]:
    model = efficientnet.build()
    return model, model


NETS = {
    "cnn28": Spec(nets.cnn28, 16384, (1024, 4096, 16384), 0.5, {"window_shape": (4, 4, 1), "step": 4}),
    "resnet": Spec(nets.resnet, 4096, (256, 1024, 4096), 0.8, {"window_shape": (8, 8, 3), "step": 8}),
    "efficientnet_lite0": Spec(_lite0, 512, (32, 128, 512), 0.8, {"window_shape": (32, 32, 3), "step": 32}),
    "textcnn": Spec(nets.textcnn, 16384, (1024, 4096, 16384), 0.5, {}),
}


def load(name: str, most: int | None = None) -> Net:
    """The net with random weights, the same in every process, and at most `most` random examples."""
    tf.keras.utils.set_random_seed(0)
    model, body = NETS[name].build()
    for weight in model.weights:
        if weight.name in ("bias", "beta"):  # else zero, so that ReLU nets are linear along each ray and methods agree
            weight.assign(tf.random.normal(weight.shape, stddev=0.1))
    count = min(NETS[name].examples, most or NETS[name].examples)
    rng, shape = np.random.default_rng(0), model.input_shape[1:]
    if name == "textcnn":
        x = rng.integers(1, data.WORDS, (count, *shape), np.int32)
    else:
        x = rng.random((count, *shape), np.float32) * (255 if name == "efficientnet_lite0" else 1)
    return Net(name, model, body, x, np.zeros(count, np.int64), float("nan"))


def parameters(name: str, method: Any) -> dict[str, Any]:
    """Integrated gradients of 50 steps, and windows and players that fit the net; else the method's defaults."""
    known = {parameter.name for parameter in method.parameters}
    chosen: dict[str, Any] = {"steps": 50} if method.id == "integrated_gradients" else {}
    if "window_shape" in known:
        chosen |= NETS[name].window
    if method.map_axes_parameter:
        chosen[method.map_axes_parameter] = [1]  # rows of a picture, words of a text
    return chosen
