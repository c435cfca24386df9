"""The examples that a training explains: taken once, from arrays or a dataset, and checked against the model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.inputs import read_inputs
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.example import Example


def take_examples(examples: Any, max_examples: int) -> tuple[Any, Any]:
    """(inputs, labels) of the first examples of a dataset; (examples, None) for anything else."""
    if not isinstance(examples, tf.data.Dataset):
        return examples, None
    inputs, targets, count = list[Any](), list[Any](), 0
    for batch in examples:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        inputs.append(tf.nest.map_structure(_as_array, x))
        targets.append(None if y is None or isinstance(y, dict | list | tuple) else _as_array(y))
        count += len(tf.nest.flatten(inputs[-1])[0])
        if count >= max_examples:
            break
    if not inputs:
        raise InputError("examples: the dataset is empty; give one with at least one batch")
    xs = tf.nest.map_structure(lambda *parts: np.concatenate(parts)[:max_examples], *inputs)
    if any(target is None for target in targets):
        return xs, None
    return xs, _class_numbers(np.concatenate(targets)[:max_examples])


def make_examples(
    graph: ModelGraph, xs: Any, labels: Any, ids: Sequence[Any] | None, max_examples: int
) -> list[Example]:
    """The examples one by one. InputError if they do not fit the model, or labels or ids do not fit them."""
    arrays = read_inputs(graph.inputs, xs, graph.has_ordered_inputs)
    count = len(arrays[0])
    if not 0 < count <= max_examples:
        raise InputError(
            f"examples: got {count}; expected 1 to {max_examples}, because all are explained at every step: give fewer, or "
            f"max_examples={count}"
        )
    names = [str(i) for i in (range(count) if ids is None else ids)]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"ids: got {len(names)}, {len(set(names))} of them different; expected {count} different ones")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu" or labels.shape != (count,):
            raise InputError(
                f"labels: got {labels.dtype} values of shape {labels.shape}; expected {count} class numbers, one for each "
                "example (names of classes are class_names)"
            )
    return [
        Example(
            names[i],
            {spec.name: np.asarray(a[i], a.dtype) for spec, a in zip(graph.inputs, arrays, strict=True)},
            None if labels is None else int(labels[i]),
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


def _as_array(tensor: Any) -> np.ndarray:
    if not isinstance(tensor, tf.Tensor) or not tensor.shape.rank:
        raise InputError(
            f"examples: the dataset holds {tensor!r:.80}; expected batches, as `fit` takes them: dataset.batch(16)"
        )
    return tensor.numpy()


def _class_numbers(targets: np.ndarray) -> np.ndarray | None:
    """[N] from whole numbers [N] or [N, 1]; None for other targets, which are no labels."""
    are_classes = targets.size == len(targets) and targets.dtype.kind in "iufb" and not (targets % 1).any()
    return targets.reshape(-1).astype(np.int64) if are_classes else None
