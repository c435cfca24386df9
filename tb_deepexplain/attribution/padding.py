"""Padding: examples of unequal lengths → one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.array_likes import rows_differ
from tb_deepexplain.errors import InputError


def pad_rows(rows: np.ndarray, shape: Sequence[int | None], padding: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`[N, ...]` from rows of unequal lengths, filled up at their ends with `padding`; and `[N]` whether a row was filled up.

    `shape`: of an example; only axes of any length (None) are filled up. Pictures are not padded, because a border of zeros is
    a picture too. InputError if the rows do not fit.
    """
    if any(_rank(row) != len(shape) for row in rows):
        ranks = sorted({_rank(row) for row in rows})
        raise InputError(
            f"{name}: the examples differ in shape: they have {' or '.join(map(str, ranks))} axes; expected {len(shape)}"
        )
    sizes = np.max([_sizes(row) for row in rows], 0)
    unequal = [axis for axis in range(len(shape)) if not all(_is_full(row, axis, sizes[axis]) for row in rows)]
    are_pictures = len(shape) == 3 and shape[0] is None and shape[1] is None
    if fixed := [axis for axis in unequal if shape[axis] is not None or are_pictures]:
        axis, lengths = fixed[0], [_sizes(row)[fixed[0]] for row in rows]
        expected = f"{shape[axis]}, as the training did (such as keras.utils.pad_sequences)" * (shape[axis] is not None)
        raise InputError(
            f"{name}: the examples differ in shape: along axis {axis + 1} they have {min(lengths)} to {max(lengths)} values; bring "
            f"all to {expected or 'one size, or explain each size by itself'}"
        )
    dtype = np.result_type(*{leaf.dtype for row in rows for leaf in _leaves(row)})
    padded = np.full((len(rows), *sizes), padding, object if dtype.kind in "SU" else dtype)
    for target, row in zip(padded, rows, strict=True):
        _fill(target, row)
    return padded, np.array([not all(_is_full(row, axis, sizes[axis]) for axis in unequal) for row in rows])


def _rank(row: Any) -> int:
    if not isinstance(row, np.ndarray):
        return 0
    return 1 + max(map(_rank, row)) if rows_differ(row) else row.ndim


def _leaves(row: np.ndarray) -> list[np.ndarray]:
    return [leaf for part in row for leaf in _leaves(part)] if rows_differ(row) else [row]


def _sizes(row: np.ndarray) -> list[int]:
    """The largest length along each axis."""
    if not rows_differ(row):
        return list(row.shape)
    return [len(row), *np.max([_sizes(part) for part in row], 0)]


def _is_full(row: np.ndarray, axis: int, size: int) -> bool:
    """Whether the row has this length along the axis everywhere."""
    if axis == 0:
        return len(row) == size
    if rows_differ(row):
        return all(_is_full(part, axis - 1, size) for part in row)
    return row.shape[axis] == size


def _fill(target: np.ndarray, row: np.ndarray) -> None:
    if rows_differ(row):
        for part_target, part in zip(target, row, strict=False):
            _fill(part_target, part)
    else:
        target[tuple(map(slice, row.shape))] = row
