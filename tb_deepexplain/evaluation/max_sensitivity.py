"""Max-sensitivity: how far a map can be made to move by changing the input a little."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from tb_deepexplain.evaluation.again import Again, Measured, flat
from tb_deepexplain.methods.parameters import Above, AtLeast, Doc


def max_sensitivity(
    case: Again,
    *,
    radius: Annotated[float, Above(0), Doc("Largest change of a value, as a share of the example's range.")] = 0.02,
    samples: Annotated[int, AtLeast(1), Doc("Random changes, evenly from the cube of that radius.")] = 10,
) -> Measured:
    """Largest ‖map(x + δ) − map(x)‖ / ‖map(x)‖ over random changes δ of at most the radius; 0 is stable.

    Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392), definition 4.1 by sampling, there without the division by
    ‖map(x)‖. The target stays the same.
    """
    before, spans = flat(case.maps), case.spans()
    norm = np.linalg.norm(before, axis=1)
    worst, evaluations = np.zeros(len(before)), np.zeros(len(before), np.int64)
    for number in range(samples):
        moved = [
            x + radius * span * change
            for x, span, change in zip(case.points, spans, case.draw(number, "uniform"), strict=True)
        ]
        maps, spent = case.explain([m.astype(x.dtype) for m, x in zip(moved, case.points, strict=True)])
        worst, evaluations = np.fmax(worst, np.linalg.norm(flat(maps) - before, axis=1)), evaluations + spent
    with np.errstate(invalid="ignore", divide="ignore"):  # a map of zeros has no scale
        return Measured(np.where(norm > 0, worst / norm, np.nan), evaluations)
