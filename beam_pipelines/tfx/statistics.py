"""Statistics of attributions by column, as TensorFlow Data Validation computes them of examples for TFX's StatisticsGen.

To TFDV, the attributions of an example are its features. So `tfdv.visualize_statistics` and the comparators of drift and skew work on
them, as do TFX's ExampleValidator and DistributionValidator.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tfx  # noqa: F401 - before TFDV, which cannot be imported without it where tfx_bsl has no ZetaSQL

# isort: split
import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_pipelines.tfma.pooling import main_map, pool_map
from beam_pipelines.transforms import Explained
from tb_deepexplain.recording.request import Request
from tb_deepexplain.store.slice_features import from_extras

FILE_NAME = "FeatureStats.pb"  # in the folder of a split, as StatisticsGen names it
MOST_SLICES = 100  # of one name: each costs as much as the statistics of all examples
_SLICE = "\x1fslice "  # begins the names of the columns by which a batch is sliced, which are no statistics
_ALL = "All Examples"  # TFDV's name of the slice of all examples
_ROWS = 1000  # of a batch


class AttributionStatistics(beam.PTransform):
    """Explained → one DatasetFeatureStatisticsList of their attributions.

    A column is a number of `pooling.pool_map`, and named `METHOD/COLUMN` if there are several methods. Besides TFDV's numbers (mean,
    quantiles, histogram and others) it has the custom statistics `mean_absolute` and `share_of_total`, its share of Σ|a| of all columns
    of the method. Of an example with several maps, that of the predicted class counts. A missing value is one that the method cannot
    compute.

    The slices are "All Examples", `label_NAME` and `predicted_NAME` for each class, and `FEATURE_VALUE` for each slice feature; of many
    values the 100 most frequent.
    """

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._methods, self._labels = [name for name, _ in request.methods], request.labels

    def expand(self, explained: beam.PCollection[Explained]) -> beam.PCollection[Any]:
        options = tfdv.StatsOptions(
            generators=[_Magnitudes(has_several_methods=len(self._methods) > 1)],
            experimental_slice_functions=[_slice_batch],
        )
        sums = explained | "Sums" >> beam.Map(_sum_columns, self._methods, self._labels).with_output_types(_Sums)
        largest = (
            sums
            | "Slices" >> beam.FlatMap(lambda each: list(each.slices.items())).with_output_types(tuple[str, str])
            | "Count" >> beam.combiners.Count.PerElement()
            | "ByName" >> beam.MapTuple(lambda name_and_text, count: (name_and_text[0], (count, name_and_text[1])))
            | "Largest" >> beam.combiners.Top.LargestPerKey(MOST_SLICES)
        )
        return (
            sums
            | "InLargest" >> beam.Map(_keep_slices, beam.pvalue.AsDict(largest)).with_output_types(_Sums)
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_ROWS)
            | "ToArrow" >> beam.Map(_to_arrow).with_output_types(pa.RecordBatch)
            | "Generate" >> tfdv.GenerateStatistics(options)
            | "WithoutSliceColumns" >> beam.Map(_without_slice_columns)
        )


class WriteStatistics(beam.PTransform):
    """Explained → the file of their AttributionStatistics, in the folder of a split."""

    def __init__(self, request: Request, split_folder: str) -> None:
        super().__init__()
        self._request, self._path = request, os.path.join(split_folder, FILE_NAME)

    def expand(self, explained: beam.PCollection[Explained]) -> Any:
        statistics = explained | AttributionStatistics(self._request)
        return statistics | tfdv.WriteStatisticsToBinaryFile(self._path)


class _Sums(NamedTuple):
    """The attributions of one example by column, and the slices that it belongs to by name."""

    columns: dict[str, float]
    slices: dict[str, str]


def _sum_columns(explained: Explained, methods: Sequence[str], labels: Sequence[str] | None) -> _Sums:
    columns: dict[str, float] = {}
    for method in methods:
        row = main_map([row for row in explained.attributions if row.method == method])
        prefix = f"{method}/" if len(methods) > 1 else ""
        pooled = pool_map(explained.input, row.values, None, parts=row.parts)
        columns |= {prefix + name: value for name, value in pooled.items()}
    classes = {"label": row.label, "predicted": row.predicted}
    slices = {
        name: labels[number] if labels and number < len(labels) else str(number)
        for name, number in classes.items()
        if number is not None
    }
    return _Sums(columns, slices | from_extras(explained.input.extras))


def _keep_slices(sums: _Sums, largest: Mapping[str, Sequence[tuple[int, str]]]) -> _Sums:
    """Without the slices that are not among the largest of their name."""
    kept = {name: text for name, text in sums.slices.items() if text in {each for _, each in largest[name]}}
    return sums._replace(slices=kept)


def _to_arrow(batch: Sequence[_Sums]) -> pa.RecordBatch:
    """As TFDV takes examples: lists of values, null where there are none."""
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(name for sums in batch for name in sums.columns):
        values = [sums.columns.get(name, math.nan) for sums in batch]
        columns[name] = pa.array([[v] if math.isfinite(v) else None for v in values], pa.list_(pa.float32()))
    for name in dict.fromkeys(name for sums in batch for name in sums.slices):
        texts = [sums.slices.get(name) for sums in batch]
        columns[_SLICE + name] = pa.array([None if text is None else [text] for text in texts], pa.list_(pa.string()))
    return pa.RecordBatch.from_pydict(columns)


def _slice_batch(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(key, examples) of each slice; TFDV adds "All Examples" itself."""
    values = batch.select([name for name in batch.schema.names if not name.startswith(_SLICE)])
    for name in batch.schema.names:
        if name.startswith(_SLICE):
            texts = np.array([None if one is None else one[0] for one in batch.column(name).to_pylist()], object)
            for text in dict.fromkeys(texts[texts != None]):  # noqa: E711 - elementwise
                yield f"{name.removeprefix(_SLICE)}_{text}", values.take(pa.array(np.flatnonzero(texts == text)))


