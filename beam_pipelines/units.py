"""One work unit from its file to its shard: read, parse, batch, explain, write. Knows no Beam."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from beam_pipelines import preprocessing
from beam_pipelines.progress import Counts
from beam_pipelines.sources import Unit, read
from tb_deepexplain.errors import InputError
from tb_deepexplain.record import Failure
from tb_deepexplain.store import StoreWriter

if TYPE_CHECKING:  # TensorFlow comes with these: they are imported when a worker starts
    from beam_pipelines.explaining import BatchExplainer, Request
    from beam_pipelines.parsing import Example, Parser
    from beam_pipelines.schema import Schema

EXAMPLES_AT_ONCE = (
    16  # where no batch size is asked for: enough to fill a batch of evaluations, few enough to see progress
)


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker must know; sent to every one of them."""

    request: Request
    directory: str
    label_feature: str
    id_feature: str
    renamed: Mapping[str, str]
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    resize: bool = False
    preprocess: str | None = None
    schema: Schema | None = None


class UnitWorker:
    """Turns units into shards with one loaded model."""

    def __init__(self, job: Job) -> None:
        from beam_pipelines.explaining import BatchExplainer
        from beam_pipelines.parsing import Parser

        self.explainer: BatchExplainer = BatchExplainer(job.request)
        self._parse: Parser = Parser(
            self.explainer.graph.inputs,
            job.label_feature,
            job.id_feature,
            job.renamed,
            job.labels,
            job.resize,
            preprocessing.load(job.preprocess) if job.preprocess else None,
            job.schema,
        )
        self._size = job.request.batch_size or EXAMPLES_AT_ONCE
        self._writer = StoreWriter(job.directory)

    def work(self, unit: Unit, counts: Counts) -> tuple[int, int]:
        """Write the unit's shard; how many examples were explained, and how many failed."""
        explained = failed = 0
        counts.add(0)  # hears of a stop before the first batch
        with self._writer.shard(unit.id) as shard:
            for batch, errors in self._batches(unit):
                shard.add(errors=errors)
                records = self.explainer.explain(batch, counts.add) if batch else None
                if records:
                    shard.add(records.attributions, records.inputs, records.errors)
                    explained += len(records.inputs)
                wrong = len(errors) + (len(records.errors) if records else 0)
                failed += wrong
                counts.add(len(errors), wrong)
        counts.flush()
        return explained, failed

    def parsed(self, unit: Unit) -> Iterator[Example | Failure]:
        """The unit's examples in order, with a Failure in the place of each that cannot be explained."""
        positions: dict[str, str] = {}
        for record in read(unit):
            if isinstance(record, Failure):
                yield record
                continue
            try:
                example = self._parse(record.payload, record.position)
                if example.id in positions:
                    raise InputError(
                        f"its id {example.id!r} is that of {positions[example.id]}; give every example its own"
                    )
            except InputError as error:
                yield Failure(record.position, "parse", type(error).__name__, str(error))
                continue
            positions[example.id] = record.position
            yield example

    def _batches(self, unit: Unit) -> Iterator[tuple[list[Example], list[Failure]]]:
        batch: list[Example] = []
        errors: list[Failure] = []
        for found in self.parsed(unit):
            if isinstance(found, Failure):
                errors.append(found)
            else:
                batch.append(found)
            if len(batch) + len(errors) >= self._size:
                yield batch, errors
                batch, errors = [], []
        if batch or errors:
            yield batch, errors
