"""Evaluator: measures bound to an explainer; checks what comes in, runs in batches, and knows what a random map would get."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batching import joined, lengths_of
from tb_deepexplain.attribution.explainer import Explainer, Given, Piece
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.evaluation.input_noise import Again
from tb_deepexplain.evaluation.measures import Measure, check_measures, find_measure
from tb_deepexplain.evaluation.perturbation import Case, Measured


class Evaluator:
    """Measures of the maps of one explainer; compiled once for each shape of example, whatever the batch.

    `measures`: names of the table, or a dict of names and their parameters. ParameterError or UnknownMethodError for what is
    wrong with them.
    """

    def __init__(self, explainer: Explainer, measures: Sequence[str] | Mapping[str, Mapping[str, Any]]) -> None:
        self._asked = check_measures(measures)
        self.measures = tuple(find_measure(name) for name in self._asked)
        self._bind(explainer)
        self._compiled: dict[Any, Any] = {}
        self._compiling = threading.Lock()

    def of(self, explainer: Explainer) -> Evaluator:
        """The same measures for another method on the same model, target and ends; what asks for scores is compiled once for
        both."""
        if explainer.explained != self.explainer.explained:
            raise ParameterError(
                f"{explainer} is not of the model, inputs and output of {self.explainer}; make an Evaluator of its own"
            )
        other = copy.copy(self)
        other._bind(explainer)  # noqa: SLF001
        return other

    def _bind(self, explainer: Explainer) -> None:
        """Take the explainer. A measure's baseline is the method's where none was given: what the map was drawn against."""
        self.explainer = explainer
        baseline = explainer.method.baseline(explainer.parameters)
        self.parameters = {}
        for measure in self.measures:
            parameters = self._asked[measure.id]
            if baseline is not None:
                parameters = measure.with_baseline(parameters, baseline)
            self.parameters[measure.id] = explainer.in_order(measure, parameters)
        self.asking = _digest(self.parameters)  # equal where the measures ask the model the same

    def run(
        self,
        xs: Any,
        result: Result | None = None,
        *,
        ys: Any = None,
        target: Any = None,
        batch_size: int | None = None,
        seed: int = 0,
        segments: Any = None,
        known: Mapping[str, Measured] | None = None,
    ) -> dict[str, Measured]:
        """What each measure says of the maps of `xs`: arrays `[N]`, curves `[N, K]` and their places `[N, K]`.

        `result` is what the explainer's `run(xs, ..., return_result=True)` gave, which is done here if it is not given. `xs`,
        `ys`, `target` and `batch_size` as there; `seed` makes measures that sample repeatable. `segments` `[N, H, W]` number
        the parts of a picture, from 0, that leave it together, in place of blocks. `known` is what `run` or `chance` answered for
        other maps of the same model, examples, targets, seed and parameters: what the model said then is not asked again. NaN:
        the measure is undefined for this map. Raises InputError, also where `known` answers another question.
        """
        if result is None:
            result = self.explainer.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
        if target is None and ys is None:
            target, ys = result.target, result.ys
        given = self.explainer.read(xs, ys=ys, target=target, batch_size=batch_size, seed=seed)
        return self._measure(given, self._maps(result.attributions, given), self.measures, segments, known or {})

    def chance(
        self,
        xs: Any,
        result: Result | None = None,
        *,
        ys: Any = None,
        target: Any = None,
        batch_size: int | None = None,
        seed: int = 0,
        segments: Any = None,
    ) -> dict[str, Measured]:
        """As `run`, of random maps: what a measure gives for nothing. Only those that ask for scores. Of `result` only the targets
        are taken."""
        if result is not None and target is None and ys is None:
            target, ys = result.target, result.ys
        given = self.explainer.read(xs, ys=ys, target=target, batch_size=batch_size, seed=seed)
        return self._measure(given, None, [m for m in self.measures if m.asks == "score"], segments, {})

    def _maps(self, attributions: Any, given: Given) -> list[np.ndarray]:
        names = self.explainer.submodel.cut.entry_names
        if isinstance(attributions, Mapping):
            attributions = [attributions[name] for name in names]
        found = [np.asarray(a) for a in (attributions if isinstance(attributions, list | tuple) else [attributions])]
        if len(found) != len(names) or any(len(a) != given.n for a in found):
            raise InputError(
                f"maps: got {len(found)} of {[a.shape for a in found]}; expected those of {given.n} examples for "
                f"{', '.join(names)}, as the explainer makes them"
            )
        return found if given.n else [np.zeros([1, *a.shape[1:]], a.dtype) for a in found]

    def _measure(
        self,
        given: Given,
        maps: list[np.ndarray] | None,  # None: random ones
        measures: Sequence[Measure],
        segments: Any,
        known: Mapping[str, Measured],
    ) -> dict[str, Measured]:
        if segments is not None:
            segments = self._segments(np.asarray(segments), given)
        asked = {m.id: self._question(m, given, segments) for m in measures}
        parts: dict[str, list[dict[str, np.ndarray]]] = {m.id: [] for m in measures}
        chunks = self.explainer.chunks(given, given.batch_size)
        for chunk in chunks:
            piece = self.explainer.enter(given, chunk)
            own = (
                _random(piece)
                if maps is None
                else [
                    _fitted(m[chunk], entry, embedded)
                    for m, entry, embedded in zip(
                        maps, piece.entries, self.explainer.submodel.cut.embedded, strict=True
                    )
                ]
            )
            beside = self._beside(given, chunk, None if segments is None else segments[chunk])
            finite = np.all([np.isfinite(m.reshape(len(m), -1)).all(1) for m in own], 0)
            for measure in measures:
                if measure.asks == "score":
                    before = self._before(measure, known, asked[measure.id]) if given.n else None
                    more = {} if before is None else {"changes": tf.constant(before[chunk], tf.float64)}
                    found = self._ask_score(measure, piece, own, beside | more, given.batch_size)
                else:
                    found = self._ask_method(measure, piece, own, beside, given.batch_size)
                parts[measure.id].append(_arrays(found, finite))
        whole = {
            name: joined([list(part.values()) for part in of_one], chunks, given.n) for name, of_one in parts.items()
        }
        return {
            name: Measured(**dict(zip(parts[name][0], found, strict=True)), asked=asked[name])
            for name, found in whole.items()
        }

    def _segments(self, segments: np.ndarray, given: Given) -> np.ndarray:
        entry = self.enter_first(given)
        expected = (given.n, *entry.shape[1:-1]) if entry.ndim > 2 else (given.n, *entry.shape[1:])
        if segments.dtype.kind not in "iu" or segments.shape != expected or segments.min(initial=0) < 0:
            raise InputError(
                f"segments: got {segments.dtype} of shape {segments.shape}, the smallest {segments.min(initial=0)}; expected whole "
                f"numbers from 0, of shape {expected}"
            )
        return segments if given.n else np.zeros([1, *expected[1:]], segments.dtype)

    def enter_first(self, given: Given) -> np.ndarray:
        """What is explained of the first input and example."""
        found: np.ndarray = self.explainer.enter(given, np.arange(1)).entries[0].numpy()
        return found

    def _question(self, measure: Measure, given: Given, segments: np.ndarray | None) -> str:
        """A digest of all that the model's answers to this measure depend on."""
        of = self.explainer.explained
        return _digest(
            of, measure.id, self.parameters[measure.id], given.raw, given.target, given.ys, given.seeds, segments
        )

    def _before(self, measure: Measure, known: Mapping[str, Measured], asked: str) -> np.ndarray | None:
        if measure.id not in known or known[measure.id].changes is None:
            return None
        if known[measure.id].asked != asked:
            raise InputError(
                f"known: what it says of {measure.id} was asked of another model, of other examples, targets or segments, or with "
                "another seed or other parameters; leave it out"
            )
        found: np.ndarray = known[measure.id].changes
        return found

    def _beside(self, given: Given, chunk: np.ndarray, segments: np.ndarray | None) -> dict[str, Any]:
        """What a Case knows besides scores and maps."""
        found: dict[str, Any] = {}
        if segments is not None:
            found["segments"] = tf.constant(segments, tf.int32)
        if any(self.explainer.submodel.cut.embedded) and not given.direct:
            ids = self.explainer.submodel.entry_token_ids([tf.constant(r[chunk]) for r in given.raw])
            read = [i is not None and i.shape.rank == 2 for i in ids]
            if any(read):
                found["lengths"] = [
                    tf.constant(lengths_of(i.numpy()), tf.int32) if known else None
                    for i, known in zip(ids, read, strict=True)
                ]
        return found

    def _ask_score(
        self, measure: Measure, piece: Piece, maps: list[np.ndarray], beside: dict[str, Any], batch_size: int
    ) -> Measured:
        shapes = self.explainer.shapes(piece.entries)
        ranks = tuple(m.ndim for m in maps)
        ys = None if piece.ys is None else piece.ys.ndim
        known = _digest(self.parameters[measure.id], sorted(beside), [of is None for of in beside.get("lengths", ())])
        key = (measure.id, shapes, ranks, piece.target is None, ys, known)
        with self._compiling:
            if key not in self._compiled:
                like = [tf.TensorSpec(shape[:rank], tf.float32) for shape, rank in zip(shapes, ranks, strict=True)]
                others = tf.nest.map_structure(
                    lambda value: None if value is None else tf.TensorSpec([None] * value.shape.rank, value.dtype),
                    beside,
                )

                def call(score: Any, maps: list[Any], beside: dict[str, Any]) -> Any:
                    found = measure.function(Case(score, maps, **beside), **self.parameters[measure.id])
                    return found._replace(evaluations=tf.fill([score.n], found.evaluations))

                self._compiled[key], _ = self.explainer.trace(call, shapes, piece, [like, others])
        beside_target = [None if a is None else tf.constant(a) for a in (piece.target, piece.ys, piece.seeds)]
        given = [tf.constant(m, tf.float32) for m in maps]
        return self._compiled[key](
            piece.entries, piece.context, *beside_target, tf.constant(batch_size, tf.int32), given, beside
        )

    def _ask_method(
        self, measure: Measure, piece: Piece, maps: list[np.ndarray], beside: dict[str, Any], batch_size: int
    ) -> Measured:
        assert piece.seeds is not None
        seeds = piece.seeds
        own = piece if self.explainer.method.sampled else piece._replace(seeds=None)

        def explain(points: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
            found, _ = self.explainer.explain_piece(own._replace(entries=[tf.constant(p) for p in points]), batch_size)
            return found.maps, found.evaluations

        lengths = beside.get("lengths", [None] * len(maps))
        embedded = self.explainer.submodel.cut.embedded
        known = [None if of is None else of.numpy() for of in lengths]
        case = Again([entry.numpy() for entry in piece.entries], maps, explain, seeds, embedded, known)
        return measure.function(case, **self.parameters[measure.id])


def evaluate(
    method: str,
    model: Any,
    xs: Any,
    measures: Sequence[str] | Mapping[str, Mapping[str, Any]],
    *,
    ys: Any = None,
    target: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
    segments: Any = None,
    **options: Any,
) -> dict[str, Measured]:
    """Measures of one method's maps of `xs`: `Evaluator(Explainer(method, model, **options), measures).run(xs, ...)`."""
    evaluator = Evaluator(Explainer(method, model, **options), measures)
    return evaluator.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, segments=segments)


