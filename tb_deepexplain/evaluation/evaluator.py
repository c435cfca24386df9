"""Evaluator: run measures on the maps of an Explainer, in batches, and on random maps for the chance level."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.argument_order import order_arguments
from tb_deepexplain.attribution.batching import join_batches, token_lengths
from tb_deepexplain.attribution.digest import digest
from tb_deepexplain.attribution.examples import Batch, Examples
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.precision import in_its_precision
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.attribution.targets import DEFAULT, check_ys
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.evaluation.maps import fit_maps, random_maps, read_maps, read_segments
from tb_deepexplain.evaluation.maps_with_method import MapsWithMethod
from tb_deepexplain.evaluation.maps_with_score import MapsWithScore
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.measures import Measure, check_measures, find_measure
from tb_deepexplain.graph.submodel import Submodel
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.user_warnings import warn

Report: TypeAlias = Callable[[float], None]


class Evaluator:
    """Measures of the maps of one explainer; compiled once for each shape of example, whatever the batch size.

    `measures`: names of the table, or a dict of names and parameters. Raises ParameterError or UnknownMethodError.
    """

    def __init__(self, explainer: Explainer, measures: Selection) -> None:
        self._selection = check_measures(measures)
        self.measures = tuple(find_measure(name) for name in self._selection)
        self._bind(explainer)

    def of(self, explainer: Explainer) -> Evaluator:
        """The same measures for another method on the same model, inputs and output; compiled measures are shared."""
        if explainer.explained != self.explainer.explained:
            raise ParameterError(
                f"{explainer} explains another model, other inputs or another output than {self.explainer}; make an Evaluator "
                "of its own for it"
            )
        other = copy.copy(self)
        other._bind(explainer)  # noqa: SLF001
        return other

    def _bind(self, explainer: Explainer) -> None:
        """Take the explainer. Measures without a baseline parameter use the method's baseline, on which its maps depend."""
        self.explainer = explainer
        self._resolved: dict[
            str, tuple[dict[str, Any], str]
        ] = {}  # parameters with their baselines, and a digest of them
        baseline = explainer.method.baseline(explainer.parameters)
        self.parameters = {}
        for measure in self.measures:
            parameters = self._selection[measure.id]
            if baseline is not None:
                parameters = measure.with_baseline(parameters, baseline)
            self.parameters[measure.id] = parameters
        self.parameters_digest = digest(self.parameters)  # equal if the chance levels are

    @property
    def precision(self) -> str:
        """That of the maps, in which they are measured, too."""
        return self.explainer.precision

    @in_its_precision
    def run(
        self,
        xs: Any,
        result: Result | None = None,
        *,
        ys: Any = None,
        target: Any = DEFAULT,
        batch_size: int | None = None,
        seed: int = 0,
        segments: Any = None,
        known: Mapping[str, Measured] | None = None,
        report: Report | None = None,
    ) -> dict[str, Measured]:
        """The measures of the maps of `xs`: values `[N]`, curves `[N, K]` and their points `[N, K]`. NaN: undefined for this map.

        `xs`, `ys`, `target` and `batch_size` as for Explainer.run. `result` is what the explainer's
        `run(xs, ..., return_result=True)` returned; without it the maps are computed here. `seed` makes measures that sample
        repeatable. `segments` `[N, H, W]` number the parts of a picture, from 0, that are removed together in place of blocks.
        `known` is what `run` or `chance` returned for other maps of the same model, examples, targets, seed and parameters: its
        scores are not computed again. `report` is called after each measure of each batch with the share of the work that this was.
        Raises InputError, also if `known` does not fit.
        """
        inputs = self.explainer.check(xs)
        if (other := self._for_examples(inputs, batch_size)) is not self:
            options = {"batch_size": batch_size, "seed": seed, "segments": segments, "known": known, "report": report}
            return other.run(inputs, result, ys=ys, target=target, **options)
        if result is None:
            result = self.explainer.run(
                inputs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True
            )
            target, ys = result.explained, None
        elif target is DEFAULT and ys is None:
            target, ys = _explained(result)
        examples = self.explainer.prepare(inputs, ys=ys, target=target, batch_size=batch_size, seed=seed)
        maps = read_maps(result.attributions, self.explainer.submodel.cut.names, examples.n)
        return self._measure(examples, maps, self.measures, segments, known or {}, report)

    @in_its_precision
    def chance(
        self,
        xs: Any,
        result: Result | None = None,
        *,
        ys: Any = None,
        target: Any = DEFAULT,
        batch_size: int | None = None,
        seed: int = 0,
        segments: Any = None,
        report: Report | None = None,
    ) -> dict[str, Measured]:
        """The chance level of each measure that needs only the score: its values for random maps.

        Arguments as for `run`; only the targets of `result` are used.
        """
        inputs = self.explainer.check(xs)
        if (other := self._for_examples(inputs, batch_size)) is not self:
            options = {"batch_size": batch_size, "seed": seed, "segments": segments, "report": report}
            return other.chance(inputs, result, ys=ys, target=target, **options)
        if result is not None and target is DEFAULT and ys is None:
            target, ys = _explained(result)
        examples = self.explainer.prepare(inputs, ys=ys, target=target, batch_size=batch_size, seed=seed)
        return self._measure(examples, None, [m for m in self.measures if m.needs == "score"], segments, {}, report)

    def _for_examples(self, inputs: Inputs, batch_size: int | None) -> Evaluator:
        """This evaluator, or the same for a graph that holds for examples of these shapes."""
        explainer = self.explainer.for_examples(inputs, batch_size)
        return self if explainer is self.explainer else self.of(explainer)

    def _measure(
        self,
        examples: Examples,
        maps: list[np.ndarray] | None,  # None: random ones
        measures: Sequence[Measure],
        segments: Any,
        known: Mapping[str, Measured],
        report: Report | None,
    ) -> dict[str, Measured]:
        """In batches that are halved if they do not fit into memory."""
        completed = 0.0

        def count_and_report(share: float) -> None:
            nonlocal completed
            completed += share
            if report is not None:
                report(share)

        try:
            return self._measure_in_batches(examples, maps, measures, segments, known, count_and_report)
        except tf.errors.ResourceExhaustedError as error:
            size = examples.batch_size
            self.explainer.batch_sizes.of(examples.inputs, size).run_out(size, size, error)
            count_and_report(-completed)
        return self._measure(examples._replace(batch_size=size // 2), maps, measures, segments, known, report)

    def _measure_in_batches(
        self,
        examples: Examples,
        maps: list[np.ndarray] | None,
        measures: Sequence[Measure],
        segments: Any,
        known: Mapping[str, Measured],
        report: Report,
    ) -> dict[str, Measured]:
        if segments is not None:
            first_entry = self.explainer.batch(examples, np.arange(1), self.explainer.removal).entries[0]
            segments = read_segments(segments, examples.n, first_entry.shape[1:])
        questions = {m.id: self._question(m, examples, segments) for m in measures}
        changes = {m.id: _known_changes(m.id, known, questions[m.id]) if examples.n else None for m in measures}
        parts: dict[str, list[dict[str, np.ndarray]]] = {m.id: [] for m in measures}
        batch_rows = self.explainer.split(examples, examples.batch_size)
        for rows in batch_rows:
            batch = self.explainer.batch(examples, rows, self.explainer.removal)
            of_method = batch
            if self.explainer.removal is not self.explainer.submodel and not all(map(_removes_features, measures)):
                of_method = self.explainer.batch(examples, rows)
            values = self._maps_of(batch, None if maps is None else [m[rows] for m in maps])
            lengths = self._lengths(examples, rows)
            finite = np.all([np.isfinite(v.reshape(len(v), -1)).all(1) for v in values], 0)
            for measure in measures:
                if measure.needs == "score":
                    extras = {
                        "lengths": lengths,
                        "segments": None if segments is None else tf.constant(segments[rows], tf.int32),
                        "changes": _constant(changes[measure.id], rows),
                    }
                    extras = {name: value for name, value in extras.items() if value is not None}
                    at = batch if measure.removes_features else of_method
                    measured = self._measure_scores(measure, at, values, extras, examples.batch_size)
                else:
                    measured = self._measure_method(measure, of_method, values, lengths, examples)
                parts[measure.id].append(_as_arrays(measured, finite))
                report(len(rows) / max(1, examples.n) / len(measures))
        return {
            name: Measured(
                **dict(
                    zip(
                        batches[0],
                        join_batches([list(b.values()) for b in batches], batch_rows, examples.n),
                        strict=True,
                    )
                ),
                question=questions[name],
            )
            for name, batches in parts.items()
        }

    def _question(self, measure: Measure, examples: Examples, segments: np.ndarray | None) -> str:
        """A digest of all on which the scores of this measure depend."""
        return digest(
            self.explainer.explained,
            self.explainer.removal.cut.names,
            measure.id,
            self._resolve(measure)[1],
            examples.inputs.digest,
            examples.explained.unit,
            examples.explained.weights,
            examples.seeds,
            segments,
        )

    def _resolve(self, measure: Measure) -> tuple[dict[str, Any], str]:
        """The parameters of a measure, with a baseline for each entry tensor, and a digest of them."""
        if measure.id not in self._resolved:
            parameters = self.explainer.resolve_baseline(
                measure, self.parameters[measure.id], self._submodel_of(measure)
            )
            self._resolved[measure.id] = parameters, digest(parameters)
        return self._resolved[measure.id]

    def _submodel_of(self, measure: Measure) -> Submodel:
        return self.explainer.removal if _removes_features(measure) else self.explainer.submodel

    def _maps_of(self, batch: Batch, maps: list[np.ndarray] | None) -> list[np.ndarray]:
        """The maps of a batch, like its entries; None: random ones."""
        if maps is None:
            assert batch.seeds is not None
            return random_maps(batch.entries, batch.seeds)
        lookups = self.explainer.removal.cut.explained_lookups
        return [fit_maps(m, e, bool(lookup)) for m, e, lookup in zip(maps, batch.entries, lookups, strict=True)]

    def _embedded(self, batch: Batch, maps: list[np.ndarray]) -> list[bool]:
        """For each map, whether its last axis is that of an embedding."""
        cut = self.explainer.submodel.cut
        ranks = [batch.entries[explained.entries[0]].shape.rank for explained in cut.explained]
        lookups = cut.explained_lookups
        return [bool(lookup) and m.ndim == rank for m, lookup, rank in zip(maps, lookups, ranks, strict=True)]

    def _lengths(self, examples: Examples, rows: np.ndarray) -> list[Any] | None:
        """For each input the number of tokens of its texts `[N]`, or None; None if no input is a text whose tokens are known."""
        if examples.inputs.are_entries or not any(self.explainer.removal.cut.explained_lookups):
            return None
        ids = self.explainer.removal.explained_token_ids([tf.constant(r[rows]) for r in examples.inputs.arrays])
        is_text = [i is not None and i.shape.rank == 2 for i in ids]
        if not any(is_text):
            return None
        return [
            tf.constant(token_lengths(i.numpy()), tf.int32) if text else None
            for i, text in zip(ids, is_text, strict=True)
        ]

    def _measure_scores(
        self, measure: Measure, batch: Batch, maps: list[np.ndarray], extras: dict[str, Any], batch_size: int
    ) -> Measured:
        """One measure of a batch, by a function compiled for examples of this shape. `extras` as for MapsWithScore."""
        submodel = self._submodel_of(measure)
        ranks = tuple(m.ndim for m in maps)
        parameters, of_parameters = self._resolve(measure)
        extra_specs = tf.nest.map_structure(
            lambda value: None if value is None else tf.TensorSpec([None] * value.shape.rank, value.dtype), extras
        )

        def call(score: Any, maps: list[Any], extras: dict[str, Any]) -> Any:
            measured = measure.function(MapsWithScore(score, maps, **extras), **parameters)
            return measured._replace(evaluations=tf.fill([score.n], measured.evaluations))

        function, output_shape = self.explainer.trace(
            call,
            submodel,
            measure.baseline(parameters),
            batch,
            [[tf.TensorSpec([None] * rank, tf.float32) for rank in ranks], extra_specs],
            key=(measure.function, of_parameters, ranks, batch.signature, repr(extra_specs)),
        )
        if output_shape:  # () of a measure whose scores are known
            check_ys(batch.ys, None, output_shape if batch.target is None else output_shape[:-1])
        targets = [None if a is None else tf.constant(a) for a in (batch.target, batch.ys, batch.seeds)]
        return function(
            batch.entries,
            batch.context,
            *targets,
            tf.constant(batch_size, tf.int32),
            [tf.constant(m, tf.float32) for m in maps],
            extras,
        )

    def _measure_method(
        self, measure: Measure, batch: Batch, maps: list[np.ndarray], lengths: list[Any] | None, examples: Examples
    ) -> Measured:
        """One measure of a batch, for which its method explains other examples."""
        assert batch.seeds is not None
        seeds, size = batch.seeds, examples.batch_size
        template = batch if self.explainer.method.sampled else batch._replace(seeds=None)

        def explain(points: Sequence[np.ndarray], rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
            explained, _ = self.explainer.explain_batch(template.with_entries(points, rows), size)
            return explained.maps, explained.evaluations

        measured: Measured = measure.function(
            MapsWithMethod(
                points=[entry.numpy() for entry in batch.entries],
                values=maps,
                explain=explain,
                points_at_once=self.explainer.batch_sizes.of(examples.inputs, size).examples(size),
                seeds=seeds,
                embedded=self._embedded(batch, maps),
                lengths=[None if length is None else length.numpy() for length in lengths or [None] * len(maps)],
            ),
            **self.parameters[measure.id],
        )
        return measured


def evaluate(
    method: str,
    model: Any = None,
    xs: Any = None,
    measures: Selection = (),
    *,
    ys: Any = None,
    target: Any = DEFAULT,
    batch_size: int | None = None,
    seed: int = 0,
    segments: Any = None,
    **options: Any,
) -> dict[str, Measured]:
    """Measures of one method's maps of `xs`: `Evaluator(Explainer(method, model, **options), measures).run(xs, ...)`.

    What a reader of all maps must know is raised as UserWarnings.
    """
    method, model, xs, measures = order_arguments("evaluate(method, model, xs, measures)", method, model, xs, measures)
    if xs is None or not measures:
        raise ParameterError("xs or measures are missing: evaluate(method, model, xs, measures)")
    evaluator = Evaluator(Explainer(method, model, **options), measures)
    checked = evaluator.explainer.check(xs)
    checked.warn()
    for text in evaluator.explainer.general_warnings(checked, batch_size):
        warn(text)
    return evaluator.run(checked, ys=ys, target=target, batch_size=batch_size, seed=seed, segments=segments)


def _explained(result: Result) -> tuple[Any, Any]:
    """What a result explains, as (target, ys)."""
    return (result.target, result.ys) if result.explained is None else (result.explained, None)


def _known_changes(measure: str, known: Mapping[str, Measured], question: str) -> np.ndarray | None:
    """The falls of the score that are known for this measure; InputError if they answer another question."""
    if measure not in known or known[measure].changes is None:
        return None
    if known[measure].question != question:
        raise InputError(
            f"known: its values of {measure} are of another model, of other examples, targets or segments, or of another seed or "
            "other parameters; leave it out"
        )
    changes: np.ndarray = known[measure].changes
    return changes


def _removes_features(measure: Measure) -> bool:
    return measure.needs == "score" and measure.removes_features


def _constant(changes: np.ndarray | None, rows: np.ndarray) -> Any:
    return None if changes is None else tf.constant(changes[rows], tf.float64)


def _as_arrays(measured: Measured, finite: np.ndarray) -> dict[str, np.ndarray]:
    """The fields that are set, by name; values and curves are NaN for maps that are not `finite` `[N]`."""
    arrays = {
        "value": np.where(finite, np.asarray(measured.value), np.nan).astype(np.float32),
        "evaluations": np.asarray(measured.evaluations),
    }
    if measured.curve is not None:
        curve = np.where(finite[:, None], np.asarray(measured.curve), np.nan).astype(np.float32)
        arrays |= {"curve": curve, "at": np.broadcast_to(np.asarray(measured.at), curve.shape).astype(np.float32)}
    if measured.changes is not None:
        arrays["changes"] = np.asarray(measured.changes)
    return arrays
