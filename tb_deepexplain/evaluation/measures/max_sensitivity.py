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

    def compare(changed: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(np.where(present[rows], changed - attributions[rows], 0), axis=1))

    changes, evaluations = maps.under_noise(samples, "uniform", radius, compare)
    largest = changes.max(0)  # NaN near x is not stable
    with np.errstate(invalid="ignore", divide="ignore"):  # a map of zeros has no norm
        return Measured(np.where((norm > 0) & ~maps.without_range, largest / norm, np.nan), evaluations)
