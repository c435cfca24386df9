"""Sanity checks by randomisation: a map that stays the same when the model's weights or its labels are random explains neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.stats.rank_correlation import spearman


@dataclasses.dataclass(frozen=True)
class Randomised:
    """How like the true maps those of a randomised model are, for N examples: rank correlation of the magnitudes, over the
    features that one of the two credits with anything (where a picture is black, gradient × input is zero whatever the model)."""

    layers: tuple[str, ...]  # randomised so far, the last of the model first; () is the model as it is
    similarity: np.ndarray  # [N, K], 1 in the first column; NaN where a map is constant
    evaluations: np.ndarray  # [N]


def parameter_randomisation(
    explainer: Explainer,
    xs: Any,
    *,
    ys: Any = None,
    target: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
    most: int = 8,
) -> Randomised:
    """Maps while the layers' weights are drawn anew, from the output to the input, each on top of those before.

    Weights get a permutation of their own values, so that their scale stays. Of more than `most` layers, groups that follow
    one another go together. The target stays that of the true model. Adebayo et al. 2018 (arXiv 1810.03292), section 3.1.
    UnsupportedModelError where the model has no variables.
    """
    true = explainer.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
    target = true.target if ys is None else None
    layers = explainer.submodel.weights_by_layer()
    if not layers:
        raise UnsupportedModelError(f"{explainer.graph}: has no weights that could be randomised")
    groups = list(_together(layers, most))
    rng, names, columns, spent = np.random.default_rng(seed), [], [np.ones(len(true.score))], true.evaluations.copy()
    before, changed = _flat(true.attributions), dict[str, np.ndarray]()
    for group in groups:
        for _, weights in group:
            changed |= {name: _permuted(explainer.graph.weight_value(name), rng) for name in weights}
        other = explainer.on(explainer.graph.with_weights(changed))
        found = other.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
        names.append(", ".join(name for name, _ in group))
        columns.append(_likeness(before, _flat(found.attributions)))
        spent = spent + found.evaluations
    return Randomised(("", *names), np.stack(columns, 1), spent)


def label_randomisation(
    explainer: Explainer,
    random_model: Any,
    xs: Any,
    *,
    ys: Any = None,
    target: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """`[N]` likeness, as in `Randomised`, of the maps to those of the same architecture trained on permuted labels.

    Near 1: the method shows the picture, not what the model learnt. Adebayo et al. 2018 (arXiv 1810.03292), section 4.
    """
    true = explainer.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
    target = true.target if ys is None else None
    other = explainer.on(load_model(random_model))
    found = other.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
    return _likeness(_flat(true.attributions), _flat(found.attributions))


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] Spearman's correlation of the magnitudes where not both are zero."""
    found = []
    for one, other in zip(abs(a), abs(b), strict=True):
        some = (one > 0) | (other > 0)
        found.append(spearman(one[None, some], other[None, some])[0] if some.any() else np.nan)
    return np.array(found)


def _flat(attributions: Any) -> np.ndarray:
    values = attributions.values() if isinstance(attributions, dict) else attributions
    values = values if isinstance(values, list | tuple) or isinstance(attributions, dict) else [values]
    return np.concatenate([np.reshape(v, [len(v), -1]) for v in values], 1).astype(np.float64)


def _permuted(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(values.reshape(-1)).reshape(values.shape)


def _together(layers: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """At most that many groups of layers."""
    for part in np.array_split(np.arange(len(layers)), min(most, len(layers))):
        yield [layers[i] for i in part]
