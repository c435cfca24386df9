"""A batch of examples in, rows of the store out: for pipelines, and for models in training."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.compiled_method import Encode, EncodedMaps
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.precision import computes_on_gpu
from tb_deepexplain.attribution.precision_error import PrecisionError
from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import ParameterError, Stopped
from tb_deepexplain.evaluation.evaluator import Evaluator
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording import display
from tb_deepexplain.recording.device_encoding import encode_on_device
from tb_deepexplain.recording.example import Example, batch_positions, fill_up
from tb_deepexplain.recording.example_condition import ExampleCondition
from tb_deepexplain.recording.full_batches import Work, examples_to_fill
from tb_deepexplain.recording.map_measures import MapMeasures
from tb_deepexplain.recording.map_rows import (
    encoded_row_maps,
    find_disagreement,
    make_rows,
    maps_of_inputs,
    row_maps,
)
from tb_deepexplain.recording.modality import check_map_axes, find_modality, find_pictures, find_shown_inputs
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import Request, select_explained
from tb_deepexplain.recording.targets import Classes, MapTarget, Target
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.columns import Columns
from tb_deepexplain.store.records import Attribution, Failure, Input, ModelInput, model_input

Outcome: TypeAlias = tuple[Input, list[Attribution]] | Failure  # of one example
_Report: TypeAlias = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Records:
    """The rows that N examples add to the store, in the order of the examples; beside them the number of the example of each."""

    attributions: Columns[Attribution]
    inputs: Columns[Input]
    errors: list[Failure]
    map_numbers: list[int]
    input_numbers: list[int]
    error_numbers: list[int]

    @classmethod
    def join(cls, parts: Sequence[tuple[Records, Sequence[int]]]) -> Records:
        """The records of all parts, each with the number of each of its examples."""
        of_maps, of_inputs, of_errors = (
            _in_order(
                [getattr(records, field) for records, _ in parts],
                [numbers[k] for records, numbers in parts for k in getattr(records, at)],
            )
            for field, at in (("attributions", "map_numbers"), ("inputs", "input_numbers"), ("errors", "error_numbers"))
        )
        return cls(of_maps[0], of_inputs[0], list(of_errors[0]), of_maps[1], of_inputs[1], of_errors[1])

    @classmethod
    def of_failure(cls, failure: Failure) -> Records:
        """Of one example that could not be explained."""
        return cls(Columns.of(Attribution, []), Columns.of(Input, []), [failure], [], [], [0])

    def outcomes(self) -> list[Outcome]:
        """What became of each example."""
        outcomes: dict[int, Outcome] = dict(zip(self.error_numbers, self.errors, strict=True))
        maps: dict[int, list[Attribution]] = {number: [] for number in self.input_numbers}
        for number, attribution in zip(self.map_numbers, self.attributions, strict=True):
            maps[number].append(attribution)
        for number, one in zip(self.input_numbers, self.inputs, strict=True):
            outcomes[number] = one, maps[number]
        return [outcomes[number] for number in range(len(outcomes))]


def _in_order(parts: Sequence[Any], numbers: list[int]) -> tuple[Any, list[int]]:
    """The records of all parts, and the number of the example of each, in the order of these numbers."""
    records = Columns.join([Columns.of(Failure, part) if isinstance(part, list) else part for part in parts])
    order = np.argsort(numbers, kind="stable").tolist()
    if order == list(range(len(order))):
        return records, numbers
    return records.take(order), [numbers[k] for k in order]


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Examples that are explained together, and what the model predicts for them."""

    examples: Sequence[Example]  # with labels that fit the model's output
    inputs: Inputs
    predictions: Predictions
    classes: Classes
    words: Sequence[Mapping[str, Sequence[str]]]  # of each example, by text
    seconds: float  # that the predictions took


class _OfTarget(NamedTuple):
    """The rows of the examples with a map of one target, of each method, and what they took."""

    rows: list[Columns[Attribution]]
    finite: np.ndarray  # [N] whether scores and maps are, of all methods
    work: list[Work]
    seconds: float  # in the model


