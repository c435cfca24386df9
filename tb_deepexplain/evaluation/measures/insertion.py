"""Insertion: what becomes of the prediction when the features that the map calls important come first."""

from __future__ import annotations

import numpy as np

from tb_deepexplain.evaluation.perturbation import Blocks, Case, Measured, Steps, area
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline


def insertion(case: Case, *, steps: Steps = 20, blocks: Blocks = None, baseline: Baseline = None) -> Measured:
    """Area under the target's probability while features come into the baseline, the largest attributions first; high is good.

    Otherwise as deletion. Petsiuk, Das, Saenko 2018 (arXiv 1806.07421), section 4.1.
    """
    game, at = case.game(blocks, baseline), np.linspace(0, 1, steps + 1)
    curve = game.curve(at, lambda rows, first: ~first & tf.gather(game.present, rows))
    return Measured(area(curve), game.spent, curve, at)
