"""A batch of examples in, rows of the store out: for pipelines, and for models in training."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batch_sizes import LARGEST_BATCH
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.results import Predictions, Result
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import ParameterError, Stopped
from tb_deepexplain.evaluation.evaluator import Evaluator
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording import display
from tb_deepexplain.recording.example import Example, batch_positions
from tb_deepexplain.recording.example_condition import ExampleCondition
from tb_deepexplain.recording.map_measures import MapMeasures
from tb_deepexplain.recording.modality import MAP_AXES, find_modality, find_shown_inputs
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.request import Request, select_explained
from tb_deepexplain.recording.targets import Classes, Label, MapTarget, Target
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.stats.intervals import finite_or_none
from tb_deepexplain.stats.rank_correlation import disagreement
from tb_deepexplain.store.records import REGION, Attribution, Failure, Input, ModelInput, Part, model_input, split_map

_Explained: TypeAlias = tuple[Input, list[Attribution]]
_Report: TypeAlias = Callable[[float], None]


@dataclasses.dataclass
class Records:
    """The rows that one or more examples add to the store."""

    attributions: list[Attribution] = dataclasses.field(default_factory=list)
    inputs: list[Input] = dataclasses.field(default_factory=list)
    errors: list[Failure] = dataclasses.field(default_factory=list)

    def __add__(self, other: Records) -> Records:
        return Records(self.attributions + other.attributions, self.inputs + other.inputs, self.errors + other.errors)


class BatchExplainer:
    """A loaded model and the explainers of a request, ready for batches of any size."""

    def __init__(
        self, request: Request, graph: ModelGraph | None = None, score: Callable[..., Any] | None = None
    ) -> None:
        """`graph`: the request's model, if it is loaded already. `score`: the request's score function, if it is at hand."""
        self.request = request
        if graph is None:
            graph = load_requested_model(request.model, request.signature, request.custom_objects)
        self.graph = select_explained(graph, request.output, score or request.score, request.logits)
        self._batch_size = request.batch_size  # of evaluations; None: as many as the method chooses
        self.names = tuple(spec.name for spec in self.graph.inputs)
        logits = request.logits if request.score is None else False
        self.explainers = [
            Explainer(
                name,
                self.graph,
                inputs=request.inputs,
                logits=logits,
                vocabulary=request.vocabulary,
                check_model=request.check_model,
                check_batch=request.check_batch,
                **parameters,
            )
            for name, parameters in request.methods
        ]
        self._shown = find_shown_inputs([explainer.submodel for explainer in self.explainers])
        self.modality = find_modality(self._shown)
        self._condition = None if request.only is None else ExampleCondition(request.only, request.labels)
        self._evaluator = Evaluator(self.explainers[0], dict(request.measures))
        self._pictures = self._find_pictures() if request.superpixels else 0
        for explainer in self.explainers:
            self._check_map_axes(explainer)

    @property
    def inputs(self) -> list[ModelInput]:
        """The model's inputs; sizes that differ between examples are None."""
        modalities = {one.spec.name: one.modality for one in self._shown if one.spec}
        return [
            model_input(spec.name, spec.dtype, spec.shape[1:], modalities.get(spec.name, "tabular"))
            for spec in self.graph.inputs
        ]

    @property
    def shown_input(self) -> str:
        """The name of the first of the model's inputs that is shown."""
        return next((one.spec.name for one in self._shown if one.spec), self.names[0])

    def meet_condition(self, examples: Sequence[Example], metrics: Metrics) -> list[bool]:
        """Which of the examples the request's condition selects. One that the model fails for is selected: explaining it
        tells why. ParameterError if the condition is on what the model does not predict."""
        if self._condition is None:
            return [True] * len(examples)
        started, selected = time.perf_counter(), [True] * len(examples)
        try:
            for positions in batch_positions(examples):
                batch = [examples[i] for i in positions]
                classes = self._classes(self._predict(self.stack(batch)))
                self._condition.check(classes)
                for k, example in enumerate(self._fit_labels(batch, classes)):
                    selected[positions[k]] = self._condition.holds(classes, k, example)
        except (Stopped, ParameterError):
            raise
        except Exception as error:  # the model may raise anything
            if self._make_batches_smaller(error, metrics):
                return self.meet_condition(examples, metrics)
            if len(examples) > 1:
                middle = len(examples) // 2
                return [
                    *self.meet_condition(examples[:middle], metrics),
                    *self.meet_condition(examples[middle:], metrics),
                ]
        metrics.model_seconds += time.perf_counter() - started
        return selected

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
        try:
            return self.attempt(examples, count_and_report, metrics)
        except Stopped:
            raise
        except Exception as error:  # the model may raise anything
            report(-completed)
            if self._make_batches_smaller(error, metrics):
                return self.explain(examples, report, metrics)
            if len(examples) == 1:
                report(1)
                return Records(errors=[Failure(examples[0].id, "explain", *describe_failure(error))])
            middle = len(examples) // 2
            return self.explain(examples[:middle], report, metrics) + self.explain(examples[middle:], report, metrics)

    def attempt(
        self, examples: Sequence[Example], report: _Report = lambda _: None, metrics: Metrics | None = None
    ) -> Records:
        """As `explain`, but raises the first error."""
        metrics = Metrics() if metrics is None else metrics
        outcomes: list[_Explained | Failure | None] = [None] * len(examples)
        for positions in batch_positions(examples):
            batch = self._explain_batch([examples[i] for i in positions], report, metrics)
            for position, outcome in zip(positions, batch, strict=True):
                outcomes[position] = outcome
        explained = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        return Records([row for _, rows in explained for row in rows], [row for row, _ in explained], failures)

    def set_step(self, step: int) -> None:
        """Explain the model at this step of its training from now on."""
        self.request = dataclasses.replace(self.request, step=step)

    def set_target(self, target: Target) -> None:
        """Explain this target from now on."""
        self.request = dataclasses.replace(self.request, target=target)

    def stored_inputs(self, examples: Sequence[Example]) -> list[Input]:
        """The examples as the store shows them, without explaining them."""
        inputs: dict[int, Input] = {}
        for positions in batch_positions(examples):
            batch = self.explainers[0].check(self.stack([examples[i] for i in positions]))
            words = self._words(batch, self._predict(batch))
            for k, position in enumerate(positions):
                inputs[position] = self._stored_input(examples[position], k, words)
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
        return classes.choose(self.request.target, [example.label for example in examples])

    def stack(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The model's inputs `[N, ...]` by name, for examples that can be batched."""
        return {name: np.stack([example.inputs[name] for example in examples]) for name in self.names}

    def _make_batches_smaller(self, error: Exception, metrics: Metrics) -> bool:
        """Halve all later batches if the error is that of a batch that does not fit; whether they were."""
        if not isinstance(error, tf.errors.ResourceExhaustedError) or self._batch_size == 1:
            return False
        self._batch_size = max(1, (self._batch_size or LARGEST_BATCH) // 2)
        metrics.oom_retries += 1
        return True

    def _find_pictures(self) -> int:
        """The number of the input whose pictures are divided into superpixels; ParameterError if there is none."""
        if self.modality != "image":
            raise ParameterError(
                f"superpixels are parts of pictures; the model takes {'; '.join(map(str, self.graph.inputs))}"
            )
        spec = self._shown[0].spec
        if spec is None or spec.dtype == "string":
            raise ParameterError(f"superpixels: the model decodes its pictures ({spec}) itself; leave superpixels out")
        return self.graph.inputs.index(spec)

    def _check_map_axes(self, explainer: Explainer) -> None:
        axes, method = explainer.map_axes, explainer.method
        if axes is not None and axes not in MAP_AXES[self.modality]:
            expected = " or ".join(",".join(map(str, axes)) for axes in MAP_AXES[self.modality]) or "none"
            raise ParameterError(
                f"{method.id}: {method.map_axes_parameter}={','.join(map(str, axes))} makes maps that cannot be shown on "
                f"{self.modality} inputs; expected {expected}"
            )

    def _explain_batch(
        self, examples: Sequence[Example], report: _Report, metrics: Metrics
    ) -> list[_Explained | Failure]:
        inputs = self.explainers[0].check(self.stack(examples))  # once for all methods, targets and measures
        started = time.perf_counter()
        predictions = self._predict(inputs)
        seconds = time.perf_counter() - started
        classes = self._classes(predictions)
        classes.check(self.request.target)
        examples = self._fit_labels(examples, classes)
        words = self._words(inputs, predictions)
        rows: list[list[Attribution]] = [[] for _ in examples]
        map_targets = classes.choose(self.request.target, [example.label for example in examples])
        shares = 1 / np.bincount(np.concatenate([t.rows for t in map_targets]), minlength=len(examples))
        evaluations = 0
        for target in map_targets:
            numbers, with_map = target.rows.tolist(), [examples[i] for i in target.rows]
            some = inputs if len(numbers) == len(examples) else inputs.take(target.rows)
            measures = MapMeasures(self.request, with_map, some, target.explained, self._batch_size, self._pictures)
            rows_of_target: list[list[Attribution]] = [[] for _ in numbers]
            lengths = None if predictions.lengths is None else predictions.lengths[target.rows]
            for explainer in self.explainers:
                started = time.perf_counter()
                result = explainer.run(some, target=target.explained, batch_size=self._batch_size, return_result=True)
                columns = measures.columns(self._evaluator.of(explainer), result)
                seconds += time.perf_counter() - started
                evaluations += int(result.evaluations.sum())
                maps = self._maps(explainer, result, lengths, with_map[0])
                for k, i in enumerate(numbers):
                    row = self._row(explainer.method.id, examples[i], [one[k] for one in maps], result, k, classes, i)
                    rows_of_target[k].append(dataclasses.replace(row, measures=columns.get(k, {})))
                report(float(shares[target.rows].sum()) / len(self.explainers))
            evaluations += measures.evaluations
            for i, new_rows in zip(numbers, rows_of_target, strict=True):
                rows[i] += _with_disagreement(new_rows, {name: of_texts[i] for name, of_texts in words.items()})
        metrics.batch(len(examples), evaluations, seconds)
        no_prediction = np.isnan(predictions.outputs.reshape(len(examples), -1)).any(1)
        return [
            _not_finite(example.id)
            if no_prediction[i] or not all(self._is_finite(row) for row in rows[i])
            else (self._stored_input(example, i, words), rows[i])
            for i, example in enumerate(examples)
        ]

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

    def _maps(
        self, explainer: Explainer, result: Result, lengths: np.ndarray | None, example: Example
    ) -> list[Sequence[np.ndarray]]:
        """For each shown input a map of every example: [H, W, C], sums for tokens [T], or of the input's shape; NaN where the
        method cannot explain the input, which its warnings say. `example` is one of them."""
        cut = explainer.submodel.cut
        texts = [name for name, lookup in zip(cut.names, cut.explained_lookups, strict=True) if lookup]
        tokens = result.tokens if isinstance(result.tokens, list) else [result.tokens]
        of_texts = dict(zip(texts, tokens, strict=True)) if texts else {}
        maps: list[Sequence[np.ndarray]] = []
        for one in self._shown:
            if one.name in of_texts:
                values = of_texts[one.name]
                if self.modality == "text":
                    assert lengths is not None
                    maps.append([row[:length] for row, length in zip(values, lengths, strict=True)])
                    continue
            elif one.name in cut.names:
                values = np.asarray(result.attributions[one.name])
            else:
                assert one.spec
                shape = () if one.is_one_value else np.shape(example.inputs[one.spec.name])
                values = np.full((len(result.score), *shape), np.nan, np.float32)
            maps.append(values)
        return maps

    def _row(
        self, method: str, example: Example, maps: list[np.ndarray], result: Result, k: int, classes: Classes, i: int
    ) -> Attribution:
        """The row of map k of a result, for example i of the batch, from the map of each shown input."""
        parts: list[Part] = [
            {"input": one.name, "shape": list(values.shape)} for one, values in zip(self._shown, maps, strict=True)
        ]
        has_parts = len(parts) > 1
        position = None if result.target is None else np.atleast_1d(result.target[k]).tolist()
        target = None if position is None else int(position[-1])
        is_region = result.positions is not None
        return Attribution(
            example_id=example.id,
            method=method,
            values=np.concatenate([np.ravel(values) for values in maps]) if has_parts else maps[0],
            target=target,
            target_label=self._class_name(target),
            target_index=None if is_region else position,
            score_function=REGION if is_region else self.request.score,
            label=example.single_label,
            label_name=self._label_name(example.label),
            predicted=classes.predicted_class(i, position),
            score=finite_or_none(result.score[k]),
            probability=classes.probability(i, position),
            baseline_score=finite_or_none(result.baseline_score[k]),
            gap=finite_or_none(result.gap[k]),
            margin=classes.margin(i),
            loss=classes.loss(i, example.label),
            evaluations=int(result.evaluations[k]),
            step=self.request.step,
            warnings=result.warnings[k],
            parts=parts if has_parts else None,
            extras=classes.describe_labels(i, target, example.label),
        )

    def _label_name(self, label: Label) -> str | None:
        """The name of the true class, the names of several, or a quantity as text."""
        if isinstance(label, float):
            return f"{label:.6g}"
        if label is None or isinstance(label, int):
            return self._class_name(label)
        return ", ".join(self._class_name(number) or str(number) for number in label) or None

    def _class_name(self, number: int | None) -> str | None:
        labels = self.request.labels
        return labels[number] if labels and number is not None and 0 <= number < len(labels) else None

    def _words(self, inputs: Inputs, predictions: Predictions) -> dict[str, list[list[str]]]:
        """The words of every example, one for each value of a map, of each shown text by its name."""
        if self.modality == "text":
            assert predictions.token_ids is not None and predictions.lengths is not None
            rows = [ids[:length] for ids, length in zip(predictions.token_ids, predictions.lengths, strict=True)]
            return {self._shown[0].name: [display.words(ids, self.request.vocabulary) for ids in rows]}
        texts = [one.name for one in self._shown if one.modality == "text"]
        if not texts:
            return {}
        looked_up: dict[str, tuple[np.ndarray, int]] = {}
        for explainer in self.explainers:
            if not set(texts) <= looked_up.keys():
                looked_up |= explainer.submodel.looked_up([tf.constant(array) for array in inputs.arrays])
        # A vocabulary is that of the largest embedding; the others have segments or positions, say.
        largest = max(texts, key=lambda name: looked_up[name][1])
        return {
            name: [
                display.words(ids, self.request.vocabulary if name == largest else None) for ids in looked_up[name][0]
            ]
            for name in texts
        }

    def _stored_input(self, example: Example, i: int, words: dict[str, list[list[str]]]) -> Input:
        with_one_value = {one.spec.name for one in self._shown if one.spec and one.is_one_value}
        inputs: list[ModelInput] = []
        for one in self.inputs:
            shape = () if one["name"] in with_one_value else np.shape(example.inputs[one["name"]])
            inputs.append({**one, "shape": list(shape), "axes": one["axes"] if shape else []})
        parts = [display.show(example, one, words[one.name][i] if one.name in words else None) for one in self._shown]
        if self.modality == "mixed":
            return Input(example.id, "mixed", label=example.single_label, inputs=inputs, parts=parts)
        if self.modality == "tabular":
            return display.join_tables(example, self._shown, parts)
        return display.alone(example, parts[0], inputs)

    def _is_finite(self, row: Attribution) -> bool:
        """As `is_finite`, but for the inputs that the method cannot explain, which have no numbers."""
        explainer = next(explainer for explainer in self.explainers if explainer.method.id == row.method)
        if row.parts is None or {part["input"] for part in row.parts} <= set(explainer.submodel.cut.names):
            return is_finite(row)
        explained = [
            values for name, values in split_map(row.values, row.parts).items() if name in explainer.submodel.cut.names
        ]
        return is_finite(dataclasses.replace(row, values=np.concatenate([np.ravel(values) for values in explained])))


def is_finite(row: Attribution) -> bool:
    """Whether a row's score and every value of its map are finite."""
    return row.score is not None and math.isfinite(row.score) and bool(np.isfinite(row.values).all())


def _with_disagreement(rows: list[Attribution], words: Mapping[str, Sequence[str]]) -> list[Attribution]:
    """The rows of one example and target by several methods, with the disagreement of their maps; a single row unchanged.

    `words` are those of each text, "" for padding. Inputs that a method cannot explain, which are NaN, are left out.
    """
    if len(rows) < 2:
        return rows
    maps = [split_map(row.values, row.parts) if row.parts else {"": row.values} for row in rows]
    names = [name for name in maps[0] if not any(np.isnan(by_input[name]).all() for by_input in maps)]
    is_word = {name: np.array([word != "" for word in words[name]]) for name in names if name in words}
    compared = [[one[name][is_word[name]] if name in is_word else one[name] for name in names] for one in maps]
    value = disagreement(compared) if names else None
    return [dataclasses.replace(row, disagreement=value) for row in rows]


def _not_finite(example_id: str) -> Failure:
    message = "the model's output or a map is NaN or infinite for it; look at its values and at the model's weights"
    return Failure(example_id, "explain", "NotFinite", message)
