"""The examples of a TFX pipeline on their way to Attribute: sampled, named, transformed; and the mean of some of them."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.tf_example import ExampleFeatures, canonical_bytes
from beam_pipelines.transforms import Attribute, digest
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.loading.load_model import load_model

AVERAGED = 1000  # examples in a baseline
_AT_ONCE = 256  # examples that Transform's graph takes


class Sample(beam.PTransform):
    """At most `most` records, chosen by `seed` and their content: the same ones however they are sharded and ordered. They
    are held in the memory of one worker."""

    def __init__(self, most: int, seed: int) -> None:
        super().__init__()
        self._most, self._seed = most, seed

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        return (
            records
            | "Draw" >> beam.Map(_drawn, self._seed)
            | "Smallest" >> beam.combiners.Top.Smallest(self._most)
            | "Chosen" >> beam.FlatMap(lambda chosen: [record for _, record in chosen])
        )


def _drawn(record: bytes, seed: int) -> tuple[bytes, bytes]:
    return hashlib.blake2b(canonical_bytes(record), digest_size=16, key=str(seed).encode()).digest(), record


class NameRecords(beam.PTransform):
    """Records → pairs of an id, or None for the record's own, and the record.

    With `by_content`, the second of several records that are the same bytes is named by its digest with -2, and so on, where
    Attribute would take them for one. Records are grouped by content also to spread them over the workers: a gzipped file
    can only be read by one.
    """

    def __init__(self, by_content: bool) -> None:
        super().__init__()
        self._by_content = by_content

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[tuple[str | None, bytes]]:
        return (
            records
            | "Digest" >> beam.Map(lambda record: (digest(record), record))
            | "Together" >> beam.GroupByKey()
            | "Number" >> beam.FlatMap(_numbered, self._by_content)
        )


def _numbered(group: tuple[str, Iterable[bytes]], by_content: bool) -> Iterator[tuple[str | None, bytes]]:
    name, records = group
    for number, record in enumerate(records, 1):
        yield (f"{name}-{number}" if by_content and number > 1 else None), record


class TransformRecords(beam.PTransform):
    """Serialized raw examples → columns after the graph that Transform wrote to `directory`, with the raw ones' label and id
    where the graph makes none. A record that the graph cannot read stays as it is: Attribute says why it does not fit."""

    def __init__(self, directory: str, label_feature: str, id_feature: str) -> None:
        super().__init__()
        self._options = directory, label_feature, id_feature

    def expand(self, named: beam.PCollection[tuple[str | None, bytes]]) -> beam.PCollection[Any]:
        return (
            named
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_AT_ONCE)
            | "Transform" >> beam.ParDo(_Transform(*self._options))
        )


class _Transform(beam.DoFn):
    def __init__(self, *options: str) -> None:
        self._options = options

    def setup(self) -> None:
        self._graph = TransformGraph(*self._options)

    def process(self, batch: list[tuple[str | None, bytes]]) -> Iterator[tuple[str | None, Any]]:
        records = [record for _, record in batch]
        try:
            found = self._graph(records)
        except tf.errors.InvalidArgumentError:  # of one of them: it is to cost only itself
            found = [self._alone(record) for record in records]
        yield from zip((name for name, _ in batch), found, strict=True)

    def _alone(self, record: bytes) -> Any:
        try:
            return self._graph([record])[0]
        except tf.errors.InvalidArgumentError:
            return record


class TransformGraph:
    """The graph that Transform wrote, for batches of serialized raw examples."""

    def __init__(self, directory: str, label_feature: str = "label", id_feature: str = "id") -> None:
        import tensorflow_transform as tft

        output = tft.TFTransformOutput(directory)
        self._spec = output.raw_feature_spec()
        self._layer = output.transform_features_layer()
        self._kept = label_feature, id_feature

    def __call__(self, records: Sequence[bytes]) -> list[dict[str, Any]]:
        """The columns of each record. tf.errors.InvalidArgumentError if one does not have the raw features."""
        raw = tf.io.parse_example(tf.constant(list(records)), self._spec)
        made = {name: _rows(values) for name, values in self._layer(raw).items()}
        found = []
        for i, record in enumerate(records):
            own = ExampleFeatures(record)
            kept = {name: own[name] for name in self._kept if name in own}
            found.append(kept | {name: rows[i] for name, rows in made.items()})
        return found


def _rows(values: Any) -> Sequence[np.ndarray]:
    """The values of each example: of a sparse feature those that it has."""
    if isinstance(values, tf.SparseTensor):
        places, sizes = values.indices.numpy()[:, 0], int(values.dense_shape[0])
        return [values.values.numpy()[places == i] for i in range(sizes)]
    return values.numpy()


def mean_of(files: Sequence[str], attribute: Attribute, graph: str | None) -> Mapping[str, np.ndarray]:
    """The mean of the first AVERAGED examples of TFRecord files, by the inputs of the model that `attribute` explains; `graph`:
    of Transform, before that. InputError if none of them fits, ParameterError if the model takes what has no mean."""
    request = attribute.request
    model = load_model(request.model, signature=request.signature)
    if odd := [str(spec) for spec in model.inputs if not spec.is_float]:
        raise ParameterError(
            f"baseline_examples: there is no mean of {'; '.join(odd)}; give methods a baseline, or leave it to them"
        )
    parser = ExampleParser(model.inputs, attribute.record_spec)
    records = list(itertools.islice(_records(files), AVERAGED))
    columns: Sequence[Any] = TransformGraph(graph)(records) if graph else records
    examples, wrong = [], ""
    for number, record in enumerate(columns):
        try:
            examples.append(parser.parse(record, str(number)))
        except InputError as error:
            wrong = wrong or str(error)
    if not examples:
        raise InputError(f"baseline_examples: none of {len(records)} fits the model: {wrong or 'there are none'}")
    names = [spec.name for spec in model.inputs]
    shapes = {name: {example.inputs[name].shape for example in examples} for name in names}
    if odd := [f"{name}: {', '.join(map(str, sorted(found)))}" for name, found in shapes.items() if len(found) > 1]:
        raise ParameterError(f"baseline_examples: shapes differ ({'; '.join(odd)}), so that they have no mean")
    return {
        name: np.stack([example.inputs[name] for example in examples]).mean(0, keepdims=True)[0, ...] for name in names
    }


def _records(files: Sequence[str]) -> Iterator[bytes]:
    for gzipped, some in itertools.groupby(files, operator.methodcaller("endswith", ".gz")):
        yield from tf.data.TFRecordDataset(list(some), "GZIP" if gzipped else None).as_numpy_iterator()
