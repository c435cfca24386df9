"""Mean ranks of methods and their bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from tb_deepexplain.stats.mean_ranks import mean_ranks, rank_each


def test_ties_share_their_rank_and_undefined_values_come_last() -> None:
    values = np.array([[1.0, 2], [3.0, 2], [2.0, np.nan]])
    assert rank_each(values, "lower").tolist() == [[1, 1.5], [3, 1.5], [2, 3]]
    assert rank_each(np.array([[1.0], [3.0]]), "higher").tolist() == [[2], [1]]
    assert rank_each(np.full((2, 1), np.nan), "higher").tolist() == [[1.5], [1.5]]


def test_rounding_is_relative_to_each_map() -> None:
    values = np.array([[0.5, 2e-5], [0.500001, 1e-5]])
    assert rank_each(values, "lower").tolist() == [[1.5, 2], [1.5, 1]]


def test_examples_are_resampled() -> None:
    first, second = mean_ranks(np.array([[1.0, 1, 2], [2.0, 2, 1]]), seed=0)
    assert (first.mean, second.mean) == (pytest.approx(4 / 3), pytest.approx(5 / 3))
    assert (first.low, first.high) == (1, 2)
    assert 0.6 < first.first < 0.9  # 20 of 27 samples hold two or three examples where the first method is better
    assert first.first + second.first == pytest.approx(1)
