"""Deletion: what becomes of the prediction when the features that the map calls important leave."""

from __future__ import annotations

import numpy as np

from tb_deepexplain.evaluation.perturbation import Blocks, Case, Measured, Steps, area
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline


def deletion(case: Case, *, steps: Steps = 20, blocks: Blocks = None, baseline: Baseline = None) -> Measured:
    """Area under the target's probability while features leave the input, the largest attributions first; low is good.

    Without a softmax or sigmoid behind the score, what is left of |f(x) − f(x′)| stands for the probability, in units of the
    score, and the attributions of its sign come first.
    Petsiuk, Das, Saenko 2018 (arXiv 1806.07421), section 4.1. The same for random maps is the line to compare it with.
    """
    game, at = case.game(blocks, baseline), np.linspace(0, 1, steps + 1)
    curve = game.curve(at, lambda rows, first: first & tf.gather(game.present, rows))
    return Measured(area(curve), game.spent, curve, at)
