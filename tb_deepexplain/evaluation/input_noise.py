"""What a measure asks of the method itself: the maps of examples that differ a little."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tb_deepexplain.evaluation.perturbation import Measured

__all__ = ["Again", "Measured"]


@dataclasses.dataclass(frozen=True)
class Again:
    """N examples with their maps, each a list with an array `[N, ...]` for every input, and the method."""

    points: Sequence[np.ndarray]
    maps: Sequence[np.ndarray]
    explain: Callable[[Sequence[np.ndarray]], tuple[list[np.ndarray], np.ndarray]]  # → maps, evaluations [N]
    seeds: np.ndarray  # [N] each example's own
    embeddings: Sequence[bool]  # for each input
    lengths: Sequence[np.ndarray | None]  # for each input [N], of its texts: what comes behind is padding

    def spans(self) -> list[np.ndarray]:
        """For each input `[N, 1, ...]` its largest less its smallest value; of one that has a single value, that of all inputs of
        the example together, or the largest magnitude. Zero only where every input of the example is zero."""
        flat = [points.reshape(len(points), -1) for points in self.points]
        together = np.concatenate(flat, 1)
        whole = np.ptp(together, 1)
        whole = np.where(whole > 0, whole, np.abs(together).max(1))
        own = [np.where((span := np.ptp(values, 1)) > 0, span, whole) for values in flat]
        return [span.reshape(-1, *[1] * (points.ndim - 1)) for span, points in zip(own, self.points, strict=True)]

    def moved(self, number: int, kind: str, by: float) -> list[np.ndarray]:
        """The points with random numbers added, `by` times their span: "uniform" in [−1, 1), or "normal"; each example has
        its own draw of this number."""
        own = [np.random.default_rng([abs(int(seed)), int(seed < 0), number]) for seed in self.seeds]
        found = []
        for points, span in zip(self.points, self.spans(), strict=True):
            shape = points.shape[1:]
            drawn = [rng.uniform(-1, 1, shape) if kind == "uniform" else rng.standard_normal(shape) for rng in own]
            found.append((points + by * span * np.stack(drawn).astype(points.dtype)).astype(points.dtype))
        return found

    @property
    def still(self) -> np.ndarray:
        """[N] whether nothing can be moved."""
        return np.all([span.reshape(len(span)) == 0 for span in self.spans()], 0)

    def features(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """[N, P] what the maps credit each feature with, in double precision: an embedding's values together."""
        parts = []
        for values, points, embedding in zip(maps, self.points, self.embeddings, strict=True):
            double = np.asarray(values, np.float64)
            parts.append(
                (double.sum(-1) if embedding and values.ndim == points.ndim else double).reshape(len(values), -1)
            )
        return np.concatenate(parts, 1)

    def present(self) -> np.ndarray:
        """[N, P] which of them are features of the example: all but padding."""
        parts: list[np.ndarray] = []
        for values, lengths in zip(self.maps, self.lengths, strict=True):
            size = values.shape[1] if values.ndim > 1 else 1
            here = np.ones([len(values), size], bool) if lengths is None else np.arange(size) < lengths[:, None]
            count = self.features_in(values, len(parts)) // size
            parts.append(np.repeat(here, count, 1))
        return np.concatenate(parts, 1)

    def features_in(self, values: np.ndarray, number: int) -> int:
        """How many features of an example the map of this input holds."""
        shape = values.shape[1:]
        whole = self.embeddings[number] and values.ndim == self.points[number].ndim
        return int(np.prod(shape[:-1] if whole else shape))
