"""Labels that the graph of TFX's Transform makes of raw examples: a string as a number, or a threshold of a quantity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from beam_pipelines.reading.tf_example import ExampleFeatures

_BATCH_SIZE = 256


def makes_label(directory: str, label_feature: str) -> bool:
    """Whether the graph that Transform wrote to `directory` makes this feature, and the raw examples have none of its name."""
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(directory)
    return label_feature in output.transformed_feature_spec() and label_feature not in output.raw_feature_spec()


class AddTransformedLabels(beam.PTransform):
    """(id, serialized raw example) → (id, its features with the label that the graph makes)."""

    def __init__(self, directory: str, label_feature: str) -> None:
        super().__init__()
        self._options = directory, label_feature

    def expand(self, named: beam.PCollection[tuple[str | None, bytes]]) -> beam.PCollection[Any]:
        return (
            named
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH_SIZE)
            | "Transform" >> beam.ParDo(_LabelBatch(*self._options))
        )


class _LabelBatch(beam.DoFn):
    def __init__(self, *options: str) -> None:
        self._options = options

    def setup(self) -> None:
        self._labels = TransformedLabels(*self._options)

    def process(self, batch: list[tuple[str | None, bytes]]) -> Iterator[tuple[str | None, Any]]:
        yield from zip((name for name, _ in batch), self._labels([record for _, record in batch]), strict=True)


class TransformedLabels:
    """Adds the label that the graph of Transform makes to batches of serialized raw examples."""

    def __init__(self, directory: str, label_feature: str) -> None:
        import tensorflow_transform as tft

        output = tft.TFTransformOutput(directory)
        self._spec, self._layer = output.raw_feature_spec(), output.transform_features_layer()
        self._label_feature = label_feature

    def __call__(self, records: Sequence[bytes]) -> list[dict[str, Any] | bytes]:
        """The features of each record with its label; a record that lacks raw features as it is: Attribute says why it does not fit."""
        try:
            return self._add_labels(records)
        except tf.errors.InvalidArgumentError:  # a bad record must not take the others with it
            return list(records) if len(records) == 1 else [self([record])[0] for record in records]

    def _add_labels(self, records: Sequence[bytes]) -> list[dict[str, Any] | bytes]:
        labels = self._layer(tf.io.parse_example(tf.constant(list(records)), self._spec))[self._label_feature]
        values = (tf.sparse.to_dense(labels) if isinstance(labels, tf.SparseTensor) else labels).numpy()
        return [
            dict(ExampleFeatures(record)) | {self._label_feature: value}
            for record, value in zip(records, values, strict=True)
        ]
