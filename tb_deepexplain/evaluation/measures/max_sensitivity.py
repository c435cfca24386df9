"""Max-sensitivity: how much can a small change of the input change the map?"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from tb_deepexplain.evaluation.maps_with_method import MapsWithMethod
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.registry.parameters import Above, AtLeast, Doc


def max_sensitivity(
    maps: MapsWithMethod,
    *,
    radius: Annotated[float, Above(0), Doc("Largest change of a value, as a share of the range of its input.")] = 0.02,
    samples: Annotated[int, AtLeast(1), Doc("Random changes, uniform in the cube of that radius.")] = 10,
) -> Measured:
    """Largest ‖map(x + δ) − map(x)‖ / ‖map(x)‖ over random changes δ of at most the radius; 0 is stable.

    Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392), definition 4.1 by sampling, there without the division by
    ‖map(x)‖. A map has one attribution per feature. The target stays the same.
    """
    attributions, present = maps.features(maps.values), maps.present()
    norm = np.linalg.norm(np.where(present, attributions, 0), axis=1)
    largest, evaluations = np.zeros(len(norm)), np.zeros(len(norm), np.int64)
    for number in range(samples):
        changed, spent = maps.explain(maps.noisy(number, "uniform", radius))
        change = np.linalg.norm(np.where(present, maps.features(changed) - attributions, 0), axis=1)
        largest, evaluations = np.maximum(largest, change), evaluations + spent  # NaN near x is not stable
    with np.errstate(invalid="ignore", divide="ignore"):  # a map of zeros has no norm
        return Measured(np.where((norm > 0) & ~maps.without_range, largest / norm, np.nan), evaluations)
