"""Stability: does the map rank the features in the same order when the input is a little noisy?"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from tb_deepexplain.evaluation.maps_with_method import MapsWithMethod
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.registry.parameters import Above, AtLeast, Doc
from tb_deepexplain.stats.rank_correlation import spearman


def stability(
    maps: MapsWithMethod,
    *,
    noise: Annotated[
        float, Above(0), Doc("Standard deviation of the noise, as a share of the range of its input.")
    ] = 0.05,
    samples: Annotated[int, AtLeast(1), Doc("Noisy copies.")] = 5,
) -> Measured:
    """Mean rank correlation (Spearman's) of the map of x with those of x + normal noise; 1 is stable.

    After Ghorbani, Abid, Zou 2019 (arXiv 1710.10547), who measure the change of a map by its ranks. The target stays the same.
    """
    attributions, present = maps.features(maps.values), maps.present()

    def compare(noisy: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return spearman(attributions[rows], noisy, present[rows])

    correlations, evaluations = maps.under_noise(samples, "normal", noise, compare)
    return Measured(np.where(maps.without_range, np.nan, np.mean(correlations, 0)), evaluations)
