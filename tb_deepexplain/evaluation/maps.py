"""Attribution maps and segments as measures take them: checked, cut to their batch, or random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.errors import InputError, ParameterError


def read_maps(attributions: Any, names: Sequence[str], n: int) -> list[np.ndarray]:
    """The maps of n examples: an array `[N, ...]` for each of these inputs, from an array, a list or a dict by name.

    InputError if their number is wrong. Without examples a map of zeros, like the one example that stands in for an empty batch.
    """
    if isinstance(attributions, Mapping):
        attributions = [attributions[name] for name in names]
    several = attributions if isinstance(attributions, list | tuple) else [attributions]
    maps = [np.asarray(a) for a in several if a is not None]  # None: of an input that is not explained
    if len(maps) != len(names) or any(len(m) != n for m in maps):
        raise InputError(
            f"maps: got {len(maps)} arrays of shapes {[m.shape for m in maps]}; expected the maps of {n} examples for "
            f"{', '.join(names)}, as Explainer.run returns them"
        )
    return maps if n else [np.zeros([1, *m.shape[1:]], m.dtype) for m in maps]


def fit_maps(maps: np.ndarray, entry: Any, embedded: bool) -> np.ndarray:
    """The maps of a batch without the padding to the longest text of all; ParameterError if they have other axes than the entry."""
    if embedded and maps.ndim > 1 and maps.shape[1] > entry.shape[1]:
        maps = maps[:, : entry.shape[1]]
    if maps.size == np.prod(entry.shape) and maps.ndim > entry.shape.rank:  # [N, 1] of an input that the model squeezes
        maps = maps.reshape(entry.shape)
    if maps.shape != tuple(entry.shape[: maps.ndim]):
        raise ParameterError(
            f"maps of shape {maps.shape[1:]} do not fit examples of shape {tuple(entry.shape[1:])}; measures need maps over all "
            "axes, or over the first ones (sampling_dims=1,2 for pictures)"
        )
    return maps


def random_maps(entries: Sequence[Any], seeds: np.ndarray) -> list[np.ndarray]:
    """Maps of standard normal random numbers like the entries; each example has its own generator."""
    generators = [np.random.default_rng([abs(int(seed)), int(seed < 0), 1]) for seed in seeds]
    return [
        np.stack([rng.standard_normal(entry.shape[1:]) for rng in generators]).astype(np.float32) for entry in entries
    ]


def read_segments(segments: Any, n: int, entry_shape: Sequence[int]) -> np.ndarray:
    """Group numbers `[N, ...]` of n examples whose first input has this shape; InputError if they do not fit it."""
    segments = np.asarray(segments)
    axes = entry_shape[:-1] if len(entry_shape) > 1 else entry_shape  # without channels or embedding dimensions
    expected = (n, *axes)
    if segments.dtype.kind not in "iu" or segments.shape != expected or segments.min(initial=0) < 0:
        raise InputError(
            f"segments: got {segments.dtype} of shape {segments.shape} with minimum {segments.min(initial=0)}; expected whole "
            f"numbers from 0, of shape {expected}"
        )
    return segments if n else np.zeros([1, *axes], segments.dtype)
