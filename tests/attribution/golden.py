"""The golden nets, rebuilt in Keras from their description in tests/golden/index.json, and their cases. No test: the benchmarks of
a GPU read it, too."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.errors import UnknownMethodError

FOLDER = Path(__file__).parent.parent / "golden"


@cache
def index() -> dict[str, Any]:
    return json.loads((FOLDER / "index.json").read_text())


def _pool(layer: type, spec: dict[str, Any]) -> keras.layers.Layer:
    return layer(spec["pool_size"], spec["strides"], spec["padding"], name=spec["name"])


def _layer(spec: dict[str, Any]) -> Any:
    """The Keras layer (or a function of tensors) for one entry of the description."""
    name, layer_type = spec["name"], spec["type"]
    layers = keras.layers
    conv = {
        "strides": spec.get("strides"),
        "padding": spec.get("padding"),
        "use_bias": spec.get("use_bias"),
        "name": name,
    }
    match layer_type:
        case "dense":
            return layers.Dense(spec["units"], use_bias=spec["use_bias"], name=name)
        case "conv2d":
            return layers.Conv2D(spec["filters"], spec["kernel_size"], **conv)
        case "conv1d":
            return layers.Conv1D(spec["filters"], spec["kernel_size"][0], **{**conv, "strides": spec["strides"][0]})
        case "activation" if spec["function"] == "leaky_relu":
            return layers.LeakyReLU(negative_slope=spec["alpha"], name=name)
        case "activation":
            return layers.Activation(spec["function"], name=name)
        case "max_pool2d":
            return _pool(layers.MaxPooling2D, spec)
        case "avg_pool2d":
            return _pool(layers.AveragePooling2D, spec)
        case "global_avg_pool2d":
            return layers.GlobalAveragePooling2D(name=name)
        case "global_max_pool1d":
            return layers.GlobalMaxPooling1D(name=name)
        case "batchnorm":
            return layers.BatchNormalization(epsilon=spec["epsilon"], name=name)
        case "lstm":
            return layers.LSTM(spec["units"], return_sequences=spec["return_sequences"], name=name)
        case "flatten":
            return layers.Flatten(name=name)
        case "add":
            return layers.Add(name=name)
        case "concat":
            return layers.Concatenate(axis=spec["axis"], name=name)
        case "select_unit":
            return layers.Lambda(lambda t, i=spec["index"]: t[..., i], output_shape=(), name=name)
    raise ValueError(f"no layer for {layer_type}")


@cache
def build(name: str) -> keras.Model:
    spec = index()["models"][name]
    tensors = {i["name"]: keras.Input(i["shape"], name=i["name"]) for i in spec["inputs"]}
    layers: dict[str, Any] = {}
    for layer in spec["layers"]:
        shared = layers.get(layer.get("shared_weights_with"))
        layers[layer["name"]] = shared or _layer(layer)
        inputs = [tensors[i] for i in layer["inputs"]]
        tensors[layer["name"]] = layers[layer["name"]](inputs if len(inputs) > 1 else inputs[0])
    ends = {i for layer in spec["layers"] for i in layer["inputs"]}
    outputs = {layer["name"]: tensors[layer["name"]] for layer in spec["layers"] if layer["name"] not in ends}
    return keras.Model({i["name"]: tensors[i["name"]] for i in spec["inputs"]}, outputs, name=name)


def set_weights(model: keras.Model, name: str, case: Any) -> None:
    for spec in index()["models"][name]["layers"]:
        for weight, key in spec.get("weights", {}).items():
            layer = model.get_layer(spec.get("shared_weights_with") or spec["name"])
            owner = layer.cell if spec["type"] == "lstm" else layer
            getattr(owner, weight).assign(case[f"w:{key}"].astype(np.float32))


def known_cases() -> list[dict[str, Any]]:
    """The cases that must hold, of methods that the table has."""

    def is_known(name: str) -> bool:
        try:
            return bool(find_method(name))
        except UnknownMethodError:
            return False

    return [case for case in index()["cases"] if case["match"] != "informational" and is_known(case["method"])]


def explain(case: dict[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The maps of a case, and those of the original; by input. `options`: more arguments of Explainer."""
    data = dict(np.load(FOLDER / case["file"]))
    set_weights(build(case["model"]), case["model"], data)
    explainer = dx.Explainer(
        case["method"],
        graph(case["model"]),
        inputs=case["wrt"],
        output=case["target"],
        logits=False,
        target=None,
        **_parameters(case, data),
        **options,
    )
    with _permutations(data):
        actual = explainer.run(
            {name: data[f"x:{name}"] for name in case["wrt"]}, ys=data.get("ys"), batch_size=case["batch_size"]
        )
    return actual, {name: data[f"expected:{name}"] for name in case["wrt"]}


@cache
def graph(name: str) -> dx.ModelGraph:
    return dx.load_model(build(name))


def _parameters(case: dict[str, Any], data: Any) -> dict[str, Any]:
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in case["params"].items() if k != "baseline"}
    if case["method"] == "intgrad":
        params = {"steps": 100, "quadrature": "right", **params}
    if case["method"] == "shapley_sampling":
        params = {"estimator": "permutation", **params}
    baselines = [data[f"baseline:{name}"] for name in case["wrt"] if f"baseline:{name}" in data]
    if baselines:
        params["baseline"] = baselines if len(baselines) > 1 else baselines[0]
    return params


@contextlib.contextmanager
def _permutations(data: Any) -> Iterator[None]:
    """Within, Shapley sampling uses the case's permutations of the players, if it has any, for all examples."""
    if "permutations" not in data:
        yield
        return
    places = np.argsort(data["permutations"])[None].astype(np.int32)
    sampling = importlib.import_module("tb_deepexplain.attribution.methods.shapley_sampling")
    with mock.patch.object(sampling, "_ranks", lambda score, *_: tf.repeat(places, score.n, axis=0)):
        yield
