"""What is explained of each example: classes, positions or weights of the output's units, and the predicted class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.array_likes import as_array, as_numbers, has_axes, shape_of
from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import fits

WHERE_PREDICTED = "the score is that of class {}, summed over the positions where the model predicts it"
EVERYWHERE = "the model predicts class {} nowhere: its score is summed over all positions"
OTHER_LABELS = "the model gives several classes more than one half: the most probable of them is explained"


class _Default:
    def __repr__(self) -> str:
        return "<default>"


DEFAULT: Any = _Default()  # of a target: the predicted class; the value itself of a single unit


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """What is explained of each of N examples: the sum of all units, unless there is a `unit` or `weights`."""

    unit: np.ndarray | None = None  # [N] numbers on the last axis of the output, or [N, axes] whole positions in it
    weights: np.ndarray | None = None  # [N, ...output]; with `unit`, [N, ...] over the axes before the last
    target: np.ndarray | None = None  # [N] class numbers or [N, axes] positions, as a Result tells them
    positions: np.ndarray | None = None  # [N, ...] whether the class is summed over this position of the output
    ys: np.ndarray | None = None  # [N, ...output] weights that the caller gave
    warnings: Sequence[Sequence[str]] = ()  # for each example; empty if there are none

    def take(self, rows: np.ndarray) -> Explained:
        """Of these examples."""
        names = ("unit", "weights", "target", "positions", "ys")
        arrays = {name: None if (value := getattr(self, name)) is None else value[rows] for name in names}
        return Explained(**arrays, warnings=[self.warnings[i] for i in rows] if self.warnings else ())


def predicted_classes(outputs: np.ndarray, probabilities: np.ndarray | None) -> np.ndarray | None:
    """The class with the largest output; for a single unit with a sigmoid, whether its probability exceeds one half.

    `outputs` `[N, ..., units]` or `[N]` are logits if there are `probabilities`. Returns None for a single unit without them:
    it may be a logit, a probability or a quantity.
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        classes: np.ndarray = outputs.argmax(-1)
        return classes
    return None if probabilities is None else (outputs.reshape(-1) > 0).astype(np.int64)


def class_outputs(outputs: np.ndarray, sum_of_two: float | None) -> np.ndarray:
    """`[N, ..., classes]` of the outputs. With `sum_of_two`, a single unit is the output of class 1, and that of class 0 the rest of
    this sum: 0 of logits, 1 of probabilities."""
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    return outputs if sum_of_two is None else np.concatenate([sum_of_two - outputs, outputs], -1)


