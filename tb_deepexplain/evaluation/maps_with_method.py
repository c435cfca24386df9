"""MapsWithMethod: what a measure gets that explains slightly changed examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class MapsWithMethod:
    """The maps of N examples, and the method that made them. Lists have an array `[N, ...]` for each input."""

    points: Sequence[np.ndarray]  # the examples, at each entry tensor of the method
    values: Sequence[np.ndarray]  # the maps
    # M points, the example of each [M] → maps, evaluations [M]
    explain: Callable[[Sequence[np.ndarray], np.ndarray], tuple[list[np.ndarray], np.ndarray]]
    points_at_once: int  # M, which fills batches
    seeds: np.ndarray  # [N] one for each example
    embedded: Sequence[bool]  # for each map, whether its last axis is that of an embedding
    lengths: Sequence[np.ndarray | None]  # for each input the number of tokens of its texts [N]; the rest is padding

    def spans(self) -> list[np.ndarray | None]:
        """For each entry tensor `[N, 1, ...]` its largest minus its smallest value; None for one that holds no real numbers.

        For a tensor with a single value, the span of all of the example, or the largest magnitude: it is zero only if all are zero.
        """
        flat = [points.reshape(len(points), -1) for points in self.points if points.dtype.kind == "f"]
        all_inputs = np.concatenate([*flat, np.zeros([len(self.points[0]), 0 if flat else 1])], 1)
        span = np.ptp(all_inputs, 1)
        fallback = np.where(span > 0, span, np.abs(all_inputs).max(1))
        spans: list[np.ndarray | None] = []
        for points in self.points:
            if points.dtype.kind != "f":
                spans.append(None)
                continue
            of_input = np.ptp(points.reshape(len(points), -1), 1)
            of_input = np.where(of_input > 0, of_input, fallback)
            spans.append(of_input.reshape(-1, *[1] * (points.ndim - 1)))
        return spans

    @property
    def without_range(self) -> np.ndarray:
        """[N] whether all inputs of an example are zero, so that no noise can be scaled to it."""
        spans = [span.reshape(len(span)) == 0 for span in self.spans() if span is not None]
        return np.all([np.ones(len(self.points[0]), bool), *spans], 0)

    def under_noise(
        self,
        samples: int,
        distribution: Literal["uniform", "normal"],
        scale: float,
        compare: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """`compare(features, rows)` of the maps of noisy examples, as `[samples, N]`, and the evaluations `[N]`.

        `features` `[M, P]` are those of the maps, and `rows` `[M]` the examples; the draws of all examples are explained together.
        """
        n = len(self.seeds)
        values, evaluations, spans = np.zeros(samples * n), np.zeros(n, np.int64), self.spans()
        for start in range(0, samples * n, self.points_at_once):
            draws = slice(start, start + self.points_at_once)
            numbers, rows = np.divmod(np.arange(samples * n)[draws], n)
            maps, spent = self.explain(self._noisy(rows, numbers, distribution, scale, spans), rows)
            values[draws] = compare(self.features(maps), rows)
            np.add.at(evaluations, rows, spent)
        return values.reshape(samples, n), evaluations

    def _noisy(
        self,
        rows: np.ndarray,
        numbers: np.ndarray,
        distribution: Literal["uniform", "normal"],
        scale: float,
        spans: Sequence[np.ndarray | None],
    ) -> list[np.ndarray]:
        """The examples `rows` plus random numbers, uniform in [−1, 1) or standard normal, times `scale` times the span of the input.

        Each example has its own draws, of these `numbers`.
        """
        seeds = zip(self.seeds[rows].tolist(), numbers.tolist(), strict=True)
        generators = [np.random.default_rng([abs(seed), int(seed < 0), number]) for seed, number in seeds]
        noisy = []
        for all_points, span in zip(self.points, spans, strict=True):
            points = all_points[rows]
            if span is None:  # integers and strings have no noise
                noisy.append(points)
                continue
            shape = points.shape[1:]
            uniform = distribution == "uniform"
            noise = [rng.uniform(-1, 1, shape) if uniform else rng.standard_normal(shape) for rng in generators]
            noisy.append((points + scale * span[rows] * np.stack(noise).astype(points.dtype)).astype(points.dtype))
        return noisy

    def features(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """The attributions of the P features of each example, [N, P] in double precision; embedding dimensions are summed."""
        parts = []
        for i, values in enumerate(maps):
            double = np.asarray(values, np.float64)
            parts.append((double.sum(-1) if self.embedded[i] else double).reshape(len(values), -1))
        return np.concatenate(parts, 1)

    def present(self) -> np.ndarray:
        """[N, P] whether a feature belongs to the example and is no padding."""
        parts: list[np.ndarray] = []
        for i, (values, lengths) in enumerate(zip(self.values, self.lengths, strict=True)):
            tokens = values.shape[1] if values.ndim > 1 else 1
            is_token = np.ones([len(values), tokens], bool) if lengths is None else np.arange(tokens) < lengths[:, None]
            shape = values.shape[1:-1] if self.embedded[i] else values.shape[1:]
            parts.append(np.repeat(is_token, int(np.prod(shape)) // tokens, 1))
        return np.concatenate(parts, 1)
