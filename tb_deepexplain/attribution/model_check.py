"""Whether a graph computes what its model computes, and whether the model mixes the examples of a batch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.inputs import holds_not_finite
from tb_deepexplain.attribution.precision import computing_in
from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import InputError, UnsupportedModelError
from tb_deepexplain.graph.logits import final_activation
from tb_deepexplain.graph.submodel import Submodel

EXAMPLES = 3  # that are compared
LOUDER = 1e4  # times an example: 80 dB, the dynamic range of Keras' MelSpectrogram
_MOVES = 4  # of the inputs' last digits; after one alone an output may be the same by chance


class Verdict(NamedTuple):
    """The result of a check."""

    fault: str = ""  # how the graph differs from the model; empty: it does not
    mixes: str = ""  # how an example alone differs from the same among others; empty: it does not
    not_compared: str = ""  # why the model could not be called


def check_submodel(
    submodel: Submodel, arrays: Sequence[np.ndarray], *, check_model: bool, check_batch: bool
) -> Verdict:
    """The verdict on a submodel by its output for a few examples: `arrays` `[N, ...]`, one for each input of the model.

    The graph is compared with the model as its owner calls it, and the first example alone with the same among others, both
    without TF32 and up to rounding. An inner tensor as output has no counterpart in the model: where the sizes of the inputs are
    open, the model's own output is checked instead, else only its dependence on the other examples. Raises InputError for
    values that the model does not take.
    """
    outputs = _Outputs(submodel, check_model)
    with computing_in("float32"):
        batch, values, expected, fault, not_compared = _call(outputs, [a[:EXAMPLES] for a in arrays])
        if fault:
            return Verdict(fault)
        if outputs.submodel is submodel:
            _check_batch_axis(submodel, values, len(batch[0]))
        elif values.shape[:1] != (len(batch[0]),):  # of the model's own output, which is not explained
            return Verdict()
        rounding = _Rounding(outputs, batch, values)
        if expected is not None and (pair := rounding.find_difference(values, expected)):
            return Verdict(f"its output {outputs.name!r} is {pair[0]}, the model's is {pair[1]}")
        if len(values) == 1:
            return Verdict(not_compared=not_compared)
        first = [a[:1] for a in batch]
        alone = outputs.of_graph(first)
        if outputs.submodel is submodel:
            _check_batch_axis(submodel, alone, 1)
        pair = rounding.find_difference(values[:1], alone)
        # A graph that loops over the batch, not over time, is right where both are equally long.
        expected = outputs.of_model(first) if pair and expected is not None else None
        if expected is not None and (other := rounding.find_difference(alone, expected)):
            return Verdict(
                f"its output {outputs.name!r} is {other[0]} for one example alone, the model's is {other[1]}"
            )
        mixes = f"{pair[1]} alone, {pair[0]} among others" if pair and check_batch else ""
        return Verdict(mixes=mixes, not_compared=not_compared)


def _check_batch_axis(submodel: Submodel, values: np.ndarray, count: int) -> None:
    """UnsupportedModelError unless the output of `count` examples has a row for each of them."""
    if values.shape[:1] != (count,):
        rows = f"has {len(values)} rows" if values.ndim else "is one number"
        examples = "one example alone" if count == 1 else f"a batch of {count}" if values.ndim else "all examples"
        raise UnsupportedModelError(
            f"the output {submodel.cut.output!r} {rows} for {examples}; it needs the batch as its first axis, however many examples there "
            "are: choose another output, or reshape this one by a function around the model"
        )


class _Outputs:
    """An output of a graph, and of its model as its owner calls it, as probabilities in double precision."""

    def __init__(self, submodel: Submodel, check_model: bool) -> None:
        graph, cut = submodel.graph, submodel.cut
        name = next((name for name, tensor in graph.outputs.items() if tensor == cut.model_output), "")
        if not name and check_model and graph.has_open_sizes:
            name, tensor = next(iter(graph.outputs.items()))
            submodel = Submodel(graph, dataclasses.replace(cut, output=tensor, model_output=tensor))
        self.submodel, self.name, self._calls_model = submodel, name, check_model and bool(name)
        self.activation = final_activation(graph.view, submodel.cut.model_output)

    def of_graph(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return _as_float64(self.submodel.predict([tf.constant(a) for a in batch])[1])

    def of_model(self, batch: Sequence[np.ndarray]) -> np.ndarray | None:
        """None if there is no model to call, or no such output of it."""
        graph = self.submodel.graph
        tensors = [
            tf.cast(tf.constant(a), spec.dtype) if spec.is_float else tf.constant(a)
            for a, spec in zip(batch, graph.inputs, strict=True)
        ]
        outputs = graph.call_model(tensors) if self._calls_model else None
        values = None if outputs is None else _as_float64(outputs[self.name])
        return np.exp(values) if self.activation == "LogSoftmax" and values is not None else values


class _Calls(NamedTuple):
    """The outputs of a graph and of its model for the same examples."""

    batch: list[np.ndarray]  # the examples, and two others if the model takes them
    values: np.ndarray  # of the graph
    expected: np.ndarray | None  # of the model; None: it is not called
    fault: str = ""  # how the graph fails where the model does not
    not_compared: str = ""  # why the model could not be called


def _call(outputs: _Outputs, examples: list[np.ndarray]) -> _Calls:
    """Calls graph and model with the examples and two others; with the examples alone if only these are taken."""
    batches = [[np.concatenate([a, unlike(a)]) for a in examples] for unlike in (_unlike, _unlike_numbers)]
    for batch in batches:
        with contextlib.suppress(Exception):  # the added examples may be nothing that the model takes
            return _Calls(batch, outputs.of_graph(batch), outputs.of_model(batch))
    try:
        expected, not_compared = outputs.of_model(examples), ""
    except tf.errors.ResourceExhaustedError:
        raise
    except Exception as error:  # the user's own code
        expected, not_compared = None, model_error_text(error)
    if not_compared:
        for batch in batches:
            with contextlib.suppress(Exception):
                return _Calls(batch, outputs.of_graph(batch), None, not_compared=not_compared)
    try:
        return _Calls(examples, outputs.of_graph(examples), expected, not_compared=not_compared)
    except (InputError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        if expected is None:
            raise
        fault = f"it fails where the model answers: {model_error_text(error)}"
        return _Calls(examples, np.zeros(0), expected, fault)


class _Rounding:
    """The differences between two outputs that rounding explains, in the lowest precision of the model's steps.

    What a model makes of NaN and infinity depends on the kernels that run it (some ReLUs turn NaN into 0): examples and models that
    hold them are not compared. A graph in float64 is compared where the model itself does not overflow.
    """

    def __init__(self, outputs: _Outputs, batch: list[np.ndarray], values: np.ndarray) -> None:
        self._outputs, self._batch, self._values = outputs, batch, values
        self._epsilon, self._smallest = _precision(outputs.submodel)
        self._is_finite = ~holds_not_finite(outputs.submodel.graph.inputs, batch)

    def find_difference(self, values: np.ndarray, expected: np.ndarray) -> tuple[str, str] | None:
        """The two numbers `[N, ...]` that differ most, as text; None if everything differs by rounding only."""
        if values.shape != expected.shape:
            return f"of shape {values.shape}", f"of shape {expected.shape}"
        for a, b in self._scales(values, expected):
            with np.errstate(invalid="ignore"):
                difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b)).reshape(len(a), -1)
            is_compared = self._is_finite[: len(a)]
            if self._outputs.submodel.graph.is_in_float64:  # where the model overflows
                is_compared = is_compared & np.isfinite(b).reshape(len(b), -1).all(1)
            difference = np.where(is_compared[:, None], np.nan_to_num(difference, nan=np.inf), 0)
            size = np.abs(np.where(np.isfinite(b), b, 0)).reshape(len(b), -1).max(1, initial=0)
            excess = difference - (self._epsilon**0.5 * size + 16 * self._epsilon)[:, None]
            is_rounding = (excess <= 0).all() or (difference.max(1, initial=0) <= 16 * self._effect(len(a))).all()
            if not is_rounding and not self._outputs.submodel.graph.not_finite_weights:
                largest = int(excess.argmax())
                return f"{values.flat[largest]:.6g}", f"{expected.flat[largest]:.6g}"
        return None

    def _scales(self, values: np.ndarray, expected: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield values, expected
        if self._outputs.activation is not None:  # saturated probabilities hide differences between logits
            yield np.log(np.maximum(values, self._smallest)), np.log(np.maximum(expected, self._smallest))

    def _effect(self, count: int) -> np.ndarray:
        """`[N]` how much the output changes if the last digits of the inputs do: a measure of the model's own rounding."""
        rng = np.random.default_rng(0)
        effects = list[np.ndarray]()
        for _ in range(_MOVES):
            moved = [self._move(a, rng) if a.dtype.kind == "f" else a for a in self._batch]
            with np.errstate(invalid="ignore", divide="ignore"):
                effects += [
                    np.nan_to_num(np.abs(a - b)).reshape(len(a), -1).max(1, initial=0)
                    for a, b in self._scales(self._outputs.of_graph(moved), self._values)
                ]
        return np.maximum.reduce(effects)[:count]

    def _move(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The array with other last digits. Whole numbers move away from zero: the model may cut them to the integers they are."""
        digits = rng.choice([-4, 4], array.shape)
        digits = np.where(array == np.trunc(array), rng.choice([2, 4], array.shape), digits)
        return (array * (1 + self._epsilon * digits)).astype(array.dtype)


def _precision(submodel: Submodel) -> tuple[float, float]:
    """(distance from 1 to the next number, smallest number) of the shortest floats before the output."""
    view = submodel.graph.view
    types = {a.type for n in view.ancestors([submodel.cut.model_output]) for a in view.nodes[n].attr.values()}
    types |= submodel.graph.dtypes_of_model
    optimizer = tf.config.optimizer.get_experimental_options()
    halves = (
        (tf.bfloat16, "auto_mixed_precision_onednn_bfloat16", 2.0**-7, 2.0**-126),
        (tf.float16, "auto_mixed_precision", 2.0**-10, 2.0**-14),
    )
    for dtype, option, epsilon, smallest in halves:
        if dtype.as_datatype_enum in types or optimizer.get(option):
            return epsilon, smallest
    return (2.0**-23, 2.0**-126) if tf.float32.as_datatype_enum in types else (2.0**-52, 2.0**-1022)


def _unlike(examples: np.ndarray) -> np.ndarray:
    """`[2, ...]` other examples, so that the batch has another sum than the first example, another largest or smallest value, and
    a longer text."""
    first = examples[:1]
    if examples.dtype == object:
        longer = [text + (" a b" if isinstance(text, str) else b" a b") for text in first.flat]
        return np.array([longer, longer], object).reshape(2, *first.shape[1:])
    if examples.dtype.kind == "u" and examples.dtype.itemsize == 1:  # pictures
        return np.full_like(first, 0 if first.mean() > 127 else 255).repeat(2, 0)
    if examples.dtype.kind == "i":  # 0 is often the padding of a text
        return np.concatenate([np.zeros_like(first), _unlike_numbers(examples)[:1]])
    return _unlike_numbers(examples)


def _unlike_numbers(examples: np.ndarray) -> np.ndarray:
    """`[2, ...]` as `_unlike`, for models that take only the texts and whole numbers of the examples."""
    first = examples[:1]
    if examples.dtype.kind == "f":
        # The batch then has the sum of the first example, negative: a condition on its sign differs; a floor below the largest does, too.
        rest = examples.sum(0, keepdims=True)
        return np.concatenate([LOUDER * first, -(rest + (LOUDER + 1) * first)]).astype(examples.dtype)
    if examples.dtype.kind in "iu" and examples.ndim > 1:
        first = first[..., ::-1]
    return first.repeat(2, 0)


def _as_float64(tensor: Any) -> np.ndarray:
    if tensor.dtype == tf.string:  # an output that cannot be explained
        return np.zeros(tensor.shape)
    values: np.ndarray = tf.cast(tensor, tf.float64).numpy()
    return values
