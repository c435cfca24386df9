"""Writes the files that the demo's pipelines read: TFRecords of tf.Examples, lists of words, exported models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

Value = bytes | str | int | float | Sequence[int] | Sequence[float]


def write_examples(path: Path, examples: Iterable[Mapping[str, Value]]) -> int:
    """Write one tf.Example for each mapping of feature names to values; their number."""
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            features = {name: _feature(value) for name, value in example.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
            count += 1
    return count


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def export(model: Any, folder: Path) -> None:
    """Write the model as a SavedModel, and replace an older one."""
    model.export(str(folder), verbose=False)


def _feature(value: Value) -> Any:
    if isinstance(value, bytes | str):
        value = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    values = list(value) if isinstance(value, Sequence) else [value]
    if all(isinstance(v, int) for v in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
