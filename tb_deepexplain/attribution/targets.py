"""Which unit of the output is explained: class numbers, weights of the units, and the predicted class."""

from __future__ import annotations

from typing import Any

import numpy as np

from tb_deepexplain.attribution.inputs import fits
from tb_deepexplain.errors import InputError


def predicted_classes(outputs: np.ndarray, probabilities: np.ndarray | None) -> np.ndarray | None:
    """The class with the largest output; for a single unit with a sigmoid, whether its probability exceeds one half.

    `outputs` `[N, ..., units]` or `[N]` are logits if there are `probabilities`. Returns None for a single unit without them:
    it may be a logit, a probability or a quantity.
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        classes: np.ndarray = outputs.argmax(-1)
        return classes
    return None if probabilities is None else (outputs.reshape(-1) > 0).astype(np.int64)


def predicted_units(outputs: np.ndarray) -> np.ndarray:
    """[N] the unit that target='predicted' explains: the predicted class; a single unit is number 0, whatever its value."""
    if outputs.ndim > 2:
        raise InputError(
            f"target='predicted': the output has shape {outputs.shape[1:]}, not one row of classes; give ys"
        )
    if outputs.ndim == 1 or outputs.shape[-1] == 1:
        return np.zeros(len(outputs), np.int64)
    return np.asarray(predicted_classes(outputs, None))


def check_target(target: Any, n: int | None, output_shape: tuple[int | None, ...] | None = None) -> Any:
    """`[n]` class numbers, or None. With `output_shape`, that of the model's output, the numbers must be among its units."""
    if target is None:
        return None
    classes = np.asarray(target)
    if classes.dtype.kind not in "iu":
        hint = "; weights of the units go to ys" if classes.ndim > 1 else ""
        raise InputError(f"target: expected class numbers, got {classes.dtype}{hint}")
    if n is not None:
        if classes.shape not in ((), (n,)):
            raise InputError(
                f"target: got shape {classes.shape}; expected one class number, or {n} of them, one for each example"
            )
        classes = np.broadcast_to(classes, (n,)).astype(np.int64)
    if output_shape is not None and classes.size:
        units = 1 if len(output_shape) == 1 else output_shape[-1]
        if classes.min() < 0 or (units is not None and classes.max() >= units):
            wrong = classes.min() if classes.min() < 0 else classes.max()
            raise InputError(f"target={wrong}: the output has {units} units, numbered from 0")
    return classes


def check_ys(ys: Any, n: int | None, output_shape: tuple[int | None, ...] | None = None) -> Any:
    """Weights `[n, ...]` of the output's units, or None. With `output_shape`, their shape must fit it."""
    if ys is None:
        return None
    weights = np.asarray(ys)
    if weights.dtype.kind not in "fiub":
        raise InputError(f"ys: expected numbers, got {weights.dtype}")
    if n is not None and (weights.ndim == 0 or len(weights) != n):
        raise InputError(f"ys: got shape {weights.shape}; expected {n} rows, one for each example")
    if output_shape is not None and not fits(weights.shape[1:], output_shape[1:]):
        raise InputError(
            f"ys: got weights of shape {weights.shape[1:]} for each example; the output has shape {output_shape[1:]}"
        )
    return weights.astype(np.float64)
