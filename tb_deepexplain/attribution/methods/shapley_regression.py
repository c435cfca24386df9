"""Which coalitions to ask a game for, and how to make Shapley values of their scores by one regression for all games."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from tb_deepexplain.errors import ParameterError

LARGEST = 2**23  # numbers in the matrix of the regression, which took half a minute


@functools.lru_cache(maxsize=4)
def design(players: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Coalitions [pairs, players], one of each with its complement, and the matrix [players, pairs] of their regression.

    Leverage scores are the same for all sizes, so each size gets as many coalitions, none twice. Weights are such
    that each size has the leverage that it has among all coalitions: the mean over all numberings of the players is
    then linear, symmetric and efficient, and gives every size its weight in Shapley's formula: it is unbiased.
    """
    pairs = min(pairs, 2 ** (players - 1) - 1)  # all there are
    if pairs * players > LARGEST:
        raise ParameterError(
            f"shapley_sampling: estimator='kernel' would solve for {players} players from {2 * pairs} coalitions at once; "
            "give fewer samples, fewer sampling_dims, or estimator='antithetic'"
        )
    sizes = range(1, players // 2 + 1)
    room = [math.comb(players, k) // (2 if 2 * k == players else 1) for k in sizes]
    counts = np.zeros(len(room), int)
    while counts.sum() < pairs:
        counts[[i for i, most in enumerate(room) if counts[i] < most][: pairs - counts.sum()]] += 1
    own = np.repeat(np.arange(len(counts)), counts)  # the size of each, counted from zero
    rng = np.random.default_rng(0)  # the examples bring their own chance: how they number the players
    while True:
        kept = np.zeros((pairs, players), bool)
        drawn = [_coalitions(rng, players, *size) for size in zip(sizes, room, counts.tolist(), strict=True)]
        for row, members in enumerate(itertools.chain(*drawn)):
            kept[row, members] = True
        centred = kept - kept.mean(1, keepdims=True)
        if np.linalg.matrix_rank(centred.T @ centred, hermitian=True) == players - 1:
            break  # else few coalitions may leave two players always together

    # Half a share for the middle size, whose complements are of it too.
    shares = np.array([0.5 if 2 * k == players else 1.0 for k in sizes])
    shares *= (players - 1) / (shares.sum() or 1)
    weights = np.ones(pairs)
    for _ in range(100):
        weighted = (centred * weights[:, None]).T
        gram = weighted @ centred
        # Equal credits change nothing: the sum is known. Added to all of gram, a constant makes it invertible.
        solve = np.linalg.inv(gram + (gram.trace() / players**2 or 1)) @ weighted
        leverage = np.bincount(own, (solve * centred.T).sum(0), minlength=len(counts))
        if np.allclose(leverage, shares, rtol=1e-3):
            break
        weights *= (shares / leverage)[own]
    return kept, solve


def _coalitions(rng: np.random.Generator, players: int, size: int, most: int, count: int) -> list[list[int]]:
    """`count` different coalitions of one size, of those that there are without their complements, `most`."""
    if most <= 2 * count:  # the first half of those of the middle size hold player 0: no two are complements
        every = list(itertools.islice(itertools.combinations(range(players), size), most))
        return [list(every[i]) for i in rng.permutation(most)[:count]]
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        order = rng.permutation(players)
        half = order[size:] if 2 * size == players and 0 in order[size:] else order[:size]
        found[tuple(sorted(half.tolist()))] = None
    return [list(members) for members in found]
