"""The examples of a TFX pipeline: the first of a split, and Beam transforms that sample and name them."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from beam_pipelines.reading.tf_example import canonical_bytes
from beam_pipelines.transforms import digest


def first_records(artifacts: list[types.Artifact], split: str, most: int) -> list[bytes]:
    """The first serialized tf.Examples of a split, of all spans in order."""
    files: list[str] = []
    for uri in artifact_utils.get_split_uris(artifacts, split):
        files += sorted(fileio.glob(io_utils.all_files_pattern(uri)))
    return list(itertools.islice(_read_records(files), most))


def _read_records(files: Sequence[str]) -> Iterator[bytes]:
    for gzipped, some in itertools.groupby(files, operator.methodcaller("endswith", ".gz")):
        yield from tf.data.TFRecordDataset(list(some), "GZIP" if gzipped else None).as_numpy_iterator()


class Sample(beam.PTransform):
    """At most `size` records, chosen by `seed` and content: the same ones however the records are sharded and ordered.

    One worker holds them in memory.
    """

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        self._size, self._seed = size, seed

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        return (
            records
            | "Rank" >> beam.Map(_with_rank, self._seed)
            | "Smallest" >> beam.combiners.Top.Smallest(self._size)
            | "Sampled" >> beam.FlatMap(lambda ranked: [record for _, record in ranked])
        )


def _with_rank(record: bytes, seed: int) -> tuple[bytes, bytes]:
    return hashlib.blake2b(canonical_bytes(record), digest_size=16, key=str(seed).encode()).digest(), record


class NameRecords(beam.PTransform):
    """Record → (id, record); the id is None if Attribute chooses it.

    With `by_content`, Attribute names records by their digest. Of several equal records, the second gets the suffix -2
    here, and so on, or they would count as one. Grouping by digest also spreads the records over the workers: a gzip
    file is read by a single one.
    """

    def __init__(self, by_content: bool) -> None:
        super().__init__()
        self._by_content = by_content

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[tuple[str | None, bytes]]:
        return (
            records
            | "Digest" >> beam.Map(lambda record: (digest(record), record))
            | "GroupEqual" >> beam.GroupByKey()
            | "Number" >> beam.FlatMap(_number, self._by_content)
        )


def _number(group: tuple[str, Iterable[bytes]], by_content: bool) -> Iterator[tuple[str | None, bytes]]:
    name, records = group
    for number, record in enumerate(records, 1):
        yield (f"{name}-{number}" if by_content and number > 1 else None), record
