"""Deletion: does the prediction fall when the features of largest attribution are removed?"""

from __future__ import annotations

import numpy as np

from tb_deepexplain.evaluation.maps_with_score import Blocks, MapsWithScore, Steps
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.tensor_statistics import area
from tb_deepexplain.lazy_tensorflow import tf
from tb_deepexplain.registry.parameters import Baseline


def deletion(maps: MapsWithScore, *, steps: Steps = 20, blocks: Blocks = None, baseline: Baseline = None) -> Measured:
    """Area under the target's probability while features are removed, the largest attributions first; low is good.

    Without a softmax or sigmoid after the score, what is left of |f(x) − f(x′)| takes the place of the probability, in units of
    the score, and the attributions with its sign come first. Petsiuk, Das, Saenko 2018 (arXiv 1806.07421), section 4.1. Compare it
    with its chance level, the same for random maps.
    """
    groups, shares = maps.feature_groups(blocks, baseline), np.linspace(0, 1, steps + 1)
    curve = groups.curve(shares, lambda rows, first: first & tf.gather(groups.present, rows))
    return Measured(area(curve), groups.evaluations, curve, shares)
