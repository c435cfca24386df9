"""Agreement of maps: equal to SciPy and to a literal count, undefined where a map is constant."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tb_deepexplain.stats.rank_correlation import agree, disagreement, spearman

RNG = np.random.default_rng(0)


def test_agreement_of_pairs_of_maps() -> None:
    a = RNG.normal(size=(4, 5, 5))
    b = a + RNG.normal(size=a.shape)
    b[:, 0] = 0
    agreement = agree(a, b, share=0.2)
    for i in range(4):
        x, y = a[i].ravel(), b[i].ravel()
        assert agreement.spearman[i] == pytest.approx(spearmanr(x, y).statistic)
        top = [set(np.argsort(-abs(v))[:5]) for v in (x, y)]
        assert agreement.top[i] == pytest.approx(len(top[0] & top[1]) / 5)
        assert agreement.signs[i] == pytest.approx(np.mean(np.sign(x[y != 0]) == np.sign(y[y != 0])))
    opposite = agree(a, -a)
    assert (opposite.spearman == -1).all()
    assert (opposite.top == 1).all()
    assert (opposite.signs == 0).all()
    broken = np.where(np.arange(a[0].size).reshape(a[0].shape) % 2, np.nan, a)
    for undefined in (agree(a, np.zeros_like(a)), agree(a, np.ones_like(a)), agree(a, broken)):
        assert np.isnan([undefined.spearman, undefined.top, undefined.signs]).all()
    empty = agree(np.zeros([1, 0]), np.zeros([1, 0]))  # of a text without a word
    assert np.isnan([empty.spearman, empty.top, empty.signs]).all()
    with pytest.raises(ValueError, match="cannot be compared"):
        agree(a, a[:, 0])
    ties = np.array([[1.0, 1, 2, 3]]), np.array([[1.0, 2, 2, 2]])
    assert spearman(*ties)[0] == pytest.approx(spearmanr(ties[0][0], ties[1][0]).statistic)


def test_disagreement_of_several_maps() -> None:
    a = RNG.normal(size=(16, 16))
    assert disagreement([a, -2 * a, a**3]) == pytest.approx(0)  # the same features are important in all
    b = RNG.normal(size=(16, 16))
    expected = 1 - spearmanr(abs(a).ravel(), abs(b).ravel()).statistic
    assert disagreement([a, b]) == pytest.approx(expected)
    assert disagreement([a, a, b]) == pytest.approx(2 * expected / 3)
    large = np.kron(a, np.ones((7, 7)))[..., None] * [1, 2, 3]
    assert disagreement([[a[:2], a[2:]], [b[:2], b[2:]]]) == pytest.approx(expected)  # inputs of one example
    assert disagreement([large, a]) == pytest.approx(0)  # summed over channels, averaged over neighbours
    uneven = RNG.normal(size=(50, 33, 3))
    assert 0.8 < disagreement([uneven, RNG.normal(size=(50, 33, 3))]) < 1.2
    assert (
        disagreement([a]) is disagreement([a, np.zeros_like(a)]) is disagreement([a, np.full_like(a, np.nan)]) is None
    )
    assert disagreement([np.zeros(0), np.zeros(0)]) is None  # of a text without a word
