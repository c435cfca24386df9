"""WriteAttributions: writes the output of Attribute as a store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import apache_beam as beam
from apache_beam.metrics import Metrics as BeamMetrics
from apache_beam.pvalue import AsIter
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.engine.beam_counters import NAMESPACE
from beam_pipelines.transforms.elements import Attributions, Explained, Failure
from beam_pipelines.transforms.merge_attributions import MergeAttributions, describe_targets, merge_requests
from beam_pipelines.transforms.tallies import Tally
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

    `(first, second) | WriteAttributions(...)` writes several Attributes into one store: the maps of an example together, and its
    errors once. They may differ in methods and target; a method has the same parameters in all.
    `logdir`, `run` and `name` are as on the command line; every worker must see the directory. The manifest is written
    last, and a store without one does not count; files of repeated bundles are removed. Each bundle makes three files, and
    three more if it has errors: if a runner makes small bundles, group the elements first. Of several examples with the
    same id, one is kept and the others become errors.

    With `by_window`, each window has a store, `NAME-20261128T030000Z` by its start, and PCollections may be unbounded. It is committed
    when the window closes, and again with what Beam lets pass later (`allowed_lateness`, triggers); each commit is an element.
    What is later still is dropped by Beam and is in no store: the counters `examples_written` and `examples_committed` then
    differ. Files of repeated bundles stay.

    Raises StoreError if the store exists already, or if the pipeline writes it twice; in the pipeline, if more than
    `max_error_rate` of the examples failed, which is not judged of streams or where examples were filtered out.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        run: str = "attributions",
        name: str = "default",
        *,
        max_error_rate: float = 0.5,
        by_window: bool = False,
    ) -> None:
        super().__init__()
        check_store_name(name, "name")
        if not 0 <= max_error_rate <= 1:
            raise ParameterError(f"max_error_rate={max_error_rate}: expected a share between 0 and 1")
        self._location, self._max_error_rate, self._by_window = (str(logdir), run, name), max_error_rate, by_window

    def expand(self, attributions: Attributions | tuple[Attributions, ...]) -> beam.PCollection[dict[str, Any]]:
        several: Sequence[Any] = (attributions,)
        if isinstance(attributions, tuple | list) and not isinstance(attributions, Attributions):
            several = attributions
        if not several or not all(isinstance(one, Attributions) for one in several):
            raise ParameterError(f"expected the output of Attribute, or several in a tuple; got {attributions!r:.200}")
        directory = store_path(*self._location)
        if not self._by_window and (directory / MANIFEST).exists():
            raise StoreError(f"{directory} holds a store already; give another name, or remove it")
        is_bounded = all(one.explained.is_bounded for one in several)
        self._check_windows(several, is_bounded)
        requests = [one.known_request for one in several]
        request = merge_requests(requests)
        _check_only_writer(several[0].explained.pipeline, directory)
        if not self._by_window:
            several = [_in_one_window(one, str(number)) for number, one in enumerate(several)]
        merged = several[0] if len(several) == 1 else tuple(several) | MergeAttributions()
        measures = tuple(name for name, _ in request.measures)
        stores = _Stores(self._location, self._by_window, measures, f"{uuid.uuid4().hex[:8]}-")
        # Maps and errors are not flattened first: a runner may write what it flattens to memory or disk, all maps with it.
        units = [
            outputs | f"Write{label}" >> beam.ParDo(_WriteShards(stores))
            for label, outputs in (("Maps", merged.explained), ("Errors", merged.errors))
        ] | "Units" >> beam.Flatten()
        to_list = beam.CombineGlobally(beam.combiners.ToListCombineFn())
        if self._by_window:  # else also of no units
            to_list = to_list.without_defaults()
        judges_errors = is_bounded and all(one.is_whole for one in several)
        max_error_rate = self._max_error_rate if judges_errors else 1
        commit = _Commit(stores, max_error_rate, request, describe_targets(requests))
        checks = [one.checks for one in several] | "Checks" >> beam.Flatten()
        manifests: beam.PCollection[dict[str, Any]] = (
            units | "AllUnits" >> to_list | "Commit" >> beam.ParDo(commit, AsIter(checks))
        )
        return manifests

    def _check_windows(self, several: Sequence[Attributions], is_bounded: bool) -> None:
        """ParameterError unless these windows can be written."""
        functions = [one.explained.windowing.windowfn for one in several] if self._by_window else []
        if not self._by_window and not is_bounded:
            raise ParameterError(
                "WriteAttributions needs a bounded PCollection: a store is committed when all elements are written; or "
                "by_window=True, which writes a store for each window"
            )
        if any(isinstance(function, GlobalWindows) for function in functions):
            raise ParameterError(
                "by_window=True needs windows, and the elements are in the global window; put beam.WindowInto(FixedWindows(3600)), "
                "say, before Attribute"
            )
        if any(function.is_merging() for function in functions):
            raise ParameterError(
                f"by_window=True: {functions[0]!r} merges windows, such as sessions, whose start is known too late for the name "
                "of a store; use fixed or sliding windows"
            )
        if any(function != functions[0] for function in functions):
            raise ParameterError("by_window=True: the Attributes have different windows; give them the same")

    def display_data(self) -> dict[str, Any]:
        return {"store": str(store_path(*self._location))}


def _in_one_window(attributions: Attributions, label: str) -> Attributions:
    """Explained and errors in the global window, to which a step is added only if they are not there already: it takes time."""
    if isinstance(attributions.explained.windowing.windowfn, GlobalWindows):
        return attributions
    return attributions._replace(
        explained=attributions.explained | f"GlobalWindowMaps{label}" >> beam.WindowInto(GlobalWindows()),
        errors=attributions.errors | f"GlobalWindowErrors{label}" >> beam.WindowInto(GlobalWindows()),
    )


def _check_only_writer(pipeline: beam.Pipeline, directory: Path) -> None:
    """StoreError if another WriteAttributions of the pipeline writes the same store."""
    stores = _stores.setdefault(pipeline, set())
    location = str(directory if is_remote(directory) else directory.resolve())
    if location in stores:
        raise StoreError(f"this pipeline writes {directory} already; give another run or name")
    stores.add(location)


class _Stores(NamedTuple):
    """Where a pipeline writes: one store, or one for each window."""

    location: tuple[str, str, str]
    by_window: bool
    measures: tuple[str, ...]
    pipeline: str = ""  # begins the names of its units

    def at(self, window: Any) -> tuple[str, str, str]:
        """(log directory, run, name) of the store of a window."""
        logdir, run, name = self.location
        if not self.by_window:
            return self.location
        start = window.start.to_utc_datetime()
        fraction = f".{start.microsecond:06}" if start.microsecond else ""
        return logdir, run, f"{name}-{start:%Y%m%dT%H%M%S}{fraction}Z"

    def writer(self, window: Any) -> StoreWriter:
        return StoreWriter(store_path(*self.at(window)), measures=self.measures)


@beam.typehints.with_input_types(Explained | Failure, window=Any)  # --runtime_type_check cannot read annotations
class _WriteShards(beam.DoFn):
    """Explained and Failure → for each window the id of the unit that holds those of a bundle.

    A repeated bundle makes another unit; only the units whose ids the runner keeps are committed.
    """

    def __init__(self, stores: _Stores) -> None:
        self._stores = stores
        self._shards: dict[Any, _Shard] = {}  # by window
        self._written = BeamMetrics.counter(NAMESPACE, "examples_written")

    def start_bundle(self) -> None:
        self.teardown()

    def process(self, element: Explained | Failure, window: Any = beam.DoFn.WindowParam) -> None:
        if window not in self._shards:
            unit = f"bundle-{self._stores.pipeline}{uuid.uuid4().hex[:12]}"
            self._shards[window] = _Shard(unit, self._stores.writer(window).shard(unit))
        if self._shards[window].add(element):
            self._written.inc()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._shards:
            window, shard = next(iter(self._shards.items()))
            shard.writer.close()
            del self._shards[window]
            yield WindowedValue(shard.unit, window.max_timestamp(), (window,))

    def teardown(self) -> None:
        while self._shards:  # the bundle failed
            self._shards.popitem()[1].writer.discard()


class _Shard:
    """The shard of one bundle in one window."""

    def __init__(self, unit: str, writer: ShardWriter) -> None:
        self.unit, self.writer, self.ids = unit, writer, set[str]()

    def add(self, element: Explained | Failure) -> bool:
        """Whether it is one more example with maps."""
        if isinstance(element, Failure):
            self.writer.add(errors=[element.record])
        elif element.input.example_id in self.ids:
            self.writer.add(errors=[duplicate_error(element.input.example_id, self.unit)])
        else:
            self.ids.add(element.input.example_id)
            self.writer.add(element.attributions, [element.input])
            return True
        return False


@beam.typehints.with_input_types(list[str], checks=Any, window=Any)
class _Commit(beam.DoFn):
    """All units of a store → the manifest. A repeated commit changes nothing; a later one of a window adds its units."""

    def __init__(self, stores: _Stores, max_error_rate: float, request: Request, target: str) -> None:
        self._stores, self._max_error_rate, self._request, self._target = stores, max_error_rate, request, target

    def process(
        self, units: Sequence[str], checks: Iterable[Tally] = (), window: Any = beam.DoFn.WindowParam
    ) -> Iterator[dict[str, Any]]:
        location = self._stores.at(window)
        directory, committed = store_path(*location), set[str]()
        if (directory / MANIFEST).exists():
            manifest = Store(directory).manifest
            committed = {unit for unit in manifest["units"] if unit != DUPLICATES}
            self._check_committed(directory, committed, set(units), manifest, window)
        if not committed or not committed >= set(units):
            examples = manifest["counts"]["examples"] if committed else 0
            manifest = self._commit(window, sorted(committed | set(units)), sum(checks, Tally()))
            BeamMetrics.counter(NAMESPACE, "examples_committed").inc(manifest["counts"]["examples"] - examples)
        if not self._stores.by_window:  # else they may be of a later commit
            _remove_other_shards(directory, set(manifest["units"]))
        write_marker(*location)
        yield manifest

    def _check_committed(
        self, directory: Path, committed: set[str], units: set[str], manifest: dict[str, Any], window: Any
    ) -> None:
        """StoreError if the store is of another run or window."""
        if self._stores.by_window:
            is_of_pipeline = all(unit.startswith(f"bundle-{self._stores.pipeline}") for unit in committed)
            is_same = is_of_pipeline and manifest["options"].get("window") == _describe(window)
        else:
            is_same = committed == units
        if not is_same:
            raise StoreError(f"{directory} was committed by another run meanwhile; give another name")

    def _commit(self, window: Any, units: Sequence[str], tally: Tally) -> dict[str, Any]:
        """`tally`: of the run; of a stream it is not known."""
        from tb_deepexplain.recording.manifest import describe_store  # imports TensorFlow

        writer, request = self._stores.writer(window), self._request
        explained, failed = sum(writer.count_rows("inputs", units)), sum(writer.count_rows("errors", units))
        if failed > self._max_error_rate * (explained + failed):
            raise StoreError(
                f"{failed} of {explained + failed} examples failed, more than max_error_rate={self._max_error_rate:g} "
                f"allows: {failures.summarize_units(writer.directory, units)}"
            )
        modality, inputs = next(filter(None, map(writer.first_input, units)), ("tabular", []))
        fingerprint = configuration.fingerprint(request.model)
        options: dict[str, Any] = {} if request.only is None else {"only": request.only}
        if self._stores.by_window:
            options["window"] = _describe(window)
        name = self._stores.at(window)[2]
        description = describe_store(request, modality, inputs, fingerprint, name, options)
        if request.score is None:
            description["target"] = self._target
        description["precision_error"] = tally.describe_precision()
        if tally.without_tf32:
            description["spent"] = {"examples_without_tf32": min(tally.without_tf32, explained)}
        return writer.commit(units, description)


def _describe(window: Any) -> list[str]:
    """Start and end of a window."""
    return [window.start.to_rfc3339(), window.end.to_rfc3339()]


def _remove_other_shards(directory: Path, committed: set[str]) -> None:
    """Remove the shards of repeated bundles."""
    for path in (*directory.glob("*-bundle-*.parquet"), *directory.glob(TEMPORARY_PATTERN)):
        if path.stem.split("-", 1)[-1] not in committed:
            path.unlink(missing_ok=True)
