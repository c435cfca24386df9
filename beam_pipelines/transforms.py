"""Attributions in your own pipeline: `examples | Attribute(model, ["intgrad"]) | WriteAttributions(logdir)`.

For those whose examples come from elsewhere than files, or whose attributions go elsewhere than into a store. The
command line runs the same explainer and the same writer over files, by units that can be resumed.
"""

from __future__ import annotations

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

from beam_pipelines import configuration, counters, manifest
from beam_pipelines.batching import BatchSize
from beam_pipelines.explaining import BatchExplainer, Request
from beam_pipelines.metrics import Metrics
from beam_pipelines.parsing import Example, Parser
from beam_pipelines.targets import Target
from tb_deepexplain.errors import InputError, ParameterError, StoreError
from tb_deepexplain.marker import is_store_name, write_marker
from tb_deepexplain.methods import find_method
from tb_deepexplain.record import Attribution, Failure, Input
from tb_deepexplain.store import MANIFEST, ShardWriter, Store, StoreWriter, store_path

Methods = Sequence[str] | Mapping[str, Mapping[str, Any]]


class Explained(NamedTuple):
    """What came of one example: how a person sees it, and its maps."""

    input: Input
    attributions: list[Attribution]


class Attributions(NamedTuple):
    """What `Attribute` returns; `WriteAttributions` takes all of it."""

    explained: beam.PCollection  # of Explained
    errors: beam.PCollection  # of Failure: examples that could not be explained, and why
    about: beam.PCollection  # one dict: what readers of a store are told of methods and model


class _Reader:
    """Elements of a pipeline as examples."""

    def __init__(self, explainer: BatchExplainer, options: Mapping[str, Any]) -> None:
        self._parse = Parser(explainer.graph.inputs, **options)

    def __call__(self, element: Any) -> Example | Failure:
        key, value = element if isinstance(element, tuple) and len(element) == 2 else (None, element)
        name = _digest(value) if key is None else str(key)
        try:
            if not isinstance(value, bytes | Mapping):
                raise InputError(
                    f"the element is a {type(value).__name__}; expected a serialized tf.Example, a dict of columns, "
                    "or a pair of an id and one of these"
                )
            found = self._parse(value, name)
            return found if key is None else Example(name, found.inputs, found.label, found.picture)
        except InputError as error:
            return Failure(name, "parse", type(error).__name__, str(error))


class _Explain(beam.DoFn):
    """Element → Explained, or Failure to `errors`; examples of one window and one shape make batches, within a bundle."""

    def __init__(self, request: Request, options: Mapping[str, Any], shared: Shared) -> None:
        self._request, self._options, self._shared = request, options, shared

    def setup(self) -> None:
        self._explainer: BatchExplainer = self._shared.acquire(lambda: BatchExplainer(self._request))
        self._read = _Reader(self._explainer, self._options)
        self._size = BatchSize(self._request.batch_size)

    def start_bundle(self) -> None:
        self._waiting: dict[Any, dict[str, tuple[Example, Any]]] = {}  # by window and shapes, then by id

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        found = self._read(element)
        if isinstance(found, Failure):
            metrics = Metrics()
            metrics.fail(found.stage)
            counters.publish(metrics)
            yield TaggedOutput("errors", found)
            return
        key = window, tuple(np.shape(value) for value in found.inputs.values())
        if found.id in self._waiting.get(key, ()):  # a batch holds no id twice
            yield from self._flush(window, self._waiting.pop(key))
        waiting = self._waiting.setdefault(key, {})
        waiting[found.id] = found, timestamp
        if len(waiting) >= self._size.now:
            yield from self._flush(window, self._waiting.pop(key))

    def finish_bundle(self) -> Iterator[Any]:
        while self._waiting:
            (window, _), waiting = self._waiting.popitem()
            yield from self._flush(window, waiting)

    def _flush(self, window: Any, waiting: Mapping[str, tuple[Example, Any]]) -> Iterator[Any]:
        started, metrics = time.perf_counter(), Metrics()
        records = self._explainer.explain([example for example, _ in waiting.values()], metrics=metrics)
        when = {id_: timestamp for id_, (_, timestamp) in waiting.items()}
        metrics.explained = len(records.inputs)
        for failure in records.errors:
            metrics.fail(failure.stage)
            yield TaggedOutput("errors", WindowedValue(failure, when[failure.example_id], (window,)))
        maps: dict[str, list[Attribution]] = {}
        for attribution in records.attributions:
            maps.setdefault(attribution.example_id, []).append(attribution)
        for shown in records.inputs:
            yield WindowedValue(Explained(shown, maps[shown.example_id]), when[shown.example_id], (window,))
        metrics.total_seconds = time.perf_counter() - started
        self._size.took(len(waiting), metrics.total_seconds)
        counters.publish(metrics)