def _digest(*parts: Any) -> str:
    """The same for the same values, of arrays, numbers, texts and whatever holds them."""
    found = hashlib.blake2b(digest_size=16)

    def add(part: Any) -> None:
        if isinstance(part, Mapping):
            part = sorted(part.items())
        if isinstance(part, list | tuple):
            found.update(f"{len(part)}[".encode())
            for one in part:
                add(one)
            return
        array = np.asarray(part)
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes())

    add(parts)
    return found.hexdigest()


def _fitted(maps: np.ndarray, entry: Any, embedded: bool) -> np.ndarray:
    """The maps of these examples, without what pads texts to the longest of all; ParameterError if they are of other axes."""
    if embedded and maps.ndim > 1 and maps.shape[1] > entry.shape[1]:
        maps = maps[:, : entry.shape[1]]
    if maps.shape != tuple(entry.shape[: maps.ndim]):
        raise ParameterError(
            f"maps of shape {maps.shape[1:]} do not lie on examples of shape {tuple(entry.shape[1:])}: measures need maps of "
            "all axes, or of the first ones (sampling_dims=1,2 for pictures)"
        )
    return maps


def _random(piece: Piece) -> list[np.ndarray]:
    """Maps of normal random numbers, each example's own."""
    assert piece.seeds is not None
    own = [np.random.default_rng([abs(int(seed)), int(seed < 0), 1]) for seed in piece.seeds]
    return [
        np.stack([rng.standard_normal(entry.shape[1:]) for rng in own]).astype(np.float32) for entry in piece.entries
    ]


def _arrays(found: Measured, finite: np.ndarray) -> dict[str, np.ndarray]:
    """By field, those that there are; NaN for maps that hold NaN."""
    arrays = {
        "value": np.where(finite, np.asarray(found.value), np.nan).astype(np.float32),
        "evaluations": np.asarray(found.evaluations),
    }
    if found.curve is not None:
        curve = np.where(finite[:, None], np.asarray(found.curve), np.nan).astype(np.float32)
        arrays |= {"curve": curve, "at": np.broadcast_to(np.asarray(found.at), curve.shape).astype(np.float32)}
    if found.changes is not None:
        arrays["changes"] = np.asarray(found.changes)
    return arrays


__all__ = ["Evaluator", "Measured", "evaluate"]