def class_sums(outputs: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """`[N, classes]` the outputs `[N, ..., classes]` of each class, summed over the positions where it is the largest; −inf: nowhere.

    `lengths` as `Predictions.output_lengths`.
    """
    n, classes = len(outputs), outputs.shape[-1]
    present = present_positions(outputs, lengths).reshape(n, -1)
    rows = outputs.reshape(n, -1, classes)
    winner, largest = rows.argmax(-1), rows.max(-1).astype(np.float64)
    sums = np.full((n, classes), -np.inf)
    for i in range(n):
        of_example, values = winner[i, present[i]], largest[i, present[i]]
        won = np.bincount(of_example, minlength=classes) > 0
        sums[i, won] = np.bincount(of_example, values, classes)[won]
    return sums


def present_positions(outputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """`[N, ...]` whether a position of outputs `[N, ..., classes]` is no padding; `lengths` as `Predictions.output_lengths`."""
    present = np.ones(outputs.shape[:-1], bool)
    if lengths is not None:
        is_in_text = np.arange(outputs.shape[1]) < lengths[:, None]
        present &= is_in_text.reshape(*is_in_text.shape, *[1] * (present.ndim - 2))
    return present


def explain_classes(
    classes: np.ndarray,
    shape: Sequence[int | None] | None,
    outputs: np.ndarray | None,
    sum_of_two: float | None,
    lengths: np.ndarray | None = None,
) -> Explained:
    """One class of each example. `shape` is that of the output, or None if it is unknown; `sum_of_two` as for `class_outputs`.

    With several axes after the batch a class is summed over the positions where it is predicted, or over all of them if there are
    none; that needs the `outputs` `[N, ...]` of the examples. Without outputs it is summed over all positions. `lengths` as
    `Predictions.output_lengths`. InputError if the output has no such class.
    """
    if sum_of_two is not None and (wrong := classes[(classes < 0) | (classes > 1)]).size:
        raise InputError(f"target={wrong[0]}: the output is a single sigmoid, of the classes 0 and 1")
    sign = np.where(classes == 1, 1.0, -1.0).astype(np.float32)
    if sum_of_two is not None and shape is not None and len(shape) <= 2:
        return Explained(weights=sign.reshape(-1, *[1] * (len(shape) - 1)), target=classes)
    if shape is not None and sum_of_two is None:
        check_target(classes, shape)
    if outputs is None or outputs.ndim <= 2:
        return Explained(classes, target=classes)
    by_class = class_outputs(outputs, sum_of_two)
    if by_class.shape[-1] == 1:  # one value at each position
        return Explained(classes, target=classes)
    positions = by_class.argmax(-1) == classes.reshape(-1, *[1] * (by_class.ndim - 2))
    present = present_positions(by_class, lengths)
    positions &= present
    nowhere = ~positions.reshape(len(classes), -1).any(1)
    positions[nowhere] = present[nowhere]
    pairs = zip(classes, nowhere, strict=True)
    texts = [[(EVERYWHERE if is_nowhere else WHERE_PREDICTED).format(k)] for k, is_nowhere in pairs]
    if sum_of_two is None:
        return Explained(classes, positions, target=classes, positions=positions, warnings=texts)
    weights = positions[..., None] * sign.reshape(-1, *[1] * positions.ndim)
    return Explained(weights=weights, target=classes, positions=positions, warnings=texts)


def predict_target(
    outputs: np.ndarray,
    sum_of_two: float | None,
    label_threshold: float | None = None,
    lengths: np.ndarray | None = None,
) -> Explained:
    """What target="predicted" explains, for these outputs `[N, ...]`; the others as in `Predictions`, `lengths` as its `output_lengths`."""
    by_class = class_outputs(outputs, sum_of_two)
    classes = by_class.argmax(-1) if by_class.ndim == 2 else class_sums(by_class, lengths).argmax(-1)
    explained = explain_classes(classes, outputs.shape, outputs, sum_of_two, lengths)
    if label_threshold is None:
        return explained
    texts = [[OTHER_LABELS] if count > 1 else [] for count in (outputs > label_threshold).sum(-1)]
    return dataclasses.replace(explained, warnings=texts)


def read_target(
    target: Any,
    n: int,
    shape: Sequence[int | None] | None,
    classes: int | None,
    class_names: Sequence[str] | None,
    is_label: bool = False,
) -> tuple[np.ndarray, bool]:
    """`[n]` class numbers or `[n, axes]` positions, and which of them: True for positions.

    `target`: a class number or name, or `[n]` labels as `read_labels` takes them; a position in the output as a tuple, or
    `[n, axes]` of them. `shape` is that of the output, and `classes` their number; None: unknown. `is_label`: it came with the
    examples, and is no position. Raises InputError.
    """
    axes = None if shape is None or is_label else len(shape) - 1
    if not has_axes(target):
        return np.full(n, _read_one(target, class_names)), False
    if axes not in (None, 1):
        positions = as_array(target, "target")
        is_one = isinstance(target, tuple) and positions.shape == (axes,)
        if positions.dtype.kind in "iu" and (is_one or positions.shape == (n, axes)):
            return np.broadcast_to(positions, (n, axes or 0)).astype(np.int64), True
    name = "labels" if is_label else "target"
    try:
        labels = read_labels(target, n, classes=classes, class_names=class_names, name=name)
    except InputError as error:
        if is_label and shape is not None and 2 < len(shape) <= len(shape_of(target)) + 1:
            raise InputError(
                f"labels: got shape {shape_of(target)}, labels of positions; a map explains one class: give target=k, or the labels "
                "as one-hot rows with ys=, which explains the scores of the true classes, summed over the positions"
            ) from None
        if axes in (None, 1):
            raise
        raise InputError(f"{error}; a position in the output is a tuple of {axes} numbers") from None
    if labels.form != "class":
        what = "several classes" if labels.form == "classes" else "real numbers"
        raise InputError(
            f"{name}: got {what} for each example; expected one class number, or one for each of {n} examples; ys= takes weights of "
            "the units, such as rows of 0 and 1 for the sum of several classes"
        )
    return labels.array, False


def _read_one(target: Any, class_names: Sequence[str] | None) -> int:
    """The number of one class, given by number or name."""
    value = np.asarray(target)
    if value.dtype.kind in "SU":
        if class_names is None:
            raise InputError(
                f"target={target!r}: expected a class number, an array of them, 'predicted' or None; names need class_names=[...]"
            )
        return int(read_labels([target], 1, class_names=class_names, name="target").array[0])
    if value.dtype.kind not in "iubf" or value % 1:
        raise InputError(f"target: expected class numbers, got {value.dtype}: {target!r}")
    return int(value)


def check_class_names(names: Sequence[str], output_shape: Sequence[int | None] | None, has_two_classes: bool) -> None:
    """ParameterError unless there is one name for each class of an output of this shape."""
    if output_shape is None:
        return
    if isinstance(names, str) or len(set(names)) != len(names):
        raise ParameterError("class_names: expected a list of different names, one for each class")
    classes = 2 if has_two_classes else 1 if len(output_shape) == 1 else output_shape[-1]
    if classes not in (None, len(names)):
        raise ParameterError(
            f"class_names: got {len(names)} names; the output has {classes} class{'es' * (classes != 1)}"
        )


def check_target(target: np.ndarray | None, output_shape: Sequence[int | None]) -> None:
    """InputError unless the class numbers `[N]` or positions `[N, axes]` are in an output of this shape."""
    if target is None or not target.size:
        return
    if target.ndim == 2:
        if target.shape[1] != len(output_shape) - 1:
            raise InputError(
                f"target: got positions of {target.shape[1]} numbers; the output has shape {output_shape[1:]} for each example"
            )
        sizes = output_shape[1:]
    else:
        sizes = (1 if len(output_shape) == 1 else output_shape[-1],)
    for numbers, size in zip(target.reshape(len(target), -1).T, sizes, strict=True):
        if numbers.min() < 0 or (size is not None and numbers.max() >= size):
            wrong = numbers.min() if numbers.min() < 0 else numbers.max()
            if target.ndim == 2:
                raise InputError(
                    f"target: position {wrong} is not among {size} on an axis; the output has shape {output_shape[1:]}"
                )
            hint = f"; a position in its shape {output_shape[1:]} is a tuple" if len(output_shape) > 2 else ""
            raise InputError(f"target={wrong}: the output has {size} units, numbered from 0{hint}")


def check_ys(ys: Any, n: int | None, output_shape: tuple[int | None, ...] | None = None) -> Any:
    """Weights `[n, ...]` of the output's units, or None. With `output_shape`, their shape must fit it."""
    if ys is None:
        return None
    weights = as_numbers(as_array(ys, "ys"), "ys")
    if not np.isfinite(weights).all():
        raise InputError("ys: holds NaN or infinity; give finite weights")
    if n is not None and (weights.ndim == 0 or len(weights) != n):
        raise InputError(f"ys: got shape {weights.shape}; expected {n} rows, one for each example")
    if output_shape is not None and not fits(weights.shape[1:], output_shape[1:]):
        raise InputError(
            f"ys: got weights of shape {weights.shape[1:]} for each example; the output has shape {output_shape[1:]}"
        )
    return weights.astype(np.float64)
