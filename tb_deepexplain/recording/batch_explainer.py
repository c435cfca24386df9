"""A batch of examples in, records of the store out. For pipelines, and for models in training."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.explainer import LARGEST_BATCH, Explainer, Predictions, Result
from tb_deepexplain.errors import ParameterError, Stopped, UnsupportedModelError
from tb_deepexplain.evaluation.evaluator import Evaluator, Measured
from tb_deepexplain.evaluation.superpixels import superpixels
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording import display
from tb_deepexplain.recording.error_text import describe
from tb_deepexplain.recording.example import Example, alike
from tb_deepexplain.recording.targets import Classes, Target
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.stats.rank_correlation import disagreement
from tb_deepexplain.storage import local_copy
from tb_deepexplain.store.records import Attribution, Failure, Input, ModelInput, model_input

_Explained: TypeAlias = tuple[Input, list[Attribution]]

# Axes of a map that the page can lay over the input; whoever wants others has tb_deepexplain.explain.
DRAWN: dict[str, tuple[tuple[int, ...], ...]] = {"image": ((1, 2), (1, 2, 3)), "text": ((1,), (1, 2)), "tabular": ()}


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be explained and how; small, and sent to every worker."""

    model: str
    methods: tuple[tuple[str, dict[str, Any]], ...]  # id and the parameters given
    target: Target
    labels: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    batch_size: int | None = None
    step: int = 0
    gpus: int | None = None  # for each process; None: one, or all for a process that is alone on its machine
    alone: bool = False
    mixed_precision: bool = False
    measures: tuple[tuple[str, dict[str, Any]], ...] = ()  # id and the parameters given
    measured: float = 1.0  # share of the examples whose maps are measured
    superpixels: int | None = None  # of a picture, that measures take away; None: single pixels
    signature: str | None = None  # of a SavedModel
    output: str | None = None  # of a model with several


@dataclasses.dataclass
class Records:
    """What one or more examples add to the store."""

    attributions: list[Attribution] = dataclasses.field(default_factory=list)
    inputs: list[Input] = dataclasses.field(default_factory=list)
    errors: list[Failure] = dataclasses.field(default_factory=list)

    def __add__(self, other: Records) -> Records:
        return Records(self.attributions + other.attributions, self.inputs + other.inputs, self.errors + other.errors)


