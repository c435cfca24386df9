"""Localisation of maps against masks."""

from __future__ import annotations

import numpy as np
import pytest

from tb_deepexplain.errors import InputError
from tb_deepexplain.evaluation.localisation import localise


def test_localisation_of_known_maps() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[:2, :2, :2] = True  # the third mask is empty
    maps = np.zeros((3, 4, 4, 2))
    maps[0, 0, 0], maps[0, 3, 3] = 1, [1, 0]  # 2 in the mask, 1 outside
    maps[1, 3, 3], maps[1, 0, 0], maps[1, 0, 1] = 2, 1, -5
    localisation = localise(maps, masks)
    assert localisation.pointing[:2].tolist() == [1, 0]
    assert localisation.mass[:2] == pytest.approx([2 / 3, 1 / 3])
    # The four largest: (0,0), (3,3), and two of the fourteen zeros, three of which lie in the mask.
    intersection = 1 + 2 * 3 / 14
    assert localisation.iou[0] == pytest.approx(intersection / (8 - intersection))
    assert np.isnan([localisation.pointing[2], localisation.iou[2], localisation.mass[2]]).all()


def test_ties_count_in_part_and_undefined_maps_are_nan() -> None:
    masks = np.zeros((1, 4, 4), bool)
    masks[:, :2, :2] = True
    maps = np.ones((1, 4, 4))
    assert np.isnan(localise(maps, masks)).all()  # constant
    maps[0, 0, 0] = maps[0, 3, 3] = 2
    assert localise(maps, masks).pointing[0] == 0.5  # one of the two largest lies in the mask
    maps[0, 1, 1] = np.nan
    assert np.isnan(localise(maps, masks)).all()


def test_every_map_needs_a_mask() -> None:
    with pytest.raises(InputError, match="a mask for each map"):
        localise(np.zeros((3, 4, 4)), np.zeros((2, 4, 4), bool))
