"""Attribute: explains every element of a PCollection."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, get_args

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints import typehints
from apache_beam.typehints.decorators import TypeCheckError
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.engine.batch_size import BatchSize, examples_to_fill
from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.reading.preprocess import Preprocess
from beam_pipelines.reading.record_spec import RecordSpec, resize_method
from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.transforms.elements import Attributions, Explained, Failure, K, ParsedElement, V
from beam_pipelines.transforms.output_hints import OutputHint, columns_of, element_types
from beam_pipelines.transforms.tallies import CheckRun, RunCheck, Tally
from tb_deepexplain.attribution.precision import Precision
from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import Request, make_request
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.store import records

if TYPE_CHECKING:  # these import TensorFlow, which a pipeline can be built without
    from beam_pipelines.engine.device_pool import DevicePool
    from tb_deepexplain.graph.model_graph import ModelGraph
    from tb_deepexplain.recording.batch_explainer import BatchExplainer, Outcome

_REFUSALS = {error.__name__: error for error in (ParameterError, UnsupportedModelError)}
_MOST_REFUSED = 8  # elements, before an error of the request ends the run
_MAX_BYTES, _MAX_BATCHES = 1 << 28, 1000  # of incomplete batches in memory


class Attribute(beam.PTransform, Generic[K, V]):
    """Explains every element of a PCollection. A batch that fails is halved until the bad examples are alone.

    `model`: path of a model, which every worker must see. `methods`: ids, or a dict of ids and parameters; several
    methods share the model and its predictions. `measures`: likewise; they measure each map and a random one, and remove
    `superpixels` superpixels of a picture instead of pixels. `target`: "predicted", "label", "top:K", a class number,
    a position such as "2,5", or "sum". `signature`: of a SavedModel; if it takes serialized tf.Examples, the explanation
    starts at the parsed features. `transform_graph`: the folder of the graph of TFX's Transform, in front of a signature of
    transformed features. `custom_objects`: "module:name" of the classes of your own that a Keras file names.
    `inputs`: names of the inputs, layers or tensors to explain; by default all inputs. `output`: of a model with several;
    `logits=False`: its probabilities. `score`: "module:function" of the model's outputs, in place of a target. `only`: a condition
    on the label and on what the model predicts, such as "misclassified" or "label=3 and probability<0.5"; elements that do not
    meet it give no output and are counted (Beam's counter examples_skipped). `slice_features`: features that the store keeps as
    fields of the page's filter and sort, whether the model reads them or not. `check_model` and `check_batch`: as in `Explainer`.

    An element is a dict, beam.Row, NamedTuple or dataclass of columns (the model's inputs by name; `label` and `id` if known), a
    tf.train.Example or its bytes; for a model with one input its value itself: an array, a text, an encoded picture, a ReadableFile
    of fileio; a PredictionResult of one of these, or a pair of a key and one of these. An element without a key has the id in it, or
    is named by a digest of its content. `features`, `preprocess` (a function of a dict, or "module:function"), `schema` (a file),
    `resize` (True, or the name of a method), `id_feature`, `label_feature`, `gpus`, `processes_per_gpu` and `gpu_memory` are as on the
    command line, and `precision` is as in `Explainer` (`mixed_precision=True` is `precision="mixed"`). `gpus` counts for each process,
    which reserves them; the default is one, if the machine has any.

    Returns `Attributions`: `explained`, of `Explained`, and `errors`, of `Failure`, both with the key and the element itself. Beam's
    type hints of both name the types of key and element, which Beam knows from the elements; `Attribute[int, dict](...)` names them
    where it does not.

    Raises ParameterError, UnknownMethodError or UnsupportedModelError when the pipeline is built, or a worker starts that first sees the
    model. In the pipeline, StoreError if more than `max_error_rate` (default: one half, of 100 elements or more) or all of the elements
    of a bounded PCollection failed; InputError if none has a feature that is named.
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
        processes_per_gpu: int = 1,
        gpu_memory: float | None = None,
        precision: Precision = "float32",
        mixed_precision: bool = False,
        features: Mapping[str, str] | None = None,
        preprocess: Preprocess | str | None = None,
        schema: str | None = None,
        resize: bool | str = False,
        id_feature: str = "id",
        label_feature: str = "label",
        signature: str | None = None,
        transform_graph: str | None = None,
        output: str | None = None,
        inputs: str | Sequence[str] | None = None,
        custom_objects: str | Sequence[str] = (),
        logits: bool | None = None,
        check_model: bool = True,
        check_batch: bool = True,
        score: str | None = None,
        only: str | None = None,
        slice_features: str | Sequence[str] = (),
        max_error_rate: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, str | os.PathLike):
            raise ParameterError(
                f"model is a {type(model).__name__}; expected a path that every worker can read: write "
                'model.export("my_model") and give "my_model"'
            )
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
            processes_per_gpu=processes_per_gpu,
            gpu_memory=gpu_memory,
            precision=precision,
            mixed_precision=mixed_precision,
            superpixels=superpixels,
            signature=signature,
            transform_graph=transform_graph,
            output=output,
            inputs=inputs,
            custom_objects=custom_objects,
            logits=logits,
            check_model=check_model,
            check_batch=check_batch,
            score=score,
            only=only,
            slice_features=slice_features,
        )
        self.record_spec = RecordSpec(
            features=dict(features or {}),
            label_feature=label_feature,
            id_feature=id_feature,
            slice_features=self.request.slice_features,
            class_names=tuple(labels or ()),
            resize=resize_method(resize),
            preprocess=preprocess,
            schema=load_schema(schema) if schema else None,
            in_python=True,
        )
        self.record_spec.load_preprocess()  # raises now, not on a worker
        self.run_check = RunCheck(max_error_rate, self.record_spec.named_features)
        self.is_checked = False  # against the model, in this process
        self._hints: dict[str, Any] = {}
        self._shared = Shared()  # a process loads the model once, even if the transform is applied to several splits

    def with_resource_hints(self, **hints: Any) -> Attribute:
        """Resource hints for the step that runs the model. (Beam's method would apply them to all steps.)"""
        self._hints |= hints
        return self

    def load_here(self, graph: ModelGraph | None = None) -> DevicePool[BatchExplainer]:
        """The explainers that the steps in this process use, too, while the caller holds them. `graph`: the model, if it is loaded."""
        from beam_pipelines.engine.device_pool import explainer_pool

        pool: DevicePool[BatchExplainer] = self._shared.acquire(lambda: explainer_pool(self.request, graph))
        return pool

    def expand(self, examples: beam.PCollection[Any]) -> Attributions:
        key_type, element_type = self._types(examples.element_type)
        p = examples.pipeline
        self._check_request(p, columns_of(element_type))
        run_check = self.run_check if examples.is_bounded else None  # the errors of a stream are dead letters
        step = beam.ParDo(_ExplainElements(self.request, self.record_spec, self._shared, self.is_checked, run_check))
        outputs = examples | "Explain" >> step.with_resource_hints(**self._hints).with_outputs(
            "errors", "tallies", main="explained"
        )
        # The step itself cannot have these hints: --runtime_type_check would compare the errors with those of `explained`.
        outputs.explained.element_type = OutputHint(Explained, key_type, element_type)
        outputs.errors.element_type = OutputHint(Failure, key_type, element_type)
        request = p | "Request" >> beam.Create([self.request])
        # Known when the pipeline is built:
        request.request, request.explained = self.request, outputs.explained
        checks = outputs.tallies | "Check" >> CheckRun(run_check) if run_check else p | "Check" >> beam.Create([])
        return Attributions(outputs.explained, outputs.errors, request, checks)

    def _check_request(self, pipeline: beam.Pipeline, columns: Sequence[str] | None) -> None:
        """Check the request against the model now, if the model can be loaded here; else a worker does so when it starts. `columns`: of
        elements that are rows."""
        if self.is_checked or importlib.util.find_spec("tensorflow") is None:
            return
        from beam_pipelines.transforms import request_check

        if not request_check.is_readable(self.request):
            return
        with request_check.left_to_workers():
            if request_check.explains_here(pipeline):
                checked_pool = functools.partial(request_check.checked_pool, self.request, self.record_spec, columns)
                self._pool = self._shared.acquire(checked_pool)
            else:
                request_check.check_on_cpu(self.request, self.record_spec, columns)
            self.is_checked = True

    def _types(self, examples: Any) -> tuple[Any, Any]:
        """The types of key and element: `Attribute[K, V](...)` names those of pairs, or else Beam knows them."""
        named = get_args(getattr(self, "__orig_class__", None))
        if named and not typehints.is_consistent_with(examples, pair := typehints.Tuple[named]):
            raise TypeCheckError(f"{self.label} expects elements of type {pair}; got {examples}")
        return named or element_types(examples)

    def display_data(self) -> dict[str, Any]:
        methods = ", ".join(name for name, _ in self.request.methods)
        return {"model": self.request.model, "methods": methods, "target": str(self.request.target)}


