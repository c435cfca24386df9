"""What a training explains again and again: the examples, taken once, and the model as it stands in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.inputs import read_inputs
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.example import Example


def take(examples: Any, most: int) -> tuple[Any, Any]:
    """(inputs, labels) of a dataset's first examples; anything else as it is."""
    if not isinstance(examples, tf.data.Dataset):
        return examples, None
    inputs, targets, count = list[Any](), list[Any](), 0
    for batch in examples:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        inputs.append(tf.nest.map_structure(_array, x))
        targets.append(None if y is None or isinstance(y, dict | list | tuple) else _array(y))
        count += len(tf.nest.flatten(inputs[-1])[0])
        if count >= most:
            break
    if not inputs:
        raise InputError("examples: the dataset is empty; give one with at least one batch")
    xs = tf.nest.map_structure(lambda *parts: np.concatenate(parts)[:most], *inputs)
    return xs, None if any(t is None for t in targets) else _class_numbers(np.concatenate(targets)[:most])


def _array(tensor: Any) -> np.ndarray:
    if not isinstance(tensor, tf.Tensor) or not tensor.shape.rank:
        raise InputError(
            f"examples: the dataset holds {tensor!r:.80}; expected batches, as `fit` takes them: dataset.batch(16)"
        )
    return tensor.numpy()


def _class_numbers(targets: np.ndarray) -> np.ndarray | None:
    """[N] of targets [N] or [N, 1] that are whole numbers; what is something else is no label."""
    whole = targets.size == len(targets) and targets.dtype.kind in "iufb" and not (targets % 1).any()
    return targets.reshape(-1).astype(np.int64) if whole else None


def graph_of(model: Any, xs: Any) -> ModelGraph:
    """The model as it stands in memory: its variables are read whenever it is explained.

    One that Keras would build for its first batch is built for `xs`.
    """
    if model.built and getattr(model, "inputs", None):
        return load_model(model)
    arrays = tf.nest.map_structure(np.asarray, xs)
    if isinstance(model, keras.Sequential) and isinstance(arrays, np.ndarray):
        model.build((None, *arrays.shape[1:]))
        return load_model(model)
    specs = tf.nest.map_structure(_spec, arrays)
    if not model.built:
        model(tf.nest.map_structure(lambda x, spec: tf.constant(x[:1], spec.dtype), arrays, specs), training=False)
    return load_model((model, specs))


def _spec(array: np.ndarray) -> Any:
    """As Keras casts what it is given."""
    kind = keras.config.floatx() if array.dtype.kind == "f" else "string" if array.dtype.kind in "OSU" else array.dtype
    return tf.TensorSpec([None, *array.shape[1:]], kind)


def as_examples(graph: ModelGraph, xs: Any, labels: Any, ids: Sequence[Any] | None, most: int) -> list[Example]:
    """The examples one by one; InputError if they do not fit the model, or each other."""
    arrays = read_inputs(graph.inputs, xs, graph.has_ordered_inputs)
    count = len(arrays[0])
    if not 0 < count <= most:
        raise InputError(
            f"examples: got {count}; expected 1 to {most}, which are explained at every step: give some, or max_examples={count}"
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


def architecture_of(model: Any, graph: ModelGraph) -> str:
    """A digest of the shapes of what the model reads and learns; not of names, which Keras numbers anew."""
    shapes = [(spec.dtype, spec.shape) for spec in graph.inputs] + [(w.dtype, tuple(w.shape)) for w in model.weights]
    return hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest()


def digest(examples: Sequence[Example]) -> str:
    """Of what they hold, and their names and labels."""
    found = hashlib.blake2b(digest_size=8)
    for example in examples:
        found.update(f"{example.id}\0{example.label}\0".encode())
        for value in example.inputs.values():
            content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
            found.update(f"{value.shape}{len(content)}\0".encode() + content)
    return found.hexdigest()
