"""The examples that a training explains: taken once, from what `fit` takes, and checked against the model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.array_likes import shape_of
from tb_deepexplain.attribution.inputs import Inputs, check_inputs
from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.targets import Classes


def sample_inputs(model: Any, examples: Any) -> Any:
    """The inputs in some of the examples, for a model that is not built yet and does not say what it takes."""
    if isinstance(examples, tf.data.Dataset):
        batch = next(iter(examples), None)
        if batch is None:
            raise InputError("examples: the dataset is empty; give one with at least one batch")
        return keras.utils.unpack_x_y_sample_weight(batch)[0]
    is_pair = isinstance(examples, tuple) and isinstance(model, keras.Sequential)
    examples = examples[0] if is_pair else examples
    if not isinstance(examples, np.ndarray | list | tuple | dict | tf.Tensor):
        raise InputError(
            f"examples: got {type(examples).__name__}, but the model is not built and does not say what it takes; call it "
            "on one batch first, or give arrays"
        )
    return examples


def read_examples(graph: ModelGraph, examples: Any, max_examples: int) -> Inputs:
    """The examples as arrays; of a dataset or generator only the first `max_examples`. InputError if they do not fit."""
    inputs = check_inputs(graph, examples, max_examples)
    if not 0 < inputs.n <= max_examples:
        raise InputError(
            f"examples: got {inputs.n}; expected 1 to {max_examples}, because all are explained at every step: give fewer, or "
            f"max_examples={inputs.n}"
        )
    return inputs


def make_examples(inputs: Inputs, ids: Sequence[Any] | None) -> list[Example]:
    """The examples one by one, without labels. InputError if the ids do not fit them."""
    count = inputs.n
    names = [str(i) for i in (range(count) if ids is None else ids)]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"ids: got {len(names)}, {len(set(names))} of them different; expected {count} different ones")
    pairs = list(zip(inputs.specs, inputs.arrays, strict=True))
    return [Example(names[i], {spec.name: np.asarray(a[i], a.dtype) for spec, a in pairs}) for i in range(count)]


def label_examples(
    examples: Sequence[Example], labels: Any, classes: Classes, class_names: Sequence[str] | None, explains_score: bool
) -> list[Example]:
    """The examples with their labels: classes as numbers, names or one-hot rows, several classes each, or quantities.

    `classes` are those of the model's output, which say nothing of the labels if a score function is explained. InputError if
    the labels do not fit.
    """
    positions = max(0, classes.predictions.outputs.ndim - 2)
    if positions and len(shape_of(labels)) > 1:
        raise InputError(
            f"labels: got shape {shape_of(labels)}; the store holds one label for each example, and none for single positions"
        )
    count = None if explains_score else classes.count
    read = read_labels(labels, len(examples), classes=count, class_names=class_names)
    if read.array.ndim > 1 and read.form == "value":
        raise InputError("labels: got rows of probabilities; expected one class or number for each example")
    values = read.array.tolist()
    if read.form == "classes":
        values = [tuple(np.flatnonzero(row).tolist()) for row in read.array]
        classes.fit_labels(values)
    return [dataclasses.replace(example, label=label) for example, label in zip(examples, values, strict=True)]


def digest_examples(examples: Sequence[Example]) -> str:
    """A digest of ids, labels and inputs."""
    digest = hashlib.blake2b(digest_size=8)
    for example in examples:
        digest.update(f"{example.id}\0{example.label}\0".encode())
        for value in example.inputs.values():
            content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
            digest.update(f"{value.shape}{len(content)}\0".encode() + content)
    return digest.hexdigest()
