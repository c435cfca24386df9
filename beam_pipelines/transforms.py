"""Attributions in your own pipeline: `examples | Attribute(model, ["intgrad"]) | WriteAttributions(logdir)`.

For those whose examples come from elsewhere than files, or whose attributions go elsewhere than into a store. The
command line runs the same explainer and the same writer over files, by units that can be resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.engine.batch_size import BatchSize
from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.engine.device_pool import DevicePool, explainer_pool
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.preprocess import Preprocess
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.tf_example import canonical_bytes
from beam_pipelines.reading.tfmd_schema import load_schema
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import InputError, ParameterError, StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Records
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.manifest import describe_store
from tb_deepexplain.recording.request import Request, make_request
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.store import configuration, failures
from tb_deepexplain.store.layout import DUPLICATES, MANIFEST, store_path
from tb_deepexplain.store.marker import check_store_name, write_marker
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Failure, Input
from tb_deepexplain.store.shard_writer import ShardWriter
from tb_deepexplain.store.writer import StoreWriter, duplicate_error

_MOST_BYTES, _MOST_KINDS = 1 << 28, 1000  # of examples that wait for others like them; of kinds of them


class Explained(NamedTuple):
    """What came of one example: how a person sees it, and its maps."""

    input: Input
    attributions: list[Attribution]


class Attributions(NamedTuple):
    """What `Attribute` returns; `WriteAttributions` takes all of it."""

    explained: beam.PCollection[Explained]
    errors: beam.PCollection[Failure]  # examples that could not be explained, and why
    request: beam.PCollection[Request]  # the one that was asked


class _Reader:
    """Elements of a pipeline as examples."""

    def __init__(self, explainer: BatchExplainer, record_spec: RecordSpec) -> None:
        self._parser = ExampleParser(explainer.graph.inputs, record_spec)

    def __call__(self, element: Any) -> Example | Failure:
        key, value = element if isinstance(element, tuple) and len(element) == 2 else (None, element)
        name = "unnamed" if key is None else str(key)
        try:
            if not isinstance(value, bytes | Mapping):
                raise InputError(
                    f"the element is a {type(value).__name__}; expected a serialized tf.Example, a dict of columns, "
                    "or a pair of an id and one of these"
                )
            name = digest(value) if key is None else name
            found = self._parser.parse(value, name)
            return found if key is None else dataclasses.replace(found, id=name)
        except Exception as error:  # a record's own trouble, whatever it raises
            return Failure(name, "parse", *describe_failure(error))


@beam.typehints.with_input_types(Any)
class _Explain(beam.DoFn):
    """Element → Explained, or Failure to `errors`; examples of one window that are alike make batches, within a bundle."""

    def __init__(self, request: Request, record_spec: RecordSpec, shared: Shared) -> None:
        self._request, self._record_spec, self._shared = request, record_spec, shared

    def setup(self) -> None:
        self._pool = self._shared.acquire(lambda: explainer_pool(self._request))
        with self._pool.least_busy() as explainer:
            self._read = _Reader(explainer, self._record_spec)
        self._size = BatchSize(self._request.batch_size)

    def start_bundle(self) -> None:
        self._waiting: dict[Any, dict[str, tuple[Example, Any]]] = {}  # by window and kind, then by id
        self._held = 0  # bytes

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        found = self._read(element)
        if isinstance(found, Failure):
            metrics = Metrics()
            metrics.fail(found.stage)
            update_counters(metrics)
            yield TaggedOutput("errors", found)
            return
        key = window, found.batch_key
        if found.id in self._waiting.get(key, ()):  # a batch holds no id twice
            yield from self._flush(key)
        waiting = self._waiting.setdefault(key, {})
        waiting[found.id] = found, timestamp
        self._held += found.nbytes
        if len(waiting) >= self._size.current:
            yield from self._flush(key)
        while self._held > _MOST_BYTES or len(self._waiting) > _MOST_KINDS:
            yield from self._flush(max(self._waiting, key=lambda key: len(self._waiting[key])))

    def finish_bundle(self) -> Iterator[Any]:
        while self._waiting:
            yield from self._flush(next(iter(self._waiting)))

    def _flush(self, key: Any) -> list[Any]:
        """What comes of a batch: a list, so that the steps behind are not in its time."""
        started, metrics, found, (window, _) = time.perf_counter(), Metrics(), [], key
        waiting = self._waiting.pop(key)
        self._held -= sum(example.nbytes for example, _ in waiting.values())
        with self._pool.least_busy() as explainer:
            records = explainer.explain([example for example, _ in waiting.values()], metrics=metrics)
        when = {id_: timestamp for id_, (_, timestamp) in waiting.items()}
        metrics.explained = len(records.inputs)
        for failure in records.errors:
            metrics.fail(failure.stage)
            found.append(TaggedOutput("errors", WindowedValue(failure, when[failure.example_id], (window,))))
        for each in _together(records):
            found.append(WindowedValue(each, when[each.input.example_id], (window,)))
        metrics.total_seconds = time.perf_counter() - started
        self._size.record(len(waiting), metrics.total_seconds)
        update_counters(metrics)
        return found


class Attribute(beam.PTransform):
    """Explains every element of a PCollection; a batch that fails is halved down to the one example at fault.

    `model`: the path of a model, seen by every worker. `methods`: ids, or a dict of ids and their parameters; several
    share the model and its predictions. `measures`, likewise, of every map and of a random one, by `superpixels` of pictures
    instead of pixels. `target`: "predicted",
    "label", "top:K", a class number, or "sum".

    An element is a serialized tf.Example, a dict of columns (the model's inputs by name; `label` and `id` if known), or a
    pair of an id and one of these. An element without an id is named by a digest of its content. `features`, `preprocess`
    (a function of a dict, or "module:function"), `schema` (a file), `resize`, `id_feature` and `label_feature` are as on the
    command line; so are `gpus` (for each process, which leases them; by default one, if the machine has any) and
    `mixed_precision`. `signature` chooses among a SavedModel's (one that takes serialized tf.Examples is entered behind their
    parsing), `output` among a model's outputs. `with_resource_hints` are those of the step that runs the model, and of no other.

    Returns `Attributions`. Raises ParameterError or UnknownMethodError when the pipeline is built.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        methods: Selection,
        *,
        measures: Selection = (),
        superpixels: int | None = None,
        target: str | int = "predicted",
        labels: Sequence[str] | None = None,
        vocabulary: Sequence[str] | None = None,
        batch_size: int | None = None,
        step: int = 0,
        gpus: int | None = None,
        mixed_precision: bool = False,
        features: Mapping[str, str] | None = None,
        preprocess: Preprocess | str | None = None,
        schema: str | None = None,
        resize: bool = False,
        id_feature: str = "id",
        label_feature: str = "label",
        signature: str | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__()
        self.request = make_request(
            model,
            methods,
            target=target,
            measures=measures,
            labels=labels,
            vocabulary=vocabulary,
            batch_size=batch_size,
            step=step,
            gpus=gpus,
            mixed_precision=mixed_precision,
            superpixels=superpixels,
            signature=signature,
            output=output,
        )
        self.record_spec = RecordSpec(
            features=dict(features or {}),
            label_feature=label_feature,
            id_feature=id_feature,
            class_names=tuple(labels or ()),
            resize=resize,
            preprocess=preprocess,
            schema=load_schema(schema) if schema else None,
        )
        self.record_spec.load_preprocess()  # raises now, not on a worker
        self._hints: dict[str, Any] = {}
        self._shared = Shared()  # applied several times, as to several splits, it loads the model once for each process

    def with_resource_hints(self, **hints: Any) -> Attribute:
        """What the step that runs the model asks of its workers. (Beam's own hints reach every step inside.)"""
        self._hints |= hints
        return self

    def expand(self, examples: beam.PCollection[Any]) -> Attributions:
        explain = beam.ParDo(_Explain(self.request, self.record_spec, self._shared)).with_resource_hints(**self._hints)
        found = examples | "Explain" >> explain.with_outputs("errors", main="explained")
        return Attributions(found.explained, found.errors, examples.pipeline | "Request" >> beam.Create([self.request]))

    def display_data(self) -> dict[str, Any]:
        methods = ", ".join(name for name, _ in self.request.methods)
        return {"model": self.request.model, "methods": methods, "target": str(self.request.target)}


