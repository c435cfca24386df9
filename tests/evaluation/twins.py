"""Slow literal twins of the measures: one example, one set, one step at a time, in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

Score = Callable[[np.ndarray], float]  # of one input


class Twin:
    """One example: its values, its map, the features as lists of places, and what stands for those that leave."""

    def __init__(
        self,
        score: Score,
        level: Score | None,
        x: np.ndarray,
        values: np.ndarray,
        players: Sequence[np.ndarray],
        seed: int,
        most: int | None = None,
    ) -> None:
        """`players`: boolean masks like x. `level`: the probability; None if there is none. `most`: how many players random
        numbers are drawn for, the absent ones included."""
        self.score, self.x, self.players, self.seed = score, x, list(players), seed
        self.credits = [float(values[p].sum()) for p in players]
        empty = self.without(range(len(self.players)))
        self.sign = 1 if level else np.sign(score(x) - score(empty))
        self.level = level or (lambda z: (score(z) - score(empty)) * self.sign)
        self.most = most or len(self.players)

    def without(self, gone: Sequence[int] | range) -> np.ndarray:
        point = self.x.copy()
        for player in gone:
            point[self.players[player]] = 0
        return point

    def draw(self, number: int, size: int) -> list[int]:
        keys = tf.random.stateless_uniform([self.most], [self.seed, number], alg="philox").numpy()[: len(self.players)]
        return sorted(range(len(keys)), key=lambda i: keys[i])[:size]

    def pairs(self, sets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        whole = self.score(self.x)
        change = [whole - self.score(self.without(gone)) for gone in sets]
        return np.array([sum(self.credits[i] for i in gone) for gone in sets]), np.array(change)

    def sensitivity_n(self, sizes: int = 8, samples: int = 50) -> tuple[list[float], float]:
        """The curve, and its mean in which each n counts once."""
        count, found = len(self.players), []
        of_n: dict[int, float] = {}
        largest = min(max(0.8 * count, 1), max(count - 1, 1))
        for k in range(sizes):
            n = int(np.round(largest ** (k / (sizes - 1))))
            found.append(_correlation(*self.pairs([self.draw(k * samples + s, n) for s in range(samples)])))
            of_n.setdefault(n, found[-1])
        return found, float(np.mean(list(of_n.values())))

    def faithfulness_correlation(self, share: float = 0.2, samples: int = 100) -> float:
        size = min(max(int(np.round(share * len(self.players))), 1), len(self.players) - 1)
        return _correlation(*self.pairs([self.draw(s, size) for s in range(samples)]))

    def infidelity(self, samples: int = 100, fitted: bool = True) -> float:
        sets = []
        for s in range(samples):
            chance = tf.random.stateless_uniform([1], [self.seed, samples + s], alg="philox").numpy()[0]
            sets.append(self.draw(s, min(1 + int(chance * len(self.players)), len(self.players))))
        total, change = self.pairs(sets)
        scale = max((total @ change) / (total @ total), 0) if fitted else 1
        return float(((scale * total - change) ** 2).mean() / (change**2).mean())

    def order(self) -> list[int]:
        """The largest credits first, those that are equal by chance."""
        chance = tf.random.stateless_uniform([self.most], [self.seed, 2**30], alg="philox").numpy()
        return sorted(range(len(self.players)), key=lambda i: (-self.sign * self.credits[i], chance[i]))

    def curve(self, steps: int = 20, insert: bool = False) -> list[float]:
        order, found = self.order(), []
        for k in range(steps + 1):
            turns = int(np.round(k / steps * len(order)))
            found.append(self.level(self.without(order[turns:] if insert else order[:turns])))
        return found

    def area(self, insert: bool = False) -> float:
        curve = self.curve(insert=insert)
        return float(np.mean([(a + b) / 2 for a, b in itertools.pairwise(curve)]))


def imputed(picture: np.ndarray, left: np.ndarray) -> np.ndarray:
    """[H, W] with each pixel of `left` the weighted mean of its neighbours, by a dense linear system."""
    places = {tuple(p): i for i, p in enumerate(np.argwhere(left))}
    matrix, right = np.zeros((len(places), len(places))), np.zeros(len(places))
    for (y, x), row in places.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= near[0] < left.shape[0] and 0 <= near[1] < left.shape[1]):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                matrix[row, row] += weight
                if near in places:
                    matrix[row, places[near]] -= weight
                else:
                    right[row] += weight * picture[near]
    found = picture.copy()
    found[left] = np.linalg.solve(matrix, right)
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])
