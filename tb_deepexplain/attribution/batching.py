"""Examples divided into chunks, and what was found of the chunks as one again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def divide(n: int, size: int, ids: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """Row numbers of at most `size` examples each; of texts, given by their token ids [N, T], those of one length."""
    groups = [np.arange(n)]
    lengths = [lengths_of(i) if i.ndim == 2 else np.zeros(len(i)) for i in ids]
    if any(i.ndim == 2 and i.shape[1] == longest.max() for i, longest in zip(ids, lengths, strict=True)):
        _, group = np.unique(np.stack(lengths, 1), axis=0, return_inverse=True)
        groups = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    return [g[start : start + size] for g in groups for start in range(0, len(g), size)]


def lengths_of(ids: np.ndarray) -> np.ndarray:
    """How many tokens of each row come before the padding, which is zero."""
    return np.where(ids.any(1), ids.shape[1] - np.argmax(ids[:, ::-1] != 0, axis=1), 0)


def at_least_one(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """The arrays and their length; a blank example stands in for none, because kernels fail on empty batches."""
    n = len(arrays[0])
    return (arrays if n else [np.full((1, *a.shape[1:]), "" if a.dtype == object else 0, a.dtype) for a in arrays]), n


def track(chunks: list[np.ndarray], title: str | None) -> Iterator[np.ndarray]:
    if title is None:
        yield from chunks
    else:
        from rich.progress import track

        yield from track(chunks, description=title, total=len(chunks))


def rows(array: np.ndarray, chunk: np.ndarray) -> np.ndarray:
    """Those rows, not copied where they follow one another."""
    return array[chunk[0] : chunk[-1] + 1] if chunk[-1] - chunk[0] == len(chunk) - 1 else array[chunk]


def joined(parts: list[list[np.ndarray]], chunks: list[np.ndarray], n: int) -> list[np.ndarray]:
    """The chunks' arrays as one each, in the order of the examples."""
    places = np.concatenate(chunks)
    joined = [_concatenate([p[i] for p in parts]) for i in range(len(parts[0]))]
    if (np.diff(places) < 0).any():
        joined = [j[np.argsort(places)] for j in joined]
    return [j[:n] for j in joined]


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    """Along the batch; parts of a text model whose batches were padded to different lengths are padded with zeros."""
    if len(parts) == 1:
        return parts[0] if parts[0].flags.writeable else parts[0].copy()
    longest = [max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True)]
    if any(list(p.shape[1:]) != longest for p in parts):
        parts = [np.pad(p, [(0, 0), *((0, m - s) for m, s in zip(longest, p.shape[1:], strict=True))]) for p in parts]
    return np.concatenate(parts)
