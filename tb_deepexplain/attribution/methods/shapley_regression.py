"""The coalitions of the kernel estimator, and the regression that makes Shapley values of their scores."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from tb_deepexplain.errors import ParameterError

LARGEST = 2**23  # numbers in the matrix of the regression, which took half a minute


@functools.lru_cache(maxsize=4)
def design(players: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Coalitions [pairs, players], one of each complementary pair, and the matrix [players, pairs] of their regression.

    Leverage scores are equal for all sizes, so each size gets the same number of coalitions, without repetition. The
    weights give each size the leverage that it has among all coalitions: the mean over all numberings of the players is
    then linear, symmetric and efficient, and gives every size its weight in Shapley's formula, so it is unbiased.
    """
    pairs = min(pairs, 2 ** (players - 1) - 1)  # all that exist
    if pairs * players > LARGEST:
        raise ParameterError(
            f"shapley_sampling: estimator='kernel' would solve for {players} players from {2 * pairs} coalitions at once; "
            "give fewer samples, fewer sampling_dims, or estimator='antithetic'"
        )
    sizes = range(1, players // 2 + 1)
    available = [math.comb(players, k) // (2 if 2 * k == players else 1) for k in sizes]
    counts = np.zeros(len(available), int)
    while counts.sum() < pairs:
        counts[[i for i, most in enumerate(available) if counts[i] < most][: pairs - counts.sum()]] += 1
    size_index = np.repeat(np.arange(len(counts)), counts)  # of each coalition
    rng = np.random.default_rng(0)  # the examples number the players at random
    while True:
        members = np.zeros((pairs, players), bool)
        drawn = [_draw_coalitions(rng, players, *size) for size in zip(sizes, available, counts.tolist(), strict=True)]
        for row, coalition in enumerate(itertools.chain(*drawn)):
            members[row, coalition] = True
        centred = members - members.mean(1, keepdims=True)
        if np.linalg.matrix_rank(centred.T @ centred, hermitian=True) == players - 1:
            break  # otherwise two players may always be together

    # Half a share for the middle size, whose complements have the same size.
    shares = np.array([0.5 if 2 * k == players else 1.0 for k in sizes])
    shares *= (players - 1) / (shares.sum() or 1)
    weights = np.ones(pairs)
    for _ in range(100):
        weighted = (centred * weights[:, None]).T
        gram = weighted @ centred
        # Equal credits for all players change nothing, because the sum is known; the constant makes gram invertible.
        solve = np.linalg.inv(gram + (gram.trace() / players**2 or 1)) @ weighted
        leverage = np.bincount(size_index, (solve * centred.T).sum(0), minlength=len(counts))
        if np.allclose(leverage, shares, rtol=1e-3):
            break
        weights *= (shares / leverage)[size_index]
    return members, solve


def _draw_coalitions(rng: np.random.Generator, players: int, size: int, available: int, count: int) -> list[list[int]]:
    """`count` different coalitions of one size, among the `available` ones that are no complements of each other."""
    if available <= 2 * count:  # the first half of the middle size contains player 0: no two are complements
        every = list(itertools.islice(itertools.combinations(range(players), size), available))
        return [list(every[i]) for i in rng.permutation(available)[:count]]
    coalitions: dict[tuple[int, ...], None] = {}
    while len(coalitions) < count:
        order = rng.permutation(players)
        half = order[size:] if 2 * size == players and 0 in order[size:] else order[:size]
        coalitions[tuple(sorted(half.tolist()))] = None
    return [list(members) for members in coalitions]
