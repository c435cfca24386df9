"""Artifacts as TFX's components write them, and a component run on them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact, artifact_utils, channel_utils, standard_artifacts

RUNNER = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
FEATURES = ("age", "dose", "weight")
SPEC = {name: tf.io.FixedLenFeature([], tf.float32) for name in FEATURES}


def make_rows(count: int, seed: int) -> list[dict[str, float | int]]:
    """Rows of the three features and a label."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, len(FEATURES))).astype(np.float32)
    return [dict(zip(FEATURES, row.tolist(), strict=True)) | {"label": int(row.sum() > 0)} for row in values]


def serialize(row: Mapping[str, Any]) -> bytes:
    """A serialized tf.Example."""
    features = {}
    for name, value in row.items():
        if isinstance(value, (str, bytes)):
            content = value.encode() if isinstance(value, str) else value
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
        elif isinstance(value, int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value).tolist()))
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


def write_examples(
    folder: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]], shards: int = 1, gzip: bool = True
) -> Any:
    """Examples as ExampleGen writes them: one span, a folder for each split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    options = tf.io.TFRecordOptions(compression_type="GZIP" if gzip else "")
    for name, rows in splits.items():
        (folder / f"Split-{name}").mkdir(parents=True)
        for shard in range(shards):
            path = folder / f"Split-{name}" / f"data_tfrecord-{shard:05d}-of-{shards:05d}{'.gz' if gzip else ''}"
            with tf.io.TFRecordWriter(str(path), options) as writer:
                for row in itertools.islice(rows, shard, None, shards):
                    writer.write(serialize(row))
    return artifact


def make_network(seed: int = 0) -> keras.Model:
    """A model of the three features, each `[N]`; it returns the probability of label 1."""
    keras.utils.set_random_seed(seed)
    inputs = {name: keras.Input((), name=name) for name in FEATURES}
    x = keras.layers.Dense(8, activation="tanh")(keras.ops.stack(list(inputs.values()), axis=1))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))


def save_model(folder: Path, model: keras.Model) -> Any:
    """A model as Trainer writes it. Its serving signature parses tf.Examples; the signature `columns` takes the features."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"probability": model(tf.io.parse_example(examples, SPEC), training=False)}

    @tf.function(input_signature=[{name: tf.TensorSpec([None], tf.float32, name=name) for name in FEATURES}])
    def columns(features: Any) -> dict[str, Any]:
        return {"probability": model(features, training=False)}

    signatures = {"serving_default": serve, "columns": columns}
    tf.saved_model.save(model, str(folder / "Format-Serving"), signatures=signatures)
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    return artifact


def make_blessing(folder: Path, blessed: bool) -> Any:
    artifact = standard_artifacts.ModelBlessing()
    artifact.uri = str(folder)
    artifact.set_int_custom_property("blessed", int(blessed))
    folder.mkdir(parents=True)
    (folder / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    return artifact


def run_component(component: type, output: Path, inputs: Mapping[str, Any], /, **parameters: Any) -> Artifact:
    """Build the component on channels of these artifacts, and run its executor as TFX does; its first output.

    Another output is in the folder beside that of the first, with its name for a suffix.
    """
    artifacts = {name: each if isinstance(each, list) else [each] for name, each in inputs.items()}
    node = component(**{name: channel_utils.as_channel(each) for name, each in artifacts.items()}, **parameters)
    outputs = {name: channel.type() for name, channel in node.spec.outputs.items()}
    first = next(iter(outputs.values()))
    for name, artifact in outputs.items():
        artifact.uri = str(output if artifact is first else output.with_name(f"{output.name}-{name}"))
        Path(artifact.uri).mkdir(parents=True)
    context = BaseBeamExecutor.Context(beam_pipeline_args=RUNNER, tmp_dir=str(output.parent / "tmp"), unique_id="1")
    executor = node.executor_spec.executor_class(context)
    executor.Do(artifacts, {name: [each] for name, each in outputs.items()}, dict(node.spec.exec_properties))
    return first
