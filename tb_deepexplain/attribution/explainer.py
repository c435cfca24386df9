"""Explainer and explain: bind a method to a model, check what comes in, run in batches, measure the gap."""

from __future__ import annotations

import collections
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batching import at_least_one, divide, joined, rows, track
from tb_deepexplain.attribution.diagnostics import Diagnosis
from tb_deepexplain.attribution.inputs import (
    check_batch_size,
    check_target,
    check_ys,
    not_finite,
    read_inputs,
    same_structure,
    seeds,
)
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.attribution.results import Predictions, Result
from tb_deepexplain.attribution.score import Score
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.registry.table import Row

# Points evaluated at once unless the caller says: as many as keep the numbers that the model computes near the processor.
BATCH_VALUES, SMALLEST_BATCH = 32_000_000, 8
LARGEST_BATCH = 256
LARGEST_PACK = {"CPU": 64, "GPU": 256}  # of methods that evaluate an example often, and so need no large batches
HELD_VALUES = 256_000_000  # what a method may hold besides, at worst: one gigabyte of float32


class _Found(NamedTuple):
    """What a compiled method says of N examples."""

    maps: list[Any]
    score: Any
    baseline_score: Any
    evaluations: Any
    notes: list[Any]  # [N] bool for each text


class Given(NamedTuple):
    """What is to be explained, as it was given and checked."""

    raw: list[np.ndarray]  # at least one example
    n: int  # examples
    direct: bool  # raw are values of inner tensors
    target: np.ndarray | None
    ys: np.ndarray | None
    seeds: np.ndarray | None
    batch_size: int


class Piece(NamedTuple):
    """Some examples, ready for the compiled function."""

    rows: np.ndarray  # their numbers
    entries: list[Any]
    context: list[Any]
    target: np.ndarray | None
    ys: np.ndarray | None
    seeds: np.ndarray | None


class _Compiled(NamedTuple):
    function: Any
    shape: tuple[int | None, ...]  # of the model's output
    notes: tuple[str, ...]


