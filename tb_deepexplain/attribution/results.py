"""What is known about N examples: what the model says of them, and their attributions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What the model says about N examples."""

    outputs: np.ndarray  # [N, ...] what is explained: the logits where they were found
    probabilities: np.ndarray | None  # [N, ...] the softmax or sigmoid behind them
    token_ids: np.ndarray | None  # [N, T] for a text model
    lengths: np.ndarray | None = (
        None  # [N] of its ids, those that the model read; zeros behind them only fill the array
    )

    @property
    def classes(self) -> np.ndarray | None:
        """[N] the class predicted: the largest output, or whether the probability of a single one is above one half.

        None for a single output without a sigmoid behind it: it may be a logit, a probability or a quantity.
        """
        if self.outputs.ndim > 1 and self.outputs.shape[-1] > 1:
            return self.outputs.argmax(-1)
        return None if self.probabilities is None else (self.outputs.reshape(-1) > 0).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Result:
    """Attributions of N examples and what is known about them."""

    attributions: Any  # [N, ...] in the structure of the inputs; float32, float64 where the model is
    tokens: Any  # [N, T] sums over the embedding; None where nothing is embedded
    score: np.ndarray  # [N]
    baseline_score: np.ndarray  # [N], NaN where the method needs none
    gap: np.ndarray  # [N] Σ attributions − (score − baseline score), NaN where the method promises no sum
    target: np.ndarray | None  # [N]
    evaluations: np.ndarray  # [N] model evaluations spent
    warnings: list[list[str]]
    ys: np.ndarray | None = None  # [N, ...output] the weights explained in place of a target