class _About(beam.DoFn):
    """Request → what readers of a store are told, once the model is loaded."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def process(self, request: Request) -> Iterator[dict[str, Any]]:
        explainer = self._shared.acquire(lambda: BatchExplainer(request))
        yield manifest.describe(request, explainer.kind, configuration.fingerprint(request.model), "", {})


class Attribute(beam.PTransform):
    """Explains every element of a PCollection; a batch that fails is halved down to the one example at fault.

    `model`: the path of a model, seen by every worker. `methods`: ids, or a dict of ids and their parameters; several
    share the model and its predictions. `target`: "predicted", "label", "top:K", a class number, or "sum".

    An element is a serialized tf.Example, a dict of columns (the model's inputs by name; `label` and `id` if known), or a
    pair of an id and one of these. An element without an id is named by a digest of its content. `features`, `preprocess`
    (a function of a dict), `id_feature` and `label_feature` are as on the command line.

    Returns `Attributions`. Raises ParameterError or UnknownMethodError when the pipeline is built.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        methods: Methods,
        *,
        target: str | int = "predicted",
        labels: Sequence[str] | None = None,
        vocabulary: Sequence[str] | None = None,
        batch_size: int | None = None,
        step: int = 0,
        features: Mapping[str, str] | None = None,
        preprocess: Any = None,
        id_feature: str = "id",
        label_feature: str = "label",
    ) -> None:
        super().__init__()
        self.request = Request(
            str(model),
            _checked(methods),
            Target.parse(str(target)),
            None if labels is None else tuple(labels),
            None if vocabulary is None else tuple(vocabulary),
            batch_size,
            step,
        )
        self._options = {
            "label_feature": label_feature,
            "id_feature": id_feature,
            "renamed": dict(features or {}),
            "labels": {name: number for number, name in enumerate(labels or ())},
            "preprocess": preprocess,
        }

    def expand(self, examples: beam.PCollection) -> Attributions:
        shared = Shared()
        explain = beam.ParDo(_Explain(self.request, self._options, shared))
        found = examples | "Explain" >> explain.with_outputs("errors", main="explained")
        about = examples.pipeline | "Request" >> beam.Create([self.request]) | "Describe" >> beam.ParDo(_About(shared))
        return Attributions(found.explained, found.errors, about)

    def display_data(self) -> dict[str, Any]:
        methods = ", ".join(name for name, _ in self.request.methods)
        return {"model": self.request.model, "methods": methods, "target": str(self.request.target)}


