"""Results for N examples: the model's predictions, and attributions with completeness gap and token sums."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.precision_error import PrecisionError
from tb_deepexplain.attribution.targets import Explained, predicted_classes


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The outputs of a model for N examples."""

    outputs: np.ndarray  # [N, ...] the explained output; logits if there are probabilities
    probabilities: np.ndarray | None  # [N, ...] of the softmax or sigmoid after the logits
    token_ids: np.ndarray | None  # [N, T] of a text model
    lengths: np.ndarray | None = None  # [N] how many token ids the model read; the rest of the row is filled with zeros
    sum_of_two: float | None = (
        None  # of a single sigmoid (at each position): outputs of classes 0 and 1 add up to 0, or 1
    )
    output_lengths: np.ndarray | None = None  # [N] positions along axis 1 of `outputs`, the rest being zeros; None: all
    label_threshold: float | None = None  # of several sigmoids: outputs above it are probabilities above one half

    @property
    def classes(self) -> np.ndarray | None:
        """[N] the predicted class, or None; see `targets.predicted_classes`."""
        return predicted_classes(self.outputs, self.probabilities)

    @functools.cached_property
    def labels(self) -> list[np.ndarray] | None:
        """For each example the classes whose probability is above one half, the most probable first; None unless each class has a
        sigmoid of its own."""
        if self.label_threshold is None:
            return None
        order = np.argsort(-self.outputs, axis=-1, kind="stable")
        return [classes[row[classes] > self.label_threshold] for row, classes in zip(self.outputs, order, strict=True)]


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """Attributions of N examples."""

    attributions: Any  # [N, ...] in the structure of the inputs; float32, float64 if the model's inputs are
    tokens: Any  # [N, T] sums over the embedding; None if nothing is embedded
    score: np.ndarray  # [N]
    baseline_score: np.ndarray  # [N], NaN if the method computes none
    gap: np.ndarray  # [N] Σ attributions − (score − baseline score), NaN if the method promises no sum
    target: np.ndarray | None  # [N] the class, or [N, axes] the position, in the output
    evaluations: np.ndarray  # [N] model evaluations
    warnings: list[list[str]]
    ys: np.ndarray | None = None  # [N, ...output] the weights that were explained in place of a target
    positions: np.ndarray | None = None  # [N, ...] whether the class was summed over this position; None: over all
    explained: Explained | None = None  # may be the `target` of another run
    method: str = ""
    precision_error: PrecisionError | None = None  # of a sample: the difference to maps in float32; None in float32

    def __repr__(self) -> str:
        """What is in it, without the arrays."""
        parts = [f"attributions {_describe_shapes(self.attributions)}", f"target {self._describe_target()}"]
        if np.isfinite(self.gap).any():
            parts.append(f"largest gap {np.nanmax(np.abs(self.gap)):.2g}")
        if warned := sum(map(bool, self.warnings)):
            parts.append(f"warnings of {warned} examples")
        return f"Result({self.method} of {len(self.score)} examples: {', '.join(parts)})"

    def _describe_target(self) -> str:
        if self.target is None:
            return "the sum of all units" if self.ys is None else "weights ys"
        if len(np.unique(self.target, axis=0)) == 1:
            return str(self.target[0].tolist())
        return np.array2string(self.target, separator=", ", threshold=6, edgeitems=2).replace("\n", "")


def _describe_shapes(attributions: Any) -> Any:
    if isinstance(attributions, dict):
        return {name: _describe_shapes(values) for name, values in attributions.items()}
    if isinstance(attributions, list | tuple):
        return [_describe_shapes(values) for values in attributions]
    return None if attributions is None else list(attributions.shape)


def completeness_gap(maps: Sequence[np.ndarray], score: np.ndarray, baseline_score: np.ndarray) -> np.ndarray:
    """[N] Σ attributions − (score − baseline score), in double precision; NaN for maps that hold NaN."""
    flat = [m.reshape(len(m), math.prod(m.shape[1:])) for m in maps]
    with np.errstate(invalid="ignore"):
        gap: np.ndarray = np.sum([f.sum(1, dtype=np.float64) for f in flat], axis=0) - (score - baseline_score)
    return gap


def sum_tokens(
    maps: Sequence[np.ndarray], ranks: Sequence[int], lookups: Sequence[Any], map_axes: tuple[int, ...] | None
) -> Any:
    """[N, T] the maps of embeddings, summed over the embedding; a list if there are several, None if there are none.

    For each map, `ranks` is the rank of its entry and `lookups` its embedding look-up, if it has one. Maps of other `map_axes`
    than the tokens have no sum.
    """
    with np.errstate(
        invalid="ignore"
    ):  # NaN of maps that hold it; NumPy's own kernels set the flag at times without reason
        tokens = [
            m @ np.ones(m.shape[-1], m.dtype) if m.ndim == rank else m  # faster than m.sum(-1)
            for m, rank, lookup in zip(maps, ranks, lookups, strict=True)
            if lookup and (map_axes is None or map_axes[: rank - 2] == tuple(range(1, rank - 1)))
        ]
    return tokens[0] if len(tokens) == 1 else tokens or None
