"""Maps by definition, from scores and gradients of the model as its owner calls it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tests.zoo.as_called import AsCalled

Mask = list[np.ndarray]  # for each entry, [...] bool: the features of one window or player


def literal_gradient(called: AsCalled) -> list[np.ndarray]:
    """∂f/∂x; AssertionError where the tape finds none."""
    gradients = called.gradient(called.entries)
    assert all(g is not None for g in gradients), "the model as called has no gradient"
    return gradients


def literal_occlusion(called: AsCalled, windows: Sequence[Mask]) -> list[np.ndarray]:
    """The drop of the score when a window is replaced by zeros, shared by its features; the windows do not overlap."""
    changes = called.score[:, None] - _scores_without(called, windows)  # [N, windows]
    maps = [np.zeros([called.n, *shape]) for shape in called.map_shapes]
    for w, window in enumerate(windows):
        size = sum(int(mask.sum()) for mask in window)
        for values, mask in zip(maps, window, strict=True):
            values[:, mask] = changes[:, w, None] / size
    return maps


def literal_shapley(called: AsCalled, players: Sequence[Mask]) -> np.ndarray:
    """[N, players] Shapley values from the scores of all coalitions."""
    count = len(players)
    coalitions = list(itertools.product([False, True], repeat=count))
    absent = [[_union([p for p, present in zip(players, c, strict=True) if not present], called)] for c in coalitions]
    values = dict(zip(coalitions, _scores_without(called, [a[0] for a in absent]).T, strict=True))
    shapley = np.zeros([called.n, count])
    for coalition in coalitions:
        size = sum(coalition)
        for i in range(count):
            if not coalition[i]:
                joined = (*coalition[:i], True, *coalition[i + 1 :])
                weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                shapley[:, i] += weight * (values[joined] - values[coalition])
    return shapley


def _union(masks: Sequence[Mask], called: AsCalled) -> Mask:
    union = [np.zeros(shape, bool) for shape in called.map_shapes]
    for mask in masks:
        union = [u | m for u, m in zip(union, mask, strict=True)]
    return union


def _without(mask: np.ndarray, values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """The values of one example with the baseline's where the mask, which may have fewer axes, is set."""
    return np.where(mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)), baseline, values)


def _scores_without(called: AsCalled, masks: Sequence[Mask], at_once: int = 64) -> np.ndarray:
    """[N, masks] the score of each example without the features of each mask."""
    pairs = [(n, mask) for n in range(called.n) for mask in masks]
    scores = []
    for i in range(0, len(pairs), at_once):
        chunk = pairs[i : i + at_once]
        points = [
            np.stack([_without(mask[e], entry[n], baseline[n]) for n, mask in chunk]).astype(entry.dtype)
            for e, (entry, baseline) in enumerate(zip(called.entries, called.baselines, strict=True))
        ]
        scores.append(called.scores(points, [n for n, _ in chunk]))
    return np.concatenate(scores).reshape(called.n, len(masks))