class BatchExplainer:
    """A loaded model and the explainers of a request, ready for batches of any size."""

    def __init__(
        self,
        request: Request,
        graph: ModelGraph | None = None,
        score: Callable[..., Any] | None = None,
        encodes_maps: bool = False,
    ) -> None:
        """`graph`: the request's model, if it is loaded already. `score`: the request's score function, if it is at hand.

        `encodes_maps`: rows are only stored; the device may encode their maps, whose values are then EncodedMap.
        """
        self.request, self.id = request, uuid.uuid4().hex
        if graph is None:
            graph = load_requested_model(
                request.model, request.signature, request.custom_objects, request.transform_graph
            )
        self.graph = select_explained(graph, request.output, score or request.score, request.logits)
        if request.precision == "float64":
            self.graph = self.graph.in_float64()
        self._batch_size = request.batch_size  # of evaluations; None: as many as the method chooses
        self.examples_to_fill = 1  # a batch of evaluations, by the last examples
        self.names = tuple(spec.name for spec in self.graph.inputs)
        logits = request.logits if request.score is None else False
        self.is_without_tf32 = request.precision == "tf32" and not computes_on_gpu()  # on a CPU
        self.explainers = [
            Explainer(
                name,
                self.graph,
                inputs=request.inputs,
                logits=logits,
                vocabulary=request.vocabulary,
                check_model=request.check_model,
                check_batch=request.check_batch,
                precision="float32" if self.is_without_tf32 else request.precision,
                **parameters,
            )
            for name, parameters in request.methods
        ]
        for explainer in self.explainers:
            explainer.batch_log.say = lambda _: None  # the metrics say it
        self._shown = find_shown_inputs([explainer.submodel for explainer in self.explainers])
        self.modality = find_modality(self._shown)
        self._condition = (
            None if request.only is None else ExampleCondition(request.only, request.labels, request.slice_features)
        )
        self._evaluator = Evaluator(self.explainers[0], dict(request.measures))
        self._device = threading.Lock()  # while one thread computes, others read and write
        self._counts = threading.Lock()  # of what is noted, and of the batch size
        self._pictures = find_pictures(self._shown, self.graph.inputs) if request.superpixels else 0
        self._noted: dict[str, int] = {}  # examples of which the error of the precision is in the metrics, by method
        self._encode = self._choose_encode() if encodes_maps else None
        for explainer in self.explainers:
            check_map_axes(explainer, self.modality)

    def _choose_encode(self) -> Encode | None:
        """The function that encodes maps on the device; None where texts are cut and summed, or maps measured and compared, on the host."""
        names, is_text = self.explainers[0].submodel.cut.names, any(one.modality == "text" for one in self._shown)
        if is_text or len(self.explainers) > 1 or self.request.measures:
            return None
        return functools.partial(encode_on_device, [names.index(one.name) for one in self._shown])

    @functools.cached_property
    def inputs(self) -> list[ModelInput]:
        """The model's inputs; sizes that differ between examples are None."""
        modalities = {one.spec.name: one.modality for one in self._shown if one.spec}
        return [
            model_input(spec.name, spec.dtype, spec.shape[1:], modalities.get(spec.name, "tabular"))
            for spec in self.graph.inputs
        ]

    def meet_condition(self, examples: Sequence[Example], metrics: Metrics) -> list[bool]:
        """Which of the examples the request's condition selects. One that the model fails for is selected: explaining it
        tells why. ParameterError if the condition is on what the model does not predict."""
        if self._condition is None:
            return [True] * len(examples)
        started, selected, batch_size = time.perf_counter(), [True] * len(examples), self._batch_size
        try:
            for positions in batch_positions(examples):
                batch = [examples[i] for i in positions]
                with self._device:
                    predictions = self._predict(self.stack(batch))
                classes = self._classes(predictions)
                self._condition.check(classes)
                for k, example in enumerate(self._fit_labels(batch, classes)):
                    selected[positions[k]] = self._condition.holds(classes, k, example)
        except (Stopped, ParameterError):
            raise
        except Exception as error:  # the model may raise anything
            if self._make_batches_smaller(error, batch_size, metrics):
                return self.meet_condition(examples, metrics)
            if len(examples) > 1:
                middle = len(examples) // 2
                return [
                    *self.meet_condition(examples[:middle], metrics),
                    *self.meet_condition(examples[middle:], metrics),
                ]
        metrics.model_seconds += time.perf_counter() - started
        return selected

    def explain_each(
        self, examples: Sequence[Example], report: _Report = lambda _: None, metrics: Metrics | None = None
    ) -> list[Outcome]:
        """As `explain`, but the outcome of each example at its position."""
        return self.explain(examples, report, metrics).outcomes()

    def explain(
        self, examples: Sequence[Example], report: _Report = lambda _: None, metrics: Metrics | None = None
    ) -> Records:
        """The rows in the order of the examples. `report` is called after each map with the fraction of examples completed.

        An error of the model costs only the example that causes it: a batch that fails is halved until that example is alone.
        """
        completed = 0.0

        def count_and_report(fraction: float) -> None:
            nonlocal completed
            completed += fraction
            report(fraction)

        metrics = Metrics() if metrics is None else metrics
        batch_size = self._batch_size
        try:
            records = self.attempt(examples, count_and_report, metrics)
            self._note_precision(len(examples), metrics)
            return records
        except Stopped:
            raise
        except Exception as error:  # the model may raise anything
            report(-completed)
            if self._make_batches_smaller(error, batch_size, metrics):
                return self.explain(examples, report, metrics)
            if len(examples) == 1:
                report(1)
                return Records.of_failure(Failure(examples[0].id, "explain", *describe_failure(error)))
            middle, n = len(examples) // 2, len(examples)
            first, second = (self.explain(half, report, metrics) for half in (examples[:middle], examples[middle:]))
            return Records.join([(first, range(middle)), (second, range(middle, n))])

    def attempt(
        self, examples: Sequence[Example], report: _Report = lambda _: None, metrics: Metrics | None = None
    ) -> Records:
        """As `explain`, but raises the first error."""
        metrics = Metrics() if metrics is None else metrics
        groups = batch_positions(examples)
        return Records.join(
            [(self._explain_batch([examples[i] for i in group], report, metrics), group) for group in groups]
        )

    def precision_errors(self) -> dict[str, PrecisionError]:
        """By method, the difference of the first maps to those in float32; empty in float32."""
        errors = {explainer.method.id: explainer.precision_error for explainer in self.explainers}
        return {method: error for method, error in errors.items() if error is not None}

    def _note_precision(self, explained: int, metrics: Metrics) -> None:
        """Add the errors of the precision that are not yet in any metrics."""
        metrics.without_tf32 += explained if self.is_without_tf32 else 0
        with self._counts:
            for method, error in self.precision_errors().items():
                noted = self._noted.get(method, 0)
                new = [list(each) for each in zip(error.differences, error.rank_correlations, strict=True)][noted:]
                if new:
                    metrics.precision_errors[method] = metrics.precision_errors.get(method, []) + new
                    self._noted[method] = noted + len(new)

    def set_step(self, step: int) -> None:
        """Explain the model at this step of its training, with other weights, from now on."""
        self.request = dataclasses.replace(self.request, step=step)
        for explainer in self.explainers:
            explainer.forget_sample()

    def set_target(self, target: Target) -> None:
        """Explain this target from now on."""
        self.request = dataclasses.replace(self.request, target=target)

    def stored_inputs(self, examples: Sequence[Example]) -> list[Input]:
        """The examples as the store shows them, without explaining them."""
        inputs: dict[int, Input] = {}
        for positions in batch_positions(examples):
            batch = self.explainers[0].check(self.stack([examples[i] for i in positions]))
            words = self._words(batch, self._predict(batch))
            inputs |= zip(positions, self._store([examples[i] for i in positions], words), strict=True)
        return [inputs[position] for position in range(len(examples))]

    def classes(self, example: Example) -> Classes:
        """The model's classes and its answer for one example. ParameterError if class names, target or condition do not fit."""
        classes = self._classes(self._predict(self.stack([example])))
        classes.check(self.request.target)
        if self._condition is not None:
            self._condition.check(classes)
        return classes

    def map_targets(self, examples: Sequence[Example]) -> list[MapTarget]:
        """What is explained of one batch, for each map of an example."""
        classes = self._classes(self._predict(self.stack(examples)))
        return classes.choose(self.request.target, [example.label for example in self._fit_labels(examples, classes)])

    def stack(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The model's inputs `[N, ...]` by name, for examples that can be batched."""
        arrays = {}
        for spec in self.graph.inputs:
            values = [example.inputs[spec.name] for example in examples]
            arrays[spec.name] = np.stack(fill_up(values, spec.missing) if spec.is_sparse else values)
        return arrays

    def _make_batches_smaller(self, error: Exception, batch_size: int | None, metrics: Metrics) -> bool:
        """Halve all later batches if the error is that of a batch that does not fit; whether they were. `batch_size`: before it was
        computed; another thread may have halved it since."""
        if not isinstance(error, tf.errors.ResourceExhaustedError):
            return False
        with self._counts:
            if self._batch_size == batch_size:
                size = batch_size or max(explainer.batch_log.size for explainer in self.explainers)
                if size == 1:
                    return False
                self._batch_size = size // 2
        metrics.oom_retries += 1
        return True

    def _explain_batch(self, examples: Sequence[Example], report: _Report, metrics: Metrics) -> Records:
        batch = self._predict_batch(examples)
        seconds, work = batch.seconds, list[Work]()
        rows, numbers = list[Columns[Attribution]](), list[int]()
        finite = ~np.isnan(batch.predictions.outputs.reshape(len(examples), -1)).any(1)
        map_targets = batch.classes.choose(self.request.target, [example.label for example in batch.examples])
        shares = 1 / np.bincount(np.concatenate([target.rows for target in map_targets]), minlength=len(examples))
        for target in map_targets:
            of_each_method = float(shares[target.rows].sum()) / len(self.explainers)

            def report_share(share: float, of_each_method: float = of_each_method) -> None:
                report(share * of_each_method)

            of_target = self._explain_target(batch, target, report_share, metrics)
            work, seconds = work + of_target.work, seconds + of_target.seconds
            finite[target.rows] &= of_target.finite
            rows += of_target.rows
            numbers += target.rows.tolist() * len(of_target.rows)
        metrics.batch(len(examples), sum(w.evaluations for w in work), seconds)
        self.examples_to_fill = examples_to_fill(work, len(examples))
        attributions, numbers = _in_order(rows, numbers)
        if not finite.all():
            kept = np.flatnonzero(finite[numbers]).tolist()
            attributions, numbers = attributions.take(kept), [numbers[k] for k in kept]
        stored, failed = np.flatnonzero(finite).tolist(), np.flatnonzero(~finite).tolist()
        inputs = self._store([batch.examples[i] for i in stored], [batch.words[i] for i in stored])
        return Records(attributions, inputs, [_not_finite(examples[i].id) for i in failed], numbers, stored, failed)

    def _predict_batch(self, examples: Sequence[Example]) -> _Batch:
        inputs = self.explainers[0].check(self.stack(examples))  # once for all methods, targets and measures
        with self._device:
            started = time.perf_counter()
            predictions = self._predict(inputs)
            seconds = time.perf_counter() - started
        classes = self._classes(predictions)
        classes.check(self.request.target)
        fitted, words = self._fit_labels(examples, classes), self._words(inputs, predictions)
        return _Batch(fitted, inputs, predictions, classes, words, seconds)

    def _explain_target(self, batch: _Batch, target: MapTarget, report: _Report, metrics: Metrics) -> _OfTarget:
        """The rows of one map of each example that has it, by every method; `report` is called with shares of one method's work."""
        numbers, with_map = target.rows.tolist(), [batch.examples[i] for i in target.rows]
        some = batch.inputs if len(numbers) == len(batch.examples) else batch.inputs.take(target.rows)
        measures = MapMeasures(self.request, with_map, some, target.explained, self._batch_size, self._pictures)
        lengths = None
        if self.modality == "text":
            assert batch.predictions.lengths is not None
            lengths = batch.predictions.lengths[target.rows]
        rows: list[Columns[Attribution]] = []
        seconds, work, finite = 0.0, list[Work](), np.ones(len(numbers), bool)
        share_of_maps = 1 / (1 + len(self._evaluator.measures))

        def report_measures(share: float) -> None:
            if share_of_maps < 1:
                report(share * (1 - share_of_maps))

        for explainer in self.explainers:
            with self._device:
                started = time.perf_counter()
                result = explainer.run(
                    some,
                    target=target.explained,
                    batch_size=self._batch_size,
                    return_result=True,
                    encode=self._encode,
                )
                work.append(Work.of(explainer, int(result.evaluations.sum())))
                report(share_of_maps)
                columns = measures.columns(self._evaluator.of(explainer), result, report_measures)
                seconds += time.perf_counter() - started
                log = explainer.batch_log.take()  # before another thread computes
            metrics.batches_of(explainer.method.id, log.batches, log.batches_with_xla, log.halvings)
            if isinstance(result.attributions, EncodedMaps):
                maps = encoded_row_maps(result.attributions, result.score, [one.name for one in self._shown])
            else:
                by_input = maps_of_inputs(explainer, result, self._shown, with_map[0], lengths)
                maps = row_maps(by_input, result.score, explainer.submodel.cut.names)
            finite &= maps.finite
            method = explainer.method.id
            rows.append(make_rows(self.request, method, with_map, maps, result, columns, batch.classes, numbers))
        if len(rows) > 1:
            words = [batch.words[i] for i in numbers]
            disagreement = [
                find_disagreement(list(of_example), of) for *of_example, of in zip(*rows, words, strict=True)
            ]
            rows = [of_method.replace(disagreement=disagreement) for of_method in rows]
        return _OfTarget(rows, finite, work + measures.work, seconds)

    def _predict(self, inputs: dict[str, np.ndarray] | Inputs) -> Predictions:
        return self.explainers[0].predict(inputs, batch_size=self._batch_size)

    def _classes(self, predictions: Predictions) -> Classes:
        """The classes of the model; a score function has none."""
        return Classes.of(predictions, None if self.request.score else self.request.labels)

    def _fit_labels(self, examples: Sequence[Example], classes: Classes) -> Sequence[Example]:
        """The examples with labels that fit the model's output; a score function says nothing of them."""
        if self.request.score is not None:
            return examples
        labels = classes.fit_labels([example.label for example in examples])
        return [
            example if label is example.label else dataclasses.replace(example, label=label)
            for example, label in zip(examples, labels, strict=True)
        ]

    def _words(self, inputs: Inputs, predictions: Predictions) -> list[dict[str, list[str]]]:
        submodels = [explainer.submodel for explainer in self.explainers]
        vocabulary = None if self.request.vocabulary is None else dict(enumerate(self.request.vocabulary))
        return display.words_of_texts(self._shown, inputs, predictions, submodels, vocabulary, self._model_words)

    @functools.cached_property
    def _model_words(self) -> dict[str, dict[int, str]]:
        """By the name of each text the words of its token ids, where the model turns words into these."""
        return {
            name: {number: word for word, number in explainer.submodel.vocabulary(lookup).items()}
            for explainer in self.explainers
            for name, lookup in zip(explainer.submodel.cut.names, explainer.submodel.cut.explained_lookups, strict=True)
            if lookup is not None
        }

    def _store(self, examples: Sequence[Example], words: Sequence[Mapping[str, Sequence[str]]]) -> Columns[Input]:
        return display.store_examples(examples, self._shown, self.modality, self.inputs, words)


def _not_finite(example_id: str) -> Failure:
    message = "the model's output or a map is NaN or infinite for it; look at its values and at the model's weights"
    return Failure(example_id, "explain", "NotFinite", message)
