"""MapsWithMethod: what a measure gets that explains slightly changed examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class MapsWithMethod:
    """The maps of N examples, and the method that made them. Lists have an array `[N, ...]` for each input."""

    points: Sequence[np.ndarray]  # the examples
    values: Sequence[np.ndarray]  # the maps
    explain: Callable[[Sequence[np.ndarray]], tuple[list[np.ndarray], np.ndarray]]  # points → maps, evaluations [N]
    seeds: np.ndarray  # [N] one for each example
    embeddings: Sequence[bool]  # for each input
    lengths: Sequence[np.ndarray | None]  # for each input the number of tokens of its texts [N]; the rest is padding

    def spans(self) -> list[np.ndarray]:
        """For each input `[N, 1, ...]` its largest minus its smallest value.

        For an input with a single value, the span of all inputs of the example, or the largest magnitude: it is zero only if all
        inputs of the example are zero.
        """
        flat = [points.reshape(len(points), -1) for points in self.points]
        all_inputs = np.concatenate(flat, 1)
        span = np.ptp(all_inputs, 1)
        fallback = np.where(span > 0, span, np.abs(all_inputs).max(1))
        spans = [np.where((span := np.ptp(values, 1)) > 0, span, fallback) for values in flat]
        return [span.reshape(-1, *[1] * (points.ndim - 1)) for span, points in zip(spans, self.points, strict=True)]

    @property
    def without_range(self) -> np.ndarray:
        """[N] whether all inputs of an example are zero, so that no noise can be scaled to it."""
        return np.all([span.reshape(len(span)) == 0 for span in self.spans()], 0)

    def noisy(self, number: int, distribution: Literal["uniform", "normal"], scale: float) -> list[np.ndarray]:
        """The examples plus random numbers, uniform in [−1, 1) or standard normal, times `scale` times the span of the input.

        Each example has its own draw of this number.
        """
        generators = [np.random.default_rng([abs(int(seed)), int(seed < 0), number]) for seed in self.seeds]
        noisy = []
        for points, span in zip(self.points, self.spans(), strict=True):
            shape = points.shape[1:]
            uniform = distribution == "uniform"
            noise = [rng.uniform(-1, 1, shape) if uniform else rng.standard_normal(shape) for rng in generators]
            noisy.append((points + scale * span * np.stack(noise).astype(points.dtype)).astype(points.dtype))
        return noisy

    def features(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """The attributions of the P features of each example, [N, P] in double precision; embedding dimensions are summed."""
        parts = []
        for i, values in enumerate(maps):
            double = np.asarray(values, np.float64)
            parts.append((double.sum(-1) if self._is_embedded(i, values) else double).reshape(len(values), -1))
        return np.concatenate(parts, 1)

    def present(self) -> np.ndarray:
        """[N, P] whether a feature belongs to the example and is no padding."""
        parts: list[np.ndarray] = []
        for i, (values, lengths) in enumerate(zip(self.values, self.lengths, strict=True)):
            tokens = values.shape[1] if values.ndim > 1 else 1
            is_token = np.ones([len(values), tokens], bool) if lengths is None else np.arange(tokens) < lengths[:, None]
            shape = values.shape[1:-1] if self._is_embedded(i, values) else values.shape[1:]
            parts.append(np.repeat(is_token, int(np.prod(shape)) // tokens, 1))
        return np.concatenate(parts, 1)

    def _is_embedded(self, i: int, values: np.ndarray) -> bool:
        """Whether the last axis of this map of input i is the embedding."""
        return self.embeddings[i] and values.ndim == self.points[i].ndim