class _WriteShards(beam.DoFn):
    """Explained and Failure → the unit that holds those of a bundle. A bundle that is done again makes another unit: only
    those that the runner keeps are committed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def start_bundle(self) -> None:
        self._unit = f"bundle-{uuid.uuid4().hex[:12]}"
        self._shard: ShardWriter | None = None

    def process(self, element: Explained | Failure) -> None:
        if self._shard is None:
            self._shard = StoreWriter(self._directory).shard(self._unit)
        if isinstance(element, Failure):
            self._shard.add(errors=[element])
        else:
            self._shard.add(element.attributions, [element.input])

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._shard is not None:
            self._shard.close()
            yield GlobalWindows.windowed_value(self._unit)


class _Commit(beam.DoFn):
    """All units → the manifest, the last thing to be written; once, however often it is tried."""

    def __init__(self, logdir: str, run: str, name: str) -> None:
        self._place = logdir, run, name

    def process(self, units: Sequence[str], about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        logdir, run, name = self._place
        directory = store_path(logdir, run, name)
        if (directory / MANIFEST).exists():
            written = Store(directory).manifest
            if written["units"] != sorted(units):
                raise StoreError(f"{directory} was committed by another run meanwhile; give another name")
        else:
            written = StoreWriter(directory).commit(sorted(units), {**about, "name": name})
        for path in directory.glob("*-bundle-*.parquet"):  # of bundles that were done again
            if path.stem.split("-", 1)[1] not in units:
                path.unlink(missing_ok=True)
        write_marker(logdir, run, name)
        yield written


class WriteAttributions(beam.PTransform):
    """Writes what `Attribute` returns as a store that TensorBoard opens; the result is its manifest, one element.

    `logdir`, `run` and `name` as on the command line; every worker must see the directory. Nothing counts before the
    manifest stands, which is written last; bundles that are repeated leave nothing behind. For bounded PCollections.
    Raises StoreError if the store is there already.
    """

    def __init__(self, logdir: str | os.PathLike[str], run: str = "attributions", name: str = "default") -> None:
        super().__init__()
        if not is_store_name(name):
            raise ParameterError(
                f"name {name!r}: expected letters, digits, '_', '-' or '.', not starting with '.' or '-'"
            )
        self._place = str(logdir), run, name

    def expand(self, found: Attributions) -> beam.PCollection:
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
            | "WriteShards" >> beam.ParDo(_WriteShards(str(directory)))
            | "Units" >> beam.combiners.ToList()
        )
        return units | "Commit" >> beam.ParDo(_Commit(*self._place), AsSingleton(found.about))

    def display_data(self) -> dict[str, Any]:
        return {"store": str(store_path(*self._place))}


class AttributionModelHandler(ModelHandler[Any, PredictionResult, BatchExplainer]):
    """`Attribute`'s explainer for Beam's RunInference: PredictionResult(element, Explained or Failure).

    RunInference gives up a whole batch for one example that fails, and knows no windows within it; this handler therefore
    answers for every element by itself. `Attribute` is the better choice where you are free.
    """

    def __init__(self, attribute: Attribute) -> None:
        super().__init__(max_batch_size=attribute.request.batch_size)
        self._request, self._options = attribute.request, attribute._options  # noqa: SLF001

    def load_model(self) -> BatchExplainer:
        return BatchExplainer(self._request)

    def run_inference(
        self, batch: Sequence[Any], model: BatchExplainer, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """One answer for each element, in order."""
        if inference_args:
            raise ParameterError(f"inference_args={dict(inference_args)}: there are none; give them to Attribute")
        read = _Reader(model, self._options)
        found = [read(element) for element in batch]
        records = model.explain([example for example in found if isinstance(example, Example)])
        failures = {failure.example_id: failure for failure in records.errors}
        shown = {each.example_id: each for each in records.inputs}
        for element, example in zip(batch, found, strict=True):
            if isinstance(example, Failure) or example.id in failures:
                yield PredictionResult(element, example if isinstance(example, Failure) else failures[example.id])
            else:
                maps = [row for row in records.attributions if row.example_id == example.id]
                yield PredictionResult(element, Explained(shown[example.id], maps))


def _checked(methods: Methods) -> tuple[tuple[str, dict[str, Any]], ...]:
    if isinstance(methods, str):
        methods = [methods]
    given = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    found = {method.id: method.check(dict(given[name])) for name in given for method in [find_method(name)]}
    if not found or len(found) != len(given) or len(given) != len(methods):
        raise ParameterError(f"methods={list(methods)}: expected different methods, at least one")
    return tuple(found.items())


def _digest(value: Any) -> str:
    digest = hashlib.blake2b(digest_size=10)
    if isinstance(value, Mapping):
        for name in sorted(map(str, value)):
            array = np.asarray(value[name])
            content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
            digest.update(name.encode() + b"\0" + content + b"\0")
    else:
        digest.update(value if isinstance(value, bytes) else repr(value).encode())
    return digest.hexdigest()


__all__ = ["Attribute", "AttributionModelHandler", "Attributions", "Explained", "WriteAttributions"]
