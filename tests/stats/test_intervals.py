"""Means and their confidence intervals: Student's, point by point, an example counting once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from tb_deepexplain.stats.intervals import RunningMean, finite_or_none, group_means, half_width, mean_interval

NAN = float("nan")


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 20, 100, 10_000])
def test_intervals_are_students(n: int) -> None:
    assert half_width(1.0, n) == pytest.approx(t.ppf(0.975, n - 1) / n**0.5, rel=0.005)
    assert np.isnan(half_width(1.0, 1))


def test_a_mean_of_parts_is_the_mean_of_all() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=(50, 4))
    running = RunningMean()
    for part in np.array_split(values, 7):
        running.add(part)
    interval = running.interval()
    assert interval.count.tolist() == [50] * 4
    np.testing.assert_allclose(interval.mean, values.mean(0))
    error = half_width(values.std(0, ddof=1), 50)
    np.testing.assert_allclose([interval.low, interval.high], [values.mean(0) - error, values.mean(0) + error])


def test_values_that_are_not_finite_are_left_out() -> None:
    interval = mean_interval(np.array([[1.0, NAN, NAN], [3.0, 5.0, np.inf]]))
    assert interval.count.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(interval.mean, [2, 5, NAN])
    assert np.isfinite(interval.low).tolist() == [True, False, False]


def test_group_means_are_in_the_order_of_the_groups() -> None:
    values = np.array([4.0, 1.0, 2.0, NAN, NAN])
    np.testing.assert_array_equal(group_means(values, ["b", "a", "b", "b", "c"]), [1, 3, NAN])
    np.testing.assert_array_equal(group_means(values[:3], ["c", "a", "b"]), [1, 2, 4])
    curves = np.array([[1.0, NAN], [3.0, 5.0]])
    np.testing.assert_array_equal(group_means(curves, ["a", "a"]), [[2, 5]])


def test_numbers_for_json() -> None:
    assert [finite_or_none(value) for value in (np.float32(0.5), 2, None, NAN, -np.inf)] == [0.5, 2.0, None, None, None]
