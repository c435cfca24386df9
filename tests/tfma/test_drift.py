"""Attribution drift against closed forms, and maps pooled to numbers."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipelines.tfma.drift import Drift, Sums, draw, drift
from beam_pipelines.tfma.pooling import check_pool, pooled
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import Input, model_input

RNG = np.random.default_rng(0)


def sums(rows: np.ndarray, seed: int = 0, scale: float = 1.0) -> Sums:
    """Of examples `[N, features]`."""
    found = Sums()
    for i, row in enumerate(rows):
        found.add({f"f{k}": scale * value for k, value in enumerate(row)}, draw((seed, i), 200, 0))
    return found


def test_the_same_reasons_have_not_drifted_however_large() -> None:
    rows = RNG.normal(size=(50, 4))
    assert drift(sums(rows), sums(rows, scale=-7)).whole == pytest.approx((0, 0, 0), abs=1e-9)


def test_reasons_that_have_nothing_in_common_have_drifted_wholly() -> None:
    left, right = (np.abs(RNG.normal(size=(50, 4))) * mask for mask in ([1, 1, 0, 0], [0, 0, 1, 1]))
    found = drift(sums(left), sums(right))
    assert found.whole == pytest.approx((1, 1, 1))
    assert sum(moved.value for moved in found.features.values()) == pytest.approx(0)


def test_the_share_that_moved() -> None:
    """Shares of .5 .3 .2 that become .2 .3 .5: three tenths have moved from the first feature to the third."""
    found = drift(sums(np.tile([0.2, 0.3, 0.5], (40, 1))), sums(np.tile([5, -3.0, 2], (40, 1))))
    assert found.whole.value == pytest.approx(0.3)
    assert {name: moved.value for name, moved in found.features.items()} == pytest.approx(
        {"f0": -0.3, "f1": 0, "f2": 0.3}
    )


def test_the_interval_covers_what_is_true_as_often_as_it_says() -> None:
    """Two models whose shares differ by 0.1: of 100 samples of 80 examples, the interval has it in about 95."""
    inside = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        rows = rng.exponential([[0.5, 0.3, 0.2]], (80, 3))
        before = rng.exponential([[0.4, 0.4, 0.2]], (80, 3))
        found: Drift = drift(sums(rows, trial), sums(before, 1000 + trial))
        inside += found.features["f0"].low <= 0.1 <= found.features["f0"].high
    assert 85 <= inside <= 99


def test_parts_may_come_from_many_workers() -> None:
    rows = RNG.normal(size=(20, 3))
    parts = [Sums() for _ in range(3)]
    for i, row in enumerate(rows):
        names = ["f0", "f1", "f2"] if i % 3 else ["f0", "f1"]  # a token that some have not
        parts[i % 3].add(dict(zip(names, row, strict=False)), draw(i, 200, 0))
    whole = Sums()
    for i, row in enumerate(rows):
        whole.add(dict(zip(["f0", "f1", "f2"] if i % 3 else ["f0", "f1"], row, strict=False)), draw(i, 200, 0))
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.examples == whole.examples == 20
    np.testing.assert_allclose(merged.shares(["f0", "f1", "f2"]), whole.shares(["f0", "f1", "f2"]))


def test_nothing_has_no_drift() -> None:
    assert np.isnan(drift(Sums(), sums(RNG.normal(size=(3, 2)))).whole.value)
    assert np.isnan(drift(sums(np.zeros((3, 2))), sums(RNG.normal(size=(3, 2)))).whole.value)


def test_draws_are_of_the_content_alone() -> None:
    np.testing.assert_array_equal(draw([("a", 1.0)], 50, 3), draw([("a", 1.0)], 50, 3))
    assert (draw("a", 50, 3) != draw("b", 50, 3)).any() and (draw("a", 50, 3) != draw("a", 50, 4)).any()
    assert draw("a", 5000, 0)[1:].mean() == pytest.approx(1, abs=0.05) and draw("a", 5, 0, 2.5)[0] == 2.5


def test_pooled_numbers_sum_to_what_the_map_sums_to() -> None:
    picture, values = Input("1", "image"), RNG.normal(size=(9, 7, 3))
    for pool, count in (("channel", 3), ("region", 16)):
        found = pooled(picture, values, pool)
        assert len(found) == count and sum(found.values()) == pytest.approx(values.sum())
    assert pooled(picture, values, None)["image[channel 1]"] == pytest.approx(values[..., 1].sum())
    regions = pooled(picture, values, "region", regions=2, name="x")
    assert regions["x[region 1,0]"] == pytest.approx(values[5:, :4].sum())


def test_texts_and_tables_are_pooled_by_name() -> None:
    text = Input("1", "text", tokens=["not", "bad", "not", ""])
    assert pooled(text, np.array([1.0, 2.0, 3.0, 0.0]), "token") == {"not": 4.0, "bad": 2.0, "[padding]": 0.0}
    assert pooled(text, np.array([1.0, 2.0, 3.0, 0.0]), None, name="review") == {"review": 6.0}
    inputs = [model_input("age", "float32", (), "tabular"), model_input("blood", "float32", (2,), "tabular")]
    row = Input("1", "tabular", values=[0.0, 0.0, 0.0], inputs=inputs)
    assert pooled(row, np.array([1.0, 2.0, 3.0]), None) == {"age": 1.0, "blood[0]": 2.0, "blood[1]": 3.0}
    assert pooled(row, np.array([1.0, 2.0, 3.0]), "feature") == {"age": 1.0, "blood": 5.0}


def test_a_pool_of_another_kind_is_refused() -> None:
    with pytest.raises(
        ParameterError,
        match="pool='token': the model's input is of kind image, whose maps are pooled by channel or region",
    ):
        check_pool("image", "token")
