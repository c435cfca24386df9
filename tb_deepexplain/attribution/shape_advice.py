"""What to do about an array whose shape does not fit an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_deepexplain.graph.input_spec import fits


def advise(shape: Sequence[int], expected: Sequence[int | None], is_float: bool) -> str:
    """The likely mend, as the end of a sentence; empty if none is likely. `shape` and `expected` include the batch."""
    example, wanted = tuple(shape[1:]), tuple(expected[1:])
    if len(example) == len(wanted):
        return _same_rank(tuple(shape), wanted, is_float)
    if len(example) > len(wanted) and fits(example[len(example) - len(wanted) :], wanted):
        if shape[0] == 1 and len(example) == len(wanted) + 1:
            return "; it has one axis too many: give xs[0]"
        return f"; two axes stand before those of an example: give xs.reshape({(-1, *example[-len(wanted) :])})"
    if len(wanted) == 3 and wanted[-1] in (3, 4) and fits(example, wanted[:-1]):
        return f"; it has no axis of channels: give np.repeat(xs[..., None], {wanted[-1]}, -1)"
    if len(wanted) > 1 and wanted[-1] == 1 and fits(shape, wanted[:-1]):
        return "; it is one example without the batch dimension and the last axis: give xs[None, ..., None]"
    if None not in wanted and example and np.prod(example) == np.prod([size or 0 for size in wanted]):
        return f"; the number of values is right: give xs.reshape({(-1, *wanted)})"
    if len(wanted) == 1 and wanted[0] is None and np.prod(example):
        return "; give one row for each example: xs.reshape(len(xs), -1)"
    return ""


def _same_rank(shape: tuple[int, ...], wanted: tuple[int | None, ...], is_float: bool) -> str:
    example = shape[1:]
    if len(wanted) == 3:
        if fits((*example[1:], example[0]), wanted):
            return "; its channels stand first: give np.moveaxis(xs, 1, -1)"
        if fits((example[2], *example[:2]), wanted):
            return "; its channels stand last: give np.moveaxis(xs, -1, 1)"
        if fits(example[:2], wanted[:2]):
            return _channels(example[2], wanted[2])
        if example[2] == wanted[2] and None not in wanted:
            return f"; bring the pictures to {wanted[0]} × {wanted[1]}, as the training did: tf.image.resize(xs, {wanted[:2]})"
        return ""
    if len(wanted) == 2 and fits(example[::-1], wanted):
        return "; its axes stand in the other order: give np.swapaxes(xs, 1, 2)"
    if len(wanted) == 2 and example[1] == wanted[1] and wanted[0]:
        return f"; cut or pad the sequences to {wanted[0]}, as the training did"
    if len(wanted) != 1 or wanted[0] is None:
        return ""
    if not is_float:
        return f"; cut or pad the rows to {wanted[0]} values, as the training did: keras.utils.pad_sequences(xs, {wanted[0]})"
    if shape[0] == wanted[0]:
        return "; its rows are columns: give xs.T"
    if example[0] == wanted[0] + 1:
        return "; it has one column too many: is the label or an index among them?"
    return f"; give the {wanted[0]} columns on which the model was trained"


def _channels(count: int, wanted: int | None) -> str:
    if count == 1:
        return f"; repeat the grey channel: np.repeat(xs, {wanted}, -1)"
    if (count, wanted) == (4, 3):
        return "; leave the alpha channel out: xs[..., :3]"
    return "; convert the pictures to grey, as the training did" if wanted == 1 else ""
