"""The examples that a training explains: taken once, from arrays or a dataset, and checked against the model."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.array_likes import as_array
from tb_deepexplain.attribution.containers import is_iterable, read_elements
from tb_deepexplain.attribution.inputs import check_inputs
from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.example import Example


def take_examples(examples: Any, max_examples: int) -> tuple[Any, Any]:
    """(inputs, targets) of the first examples of a dataset or generator of batches; (examples, None) for anything else."""
    if not is_iterable(examples):
        return examples, None
    inputs, targets, count = list[Any](), list[Any](), 0
    for batch in read_elements(examples, max_examples):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        inputs.append(tf.nest.map_structure(_as_array, x))
        targets.append(None if y is None or isinstance(y, dict | list | tuple) else _as_array(y))
        count += len(tf.nest.flatten(inputs[-1])[0])
        if count >= max_examples:
            break
    if not inputs:
        raise InputError("examples: the dataset is empty; give one with at least one batch")
    xs = tf.nest.map_structure(lambda *parts: np.concatenate(parts)[:max_examples], *inputs)
    return xs, None if any(target is None for target in targets) else np.concatenate(targets)[:max_examples]


def make_examples(
    graph: ModelGraph,
    xs: Any,
    labels: Any,
    ids: Sequence[Any] | None,
    max_examples: int,
    *,
    targets: Any = None,
    class_names: Sequence[str] | None = None,
) -> list[Example]:
    """The examples one by one, with their labels, or else the `targets` of the training if these are one class each.

    InputError if they do not fit the model, or labels or ids do not fit them.
    """
    inputs = check_inputs(graph.inputs, xs, ordered=graph.has_ordered_inputs, padding_id=graph.padding_id)
    count = inputs.n
    for text, applies in inputs.notes:
        warnings.warn(f"examples: {applies.sum()} of {count}: {text}", stacklevel=3)
    if not 0 < count <= max_examples:
        raise InputError(
            f"examples: got {count}; expected 1 to {max_examples}, because all are explained at every step: give fewer, or "
            f"max_examples={count}"
        )
    names = [str(i) for i in (range(count) if ids is None else ids)]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"ids: got {len(names)}, {len(set(names))} of them different; expected {count} different ones")
    targets = inputs.labels if targets is None else targets
    if labels is not None:
        classes = _classes(graph, labels, count, class_names)
        if classes is None:
            raise InputError(
                f"labels: expected one class for each of {count} examples; leave the quantities of a regression out"
            )
    else:
        classes = None if targets is None else _classes_or_none(graph, targets, count, class_names)
    return [
        Example(
            names[i],
            {spec.name: np.asarray(a[i], a.dtype) for spec, a in zip(graph.inputs, inputs.arrays, strict=True)},
            None if classes is None else int(classes[i]),
        )
        for i in range(count)
    ]


def digest_examples(examples: Sequence[Example]) -> str:
    """A digest of ids, labels and inputs."""
    digest = hashlib.blake2b(digest_size=8)
    for example in examples:
        digest.update(f"{example.id}\0{example.label}\0".encode())
        for value in example.inputs.values():
            content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
            digest.update(f"{value.shape}{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _as_array(values: Any) -> np.ndarray:
    array = as_array(values, "examples")
    if not array.ndim:
        raise InputError(
            f"examples: the dataset holds {values!r:.80}; expected batches, as `fit` takes them: dataset.batch(16)"
        )
    return array


def _classes(graph: ModelGraph, labels: Any, count: int, class_names: Sequence[str] | None) -> np.ndarray | None:
    """`[N]` class numbers from labels of any form; None if they are not one class each. InputError if they do not fit."""
    outputs = [graph.output_specs.get(tensor) for tensor in graph.outputs.values()]
    shape = outputs[0].shape if len(outputs) == 1 and outputs[0] is not None else tf.TensorShape(None)
    units = shape[-1] if shape.rank == 2 and shape[-1] != 1 else None  # a single unit may be a class or a quantity
    read = read_labels(labels, count, classes=units, class_names=class_names)
    return read.array if read.kind == "class" and (shape.rank or 0) < 3 else None


def _classes_or_none(
    graph: ModelGraph, targets: Any, count: int, class_names: Sequence[str] | None
) -> np.ndarray | None:
    """The same for targets of a training, which need not be labels."""
    try:
        return _classes(graph, targets, count, class_names)
    except InputError:
        return None
