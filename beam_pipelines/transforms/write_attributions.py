"""WriteAttributions: writes the output of Attribute as a store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import apache_beam as beam
from apache_beam.pvalue import AsIter
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.transforms.elements import Attributions, Explained, Failure
from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.recording.request import Request
from tb_deepexplain.storage import is_remote
from tb_deepexplain.store import configuration, failures
from tb_deepexplain.store.layout import DUPLICATES, MANIFEST, TEMPORARY_PATTERN, store_path
from tb_deepexplain.store.marker import check_store_name, write_marker
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.shard_writer import ShardWriter
from tb_deepexplain.store.writer import StoreWriter, duplicate_error

_stores: WeakKeyDictionary[beam.Pipeline, set[str]] = WeakKeyDictionary()  # that the pipelines write


class WriteAttributions(beam.PTransform):
    """Writes the output of `Attribute` as a store that TensorBoard shows. The result is the manifest, one element.

    `logdir`, `run` and `name` are as on the command line; every worker must see the directory. The manifest is written
    last, and a store without one does not count; files of repeated bundles are removed. Each bundle makes three files, and
    three more if it has errors: if a runner makes small bundles, group the elements first. Of several examples with the
    same id, one is kept and the others become errors. For bounded PCollections.

    Raises StoreError if the store exists already, or if the pipeline writes it twice; in the pipeline, if more than
    `max_error_rate` of the examples failed.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        run: str = "attributions",
        name: str = "default",
        *,
        max_error_rate: float = 0.5,
    ) -> None:
        super().__init__()
        check_store_name(name, "name")
        if not 0 <= max_error_rate <= 1:
            raise ParameterError(f"max_error_rate={max_error_rate}: expected a share between 0 and 1")
        self._location, self._max_error_rate = (str(logdir), run, name), max_error_rate

    def expand(self, attributions: Attributions) -> beam.PCollection[dict[str, Any]]:
        directory = store_path(*self._location)
        if (directory / MANIFEST).exists():
            raise StoreError(f"{directory} holds a store already; give another name, or remove it")
        _check_only_writer(attributions.explained.pipeline, directory)
        if not attributions.explained.is_bounded:
            raise ParameterError(
                "WriteAttributions needs a bounded PCollection: a store is committed when all elements are written"
            )
        measures = [name for name, _ in attributions.known_request.measures]
        # Maps and errors are not flattened first: a runner may write what it flattens to memory or disk, all maps with it.
        units = (
            [
                _in_one_window(written, label) | f"Write{label}" >> beam.ParDo(_WriteShards(str(directory), measures))
                for label, written in (("Maps", attributions.explained), ("Errors", attributions.errors))
            ]
            | "Units" >> beam.Flatten()
            | "AllUnits" >> beam.combiners.ToList()
        )
        commit = _Commit(self._location, self._max_error_rate, attributions.known_request)
        return units | "Commit" >> beam.ParDo(commit, AsIter(attributions.checks))

    def display_data(self) -> dict[str, Any]:
        return {"store": str(store_path(*self._location))}


def _in_one_window(collection: beam.PCollection[Any], label: str) -> beam.PCollection[Any]:
    """The elements in the global window, to which a step is added only if they are not there already: it takes time."""
    if isinstance(collection.windowing.windowfn, GlobalWindows):
        return collection
    return collection | f"GlobalWindow{label}" >> beam.WindowInto(GlobalWindows())


def _check_only_writer(pipeline: beam.Pipeline, directory: Path) -> None:
    """StoreError if another WriteAttributions of the pipeline writes the same store."""
    stores = _stores.setdefault(pipeline, set())
    location = str(directory if is_remote(directory) else directory.resolve())
    if location in stores:
        raise StoreError(f"this pipeline writes {directory} already; give another run or name")
    stores.add(location)


@beam.typehints.with_input_types(Explained | Failure)  # --runtime_type_check cannot read annotations
class _WriteShards(beam.DoFn):
    """Explained and Failure → id of the unit that holds those of a bundle.

    A repeated bundle makes another unit; only the units whose ids the runner keeps are committed.
    """

    def __init__(self, directory: str, measures: Sequence[str] = ()) -> None:
        self._directory, self._measures = directory, measures
        self._shard: ShardWriter | None = None

    def start_bundle(self) -> None:
        self.teardown()
        self._unit, self._ids = f"bundle-{uuid.uuid4().hex[:12]}", set[str]()

    def process(self, element: Explained | Failure) -> None:
        if self._shard is None:
            self._shard = StoreWriter(self._directory, measures=self._measures).shard(self._unit)
        if isinstance(element, Failure):
            self._shard.add(errors=[element.record])
        elif element.input.example_id in self._ids:
            self._shard.add(errors=[duplicate_error(element.input.example_id, self._unit)])
        else:
            self._ids.add(element.input.example_id)
            self._shard.add(element.attributions, [element.input])

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
            yield GlobalWindows.windowed_value(self._unit)

    def teardown(self) -> None:
        if self._shard is not None:  # the bundle failed
            self._shard.discard()
            self._shard = None


@beam.typehints.with_input_types(list[str], _checks=Any)
class _Commit(beam.DoFn):
    """All units → the manifest. A repeated commit changes nothing."""

    def __init__(self, location: tuple[str, str, str], max_error_rate: float, request: Request) -> None:
        self._location, self._max_error_rate, self._request = location, max_error_rate, request

    def process(self, units: Sequence[str], _checks: Iterable[None] = ()) -> Iterator[dict[str, Any]]:
        directory, units, request = store_path(*self._location), sorted(units), self._request
        if (directory / MANIFEST).exists():
            manifest = Store(directory).manifest
            if [unit for unit in manifest["units"] if unit != DUPLICATES] != units:
                raise StoreError(f"{directory} was committed by another run meanwhile; give another name")
        else:
            writer = StoreWriter(directory, measures=[name for name, _ in request.measures])
            explained, failed = sum(writer.count_rows("inputs", units)), sum(writer.count_rows("errors", units))
            if failed > self._max_error_rate * (explained + failed):
                raise StoreError(
                    f"{failed} of {explained + failed} examples failed, more than max_error_rate={self._max_error_rate:g} "
                    f"allows: {failures.summarize_units(directory, units)}"
                )
            modality, inputs = next(filter(None, map(writer.first_input, units)), ("tabular", []))
            fingerprint = configuration.fingerprint(request.model)
            options = {} if request.only is None else {"only": request.only}
            from tb_deepexplain.recording.manifest import describe_store  # imports TensorFlow

            description = describe_store(request, modality, inputs, fingerprint, self._location[2], options)
            manifest = writer.commit(units, description)
        committed = set(manifest["units"])
        # Shards of repeated bundles.
        for path in (*directory.glob("*-bundle-*.parquet"), *directory.glob(TEMPORARY_PATTERN)):
            if path.stem.split("-", 1)[-1] not in committed:
                path.unlink(missing_ok=True)
        write_marker(*self._location)
        yield manifest
