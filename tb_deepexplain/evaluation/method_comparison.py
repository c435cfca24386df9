"""Which method suits a model: explain examples by every method, measure the maps, and rank the methods."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.argument_order import check_order
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.inputs import Inputs, check_inputs
from tb_deepexplain.attribution.methods import TABLE, check_methods
from tb_deepexplain.attribution.precision import Precision, read_precision
from tb_deepexplain.attribution.targets import DEFAULT, Explained
from tb_deepexplain.errors import DeepExplainError, InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.evaluation.evaluator import Evaluator
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.measures import check_measures
from tb_deepexplain.evaluation.randomisation import parameter_randomisation
from tb_deepexplain.evaluation.ranking import DEFAULT_BUDGET, DEFAULT_MEASURES, MeasuredMethod, Ranking, rank_methods
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.score_function import ScoreFunction
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.stats.intervals import finite_or_none, mean_interval
from tb_deepexplain.user_warnings import warn

SANITY_EXAMPLES = 16  # on which a method is timed and compared with the randomised model
_WINDOWS = 14  # of occlusion, along a side of a picture


def rank(
    model: Any,
    xs: Any = None,
    *others: Any,
    target: Any = DEFAULT,
    methods: Selection | None = None,
    measures: Selection | None = None,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    inputs: str | Sequence[str] | None = None,
    output: str | None = None,
    logits: bool | None = None,
    score: ScoreFunction | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    segments: Any = None,
    jit: bool | None = None,
    background: Any = None,
    vocabulary: Sequence[str] | None = None,
    check_model: bool = True,
    check_batch: bool = True,
    precision: Precision = "float32",
) -> Ranking:
    """Attribution methods ranked by how faithful their maps of `xs` are, with what a map costs.

    `model`, `xs`, `target`, `inputs`, `output`, `logits`, `score`, `class_names`, `batch_size`, `jit`, `background`, `vocabulary`,
    `check_model`, `check_batch` and `precision` as for Explainer; `segments` as for Evaluator.run. `methods` and `measures` are
    ids, or a dict of ids and their parameters. By default all methods are compared that can explain the model with at most
    `budget` evaluations per map; Ranking.left_out says why the others cannot. Occlusion of pictures uses 14 × 14 windows unless
    it has parameters. `seed` makes the random parts repeatable.

    What a reader of all maps must know is raised as UserWarnings. Raises InputError or ParameterError, also when fewer than two methods
    are left to compare, and UnsupportedModelError if a method of `methods` or a measure cannot be used on this model.
    """
    check_order("rank(model, xs)", model, xs, others)
    checked_measures = check_measures(DEFAULT_MEASURES if measures is None else measures)
    if not checked_measures:
        raise ParameterError("measures is empty: name at least one, such as deletion")
    parameters = check_methods([method.id for method in TABLE] if methods is None else methods)
    graph = load_model(model)
    if read_precision(precision) == "float64":
        graph = graph.in_float64()
    examples = check_inputs(graph, xs)
    examples.warn()
    if not examples.n:
        raise InputError("xs holds no examples; give at least one, better 50")
    if "occlusion" in parameters and not parameters["occlusion"]:
        parameters["occlusion"] = window_parameters([array.shape[1:] for array in examples.arrays])
    options: dict[str, Any] = {
        "inputs": inputs,
        "output": output,
        "logits": logits,
        "score": score,
        "class_names": class_names,
        "jit": jit,
        "background": None if background is None else check_inputs(graph, background),
        "vocabulary": vocabulary,
        "check_model": check_model,
        "check_batch": check_batch,
        "precision": precision,
    }
    comparison = _Comparison(graph, options, examples, target, batch_size, seed)

    def prepare(method: str) -> tuple[int, Callable[[], Any]]:
        return comparison.prepare(method, parameters[method])

    selected, left_out = select_methods(parameters, prepare, budget, required=methods is not None)
    comparison.warn(selected)
    evaluator = Evaluator(comparison.explainers[selected[0]], checked_measures)
    measured = comparison.measure(selected, evaluator, segments)
    return rank_methods(measured, evaluator.measures, range(examples.n), left_out=left_out, seed=seed)


class _Comparison:
    """Explainers of several methods with the same `options`, for the same examples and targets."""

    def __init__(
        self,
        graph: ModelGraph,
        options: Mapping[str, Any],
        examples: Inputs,
        target: Any,
        batch_size: int | None,
        seed: int,
    ) -> None:
        self.explainers: dict[str, Explainer] = {}
        self._graph, self._options, self._examples = graph, options, examples
        self._target, self._batch_size, self._seed = target, batch_size, seed
        self._explained: Explained | None = None  # of all examples, by every method

    def prepare(self, method: str, parameters: Mapping[str, Any]) -> tuple[int, Callable[[], Any]]:
        """The evaluations for a map by this method, and a function that explains one example."""
        explainer = Explainer(method, self._graph, **self._options, **parameters)
        self.explainers[method] = explainer
        explainer.check(self._examples)
        if self._explained is None:
            of_shapes = explainer.for_examples(self._examples, self._batch_size)
            prepared = of_shapes.prepare(self._examples, target=self._target, batch_size=self._batch_size)
            self._explained = prepared.explained
        example, options = self._first(1)
        return explainer.cost(example), lambda: explainer.run(example, return_result=True, **options)

    def warn(self, methods: Sequence[str]) -> None:
        """A UserWarning for each sentence that a reader of any map by these methods must know."""
        of_methods = (self.explainers[m].general_warnings(self._examples, self._batch_size) for m in methods)
        for text in dict.fromkeys(itertools.chain(*of_methods)):
            warn(text)

    def measure(self, methods: Sequence[str], evaluator: Evaluator, segments: Any) -> list[MeasuredMethod]:
        """The measures of `evaluator` of the maps of all examples, by each method."""
        options: dict[str, Any] = {"batch_size": self._batch_size, "seed": self._seed}
        few, few_options = self._first(SANITY_EXAMPLES)
        chance_levels: dict[str, dict[str, Measured]] = {}  # methods with the same baseline share them
        measured = []
        for method in methods:
            explainer = self.explainers[method]
            bound_evaluator = evaluator.of(explainer)
            result = explainer.run(self._examples, target=self._explained, return_result=True, **options)
            key = bound_evaluator.parameters_digest
            if key not in chance_levels:
                chance_levels[key] = bound_evaluator.chance(self._examples, result, segments=segments, **options)
            chance = chance_levels[key]
            of_method = bound_evaluator.run(self._examples, result, segments=segments, known=chance, **options)
            seconds, sanity = time_and_check(explainer, few, seed=self._seed, **few_options)
            measured.append(
                MeasuredMethod(
                    id=explainer.method.id,
                    title=explainer.method.title,
                    values={name: value.value for name, value in of_method.items()},
                    chance={name: value.value for name, value in chance.items()},
                    evaluations=float(result.evaluations.mean()),
                    seconds=seconds,
                    sanity=sanity,
                )
            )
        return measured

    def _first(self, count: int) -> tuple[Inputs, dict[str, Any]]:
        """The first examples, and how they are explained."""
        assert self._explained is not None
        rows = np.arange(min(count, self._examples.n))
        return self._examples.take(rows), {"target": self._explained.take(rows), "batch_size": self._batch_size}


def select_methods(
    methods: Iterable[str],
    prepare: Callable[[str], tuple[int, Callable[[], Any]]],
    budget: int,
    *,
    required: bool,
) -> tuple[list[str], dict[str, str]]:
    """The methods that can explain a model within the budget, and why the others cannot.

    `prepare(method)` returns the evaluations per map and a function that explains one example; both may raise
    UnsupportedModelError, which leaves the method out, or is raised if the methods are `required`. ParameterError if fewer than
    two methods are left.
    """
    selected, left_out = [], {}
    for method in methods:
        try:
            evaluations, explain_one = prepare(method)
            if evaluations > budget:
                left_out[method] = f"{evaluations:,} evaluations per map, over the budget of {budget:,}"
                continue
            explain_one()
        except UnsupportedModelError as error:
            if required:
                raise
            left_out[method] = str(error)
            continue
        selected.append(method)
    if len(selected) < 2:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in left_out.items())
        raise ParameterError(f"fewer than two methods are left to compare{reasons and f' ({reasons})'}; name others")
    return selected, left_out


def window_parameters(shapes: Sequence[Sequence[int | None]]) -> dict[str, Any]:
    """Parameters of occlusion for examples with inputs of these shapes: windows for the only picture, none otherwise.

    Pixel by pixel, occlusion would take as many evaluations as the picture has values.
    """
    with_windows = [shape for shape in shapes if len(shape) >= 3]
    if len(with_windows) != 1 or len(with_windows[0]) != 3 or None in with_windows[0]:
        return {}
    height, width, channels = (size or 0 for size in with_windows[0])
    window = (max(1, round(height / _WINDOWS)), max(1, round(width / _WINDOWS)), channels)
    return {"window_shape": window, "step": window}


def time_and_check(explainer: Explainer, xs: Any, *, seed: int, **options: Any) -> tuple[float, float | None]:
    """Seconds per map, and the mean similarity of the maps to those of the model with random weights.

    Call it after the explainer has explained examples of this shape, so that nothing is compiled any more. None: the model has no
    weights to randomise. `options` as for Explainer.run.
    """
    started = time.perf_counter()
    result = explainer.run(xs, return_result=True, **options)
    seconds = (time.perf_counter() - started) / len(result.score)
    try:
        randomised = parameter_randomisation(explainer, xs, seed=seed, most=1, **options)
    except DeepExplainError:
        return seconds, None
    return seconds, finite_or_none(mean_interval(randomised.similarity[:, -1]).mean)
