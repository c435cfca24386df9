"""Literal implementations of the measures in NumPy, slow and simple: one example, one set of features, one step at a time.

A LiteralMeasures holds one example with its map. Its feature groups are boolean masks, and a removed feature is zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

ScoreOf = Callable[[np.ndarray], float]  # the score of one input


class LiteralMeasures:
    """The measures of one map."""

    def __init__(
        self,
        score: ScoreOf,
        probability: ScoreOf | None,
        x: np.ndarray,
        values: np.ndarray,
        groups: Sequence[np.ndarray],
        seed: int,
        draws: int | None = None,
    ) -> None:
        """`values`: the map. `groups`: masks like x. `draws`: random numbers drawn at once, if more than there are groups."""
        self.score, self.x, self.groups, self.seed = score, x, list(groups), seed
        self.attributions = [float(values[group].sum()) for group in groups]
        start = self.without(range(len(self.groups)))
        self.sign = 1 if probability else np.sign(score(x) - score(start))
        self.level = probability or (lambda z: (score(z) - score(start)) * self.sign)
        self.draws = draws or len(self.groups)

    def without(self, removed: Sequence[int] | range) -> np.ndarray:
        point = self.x.copy()
        for number in removed:
            point[self.groups[number]] = 0
        return point

    def random_set(self, number: int, size: int) -> list[int]:
        keys = tf.random.stateless_uniform([self.draws], [self.seed, number], alg="philox").numpy()[: len(self.groups)]
        return sorted(range(len(keys)), key=lambda i: keys[i])[:size]

    def sums_and_falls(self, sets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """For each set the sum of its attributions, and how much the score falls without it."""
        value = self.score(self.x)
        falls = [value - self.score(self.without(removed)) for removed in sets]
        return np.array([sum(self.attributions[i] for i in removed) for removed in sets]), np.array(falls)

    def sensitivity_n(self, sizes: int = 8, samples: int = 50) -> tuple[list[float], float]:
        """The curve, and its mean in which each n counts once."""
        count, curve = len(self.groups), []
        of_n: dict[int, float] = {}
        largest = min(max(0.8 * count, 1), max(count - 1, 1))
        for k in range(sizes):
            n = int(np.round(largest ** (k / (sizes - 1))))
            sets = [self.random_set(k * samples + s, n) for s in range(samples)]
            curve.append(_correlation(*self.sums_and_falls(sets)))
            of_n.setdefault(n, curve[-1])
        return curve, float(np.mean(list(of_n.values())))

    def faithfulness_correlation(self, share: float = 0.2, samples: int = 100) -> float:
        size = min(max(int(np.round(share * len(self.groups))), 1), len(self.groups) - 1)
        return _correlation(*self.sums_and_falls([self.random_set(s, size) for s in range(samples)]))

    def infidelity(self, samples: int = 100, fitted: bool = True) -> float:
        sets = []
        for s in range(samples):
            uniform = tf.random.stateless_uniform([1], [self.seed, samples + s], alg="philox").numpy()[0]
            sets.append(self.random_set(s, min(1 + int(uniform * len(self.groups)), len(self.groups))))
        sums, falls = self.sums_and_falls(sets)
        scale = max((sums @ falls) / (sums @ sums), 0) if fitted else 1
        return float(((scale * sums - falls) ** 2).mean() / (falls**2).mean())

    def order(self) -> list[int]:
        """The groups from the largest attribution to the smallest; ties in random order."""
        keys = tf.random.stateless_uniform([self.draws], [self.seed, 2**30], alg="philox").numpy()
        return sorted(range(len(self.groups)), key=lambda i: (-self.sign * self.attributions[i], keys[i]))

    def curve(self, steps: int = 20, insert: bool = False) -> list[float]:
        order, levels = self.order(), []
        for k in range(steps + 1):
            first = int(np.round(k / steps * len(order)))
            levels.append(self.level(self.without(order[first:] if insert else order[:first])))
        return levels

    def area(self, insert: bool = False) -> float:
        return float(np.mean([(a + b) / 2 for a, b in itertools.pairwise(self.curve(insert=insert))]))


def impute(picture: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """A picture [H, W] with each removed pixel the weighted mean of its neighbours, by a dense linear system."""
    rows = {tuple(pixel): row for row, pixel in enumerate(np.argwhere(removed))}
    matrix, right = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    for (y, x), row in rows.items():
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            neighbour = (y + dy, x + dx)
            inside = 0 <= neighbour[0] < removed.shape[0] and 0 <= neighbour[1] < removed.shape[1]
            if (dy, dx) == (0, 0) or not inside:
                continue
            weight = 1 / 12 if dy and dx else 1 / 6
            matrix[row, row] += weight
            if neighbour in rows:
                matrix[row, rows[neighbour]] -= weight
            else:
                right[row] += weight * picture[neighbour]
    filled = picture.copy()
    filled[removed] = np.linalg.solve(matrix, right)
    return filled


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])
