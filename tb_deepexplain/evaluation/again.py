"""What a measure asks of the method itself: the maps of examples that differ a little."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tb_deepexplain.evaluation.game import Measured

__all__ = ["Again", "Measured"]


@dataclasses.dataclass(frozen=True)
class Again:
    """N examples with their maps, each a list with an array `[N, ...]` for every input, and the method."""

    points: Sequence[np.ndarray]
    maps: Sequence[np.ndarray]
    explain: Callable[[Sequence[np.ndarray]], tuple[list[np.ndarray], np.ndarray]]  # → maps, evaluations [N]
    seeds: np.ndarray  # [N] each example's own

    def spans(self) -> list[np.ndarray]:
        """Largest less smallest value of every example, `[N, 1, ...]`."""
        return [
            points.max(axis=(axes := tuple(range(1, points.ndim))), keepdims=True)
            - points.min(axis=axes, keepdims=True)
            for points in self.points
        ]

    def draw(self, number: int, kind: str) -> list[np.ndarray]:
        """Random numbers like the points, each example's own draw of this number: "uniform" in [−1, 1), or "normal"."""
        own = [np.random.default_rng([abs(int(seed)), int(seed < 0), number]) for seed in self.seeds]
        return [
            np.stack(
                [
                    rng.uniform(-1, 1, points.shape[1:]) if kind == "uniform" else rng.standard_normal(points.shape[1:])
                    for rng in own
                ]
            ).astype(points.dtype)
            for points in self.points
        ]


def flat(maps: Sequence[np.ndarray]) -> np.ndarray:
    """[N, values] of all inputs, in double precision."""
    return np.concatenate([m.reshape(len(m), -1) for m in maps], 1).astype(np.float64)
