"""Max-sensitivity: how far a map can be made to move by changing the input a little."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from tb_deepexplain.evaluation.input_noise import Again, Measured
from tb_deepexplain.registry.parameters import Above, AtLeast, Doc


def max_sensitivity(
    case: Again,
    *,
    radius: Annotated[float, Above(0), Doc("Largest change of a value, as a share of the range of its input.")] = 0.02,
    samples: Annotated[int, AtLeast(1), Doc("Random changes, evenly from the cube of that radius.")] = 10,
) -> Measured:
    """Largest ‖map(x + δ) − map(x)‖ / ‖map(x)‖ over random changes δ of at most the radius; 0 is stable.

    Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392), definition 4.1 by sampling, there without the division by
    ‖map(x)‖. A map is what each feature is credited with. The target stays the same.
    """
    before, present = case.features(case.maps), case.present()
    norm = np.linalg.norm(np.where(present, before, 0), axis=1)
    worst, evaluations = np.zeros(len(before)), np.zeros(len(before), np.int64)
    for number in range(samples):
        maps, spent = case.explain(case.moved(number, "uniform", radius))
        change = np.linalg.norm(np.where(present, case.features(maps) - before, 0), axis=1)
        worst, evaluations = np.maximum(worst, change), evaluations + spent  # NaN beside x is not stable
    with np.errstate(invalid="ignore", divide="ignore"):  # a map of zeros has no scale
        return Measured(np.where((norm > 0) & ~case.still, worst / norm, np.nan), evaluations)
