"""Stability: does the map rank the features alike when the input is a little noisy?"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from tb_deepexplain.evaluation.input_noise import Again, Measured
from tb_deepexplain.registry.parameters import Above, AtLeast, Doc
from tb_deepexplain.stats.rank_correlation import spearman


def stability(
    case: Again,
    *,
    noise: Annotated[float, Above(0), Doc("Deviation of the noise, as a share of the range of its input.")] = 0.05,
    samples: Annotated[int, AtLeast(1), Doc("Noisy copies.")] = 5,
) -> Measured:
    """Mean rank correlation (Spearman's) of the map of x with those of x + normal noise; 1 is stable.

    After Ghorbani, Abid, Zou 2019 (arXiv 1710.10547), who measure the change of a map by its ranks. The target stays the same.
    """
    before, present = case.features(case.maps), case.present()
    found, evaluations = [], np.zeros(len(before), np.int64)
    for number in range(samples):
        maps, spent = case.explain(case.moved(number, "normal", noise))
        found.append(spearman(before, case.features(maps), present))
        evaluations = evaluations + spent
    return Measured(np.where(case.still, np.nan, np.mean(found, 0)), evaluations)