class Explainer:
    """One method bound to one model; compiled once for each shape of example, whatever the batch.

    `target`: a class number, `[N]` of them, "predicted" (the largest unit; a single unit is number 0 whatever it
    says), or None (the sum of all units of the output).
    `inputs`: None (the model's inputs, or the embedding where they are integers or strings), "embedding", or
    names of inputs, layers or tensors. `output`: None (the logits where they stand behind a softmax or
    sigmoid, else the output), "output" (as it is), or the name of an output, layer or tensor.
    `jit` compiles the model's evaluations with XLA: for GPUs and TPUs; slower for convolutions on a CPU.
    """

    def __init__(
        self,
        method: str,
        model: Any,
        *,
        target: Any = None,
        inputs: str | Sequence[str] | None = None,
        output: str | None = None,
        jit: bool = False,
        **params: Any,
    ) -> None:
        self.method = find_method(method)
        self.method.check(params)  # before the model is loaded, which may take a while
        self.graph = load_model(model)
        self.submodel = self.graph.submodel(inputs, output)
        self.parameters = self.method.check(self.in_order(self.method, params))
        if self.submodel.explains_softmax:
            better = self.submodel.logits_option
            warnings.warn(
                "the explained output is a softmax: its probabilities share one sum and saturate, so that evidence for one "
                f"class shows as evidence against others; output={better!r} explains the logits before it",
                stacklevel=2,
            )
        self._diagnosis = Diagnosis(self.submodel)
        own = [] if self.method.family == "perturbation" else self.submodel.custom_gradients
        self._note = own and f"the gradient written for {', '.join(own[:3])} is not used, but that of what it computes"
        self._target, self._jit = target, jit
        self._asked: dict[str, Any] = {"target": target, "inputs": inputs, "output": output, "jit": jit}
        self._compiled: dict[Any, _Compiled] = {}
        self._known_sizes: dict[Any, tuple[int, float]] = {}
        self._compiling = threading.Lock()

    @property
    def map_axes(self) -> tuple[int, ...] | None:
        """The axes of an example that a map has, the batch being axis 0; None: all of them, of texts perhaps the tokens."""
        axes = self.parameters.get(self.method.map_axes_parameter or "")
        return None if axes is None else tuple(int(axis) for axis in np.ravel(axes))

    def __repr__(self) -> str:
        return f"Explainer({self.method.id}, {self.graph})"

    def on(self, model: Any) -> Explainer:
        """The same method, with the same parameters and between the same ends, on another model of this architecture."""
        return Explainer(self.method.id, model, **self._asked, **self.parameters)

    @property
    def explained(self) -> tuple[Any, ...]:
        """What the scores depend on: equal for explainers of one model between the same ends."""
        return (self.graph.identity, self._asked["inputs"], self._asked["output"])

    def cost(self, xs: Any) -> int:
        """Model evaluations, at most, for an example with the shapes of the first of `xs`; computes no map."""
        given = self.read(xs, ys=np.zeros(len(self._read(xs)[0][0])))
        entries = self.enter(given, np.arange(1)).entries
        return self.method.cost_of(self.parameters, [tuple(e.shape[1:]) for e in entries], self.submodel.cut.embedded)

    def predict(self, xs: Any, *, batch_size: int | None = None) -> Predictions:
        """What the model says about `xs`."""
        raw, n = at_least_one(read_inputs(self.graph.inputs, xs, self.graph.has_ordered_inputs))
        size = self._batch_size(raw, False, batch_size)
        chunks = self._chunks(raw, False, size)
        parts = [
            [t.numpy() for t in self.submodel.predict([tf.constant(rows(r, chunk)) for r in raw])] for chunk in chunks
        ]
        cut, widths = self.submodel.cut, [np.full(len(p[2]), p[2].shape[-1]) for p in parts]
        outputs, final, ids, lengths = joined([[*p, w] for p, w in zip(parts, widths, strict=True)], chunks, n)
        return Predictions(
            outputs, final if cut.explains_logits else None, *((ids, lengths) if any(cut.embedded) else (None, None))
        )

    def run(
        self,
        xs: Any,
        *,
        ys: Any = None,
        target: Any = None,
        batch_size: int | None = None,
        seed: int = 0,
        progress: bool = False,
        return_result: bool = False,
    ) -> Any:
        """Attributions of `xs`, in its structure: an array, or a list, tuple or dict of arrays for several inputs.

        `ys` are weights of the output's units, elementwise, `[N, ...output]`; `target` as in the class; at most
        one of the two. `batch_size` bounds the points evaluated at once and does not change the answer; `seed`
        makes methods that sample repeatable. A dict of values of the explained inner tensors is taken as it is.
        Returns the attributions, or a Result. Raises InputError or ParameterError. What a reader of the maps must know is in
        the Result's warnings; without one it is a UserWarning.
        """
        given = self.read(xs, ys=ys, target=target, batch_size=batch_size, seed=seed if self.method.sampled else None)
        chunks = self.chunks(given, self._examples_at_once(given.raw, given.direct, given.batch_size))
        parts, notes, ranks = [], list[list[str]](), list[int]()
        for chunk in track(chunks, self.method.title if progress else None):
            piece = self.enter(given, chunk)
            found, said = self.explain_piece(piece, given.batch_size)
            ranks = [e.shape.rank for e in piece.entries]
            parts.append([*found.maps, found.score, found.baseline_score, found.evaluations])
            notes += said
        *maps, score, baseline_score, evaluations = joined(parts, chunks, given.n)
        notes = [notes[i] for i in np.argsort(np.concatenate(chunks))][: given.n]
        for i in np.flatnonzero(not_finite(given.raw)[: given.n]):
            if not any("NaN" in note for note in notes[i]):  # a ReLU may make zero of it
                notes[i].append("the input holds NaN or infinity, which the model passes over")
        if not return_result:
            _tell(notes)
            return same_structure(self.graph.inputs, xs, self.submodel.cut.entry_names, maps)
        return self._result(xs, maps, score, baseline_score, evaluations, given, notes, ranks)

    def read(
        self, xs: Any, *, ys: Any = None, target: Any = None, batch_size: int | None = None, seed: int | None = None
    ) -> Given:
        """What `run` takes, checked; each example's own seeds where a seed is given."""
        target = self._target if target is None and ys is None else target
        if ys is not None and target is not None:
            raise InputError(
                "both ys and target were given: ys weights all units of the output, target chooses one; give one of them"
            )
        raw, direct = self._read(xs)
        n = len(raw[0])
        if isinstance(target, str):
            target = self._predicted(target, xs, direct, batch_size)
        target, ys = check_target(target, n), check_ys(ys, n)
        raw, _ = at_least_one(raw)
        own = None if seed is None else seeds(raw, seed)
        return Given(raw, n, direct, target, ys, own, self._batch_size(raw, direct, batch_size))

    def chunks(self, given: Given, at_once: int) -> list[np.ndarray]:
        """The numbers of the examples that are taken together."""
        return self._chunks(given.raw, given.direct, at_once)

    def enter(self, given: Given, chunk: np.ndarray) -> Piece:
        """These examples where the explanation enters the model."""
        entries, context = self._enter([tf.constant(rows(r, chunk)) for r in given.raw], given.direct, given.batch_size)
        for name, entry in zip(self.submodel.cut.entry_names, entries, strict=True):
            if not entry.shape.rank or len(entry) != len(chunk):
                raise UnsupportedModelError(
                    f"the input {name!r} has shape {tuple(entry.shape)} for {len(chunk)} examples; it needs the batch as "
                    "its first axis: choose another"
                )
        target, ys = (None if a is None else at_least_one([a])[0][0][chunk] for a in (given.target, given.ys))
        return Piece(chunk, entries, context, target, ys, None if given.seeds is None else given.seeds[chunk])

    def in_order(self, row: Row, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters, with a baseline given by name as the list in which the method takes it."""
        given, names = row.baseline(params), self.submodel.cut.entry_names
        if not isinstance(given, dict):
            return params
        if set(given) != set(names):
            raise ParameterError(f"baseline: got {', '.join(map(str, given))}; what is explained is {', '.join(names)}")
        assert row.baseline_parameter
        value = [given[name] for name in names] if len(names) > 1 else given[names[0]]
        return params | {row.baseline_parameter: value}

    def _read(self, xs: Any) -> tuple[list[np.ndarray], bool]:
        """The arrays given, and whether they are values of inner tensors instead of the model's inputs."""
        names = self.submodel.cut.entry_names
        if not isinstance(xs, dict) or set(xs) != set(names) or set(xs) == {s.name for s in self.graph.inputs}:
            return read_inputs(self.graph.inputs, xs, self.graph.has_ordered_inputs), False
        if self.submodel.cut.context:
            raise InputError(f"values of {', '.join(names)} are not enough: the model needs its other inputs too")
        arrays = read_inputs(self.submodel.entry_specs, xs)
        return arrays, True

    def _enter(self, given: list[Any], direct: bool, size: int) -> tuple[list[Any], list[Any]]:
        """What is explained and what goes with it, of examples however many; the model's head sees `size` at once."""
        if direct:
            return [tf.cast(x, spec.dtype) for x, spec in zip(given, self.submodel.entry_specs, strict=True)], []
        parts = [self.submodel.compute_entries([x[i : i + size] for x in given]) for i in range(0, len(given[0]), size)]
        if len(parts) == 1:
            return parts[0]
        entries, context = ([tf.concat(t, 0) for t in zip(*side, strict=True)] for side in zip(*parts, strict=True))
        return entries, context

    def _predicted(self, target: str, xs: Any, direct: bool, batch_size: int | None) -> np.ndarray:
        if target != "predicted":
            raise InputError(f"target={target!r}: expected a class number, an array of them, 'predicted' or None")
        if direct:
            raise InputError(
                "target='predicted' needs the model's inputs, but values of inner tensors were given; give class numbers"
            )
        predictions = self.predict(xs, batch_size=batch_size)
        outputs = predictions.outputs
        if outputs.ndim > 2:
            raise InputError(
                f"target='predicted': the output has shape {outputs.shape[1:]}, not one row of classes; give ys"
            )
        one_unit = outputs.ndim == 1 or outputs.shape[-1] == 1
        return np.zeros(len(outputs), np.int64) if one_unit else outputs.argmax(-1)

    def _chunks(self, raw: list[np.ndarray], direct: bool, size: int) -> list[np.ndarray]:
        """Which examples are taken together.

        Raw strings are grouped by length where the model pads them to the longest of a batch: what is said of one
        must not depend on its neighbours.
        """
        padded = not direct and self.submodel.cut.all_lookups and any(r.dtype == object for r in raw)
        ids = [i.numpy() for i in self.submodel.token_ids([tf.constant(r) for r in raw])] if padded else []
        return divide(len(raw[0]), size, ids)

    def _sizes(self, raw: list[np.ndarray], direct: bool) -> tuple[int, float]:
        """Numbers in one example of what is explained, and those that the model computes of it."""
        shapes = tuple(r.shape[1:] for r in raw)
        if shapes not in self._known_sizes:
            first = [tf.constant(r[:1]) for r in raw]
            entries, context = self._enter(first, direct, 1)
            values = max(1, sum(math.prod(e.shape[1:]) for e in entries))
            self._known_sizes[shapes] = values, values * self.submodel.activation_ratio(entries, context)
        return self._known_sizes[shapes]

    def _examples_at_once(self, raw: list[np.ndarray], direct: bool, batch_size: int) -> int:
        """Examples in one call: as many as evaluations in a batch; more where their work is shared out anew again and
        again, but fewer where the method holds much of each."""
        if self.method.values_per_feature is None:
            return batch_size
        copies = self.method.values_per_feature(self.method.with_defaults(self.parameters))
        values = self._sizes(raw, direct)[0] * copies
        return int(np.clip(HELD_VALUES // values, 1, max(batch_size, LARGEST_BATCH)))

    def _batch_size(self, raw: list[np.ndarray], direct: bool, asked: int | None) -> int:
        if asked is not None:
            return check_batch_size(asked)
        values, computed = self._sizes(raw, direct)
        once = self.method.family != "perturbation" and self.method.values_per_feature is None
        largest = LARGEST_BATCH if once else LARGEST_PACK["GPU" if tf.config.list_logical_devices("GPU") else "CPU"]
        return int(
            np.clip(2 ** round(math.log2(max(1, BATCH_VALUES / max(values, computed)))), SMALLEST_BATCH, largest)
        )

    def explain_piece(self, piece: Piece, batch_size: int) -> tuple[_Found, list[list[str]]]:
        """What the method finds, and what is to be said of each example."""
        _, entries, context, target, ys, own = piece
        shapes = self.shapes(entries)
        key = (shapes, target is None, None if ys is None else ys.ndim)
        with self._compiling:
            if key not in self._compiled:
                self._compiled[key] = self._compile(shapes, piece)
        compiled = self._compiled[key]
        check_target(target, None, compiled.shape)
        check_ys(ys, None, compiled.shape)
        given = [None if a is None else tf.constant(a) for a in (target, ys, own)]
        found = compiled.function(entries, context, *given, tf.constant(batch_size, tf.int32))
        found = _Found(*tf.nest.map_structure(lambda t: np.asarray(memoryview(t)), tuple(found)))  # .numpy() copies
        if any(len(f) != len(entries[0]) for f in (*found.maps, found.score, found.evaluations)):
            raise UnsupportedModelError(
                f"the output {self.submodel.cut.output!r} has {len(found.score)} rows for {len(entries[0])} examples; "
                "it needs the batch as its first axis: choose another output"
            )
        said = self._diagnosis.of(self.method.family, found.maps, found.score, entries, context, target, ys)
        for text, which in zip(compiled.notes, found.notes, strict=True):
            for i in np.flatnonzero(which):
                said[i].append(text)
        if self._note:
            for of_one in said:
                of_one.append(self._note)
        return found, said

    def shapes(self, entries: list[Any]) -> tuple[tuple[int | None, ...], ...]:
        """What the compiled function expects: texts of any length, where the model and the method take any."""
        given = self.method.baseline(self.parameters)
        baselines = given if isinstance(given, list | tuple) and len(entries) > 1 else [given]
        any_length = (
            not (self.method.fixed_length and self.method.fixed_length(self.method.with_defaults(self.parameters)))
            and all(b is None or isinstance(b, Real) for b in baselines)
            and any(spec.dtype == "string" or None in spec.shape[1:] for spec in self.graph.inputs)
        )
        return tuple(
            (None, *[None] * (len(e.shape) - 2), e.shape[-1]) if any_length and embedded else (None, *e.shape[1:])
            for e, embedded in zip(entries, self.submodel.cut.embedded, strict=True)
        )

    def _compile(self, shapes: tuple[tuple[int | None, ...], ...], piece: Piece) -> _Compiled:
        """The method as one function of (entries, context, target, ys, seeds, batch size)."""
        notes: list[str] = []

        def call(score: Score) -> Any:
            found = self.method.function(score, **self.parameters)
            notes[:] = [text for text, _ in found.notes]
            unknown = tf.fill([score.n], tf.constant(np.nan, tf.float64))
            return _Found(
                list(found.attributions),
                tf.cast(score(score.x) if found.score is None else found.score, tf.float64),
                unknown if found.baseline_score is None else tf.cast(found.baseline_score, tf.float64),
                found.evaluations,
                [tf.fill([score.n], True) if of is None else of for _, of in found.notes],
            )

        function, shape = self.trace(call, shapes, piece)
        return _Compiled(function, shape, tuple(notes))

    def trace(
        self, call: Callable[..., Any], shapes: Sequence[Sequence[int | None]], piece: Piece, more: Sequence[Any] = ()
    ) -> tuple[Any, tuple[int | None, ...]]:
        """`call(score, *more)` as one function of (entries, context, target, ys, seeds, batch size, *more) for examples like
        these, and the shape of the model's output. `shapes` are those of the entries; `more` are TensorSpecs."""
        outputs: list[tuple[int | None, ...]] = []
        of_one_unit = piece.target is not None or (
            piece.ys is not None and piece.ys[0].size == 1 and self.submodel.to_probabilities is tf.sigmoid
        )
        kinds = [entry.dtype for entry in piece.entries]

        def leave(points: list[Any], beside: list[Any], rule: Any = None) -> Any:
            output = self.submodel.compute_output(
                [tf.cast(p, kind) for p, kind in zip(points, kinds, strict=True)], beside, rule
            )
            outputs.append(tuple(output.shape))
            return output

        def bound(
            entries: list[Any], context: list[Any], target: Any, ys: Any, own: Any, batch_size: Any, *more: Any
        ) -> Any:
            score = Score(
                leave,
                # Half precision is the model's affair: sums over steps and samples would lose their small parts.
                [tf.cast(e, tf.float32) if e.dtype.size < 4 else e for e in entries],
                context=context,
                target=target,
                ys=ys,
                batch_size=batch_size,
                embeddings=self.submodel.cut.embedded,
                seeds=own,
                jit=self._jit,
                ends=self.submodel.gradient_block,
                link=self.submodel.to_probabilities if of_one_unit else None,
            )
            return call(score, *more)

        def spec(array: Any) -> Any:
            return tf.TensorSpec([None] * len(array.shape), array.dtype)

        function = tf.function(bound, autograph=False).get_concrete_function(
            [tf.TensorSpec(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)],
            [spec(c) for c in piece.context],
            None if piece.target is None else tf.TensorSpec([None], tf.int64),
            None if piece.ys is None else spec(piece.ys),
            None if piece.seeds is None else tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([], tf.int32),
            *more,
        )
        return function, outputs[0] if outputs else ()  # what asks the model for nothing has none

    def _result(
        self,
        xs: Any,
        values: list[np.ndarray],
        score: np.ndarray,
        baseline_score: np.ndarray,
        evaluations: np.ndarray,
        given: Given,
        notes: list[list[str]],
        ranks: list[int],
    ) -> Result:
        gap = np.full(len(score), np.nan)
        if self.method.sums_to:
            flat = [v.reshape(len(v), math.prod(v.shape[1:])) for v in values]
            with np.errstate(invalid="ignore"):  # a map with NaN has a gap of NaN
                gap = np.sum([f.sum(1, dtype=np.float64) for f in flat], axis=0) - (score - baseline_score)
        own = self.map_axes  # a map of other axes says nothing of tokens
        tokens = [
            v @ np.ones(v.shape[-1], v.dtype) if v.ndim == rank else v  # sooner than v.sum(-1)
            for v, rank, embedded in zip(values, ranks, self.submodel.cut.embedded, strict=True)
            if embedded and (own is None or list(own)[: rank - 2] == list(range(1, rank - 1)))
        ]
        kind = np.float64 if values[0].dtype == np.float64 else np.float32
        return Result(
            attributions=same_structure(self.graph.inputs, xs, self.submodel.cut.entry_names, values),
            tokens=tokens[0] if len(tokens) == 1 else tokens or None,
            score=score.astype(kind),
            baseline_score=baseline_score.astype(kind),
            gap=gap.astype(kind),
            target=given.target,
            evaluations=evaluations,
            warnings=notes,
            ys=given.ys,
        )


def explain(
    method: str,
    model: Any,
    xs: Any,
    *,
    ys: Any = None,
    target: Any = None,
    inputs: str | Sequence[str] | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
    return_result: bool = False,
    jit: bool = False,
    **params: Any,
) -> Any:
    """Attributions of `xs` by one method: `Explainer(method, model, ...).run(xs, ...)`. Keep an Explainer for more than one call."""
    explainer = Explainer(method, model, inputs=inputs, output=output, jit=jit, **params)
    return explainer.run(
        xs,
        ys=ys,
        target=target,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        return_result=return_result,
    )


def _tell(notes: list[list[str]]) -> None:
    """What is to be said of the maps, where no Result holds it: a UserWarning for each text."""
    for text, count in collections.Counter(text for of_one in notes for text in of_one).items():
        warnings.warn(f"{count} of {len(notes)} examples: {text}", stacklevel=3)


__all__ = ["Explainer", "Predictions", "Result", "explain"]
