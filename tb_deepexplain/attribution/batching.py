"""Splits examples into batches, and joins the arrays of the batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def split_rows(n: int, size: int, token_ids: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """The row numbers of each batch, at most `size`. Texts (with `token_ids` [N, T]) share a batch only if equally long."""
    groups = [np.arange(n)]
    lengths = [token_lengths(ids) if ids.ndim == 2 else np.zeros(len(ids)) for ids in token_ids]
    if any(ids.ndim == 2 and ids.shape[1] == of_input.max() for ids, of_input in zip(token_ids, lengths, strict=True)):
        _, group = np.unique(np.stack(lengths, 1), axis=0, return_inverse=True)
        groups = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    return [g[start : start + size] for g in groups for start in range(0, len(g), size)]


def token_lengths(ids: np.ndarray) -> np.ndarray:
    """[N] the number of tokens in each row of ids [N, T] before the padding, which is zero."""
    return np.where(ids.any(1), ids.shape[1] - np.argmax(ids[:, ::-1] != 0, axis=1), 0)


def at_least_one(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays; an empty batch becomes one blank example, because some kernels fail on empty input."""
    if len(arrays[0]):
        return arrays
    return [np.full((1, *a.shape[1:]), "" if a.dtype == object else 0, a.dtype) for a in arrays]


def track_progress(batches: list[np.ndarray], title: str | None) -> Iterator[np.ndarray]:
    """The batches, with a progress bar if there is a title."""
    if title is None:
        yield from batches
    else:
        from rich.progress import track

        yield from track(batches, description=title, total=len(batches))


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """These rows; a view if they are consecutive."""
    return array[rows[0] : rows[-1] + 1] if rows[-1] - rows[0] == len(rows) - 1 else array[rows]


def join_batches(parts: list[list[np.ndarray]], batches: list[np.ndarray], n: int) -> list[np.ndarray]:
    """One array for each position of `parts`, which has a list of arrays for each batch; in the order of the n examples."""
    rows = np.concatenate(batches)
    joined = [_concatenate([part[i] for part in parts]) for i in range(len(parts[0]))]
    if (np.diff(rows) < 0).any():
        joined = [array[np.argsort(rows)] for array in joined]
    return [array[:n] for array in joined]


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    """Along the batch; texts that were padded to different lengths are padded with zeros to the longest."""
    if len(parts) == 1:
        return parts[0] if parts[0].flags.writeable else parts[0].copy()
    longest = [max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True)]
    if any(list(p.shape[1:]) != longest for p in parts):
        parts = [np.pad(p, [(0, 0), *((0, m - s) for m, s in zip(longest, p.shape[1:], strict=True))]) for p in parts]
    return np.concatenate(parts)
