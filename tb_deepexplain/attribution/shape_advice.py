"""What to do about an array whose shape does not fit an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_deepexplain.graph.input_spec import fits


def advise(shape: Sequence[int], expected: Sequence[int | None], is_float: bool) -> str:
    """The likely mend, as the end of a sentence; empty if none is likely. `shape` and `expected` include the batch."""
    example, axes = tuple(shape[1:]), tuple(expected[1:])
    if len(example) == len(axes):
        return _same_rank(tuple(shape), axes, is_float)
    if len(example) > len(axes) and fits(example[len(example) - len(axes) :], axes):
        if shape[0] == 1 and len(example) == len(axes) + 1:
            return "; it has one axis too many: give xs[0]"
        return f"; two axes stand before those of an example: give xs.reshape({(-1, *example[-len(axes) :])})"
    if len(axes) == 3 and axes[-1] in (3, 4) and fits(example, axes[:-1]):
        return f"; it has no axis of channels: give np.repeat(xs[..., None], {axes[-1]}, -1)"
    if len(axes) > 1 and axes[-1] == 1 and fits(shape, axes[:-1]):
        return "; it is one example without the batch dimension and the last axis: give xs[None, ..., None]"
    if None not in axes and example and np.prod(example) == np.prod([size or 0 for size in axes]):
        return f"; the number of values is right: give xs.reshape({(-1, *axes)})"
    if len(axes) == 1 and axes[0] is None and np.prod(example):
        return "; give one row for each example: xs.reshape(len(xs), -1)"
    return ""


def _same_rank(shape: tuple[int, ...], axes: tuple[int | None, ...], is_float: bool) -> str:
    example = shape[1:]
    if len(axes) == 3:
        if fits((*example[1:], example[0]), axes):
            return "; its channels stand first: give np.moveaxis(xs, 1, -1)"
        if fits((example[2], *example[:2]), axes):
            return "; its channels stand last: give np.moveaxis(xs, -1, 1)"
        if fits(example[:2], axes[:2]):
            return _channels(example[2], axes[2])
        if example[2] == axes[2] and None not in axes:
            return (
                f"; bring the pictures to {axes[0]} × {axes[1]}, as the training did: tf.image.resize(xs, {axes[:2]})"
            )
        return ""
    if len(axes) == 2 and fits(example[::-1], axes):
        return "; its axes stand in the other order: give np.swapaxes(xs, 1, 2)"
    if len(axes) == 2 and example[1] == axes[1] and axes[0]:
        return f"; cut or pad the sequences to {axes[0]}, as the training did"
    if len(axes) != 1 or axes[0] is None:
        return ""
    if not is_float:
        return (
            f"; cut or pad the rows to {axes[0]} values, as the training did: keras.utils.pad_sequences(xs, {axes[0]})"
        )
    if shape[0] == axes[0]:
        return "; its rows are columns: give xs.T"
    if example[0] == axes[0] + 1:
        return "; it has one column too many: is the label or an index among them?"
    return f"; give the {axes[0]} columns on which the model was trained"


def _channels(count: int, expected: int | None) -> str:
    if count == 1:
        return f"; repeat the grey channel: np.repeat(xs, {expected}, -1)"
    if (count, expected) == (4, 3):
        return "; leave the alpha channel out: xs[..., :3]"
    return "; convert the pictures to grey, as the training did" if expected == 1 else ""