class _WriteShards(beam.DoFn):
    """Explained and Failure → the unit that holds those of a bundle. A bundle that is done again makes another unit: only
    those that the runner keeps are committed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._shard: ShardWriter | None = None

    def start_bundle(self) -> None:
        self.teardown()
        self._unit, self._ids = f"bundle-{uuid.uuid4().hex[:12]}", set[str]()

    def process(self, element: Explained | Failure, request: Request) -> None:
        if self._shard is None:
            measures = [name for name, _ in request.measures]
            self._shard = StoreWriter(self._directory, measures=measures).shard(self._unit)
        if isinstance(element, Failure):
            self._shard.add(errors=[element])
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
        if self._shard is not None:  # of a bundle that failed
            self._shard.discard()
            self._shard = None


class _Commit(beam.DoFn):
    """All units → the manifest, the last thing to be written; once, however often it is tried."""

    def __init__(self, place: tuple[str, str, str], max_error_rate: float) -> None:
        self._place, self._rate = place, max_error_rate

    def process(self, units: Sequence[str], request: Request) -> Iterator[dict[str, Any]]:
        directory, units = store_path(*self._place), sorted(units)
        writer = StoreWriter(directory, measures=[name for name, _ in request.measures])
        if (directory / MANIFEST).exists():
            written = Store(directory).manifest
            if [unit for unit in written["units"] if unit != DUPLICATES] != units:
                raise StoreError(f"{directory} was committed by another run meanwhile; give another name")
        else:
            explained, failed = sum(writer.count_rows("inputs", units)), sum(writer.count_rows("errors", units))
            if failed > self._rate * (explained + failed):
                raise StoreError(
                    f"{failed} of {explained + failed} examples failed, more than max_error_rate={self._rate:g} allows: "
                    f"{failures.summarize_units(directory, units)}"
                )
            written = writer.commit(units, self._described(request, writer, units))
        kept = set(written["units"])
        for path in [
            *directory.glob("*-bundle-*.parquet"),
            *directory.glob(".*.tmp"),
        ]:  # of bundles that were done again
            if path.stem.split("-", 1)[-1] not in kept:
                path.unlink(missing_ok=True)
        write_marker(*self._place)
        yield written

    def _described(self, request: Request, writer: StoreWriter, units: Sequence[str]) -> dict[str, Any]:
        modality, inputs = next(filter(None, map(writer.first_input, units)), ("tabular", []))
        fingerprint = configuration.fingerprint(request.model)
        return describe_store(request, modality, inputs, fingerprint, self._place[2], {})


class WriteAttributions(beam.PTransform):
    """Writes what `Attribute` returns as a store that TensorBoard opens; the result is its manifest, one element.

    `logdir`, `run` and `name` as on the command line; every worker must see the directory. Nothing counts before the
    manifest stands, which is written last; bundles that are repeated leave nothing behind. If more than `max_error_rate`
    of the examples failed, StoreError ends the pipeline without a manifest. Of examples with one id, the first found is
    kept and the others become errors. A bundle makes three files: where an engine's bundles are small, group the
    elements first. For bounded PCollections. Raises StoreError if the store is there already.
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
        self._place, self._rate = (str(logdir), run, name), max_error_rate

    def expand(self, found: Attributions) -> beam.PCollection[dict[str, Any]]:
        directory = store_path(*self._place)
        if (directory / MANIFEST).exists():
            raise StoreError(f"{directory} holds a store already; give another name, or remove it")
        if not found.explained.is_bounded:
            raise ParameterError(
                "WriteAttributions needs a bounded PCollection: a store is committed when all is there"
            )
        units = (
            (found.explained, found.errors)
            | "Both" >> beam.Flatten()
            | "InOneWindow" >> beam.WindowInto(GlobalWindows())
            | "WriteShards" >> beam.ParDo(_WriteShards(str(directory)), AsSingleton(found.request))
            | "Units" >> beam.combiners.ToList()
        )
        return units | "Commit" >> beam.ParDo(_Commit(self._place, self._rate), AsSingleton(found.request))

    def display_data(self) -> dict[str, Any]:
        return {"store": str(store_path(*self._place))}