class _Magnitudes(tfdv.CombinerStatsGenerator):
    """TFDV's generator of the custom statistics. Its accumulator is {column: (Σ|a|, examples)}."""

    def __init__(self, has_several_methods: bool) -> None:
        super().__init__("attribution_magnitudes")
        self._has_several_methods = has_several_methods

    def create_accumulator(self) -> dict[str, tuple[float, int]]:
        return {}

    def add_input(
        self, accumulator: dict[str, tuple[float, int]], batch: pa.RecordBatch
    ) -> dict[str, tuple[float, int]]:
        columns = zip(batch.schema.names, batch.columns, strict=True)
        return self.merge_accumulators(
            [accumulator, {name: _magnitude(column) for name, column in columns if not name.startswith(_SLICE)}]
        )

    def merge_accumulators(
        self, accumulators: Iterable[Mapping[str, tuple[float, int]]]
    ) -> dict[str, tuple[float, int]]:
        merged: dict[str, tuple[float, int]] = {}
        for accumulator in accumulators:
            for name, (total, count) in accumulator.items():
                before = merged.get(name, (0.0, 0))
                merged[name] = before[0] + total, before[1] + count
        return merged

    def extract_output(self, accumulator: dict[str, tuple[float, int]]) -> Any:
        totals: dict[str, float] = {}
        for name, (total, _) in accumulator.items():
            totals[self._method(name)] = totals.get(self._method(name), 0.0) + total
        statistics = statistics_pb2.DatasetFeatureStatistics()
        for name, (total, count) in sorted(accumulator.items()):
            feature = statistics.features.add()
            feature.path.step.append(name)
            if count:
                feature.custom_stats.add(name="mean_absolute", num=total / count)
            if totals[self._method(name)]:
                feature.custom_stats.add(name="share_of_total", num=total / totals[self._method(name)])
        return statistics

    def _method(self, column: str) -> str:
        return column.partition("/")[0] if self._has_several_methods else ""


def _magnitude(column: pa.Array) -> tuple[float, int]:
    values = column.flatten().to_numpy(zero_copy_only=False)
    return float(np.abs(values).sum(dtype=np.float64)), values.size


def _without_slice_columns(statistics: Any) -> Any:
    """The slice of all examples comes first, then the largest."""
    selected = statistics_pb2.DatasetFeatureStatisticsList()
    for dataset in sorted(statistics.datasets, key=lambda each: (each.name != _ALL, -each.num_examples, each.name)):
        kept = selected.datasets.add()
        kept.CopyFrom(dataset)
        del kept.features[:]
        kept.features.extend(each for each in dataset.features if not each.path.step[0].startswith(_SLICE))
    return selected
