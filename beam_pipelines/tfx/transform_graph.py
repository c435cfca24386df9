"""Applies the graph of TFX's Transform to raw examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from beam_pipelines.reading.tf_example import ExampleFeatures

_BATCH_SIZE = 256


class TransformRecords(beam.PTransform):
    """(id, serialized raw example) → (id, columns of the graph that Transform wrote to `directory`).

    Label and id are those of the raw example, unless the graph makes them. A record that the graph cannot read is
    passed on unchanged, so that Attribute reports why it does not fit.
    """

    def __init__(self, directory: str, label_feature: str, id_feature: str) -> None:
        super().__init__()
        self._options = directory, label_feature, id_feature

    def expand(self, named: beam.PCollection[tuple[str | None, bytes]]) -> beam.PCollection[Any]:
        return (
            named
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH_SIZE)
            | "Transform" >> beam.ParDo(_TransformBatch(*self._options))
        )


class _TransformBatch(beam.DoFn):
    def __init__(self, *options: str) -> None:
        self._options = options

    def setup(self) -> None:
        self._graph = TransformGraph(*self._options)

    def process(self, batch: list[tuple[str | None, bytes]]) -> Iterator[tuple[str | None, Any]]:
        yield from zip((name for name, _ in batch), self._graph([record for _, record in batch]), strict=True)


class TransformGraph:
    """The graph that Transform wrote, for batches of serialized raw examples."""

    def __init__(self, directory: str, label_feature: str = "label", id_feature: str = "id") -> None:
        import tensorflow_transform as tft

        output = tft.TFTransformOutput(directory)
        self._spec = output.raw_feature_spec()
        self._layer = output.transform_features_layer()
        self._raw_features = label_feature, id_feature

    def __call__(self, records: Sequence[bytes]) -> list[dict[str, Any] | bytes]:
        """The columns of each record; the record itself if it lacks raw features."""
        try:
            return self._transform(records)
        except tf.errors.InvalidArgumentError:  # a bad record must not take the others with it
            return list(records) if len(records) == 1 else [self([record])[0] for record in records]

    def _transform(self, records: Sequence[bytes]) -> list[dict[str, Any] | bytes]:
        raw = tf.io.parse_example(tf.constant(list(records)), self._spec)
        transformed = {name: _split_examples(values) for name, values in self._layer(raw).items()}
        columns: list[dict[str, Any] | bytes] = []
        for i, record in enumerate(records):
            features = ExampleFeatures(record)
            raw_columns = {name: features[name] for name in self._raw_features if name in features}
            columns.append(raw_columns | {name: values[i] for name, values in transformed.items()})
        return columns


def _split_examples(values: Any) -> Sequence[np.ndarray]:
    """The values of each example; for a sparse feature, those that are present."""
    if isinstance(values, tf.SparseTensor):
        example_numbers, count = values.indices.numpy()[:, 0], int(values.dense_shape[0])
        return [values.values.numpy()[example_numbers == i] for i in range(count)]
    return values.numpy()