class AttributionModelHandler(ModelHandler[Any, PredictionResult, DevicePool[BatchExplainer]]):
    """`Attribute`'s explainer for Beam's RunInference: PredictionResult(element, Explained or Failure).

    RunInference gives up a whole batch for one example that fails, and knows no windows within it; this handler therefore
    answers for every element by itself. `Attribute` is the better choice where you are free.
    """

    def __init__(self, attribute: Attribute) -> None:
        super().__init__(max_batch_size=attribute.request.batch_size)
        self._request, self._record_spec = attribute.request, attribute.record_spec

    def load_model(self) -> DevicePool[BatchExplainer]:
        return explainer_pool(self._request)

    def run_inference(
        self, batch: Sequence[Any], model: DevicePool[BatchExplainer], inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """One answer for each element, in order."""
        if inference_args:
            raise ParameterError(f"inference_args={dict(inference_args)}: there are none; give them to Attribute")
        with model.least_busy() as explainer:
            read = _Reader(explainer, self._record_spec)
            found = [read(element) for element in batch]
            # By their positions: two elements may have one id.
            examples = [dataclasses.replace(e, id=str(i)) for i, e in enumerate(found) if isinstance(e, Example)]
            records = explainer.explain(examples)
        answers: dict[str, Explained | Failure] = {failure.example_id: failure for failure in records.errors}
        answers |= {each.input.example_id: each for each in _together(records)}
        for i, (element, example) in enumerate(zip(batch, found, strict=True)):
            answer = example if isinstance(example, Failure) else _named(answers[str(i)], example.id)
            yield PredictionResult(element, answer)


def _together(records: Records) -> Iterator[Explained]:
    """Each input with its maps."""
    maps: dict[str, list[Attribution]] = {}
    for attribution in records.attributions:
        maps.setdefault(attribution.example_id, []).append(attribution)
    for shown in records.inputs:
        yield Explained(shown, maps[shown.example_id])


def _named(answer: Explained | Failure, name: str) -> Explained | Failure:
    if isinstance(answer, Failure):
        return dataclasses.replace(answer, example_id=name)
    maps = [dataclasses.replace(each, example_id=name) for each in answer.attributions]
    return Explained(dataclasses.replace(answer.input, example_id=name), maps)


def digest(value: Any) -> str:
    """A name by content, of a serialized tf.Example or a dict of columns."""
    found = hashlib.blake2b(digest_size=10)
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            array = np.asarray(value[name])
            content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
            found.update(str(name).encode() + b"\0" + content + b"\0")
    else:
        found.update(canonical_bytes(value) if isinstance(value, bytes) else repr(value).encode())
    return found.hexdigest()


__all__ = ["Attribute", "AttributionModelHandler", "Attributions", "Explained", "WriteAttributions", "digest"]