class BatchExplainer:
    """A model and its explainers, ready for batches of any size."""

    def __init__(self, request: Request, graph: ModelGraph | None = None) -> None:
        """`graph`: the request's model, where it is loaded already."""
        self.request = request
        if graph is None:
            with local_copy(request.model) as model:
                graph = load_model(model, signature=request.signature)
        self.graph = graph if request.output is None else graph.with_output(request.output)
        self._points = request.batch_size  # evaluated at once; None: as many as the method chooses
        self.names = tuple(spec.name for spec in self.graph.inputs)
        self.modality = _kind(self.graph)
        self.explainers = [Explainer(name, self.graph, **given) for name, given in request.methods]
        self._evaluator = Evaluator(self.explainers[0], dict(request.measures))
        if request.superpixels and self.modality != "image":
            raise ParameterError(
                f"superpixels are parts of pictures; the model takes {'; '.join(map(str, self.graph.inputs))}"
            )
        for explainer in self.explainers:
            axes = explainer.map_axes
            if axes is not None and axes not in DRAWN[self.modality]:
                method = explainer.method
                raise ParameterError(
                    f"{method.id}: {method.map_axes_parameter}={','.join(map(str, axes))} makes maps that cannot be shown on "
                    f"{self.modality} inputs; expected {' or '.join(','.join(map(str, d)) for d in DRAWN[self.modality]) or 'none'}"
                )

    @property
    def inputs(self) -> list[ModelInput]:
        """The model's inputs, sizes that differ between examples None."""
        return [model_input(spec.name, spec.dtype, spec.shape[1:], self.modality) for spec in self.graph.inputs]

    def explain(
        self,
        examples: Sequence[Example],
        done: Callable[[float], None] = lambda _: None,
        metrics: Metrics | None = None,
    ) -> Records:
        """The records in the order of the examples; `done` hears after every map which share of an example is behind.

        Whatever makes the model fail costs only the example that causes it: a batch that fails is halved until
        the culprits are alone.
        """
        behind = 0.0

        def hear(share: float) -> None:
            nonlocal behind
            behind += share
            done(share)

        metrics = Metrics() if metrics is None else metrics
        try:
            return self.attempt(examples, hear, metrics)
        except Stopped:
            raise
        except Exception as error:  # the model may raise anything
            done(-behind)
            if isinstance(error, tf.errors.ResourceExhaustedError) and self._points != 1:
                self._points = max(1, (self._points or LARGEST_BATCH) // 2)  # from now on
                metrics.oom_retries += 1
                return self.explain(examples, done, metrics)
            if len(examples) == 1:
                done(1)
                return Records(errors=[Failure(examples[0].id, "explain", *describe(error))])
            middle = len(examples) // 2
            return self.explain(examples[:middle], done, metrics) + self.explain(examples[middle:], done, metrics)

    def attempt(
        self,
        examples: Sequence[Example],
        done: Callable[[float], None] = lambda _: None,
        metrics: Metrics | None = None,
    ) -> Records:
        """As `explain`, but the first error is raised."""
        metrics = Metrics() if metrics is None else metrics
        found: list[_Explained | Failure | None] = [None] * len(examples)
        for members in alike(examples):
            outcomes = self._explain_alike([examples[i] for i in members], done, metrics)
            for i, outcome in zip(members, outcomes, strict=True):
                found[i] = outcome
        pairs = [outcome for outcome in found if isinstance(outcome, tuple)]
        failures = [outcome for outcome in found if isinstance(outcome, Failure)]
        return Records([row for _, rows in pairs for row in rows], [shown for shown, _ in pairs], failures)

    def at(self, step: int) -> None:
        """What is explained from now on is the model at this step of its training."""
        self.request = dataclasses.replace(self.request, step=step)

    def aim(self, target: Target) -> None:
        """What is explained from now on."""
        self.request = dataclasses.replace(self.request, target=target)

    def show(self, examples: Sequence[Example]) -> list[Input]:
        """The examples as a person sees them; nothing is explained."""
        found: dict[int, Input] = {}
        for members in alike(examples):
            some = [examples[i] for i in members]
            predictions = self._predict(self.stack(some))
            found |= {
                i: self._show(example, k, predictions) for k, (i, example) in enumerate(zip(members, some, strict=True))
            }
        return [found[i] for i in range(len(examples))]

    def classes(self, example: Example) -> Classes:
        """What the model says of one example; InputError or ParameterError if labels or target do not fit it."""
        classes = Classes.of(self._predict(self.stack([example])), self.request.labels)
        classes.check(self.request.target)
        return classes

    def asked(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """What is explained of examples that are alike, as `Explainer.run` takes it: once for each map."""
        classes = Classes.of(self._predict(self.stack(examples)), self.request.labels)
        chosen = classes.choose(self.request.target, [example.label for example in examples])
        return [classes.weights(targets) for targets in chosen]

    def _explain_alike(
        self, examples: Sequence[Example], done: Callable[[float], None], metrics: Metrics
    ) -> list[_Explained | Failure]:
        xs = self.stack(examples)
        started = time.perf_counter()
        predictions = self._predict(xs)
        seconds = time.perf_counter() - started
        classes = Classes.of(predictions, self.request.labels)
        classes.check(self.request.target)
        rows: list[list[Attribution]] = [[] for _ in examples]
        chosen = classes.choose(self.request.target, [example.label for example in examples])
        evaluations = 0
        for targets in chosen:
            measuring = _Measuring(self.request, examples, xs, classes.weights(targets), self._points)
            for explainer in self.explainers:
                started = time.perf_counter()
                result = explainer.run(xs, batch_size=self._points, return_result=True, **classes.weights(targets))
                measured = measuring.run(self._evaluator.of(explainer), result)
                seconds += time.perf_counter() - started
                evaluations += int(result.evaluations.sum())
                maps = self._maps(result, predictions.lengths)
                for i, example in enumerate(examples):
                    target = None if targets is None else int(targets[i])
                    row = self._row(explainer.method.id, example, i, maps[i], result, classes, target)
                    rows[i].append(dataclasses.replace(row, measures=measured.get(i, {})))
                done(len(examples) / (len(self.explainers) * len(chosen)))
            evaluations += measuring.evaluations
            if len(self.explainers) > 1:
                for own in rows:
                    new = len(self.explainers)  # the maps of this target
                    apart = disagreement([row.values for row in own[-new:]])
                    own[-new:] = [dataclasses.replace(row, disagreement=apart) for row in own[-new:]]
        metrics.batch(len(examples), evaluations, seconds)
        silent = np.isnan(predictions.outputs.reshape(len(examples), -1)).any(1)  # no class is predicted from these
        return [
            _not_finite(example.id)
            if silent[i] or not all(_is_finite(row) for row in rows[i])
            else (self._show(example, i, predictions), rows[i])
            for i, example in enumerate(examples)
        ]

    def stack(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The model's inputs for examples that are alike."""
        return {name: np.stack([example.inputs[name] for example in examples]) for name in self.names}

    def _predict(self, xs: dict[str, np.ndarray]) -> Predictions:
        return self.explainers[0].predict(xs, batch_size=self._points)

    def _maps(self, result: Result, lengths: np.ndarray | None) -> list[np.ndarray]:
        """One map for each example: [H, W, C], token sums [T], or all features [F]."""
        if self.modality == "text":
            if not isinstance(result.tokens, np.ndarray) or result.tokens.ndim != 2:
                raise UnsupportedModelError(
                    "the model looks up more than one embedding; the store holds one map of tokens for each example"
                )
            assert lengths is not None
            return [tokens[:length] for tokens, length in zip(result.tokens, lengths, strict=True)]
        values = [np.asarray(result.attributions[name]) for name in self.names]
        return list(values[0] if len(values) == 1 else np.concatenate([v.reshape(len(v), -1) for v in values], 1))

    def _row(
        self,
        method: str,
        example: Example,
        i: int,
        values: np.ndarray,
        result: Result,
        classes: Classes,
        target: int | None,
    ) -> Attribution:
        several = self.modality == "tabular" and len(self.names) > 1
        return Attribution(
            parts=[{"input": n, "shape": list(example.inputs[n].shape)} for n in self.names] if several else None,
            example_id=example.id,
            method=method,
            values=values,
            target=target,
            target_label=self._label(target),
            label=example.label,
            label_name=self._label(example.label),
            predicted=None if classes.predicted is None else int(classes.predicted[i]),
            score=_number(result.score[i]),
            probability=classes.probability(i, target),
            baseline_score=_number(result.baseline_score[i]),
            gap=_number(result.gap[i]),
            margin=classes.margin(i),
            loss=classes.loss(i, example.label),
            evaluations=int(result.evaluations[i]),
            step=self.request.step,
            warnings=result.warnings[i],
        )

    def _label(self, number: int | None) -> str | None:
        labels = self.request.labels
        return labels[number] if labels and number is not None and 0 <= number < len(labels) else None

    def _show(self, example: Example, i: int, predictions: Predictions) -> Input:
        inputs = [
            model_input(spec.name, spec.dtype, example.inputs[spec.name].shape, self.modality)
            for spec in self.graph.inputs
        ]
        if self.modality == "image":
            return display.picture(example, inputs)
        if self.modality == "tabular":
            return display.numbers(example, inputs)
        assert predictions.token_ids is not None and predictions.lengths is not None
        ids = predictions.token_ids[i][: predictions.lengths[i]]
        tokens = display.words(ids, self.request.vocabulary)
        return display.text(example, tokens, inputs)


class _Measuring:
    """The measures of a batch's maps for one choice of targets; random maps, which know no method, are measured once."""

    def __init__(
        self,
        request: Request,
        examples: Sequence[Example],
        xs: dict[str, np.ndarray],
        asked: dict[str, Any],  # targets or weights
        points: int | None,
    ) -> None:
        chosen = [i for i, e in enumerate(examples) if request.measures and _chance(e.id) < request.measured]
        self._rows = np.array(chosen, np.int64)
        self._xs = {name: x[self._rows] for name, x in xs.items()}
        self._asked: dict[str, Any] = {
            name: None if given is None else given[self._rows] for name, given in asked.items()
        }
        segments = superpixels(next(iter(self._xs.values())), request.superpixels) if request.superpixels else None
        self._asked |= {"batch_size": points, "segments": segments}
        self._random: dict[
            str, dict[str, Measured]
        ] = {}  # by what the measures ask: methods may have baselines of their own
        self.evaluations = 0

    def run(self, evaluator: Evaluator, result: Result) -> dict[int, dict[str, Any]]:
        """The columns of each example's map that is measured."""
        if not len(self._rows):
            return {}
        if evaluator.asking not in self._random:
            self._random[evaluator.asking] = evaluator.chance(self._xs, **self._asked)
            self._count(self._random[evaluator.asking])
        random = self._random[evaluator.asking]
        own = dataclasses.replace(
            result, attributions={name: np.asarray(values)[self._rows] for name, values in result.attributions.items()}
        )
        found = evaluator.run(self._xs, own, known=random, **self._asked)
        self._count(found)
        rows: dict[int, dict[str, Any]] = {}
        for k, i in enumerate(self._rows):
            for name, measured in found.items():
                row = rows.setdefault(int(i), {})
                row |= _columns(name, "", measured, k)
                if name in random:
                    row |= _columns(name, "_random", random[name], k)
        return rows

    def _count(self, found: dict[str, Measured]) -> None:
        self.evaluations += sum(int(measured.evaluations.sum()) for measured in found.values())


def _columns(name: str, kind: str, measured: Measured, k: int) -> dict[str, Any]:
    """As `record.measure_fields` and `record.curve_fields` have them."""
    found: dict[str, Any] = {f"{name}{kind}": _number(measured.value[k])}
    if measured.curve is not None:
        found[f"{name}{kind}_curve"], found[f"{name}_at"] = measured.curve[k], measured.at[k]
    return found


def _chance(example_id: str) -> float:
    """A number in [0, 1) that an example always has."""
    return int.from_bytes(hashlib.blake2b(example_id.encode(), digest_size=4).digest(), "little") / 2**32


def _kind(graph: ModelGraph) -> str:
    """image, text or tabular: what the store shows for the model's inputs."""
    specs, cut = graph.inputs, graph.submodel().cut
    ids = {
        name for name, embedded in zip(cut.entry_names, cut.embedded, strict=True) if embedded
    }  # Keras 2 has them in floats
    floats = [spec for spec in specs if spec.is_float and spec.name not in ids]
    if not floats:
        return "text"
    if len(floats) == len(specs) == 1 and len(specs[0].shape) == 4:
        return "image"
    if len(floats) == len(specs) and all(len(spec.shape) < 4 for spec in specs):
        return "tabular"
    raise UnsupportedModelError(
        f"the model takes {'; '.join(map(str, specs))}; the pipeline explains one picture, one text, or any number of "
        "numeric inputs for each example: explain this model with tb_deepexplain.explain"
    )


def _is_finite(row: Attribution) -> bool:
    return row.score is not None and math.isfinite(row.score) and bool(np.isfinite(row.values).all())


def _not_finite(example_id: str) -> Failure:
    why = "the model's output or a map is NaN or infinite for it; look at its values and at the model's weights"
    return Failure(example_id, "explain", "NotFinite", why)


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
