"""Attribution drift against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipelines.tfma.drift import AttributionSums, compute_drift, draw_weights

RNG = np.random.default_rng(0)


def sum_rows(rows: np.ndarray, seed: int = 0, scale: float = 1.0) -> AttributionSums:
    """The sums over examples `[N, features]`."""
    sums = AttributionSums()
    for i, row in enumerate(rows):
        attributions = {f"f{k}": scale * value for k, value in enumerate(row)}
        sums.add(attributions, draw_weights((seed, i), 200, 0))
    return sums


def test_scaled_attributions_have_not_drifted() -> None:
    rows = RNG.normal(size=(50, 4))
    drift = compute_drift(sum_rows(rows), sum_rows(rows, scale=-7))
    assert drift.total == pytest.approx((0, 0, 0), abs=1e-9)


def test_disjoint_features_have_drifted_completely() -> None:
    left, right = (np.abs(RNG.normal(size=(50, 4))) * mask for mask in ([1, 1, 0, 0], [0, 0, 1, 1]))
    drift = compute_drift(sum_rows(left), sum_rows(right))
    assert drift.total == pytest.approx((1, 1, 1))
    assert sum(change.value for change in drift.by_feature.values()) == pytest.approx(0)


def test_drift_is_the_share_that_moved() -> None:
    """Shares of .5 .3 .2 become .2 .3 .5: three tenths have moved from the first feature to the third."""
    drift = compute_drift(sum_rows(np.tile([0.2, 0.3, 0.5], (40, 1))), sum_rows(np.tile([5, -3.0, 2], (40, 1))))
    assert drift.total.value == pytest.approx(0.3)
    changes = {feature: change.value for feature, change in drift.by_feature.items()}
    assert changes == pytest.approx({"f0": -0.3, "f1": 0, "f2": 0.3})


def test_the_interval_covers_the_true_change_in_95_percent_of_samples() -> None:
    """Two models whose shares differ by 0.1, and 100 samples of 80 examples."""
    covered = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        candidate = rng.exponential([[0.5, 0.3, 0.2]], (80, 3))
        reference = rng.exponential([[0.4, 0.4, 0.2]], (80, 3))
        change = compute_drift(sum_rows(candidate, trial), sum_rows(reference, 1000 + trial)).by_feature["f0"]
        covered += change.low <= 0.1 <= change.high
    assert 85 <= covered <= 99


def test_sums_of_several_workers_merge() -> None:
    rows = RNG.normal(size=(20, 3))
    total, parts = AttributionSums(), [AttributionSums() for _ in range(3)]
    for i, row in enumerate(rows):
        features = ["f0", "f1", "f2"] if i % 3 else ["f0", "f1"]  # such as a token that only some texts contain
        attributions = dict(zip(features, row, strict=False))
        for sums in (total, parts[i % 3]):
            sums.add(attributions, draw_weights(i, 200, 0))
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.examples == total.examples == 20
    np.testing.assert_allclose(merged.shares(["f0", "f1", "f2"]), total.shares(["f0", "f1", "f2"]))


def test_drift_is_nan_without_attributions() -> None:
    sums = sum_rows(RNG.normal(size=(3, 2)))
    assert np.isnan(compute_drift(AttributionSums(), sums).total.value)
    assert np.isnan(compute_drift(sum_rows(np.zeros((3, 2))), sums).total.value)


def test_weights_depend_on_content_and_seed() -> None:
    np.testing.assert_array_equal(draw_weights([("a", 1.0)], 50, 3), draw_weights([("a", 1.0)], 50, 3))
    assert (draw_weights("a", 50, 3) != draw_weights("b", 50, 3)).any()
    assert (draw_weights("a", 50, 3) != draw_weights("a", 50, 4)).any()
    assert draw_weights("a", 5000, 0)[1:].mean() == pytest.approx(1, abs=0.05)
    assert draw_weights("a", 5, 0, 2.5)[0] == 2.5
