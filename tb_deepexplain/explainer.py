"""Explainer and explain: bind a method to a model, check what comes in, run in batches, measure the gap."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.arrays import check_batch_size, check_target, check_ys, read_inputs, same_structure
from tb_deepexplain.errors import InputError, UnsupportedModelError
from tb_deepexplain.graph.load import load_model
from tb_deepexplain.methods import find_method
from tb_deepexplain.score import Score

# Points evaluated at once unless the caller says: bounded by their size, so that large pictures fit into memory.
BATCH_VALUES, LARGEST_BATCH, SMALLEST_BATCH = 4_000_000, 256, 8
HELD_VALUES = 256_000_000  # what a method may hold besides, at worst: one gigabyte of float32


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What the model says about N examples."""

    outputs: np.ndarray  # [N, ...] what is explained: the logits where they were found
    probabilities: np.ndarray | None  # [N, ...] the softmax or sigmoid behind them
    token_ids: np.ndarray | None  # [N, T] for a text model

    @property
    def classes(self) -> np.ndarray | None:
        """[N] the class predicted: the largest output, or whether the probability of a single one is above one half.

        None for a single output without a sigmoid behind it: it may be a logit, a probability or a quantity.
        """
        if self.outputs.ndim > 1 and self.outputs.shape[-1] > 1:
            return self.outputs.argmax(-1)
        return None if self.probabilities is None else (self.outputs.reshape(-1) > 0).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Result:
    """Attributions of N examples and what is known about them."""

    attributions: Any  # [N, ...] in the structure of the inputs; float32, float64 where the model is
    tokens: Any  # [N, T] sums over the embedding; None where nothing is embedded
    score: np.ndarray  # [N]
    baseline_score: np.ndarray  # [N], NaN where the method needs none
    gap: np.ndarray  # [N] Σ attributions − (score − baseline score), NaN where the method promises no sum
    target: np.ndarray | None  # [N]
    evaluations: np.ndarray  # [N] model evaluations spent
    warnings: list[list[str]]