@beam.typehints.with_input_types(Any, timestamp=Any, window=Any)  # --runtime_type_check cannot read annotations
class _ExplainElements(beam.DoFn):
    """Element → Explained, or Failure to `errors`. Examples of one bundle and window with equal shapes are batched."""

    def __init__(
        self, request: Request, record_spec: RecordSpec, shared: Shared, is_checked: bool, run_check: RunCheck | None
    ) -> None:
        self._request, self._record_spec, self._shared = request, record_spec, shared
        self._is_checked, self._run_check = is_checked, run_check

    def setup(self) -> None:
        from beam_pipelines.transforms.element_parser import ElementParser

        self._pool = self._shared.acquire(self._load)
        with self._pool.least_busy() as explainer:
            self._parser = ElementParser(explainer, self._record_spec)
        self._batch_size = BatchSize(self._request.batch_size)
        self._tally = self._total = Tally()  # of the bundle, and of all bundles

    def _load(self) -> DevicePool[BatchExplainer]:
        from beam_pipelines.engine.device_pool import explainer_pool
        from beam_pipelines.transforms.request_check import checked_pool

        return explainer_pool(self._request) if self._is_checked else checked_pool(self._request, self._record_spec)

    def start_bundle(self) -> None:
        # By window and shape, with timestamps.
        self._batches: dict[Any, list[tuple[ParsedElement, Example, Any]]] = {}
        self._bytes = 0

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        parsed = self._parser.parse(element)
        example = parsed.example
        self._last = timestamp, window
        if isinstance(example, records.Failure):
            metrics = Metrics()
            metrics.fail(example.stage)
            update_counters(metrics)
            yield TaggedOutput("errors", parsed.output(example))
            self._count([example], Tally())
            return
        key = window, example.batch_key
        batch = self._batches.setdefault(key, [])
        batch.append((parsed, example, timestamp))
        self._bytes += example.nbytes
        if len(batch) >= self._batch_size.current:
            yield from self._flush(key)
        while self._bytes > _MAX_BYTES or len(self._batches) > _MAX_BATCHES:
            yield from self._flush(max(self._batches, key=lambda key: len(self._batches[key])))

    def finish_bundle(self) -> Iterator[Any]:
        while self._batches:
            yield from self._flush(next(iter(self._batches)))
        if self._tally.elements:
            timestamp, window = self._last
            yield TaggedOutput("tallies", WindowedValue(self._tally, timestamp, (window,)))
        self._tally = Tally()

    def _count(self, outcomes: Sequence[Outcome | None], precision: Tally) -> None:
        """Count elements: an outcome each, None for one that `only` skips. `precision`: what is known of it. Raises what ends the run."""
        failures = [outcome for outcome in outcomes if isinstance(outcome, records.Failure)]
        tally = dataclasses.replace(
            precision,
            elements=len(outcomes),
            failed=len(failures),
            failure=failures[0].message if failures else "",
            unread=self._parser.unread,
        )
        self._tally, self._total = self._tally + tally, self._total + tally
        if self._total.failed == self._total.elements >= _MOST_REFUSED:
            _raise_refusal(failures)  # an error of the request is that of every element
        if self._run_check:
            self._run_check.check_some(self._total + Tally(sum(map(len, self._batches.values()))))

    def _flush(self, key: Any) -> list[Any]:
        """Explain a batch. The outputs are a list, not a generator, so that the time of later steps does not count."""
        started, metrics, (window, _) = time.perf_counter(), Metrics(), key
        batch = self._batches.pop(key)
        examples = [example for _, example, _ in batch]
        self._bytes -= sum(example.nbytes for example in examples)
        with self._pool.least_busy() as explainer:
            meet = explainer.meet_condition(examples, metrics)
            outcomes = explainer.explain_each(list(itertools.compress(examples, meet)), metrics=metrics)
        outputs: list[Any] = []
        for (parsed, _, timestamp), outcome in zip(itertools.compress(batch, meet), outcomes, strict=True):
            output = WindowedValue(parsed.output(outcome), timestamp, (window,))
            if isinstance(outcome, records.Failure):
                metrics.fail(outcome.stage)
                output = TaggedOutput("errors", output)
            outputs.append(output)
        metrics.explained, metrics.skipped = len(outcomes) - metrics.failures, len(examples) - len(outcomes)
        errors = explainer.precision_errors()
        precision = Tally(without_tf32=metrics.without_tf32, precision_errors={explainer.id: errors} if errors else {})
        self._count([*outcomes, *[None] * (len(examples) - len(outcomes))], precision)
        metrics.total_seconds = time.perf_counter() - started
        self._batch_size.record(len(batch), metrics.total_seconds, examples_to_fill(explainer, examples))
        update_counters(metrics)
        return outputs


def _raise_refusal(failures: Sequence[records.Failure]) -> None:
    """Raise the first error that is not of one element but of the request."""
    for failure in failures:
        if failure.error in _REFUSALS:
            raise _REFUSALS[failure.error](failure.message)
