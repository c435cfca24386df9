"""Traces a method, or any function of a Score, into one TensorFlow function for batches of any size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.examples import Batch
from tb_deepexplain.attribution.methods import Method
from tb_deepexplain.attribution.score import Score
from tb_deepexplain.graph.submodel import Submodel

Shapes = tuple[tuple[int | None, ...], ...]  # of the entries, batch included


@dataclasses.dataclass(frozen=True)
class EncodedMaps:
    """What a function that ran on the device made of the maps of N examples, and what an Explainer must know of them."""

    shapes: Sequence[tuple[int, ...]]  # of the maps of each input
    rows: np.ndarray  # [N] of objects, such as bytes; arrays of all values for maps that are not finite
    is_zero: np.ndarray  # [N] everywhere
    is_finite: np.ndarray  # [N] everywhere
    sums: np.ndarray  # [N] in double precision

    @property
    def arrays(self) -> list[np.ndarray]:
        """Those `[N]`."""
        return [self.rows, self.is_zero, self.is_finite, self.sums]

    def of_inputs(self, n: int) -> list[np.ndarray]:
        """The map of example n for each input."""
        pieces = np.split(np.ravel(self.rows[n]), np.cumsum([math.prod(shape) for shape in self.shapes])[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


# Of float32 maps `[N, ...]`, tensors or arrays, one for each input.
Encode: TypeAlias = Callable[[Sequence[Any]], EncodedMaps]


class MethodOutput(NamedTuple):
    """The output of a compiled method for N examples."""

    maps: Any  # a list with those of each input, or EncodedMaps
    score: Any
    baseline_score: Any
    evaluations: Any
    warnings: list[Any]  # [N] bool for each text

    def encoded(self, encode: Encode | None) -> MethodOutput:
        """With encoded maps, if there is a function for them and they have values of float32."""
        if encode is None or any(values.dtype != np.float32 or 0 in values.shape for values in self.maps):
            return self
        return self._replace(maps=encode(self.maps))

    @property
    def arrays(self) -> list[np.ndarray]:
        """Those `[N, ...]` that the batches of a run are joined from: of the maps, then score, baseline score and evaluations."""
        of_maps = self.maps.arrays if isinstance(self.maps, EncodedMaps) else self.maps
        return [*of_maps, self.score, self.baseline_score, self.evaluations]


class CompiledMethod(NamedTuple):
    """A method traced for one shape of examples."""

    function: Any
    output_shape: tuple[int | None, ...]  # of the model
    warnings: tuple[str, ...]

    def __call__(
        self, batch: Batch, batch_size: int, rounding: float, held_values: int, encode: Encode | None = None
    ) -> MethodOutput:
        """NumPy arrays for the batch, or encoded maps. `rounding` and `held_values`: as of a Score."""
        options = [None if a is None else tf.constant(a) for a in (batch.target, batch.ys, batch.seeds)]
        sizes = tf.constant(batch_size, tf.int32), tf.constant(rounding, tf.float64), tf.constant(held_values, tf.int64)
        output = MethodOutput(*self.function(batch.entries, batch.context, *options, *sizes)).encoded(encode)
        arrays = tf.nest.map_structure(_as_array, tuple(output))
        return MethodOutput(*arrays)


def _as_array(output: Any) -> Any:
    return np.asarray(memoryview(output)) if isinstance(output, tf.Tensor) else output  # .numpy() would copy


def compile_method(
    method: Method, parameters: Mapping[str, Any], submodel: Submodel, shapes: Shapes, batch: Batch, jit: bool
) -> CompiledMethod:
    """The method with these parameters, as one function of (entries, context, target, ys, seeds, batch size, rounding,
    held values)."""
    texts: list[str] = []
    has_chosen_axes = parameters.get(method.map_axes_parameter or "") is not None

    def call(score: Score, rounding: Any, held_values: Any) -> MethodOutput:
        score.rounding, score.held_values = rounding, held_values
        explanation = method.function(score, **parameters)
        texts[:] = [text for text, _ in explanation.warnings]
        unknown = tf.fill([score.n], tf.constant(np.nan, tf.float64))
        start = explanation.baseline_score
        return MethodOutput(
            submodel.sum_to_inputs(explanation.attributions, has_chosen_axes),
            tf.cast(score(score.x) if explanation.score is None else explanation.score, tf.float64),
            unknown if start is None else tf.cast(start, tf.float64),
            explanation.evaluations,
            [tf.fill([score.n], True) if applies is None else applies for _, applies in explanation.warnings],
        )

    extra_specs = [tf.TensorSpec([], tf.float64), tf.TensorSpec([], tf.int64)]
    function, output_shape = trace(call, submodel, shapes, batch, jit, extra_specs)
    return CompiledMethod(function, output_shape, tuple(texts))


def trace(
    call: Callable[..., Any],
    submodel: Submodel,
    shapes: Shapes,
    batch: Batch,
    jit: bool,
    extra_specs: Sequence[Any] = (),
) -> tuple[Any, tuple[int | None, ...]]:
    """`call(score, *extras)` as one function of (entries, context, target, ys, seeds, batch size, *extras).

    `shapes` are those of the entries; `batch` has the dtypes and the arguments that are None. Also returns the shape of the
    model's output; () if the function does not evaluate the model.
    """
    output_shapes: list[tuple[int | None, ...]] = []
    of_one_unit = batch.target is not None and batch.ys is None
    of_one_unit |= batch.ys is not None and batch.ys[0].size == 1 and submodel.to_probabilities is tf.sigmoid
    dtypes = [entry.dtype for entry in batch.entries]

    def compute_output(points: list[Any], context: list[Any], rule: Any = None) -> Any:
        entries = [tf.cast(p, dtype) if dtype.is_floating else p for p, dtype in zip(points, dtypes, strict=True)]
        output = submodel.compute_output(entries, context, rule)
        output_shapes.append(tuple(output.shape))
        return output

    def call_with_score(
        entries: list[Any], context: list[Any], target: Any, ys: Any, seeds: Any, batch_size: Any, *extras: Any
    ) -> Any:
        score = Score(
            compute_output,
            # In half precision, sums over steps and samples would lose their small terms.
            [tf.cast(e, tf.float32) if e.dtype.is_floating and e.dtype.size < 4 else e for e in entries],
            context=context,
            target=target,
            ys=ys,
            batch_size=batch_size,
            whole=submodel.cut.whole,
            seeds=seeds,
            jit=jit,
            gradient_block=submodel.gradient_block,
            to_probabilities=submodel.to_probabilities if of_one_unit else None,
        )
        return call(score, *extras)

    def spec(array: Any) -> Any:
        return tf.TensorSpec([None] * len(array.shape), array.dtype)

    function = tf.function(call_with_score, autograph=False).get_concrete_function(
        [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)],
        [spec(c) for c in batch.context],
        None if batch.target is None else tf.TensorSpec([None, *batch.target.shape[1:]], tf.int64),
        None if batch.ys is None else spec(batch.ys),
        None if batch.seeds is None else tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([], tf.int32),
        *extra_specs,
    )
    return function, output_shapes[0] if output_shapes else ()