class Explainer:
    """One method bound to one model; compiled once for each shape of example, whatever the batch.

    `target`: a class number, `[N]` of them, "predicted" (the largest unit; a single unit is number 0 whatever it
    says), or None (the sum of all units of the output).
    `inputs`: None (the model's inputs, or the embedding where they are integers or strings), "embedding", or
    names of inputs, layers or tensors. `output`: None (the logits where they stand behind a softmax or
    sigmoid, else the output), "output" (as it is), or the name of an output, layer or tensor.
    """

    def __init__(
        self,
        method: str,
        model: Any,
        *,
        target: Any = None,
        inputs: str | Sequence[str] | None = None,
        output: str | None = None,
        **params: Any,
    ) -> None:
        self.method = find_method(method)
        self.parameters = self.method.check(params)
        self.graph = load_model(model)
        self._bound = self.graph.bind(inputs, output)
        self._target = target
        self._compiled: dict[Any, tuple[Any, tuple[int | None, ...]]] = {}

    def predict(self, xs: Any, *, batch_size: int | None = None) -> Predictions:
        """What the model says about `xs`."""
        raw, n = _at_least_one(read_inputs(self.graph.inputs, xs, self.graph.ordered))
        size = self._batch_size(raw, False, batch_size)
        parts = [self._bound.predict([tf.constant(r[chunk]) for r in raw]) for chunk in _chunks(len(raw[0]), size)]
        outputs, final, ids = (_concatenate([p[i].numpy() for p in parts])[:n] for i in range(3))
        cut = self._bound.cut
        return Predictions(outputs, final if cut.stepped_back else None, ids if any(cut.lookups) else None)

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
        Returns the attributions, or a Result. Raises InputError or ParameterError.
        """
        del seed  # none of the methods samples yet
        target = self._target if target is None else target
        if ys is not None and target is not None:
            raise InputError(
                "both ys and target were given: ys weights all units of the output, target chooses one; give one of them"
            )
        raw, direct = self._read(xs)
        n = len(raw[0])
        if isinstance(target, str):
            target = self._predicted(target, xs, direct, batch_size)
        target, ys = check_target(target, n), check_ys(ys, n)
        arrays, _ = _at_least_one([*raw, *(a for a in (target, ys) if a is not None)])
        size = self._batch_size(arrays[: len(raw)], direct, batch_size)
        title = self.method.title if progress else None
        parts = []
        together = self._examples_at_once(arrays[: len(raw)], direct, size)
        for chunk in _track(_chunks(len(arrays[0]), together), math.ceil(n / together), title):
            inputs, beside = [tf.constant(a[chunk]) for a in arrays[: len(raw)]], iter(arrays[len(raw) :])
            entries, context = (inputs, []) if direct else self._bound.enter(inputs)
            chosen = [None if a is None else next(beside)[chunk] for a in (target, ys)]
            parts.append(self._explain(entries, context, chosen[0], chosen[1], size))
        joined = [_concatenate([p[i] for p in parts])[:n] for i in range(len(parts[0]))]
        score, baseline_score, evaluations = joined[-3:]
        result = self._result(xs, joined[:-3], score, baseline_score, evaluations, target)
        return result if return_result else result.attributions

    def _read(self, xs: Any) -> tuple[list[np.ndarray], bool]:
        """The arrays given, and whether they are values of inner tensors instead of the model's inputs."""
        names = self._bound.entry_names
        if not isinstance(xs, dict) or set(xs) != set(names) or set(xs) == {s.name for s in self.graph.inputs}:
            return read_inputs(self.graph.inputs, xs, self.graph.ordered), False
        if self._bound.cut.context:
            raise InputError(f"values of {', '.join(names)} are not enough: the model needs its other inputs too")
        arrays = [
            np.asarray(xs[name], np.float64 if np.asarray(xs[name]).dtype == np.float64 else np.float32)
            for name in names
        ]
        if len({len(a) for a in arrays}) > 1:
            raise InputError(
                f"{', '.join(names)}: every one needs the same number of examples, got {[len(a) for a in arrays]}"
            )
        return arrays, True

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

    def _values(self, raw: list[np.ndarray], direct: bool) -> int:
        """Numbers in one example of what is explained."""
        first = [tf.constant(r[:1]) for r in raw]
        entries = first if direct else self._bound.enter(first)[0]
        return max(1, sum(math.prod(e.shape[1:]) for e in entries))

    def _examples_at_once(self, raw: list[np.ndarray], direct: bool, batch_size: int) -> int:
        """Examples in one call: as many as evaluations in a batch, fewer where the method holds much of each."""
        if self.method.held is None:
            return batch_size
        values = self._values(raw, direct) * self.method.held(**self.parameters)
        return int(np.clip(HELD_VALUES // values, 1, batch_size))

    def _batch_size(self, raw: list[np.ndarray], direct: bool, asked: int | None) -> int:
        if asked is not None:
            return check_batch_size(asked)
        values = self._values(raw, direct)
        return int(np.clip(2 ** int(math.log2(max(1, BATCH_VALUES / values))), SMALLEST_BATCH, LARGEST_BATCH))

    def _explain(
        self, entries: list[Any], context: list[Any], target: Any, ys: Any, batch_size: int
    ) -> list[np.ndarray]:
        key = (*((e.dtype, tuple(e.shape[1:])) for e in entries), target is None, None if ys is None else ys.ndim)
        if key not in self._compiled:
            self._compiled[key] = self._compile(entries, context, target, ys)
        function, shape = self._compiled[key]
        check_target(target, None, shape)
        check_ys(ys, None, shape)
        target, ys = (None if a is None else tf.constant(a) for a in (target, ys))
        found = [t.numpy() for t in function(entries, context, target, ys, tf.constant(batch_size, tf.int32))]
        if any(len(f) != len(entries[0]) for f in found):
            raise UnsupportedModelError(
                f"the output {self._bound.cut.output!r} has {len(found[-3])} rows for {len(entries[0])} examples; "
                "it needs the batch as its first axis: choose another output"
            )
        return found

    def _compile(
        self, entries: list[Any], context: list[Any], target: Any, ys: Any
    ) -> tuple[Any, tuple[int | None, ...]]:
        """The method as one function of (entries, context, target, ys, batch size), and the output's shape."""
        shapes: list[tuple[int | None, ...]] = []

        def leave(points: list[Any], beside: list[Any]) -> Any:
            output = self._bound.leave(points, beside)
            shapes.append(tuple(output.shape))
            return output

        def call(entries: list[Any], context: list[Any], target: Any, ys: Any, batch_size: Any) -> list[Any]:
            embeddings = [lookup is not None for lookup in self._bound.cut.lookups]
            score = Score(
                leave, entries, context=context, target=target, ys=ys, batch_size=batch_size, embeddings=embeddings
            )
            found = self.method.function(score, **self.parameters)
            nothing = tf.fill([score.n], tf.constant(np.nan, tf.float64))
            values = [
                score(score.x) if found.score is None else found.score,
                nothing if found.baseline_score is None else found.baseline_score,
            ]
            maps = [tf.cast(a, tf.float32) if a.dtype.size < 4 else a for a in found.attributions]
            return [*maps, *(tf.cast(v, tf.float64) for v in values), found.evaluations]

        def spec(array: Any, rows_only: bool = False) -> Any:
            return tf.TensorSpec([None] * len(array.shape) if rows_only else [None, *array.shape[1:]], array.dtype)

        function = tf.function(call, autograph=False).get_concrete_function(
            [spec(e) for e in entries],
            [spec(c, rows_only=True) for c in context],
            None if target is None else tf.TensorSpec([None], tf.int64),
            None if ys is None else spec(ys, rows_only=True),
            tf.TensorSpec([], tf.int32),
        )
        return function, shapes[0]

    def _result(
        self,
        xs: Any,
        values: list[np.ndarray],
        score: np.ndarray,
        baseline_score: np.ndarray,
        evaluations: np.ndarray,
        target: Any,
    ) -> Result:
        flat = [v.reshape(len(v), math.prod(v.shape[1:])) for v in values]
        with np.errstate(invalid="ignore"):  # a map with NaN has a gap of NaN
            total = np.sum([f.sum(1, dtype=np.float64) for f in flat], axis=0)
            gap = total - (score - baseline_score) if self.method.sums_to else np.full(len(score), np.nan)
        tokens = [v.sum(-1) for v, lookup in zip(values, self._bound.cut.lookups, strict=True) if lookup]
        kind = np.float64 if values[0].dtype == np.float64 else np.float32
        return Result(
            attributions=same_structure(xs, self._bound.entry_names, values),
            tokens=tokens[0] if len(tokens) == 1 else tokens or None,
            score=score.astype(kind),
            baseline_score=baseline_score.astype(kind),
            gap=gap.astype(kind),
            target=target,
            evaluations=evaluations,
            warnings=_warnings(flat),
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
    **params: Any,
) -> Any:
    """Attributions of `xs` by one method: `Explainer(method, model, ...).run(xs, ...)`. Keep an Explainer for more than one call."""
    explainer = Explainer(method, model, target=target, inputs=inputs, output=output, **params)
    return explainer.run(xs, ys=ys, batch_size=batch_size, seed=seed, progress=progress, return_result=return_result)


def _warnings(flat: list[np.ndarray]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in flat[0]]
    for rows, text in (
        (
            np.any([~np.isfinite(f).all(1) for f in flat], axis=0),
            "holds NaN or infinity: features that no window covers, or such values in the input or model",
        ),
        (
            np.all([(f == 0).all(1) for f in flat], axis=0),
            "is zero everywhere: the score does not change with the input here; occlusion may still show why",
        ),
    ):
        for i in np.flatnonzero(rows):
            found[i].append(f"the map {text}")
    return found


def _chunks(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _at_least_one(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """The arrays and their length; a blank example stands in for none, because kernels fail on empty batches."""
    n = len(arrays[0])
    return (arrays if n else [np.full((1, *a.shape[1:]), "" if a.dtype == object else 0, a.dtype) for a in arrays]), n


def _track(chunks: Iterable[slice], total: int, title: str | None) -> Iterator[slice]:
    if title is None:
        yield from chunks
    else:
        from rich.progress import track

        yield from track(chunks, description=title, total=total)


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    """Along the batch; parts of a text model whose batches were padded to different lengths are padded with zeros."""
    longest = [max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True)]
    padded = [np.pad(p, [(0, 0), *((0, m - s) for m, s in zip(longest, p.shape[1:], strict=True))]) for p in parts]
    return np.concatenate(padded)


__all__ = ["Explainer", "Predictions", "Result", "explain"]
