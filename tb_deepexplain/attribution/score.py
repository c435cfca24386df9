"""Score: the interface of attribution methods to a model.

TensorFlow in, TensorFlow out, so that a whole method compiles into one function. A method sees examples
as a list of tensors `[N, ...]`, one for each explained input, and evaluates the score at *points*: lists of
tensors `[B, ...]` with `rows[b]`, the example of point b, whose target, weights and context apply.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.backward_rules import repeat_rows
from tb_deepexplain.graph.differentiation import differentiate
from tb_deepexplain.lazy_tensorflow import tf

ROUNDING = (
    "rounding in {precision}"  # in a warning: the explainer puts in the precision, and by how much it changes the score
)


class Explanation(NamedTuple):
    """The output of a method: attributions like x, and by-products (None: not computed)."""

    attributions: list[Any]
    evaluations: Any  # [N] int32, model evaluations for each example
    score: Any = None  # [N]
    baseline_score: Any = None  # [N]
    warnings: Sequence[tuple[str, Any]] = ()  # text, and the examples that it applies to: [N] bool, or None for all


class Score:
    """The number that is explained, one for each example: a weighted sum of output units.

    `output(points, context, rule=None) -> [B, ...]` is the model, whose gradient follows the rule; `context` are tensors
    `[N, ...]` that it also needs. The score is the unit `target[n]` of the last axis (summed over the axes before it, with
    the weights `ys` if there are any), or the unit at the position `target[n]` `[axes]`, or sum(ys * output), or the sum
    of all units. `whole` says of each input whether its last axis is one feature (an embedding). Inputs of a method that
    replaces values may hold integers, booleans or strings. `batch_size` bounds the points that are evaluated at once.
    `seeds` `[N]` are the seeds of the examples; `jit` compiles the model's evaluations with XLA; `gradient_block(i)` names
    where the gradient of input i is blocked, and is empty if the gradient is truly zero; `to_probabilities` makes
    probabilities of the output, and is None unless one unit is explained.
    """

    def __init__(
        self,
        output: Callable[..., Any],
        x: Sequence[Any],
        *,
        context: Sequence[Any] = (),
        target: Any = None,
        ys: Any = None,
        batch_size: Any = 64,
        whole: Sequence[bool] | None = None,
        seeds: Any = None,
        jit: bool = False,
        gradient_block: Callable[[int], str] = lambda _: "",
        to_probabilities: Callable[[Any], Any] | None = None,
    ) -> None:
        self._output = output
        self.x = [tf.convert_to_tensor(t) for t in x]
        self.n = tf.shape(self.x[0])[0]
        self.whole = list(whole) if whole is not None else [False] * len(self.x)
        self._context, self._target, self._ys = list(context), target, ys
        self.batch_size = tf.convert_to_tensor(batch_size, tf.int32)
        self._seeds, self._jit, self._gradient_block = seeds, jit, gradient_block
        self.rounding: Any = (
            0.0  # by how much scores may differ from those in float32, by the precision of the model's steps
        )
        self.held_values: Any = 2**30  # numbers that a method may keep in memory
        self.has_probability, self._to_probabilities = to_probabilities is not None, to_probabilities
        # One trace for the examples, for points in batches and, after those, for one point alone.
        self._traced_output = tf.function(
            lambda *arguments: self._output(*arguments), autograph=False, reduce_retracing=True
        )
        self._value = self._function(self._compute)
        self._probability = self._function(self._compute_probability)
        # Not inlined into the loops that call it: inside a loop, oneDNN's max pooling is used at random.
        self._value_and_gradient_in_loops = self._function(self._differentiate, inline=jit)

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number of the score's dtype, if that is the examples'."""
        return 2.0**-52 if all(x.dtype == tf.float64 for x in self.x) else 2.0**-23

    def __call__(self, points: Sequence[Any], rows: Any = None) -> Any:
        """The score [B] at the points; `rows` None: the points are the examples themselves."""
        return self._evaluate(self._value, points, rows)

    def gradient(self, points: Sequence[Any], rows: Any = None) -> tuple[Any, list[Any]]:
        """The score [B] and its gradient, like the points."""
        function = self._once(self._differentiate) if rows is None else self._value_and_gradient_in_loops
        return self._evaluate(function, points, rows)

    def probability(self, points: Sequence[Any], rows: Any = None) -> Any:
        """The probability [B] of the target at the points; only if `has_probability`."""
        return self._evaluate(self._probability, points, rows)

    def propagate(self, rule: Any) -> tuple[Any, list[Any], Any]:
        """At the examples: the score [N], its gradient under the rule (graph.backward_rules.Rule), like x, and the score [N]
        at the rule's reference, NaN if it has none."""
        return self._evaluate(self._once(functools.partial(self._differentiate, rule=rule)), self.x, None)

    def values(self) -> Any:
        """The score [N] at the examples, in batches."""
        return self.map(self.n, lambda items: [self([tf.gather(x, items) for x in self.x], items)])[0]

    def at(self, base: Sequence[Any]) -> Any:
        """The score [N] of every example's target at one point `base`: one evaluation for all, unless there is context."""
        if self._context:

            def repeated(items: Any) -> list[Any]:
                return [self([tf.gather(b[None], tf.zeros_like(items)) for b in base], items)]

            return self.map(self.n, repeated)[0]
        output = self._traced_output([b[None] for b in base], [])
        return select(repeat_rows(output, self.n), self._target, self._ys)

    def uniform(self, shape: Sequence[Any]) -> Any:
        """[N, *shape] random numbers in [0, 1); an example's numbers do not depend on its batch or position."""
        return self.draw(tf.range(self.n), tf.zeros([self.n], tf.int32), shape)

    def draw(self, rows: Any, numbers: Any, shape: Sequence[Any]) -> Any:
        """[B, *shape] random numbers in [0, 1): for each point, draw `numbers[b]` of its example."""

        def one(seed: Any) -> Any:
            return tf.random.stateless_uniform(shape, seed, alg="philox")

        spec = tf.TensorSpec([s if isinstance(s, int) else None for s in shape], tf.float32)
        seeds = tf.stack([tf.gather(tf.cast(self._seeds, tf.int64), rows), tf.cast(numbers, tf.int64)], 1)
        return tf.map_fn(one, seeds, fn_output_signature=spec)

    def map(self, total: Any, evaluate: Callable[[Any], list[Any]]) -> list[Any]:
        """`evaluate(items) -> tensors [len(items), ...]` over items 0..total-1, in full batches, concatenated.

        However a method's work divides into examples and steps, the model sees `batch_size` points at once, and
        fewer only in the last batch.
        """
        traced = tf.function(evaluate, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.int32))
        specs = tf.nest.flatten(traced.structured_outputs)
        batches = (total + self.batch_size - 1) // self.batch_size
        arrays = [
            tf.TensorArray(s.dtype, size=batches, infer_shape=False, element_shape=[None, *s.shape[1:]]) for s in specs
        ]

        def step(i: Any, arrays: list[Any]) -> tuple[Any, list[Any]]:
            items = tf.range(i * self.batch_size, tf.minimum((i + 1) * self.batch_size, total))
            return i + 1, [a.write(i, t) for a, t in zip(arrays, tf.nest.flatten(traced(items)), strict=True)]

        _, arrays = tf.while_loop(lambda i, _: i < batches, step, (tf.constant(0), arrays), parallel_iterations=1)
        # A TensorArray without elements cannot be concatenated.
        tensors = tf.cond(
            total > 0,
            lambda: [a.concat() for a in arrays],
            lambda: [tf.zeros([0, *(d or 0 for d in s.shape[1:])], s.dtype) for s in specs],
        )
        for tensor, spec in zip(tensors, specs, strict=True):
            tensor.set_shape([None, *spec.shape[1:]])
        return tensors

    def fold(self, total: Any, step: Callable[[Any, list[Any]], list[Any]], state: list[Any]) -> list[Any]:
        """`state = step(items, state)` over items 0..total-1, in full batches; the state keeps its shapes `[N, ...]`."""

        def body(start: Any, state: list[Any]) -> tuple[Any, list[Any]]:
            stop = tf.minimum(start + self.batch_size, total)
            return stop, step(tf.range(start, stop), state)

        # A step may not know the number of examples statically, even if the state's first value does.
        shapes = [tf.TensorShape([None, *t.shape[1:]]) for t in state]
        _, folded = tf.while_loop(
            lambda start, _: start < total,
            body,
            (tf.constant(0), state),
            shape_invariants=(tf.TensorShape([]), shapes),
            parallel_iterations=1,
        )
        return [tf.ensure_shape(after, before.shape) for after, before in zip(folded, state, strict=True)]

    def examples_in_memory(self, values_per_feature: int) -> Any:
        """How many examples may be in work at once if `values_per_feature` numbers are kept for each of their features; at least 1."""
        features = tf.add_n([tf.reduce_prod(tf.shape(x, tf.int64)[1:]) for x in self.x])
        return tf.cast(
            tf.clip_by_value(tf.cast(self.held_values, tf.int64) // (features * values_per_feature), 1, 2**30), tf.int32
        )

    def baseline(self, baseline: Any) -> list[Any]:
        """The baseline as tensors `[...]` like one example of each input: zeros, one number, or arrays of that shape."""
        several = len(self.x) > 1
        values = list(baseline) if isinstance(baseline, list | tuple) and several else [baseline] * len(self.x)
        if len(values) != len(self.x) or (several and isinstance(baseline, np.ndarray) and baseline.ndim):
            raise ParameterError(
                f"baseline: {len(self.x)} inputs are explained; give one number or a list of {len(self.x)} arrays"
            )
        tensors = []
        for value, x, whole in zip(values, self.x, self.whole, strict=True):
            array, shape = _baseline_array(value, x), tuple(x.shape[1:])
            if array.ndim and None not in shape and _without_ones(array.shape) == _without_ones(shape):
                array = array.reshape(shape)  # one example in a batch of its own, say
            is_row = array.shape == shape[-1:] and whole  # one row of the embedding stands for every token
            if array.ndim and array.shape != shape and not is_row:
                batched = array.shape[1:] == shape
                hint = " (leave the batch dimension out: one baseline serves all examples)" if batched else ""
                raise ParameterError(
                    f"baseline: expected shape {shape}, one example of the input, got {array.shape}{hint}"
                )
            tensors.append(tf.broadcast_to(tf.constant(array, x.dtype), tf.shape(x)[1:] if None in shape else shape))
        return tensors

    def _once(self, function: Callable[..., Any]) -> Any:
        """For a single call: traced in place, because a function within a function takes time to build and to inline."""
        return self._function(function) if self._jit or tf.executing_eagerly() else function

    def _function(self, function: Callable[..., Any], inline: bool = True) -> Any:
        return tf.function(
            function,
            autograph=False,
            reduce_retracing=not self._jit,
            jit_compile=self._jit or None,
            experimental_attributes=None if inline else {"_noinline": True},
        )

    def _evaluate(self, function: Any, points: Sequence[Any], rows: Any) -> Any:
        """`function` at the points. XLA compiles for every batch size, so with XLA batches are filled up to one size."""
        if not self._jit:
            return function(list(points), *self._arguments(rows))
        rows = tf.range(self.n) if rows is None else rows
        count = tf.shape(rows)[0]
        padded = tf.minimum(tf.range(tf.maximum(self.batch_size, count)), count - 1)
        values = function([tf.gather(p, padded) for p in points], *self._arguments(tf.gather(rows, padded)))
        return tf.nest.map_structure(lambda t: t[:count], values)

    def _arguments(self, rows: Any) -> tuple[list[Any], Any, Any]:
        """Context, target and ys of these examples."""
        take = (lambda t: t) if rows is None else (lambda t: tf.gather(t, rows))
        return (
            [take(t) for t in self._context],
            None if self._target is None else take(self._target),
            None if self._ys is None else take(self._ys),
        )

    def _compute(self, points: list[Any], context: list[Any], target: Any, ys: Any) -> Any:
        return select(self._traced_output(points, context), target, ys)

    def _compute_probability(self, points: list[Any], context: list[Any], target: Any, ys: Any) -> Any:
        assert self._to_probabilities
        output = self._traced_output(points, context)
        if ys is not None:  # the sign of a single unit: class 1 or class 0
            output *= tf.cast(ys, output.dtype)
        return select(self._to_probabilities(output), target, None)

    def _differentiate(self, points: list[Any], context: list[Any], target: Any, ys: Any, rule: Any = None) -> Any:
        output = self._output(points, context) if rule is None else self._output(points, context, rule)
        score = select(output, target, ys)
        gradients = differentiate(score, points)
        for i, gradient in enumerate(gradients):
            if gradient is None and (block := self._gradient_block(i)):
                raise UnsupportedModelError(
                    f"no gradient reaches the explained input: it ends at {block}. An argmax, a rounding and a look-up by "
                    "number have none: choose another output or input (inputs='embedding' for a look-up), or use occlusion"
                )
        gradients = [
            tf.zeros_like(p) if g is None else tf.convert_to_tensor(g) for g, p in zip(gradients, points, strict=True)
        ]
        if rule is None:
            return score, gradients
        no_reference = tf.fill(tf.shape(score), tf.constant(np.nan, score.dtype))
        reference_output = rule.reference_output
        return score, gradients, no_reference if reference_output is None else select(reference_output, target, ys)


def select(output: Any, target: Any, ys: Any) -> Any:
    """The score [B] of the model's output [B, ...]."""
    if output.dtype.size < 4:  # half precision: sum in single
        output = tf.cast(output, tf.float32)
    if target is not None and target.shape.rank == 2:
        return _gather_units(output, target)
    if target is not None and output.shape.rank == 2:
        output = _gather_units(output, target[:, None])
    elif target is not None and output.shape.rank != 1:
        output = tf.gather(output, target, axis=-1, batch_dims=1)
    if ys is not None:
        if output.shape.rank > 1 and output.shape[1] is None:  # of shorter texts than others, whose weights are longer
            ys = ys[:, : tf.maximum(tf.shape(output)[1], 1)]
        output = output * tf.cast(ys, output.dtype)
    return tf.reduce_sum(output, axis=list(range(1, output.shape.rank)))


def _gather_units(output: Any, positions: Any) -> Any:
    """[B] the units at the positions [B, axes]: tf.gather_nd with batch_dims=1, whose gradient takes many more operations.

    As there, an output that has not B rows is an error: it is not the output of these examples.
    """
    rows = tf.range(tf.shape(output, tf.int64)[0])
    return tf.gather_nd(output, tf.concat([rows[:, None], positions], 1))


def map_dtype(x: Any, score: Any) -> Any:
    """The dtype of the map of an input: its own; that of the score, if the input is no real number."""
    return (x if x.dtype.is_floating else score).dtype


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def _baseline_array(value: Any, x: Any) -> np.ndarray:
    """A baseline as an array of the kind that the input x holds; zeros or empty strings if it is None."""
    if x.dtype == tf.string:
        array = np.asarray("" if value is None else value)
        if array.dtype.kind not in "SUO":
            raise ParameterError(f"baseline: got {array.dtype} for an input of strings; give a string")
        return array
    try:
        array = np.asarray(0.0 if value is None else value, np.float64)
    except (TypeError, ValueError):
        what = f"baseline={value!r}" if isinstance(value, str) else "baseline"
        raise ParameterError(f"{what}: expected numbers; give one number or an array like one example") from None
    if not np.all(np.isfinite(array)):
        raise ParameterError("baseline: holds NaN or infinity; give finite numbers")
    if not x.dtype.is_floating and not np.array_equal(array, array.astype(x.dtype.as_numpy_dtype)):
        raise ParameterError(f"baseline: got {value}, which an input of {x.dtype.name} cannot hold; give whole numbers")
    with np.errstate(over="ignore"):
        converted = array.astype(x.dtype.as_numpy_dtype)
    if not np.all(np.isfinite(converted.astype(np.float64))):
        raise ParameterError(
            f"baseline: got {value}, which an input of {x.dtype.name} cannot hold; give smaller numbers"
        )
    return converted
