"""Splits examples into batches, and joins the arrays of the batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np


class RowQueue:
    """The numbers of the rows that are left. Texts (with `token_ids` `[N, T]`) share a batch only if equally long."""

    def __init__(self, n: int, token_ids: Sequence[np.ndarray] = ()) -> None:
        groups = [np.arange(n)]
        lengths = [token_lengths(ids) if ids.ndim == 2 else np.zeros(len(ids)) for ids in token_ids]
        if any(
            ids.ndim == 2 and ids.shape[1] == of_input.max() for ids, of_input in zip(token_ids, lengths, strict=True)
        ):
            _, group = np.unique(np.stack(lengths, 1), axis=0, return_inverse=True)
            groups = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
        self._groups = [group for group in groups[::-1] if len(group)]

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def next_count(self) -> int:
        """The rows that can share the next batch."""
        return len(self._groups[-1])

    def take(self, size: int) -> np.ndarray:
        """The next rows, at most `size`."""
        group = self._groups.pop()
        if len(group) > size:
            self._groups.append(group[size:])
        return group[:size]

    def put_back(self, rows: np.ndarray) -> None:
        """Rows that were taken last are left again."""
        self._groups.append(rows)

    def split(self, size: int) -> list[np.ndarray]:
        """All rows that are left, in batches of at most `size`."""
        batches = []
        while self:
            batches.append(self.take(size))
        return batches


def token_lengths(ids: np.ndarray) -> np.ndarray:
    """[N] the number of tokens in each row of ids [N, T] before the padding, which is zero."""
    return np.where(ids.any(1), ids.shape[1] - np.argmax(ids[:, ::-1] != 0, axis=1), 0)


def at_least_one(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays; an empty batch becomes one blank example, because some kernels fail on empty input."""
    if len(arrays[0]):
        return arrays
    return [np.full((1, *a.shape[1:]), "" if a.dtype == object else 0, a.dtype) for a in arrays]


@contextlib.contextmanager
def show_progress(examples: int, title: str | None) -> Iterator[Callable[[int], None]]:
    """A function that counts examples on a progress bar if there is a title."""
    if title is None:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task(title, total=examples)
        yield lambda count: progress.advance(task, count)


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
