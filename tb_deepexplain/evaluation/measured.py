"""Measured: what a measure returns for N maps."""

from __future__ import annotations

from typing import Any, NamedTuple


class Measured(NamedTuple):
    """The values of one measure for N maps; NaN where the measure is undefined."""

    value: Any  # [N]
    evaluations: Any  # [N] or one number: model evaluations spent on each example
    curve: Any = None  # [N, K]
    at: Any = None  # [N, K] the points of the curve, as shares of the features
    # [N, S] how much the score fell without each of S random sets of features. It does not depend on the map, so that other maps
    # of the same examples need no evaluations for it.
    changes: Any = None
    question: str = ""  # digest of model, examples, targets, seed and parameters, on which `changes` depend
