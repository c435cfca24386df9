"""Sanity checks: a map that stays the same when the model's weights or labels are random does not explain the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.targets import DEFAULT
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.stats.rank_correlation import spearman


@dataclasses.dataclass(frozen=True)
class Randomised:
    """Similarity of the maps of N examples to those of randomised models.

    It is the rank correlation of the magnitudes over the features where one of the two maps is not zero: where a picture is black,
    gradient × input is zero for any model.
    """

    layers: tuple[str, ...]  # randomised before each column, the model's last layer first; "" for the model itself
    similarity: np.ndarray  # [N, K], 1 in the first column; NaN if a map is constant
    evaluations: np.ndarray  # [N]


def parameter_randomisation(
    explainer: Explainer,
    xs: Any,
    *,
    ys: Any = None,
    target: Any = DEFAULT,
    batch_size: int | None = None,
    seed: int = 0,
    most: int = 8,
) -> Randomised:
    """Compare the maps with those of the model while its layers are randomised one after the other, from output to input.

    The weights of a layer are permuted, which keeps their scale, and stay permuted. If there are more than `most` layers, successive
    ones are randomised together. The target stays that of the original model. Adebayo et al. 2018 (arXiv 1810.03292), section 3.1.
    Raises UnsupportedModelError if the model has no variables.
    """
    xs = explainer.check(xs)
    original = explainer.run(xs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
    layers = explainer.submodel.weights_by_layer()
    if not layers:
        raise UnsupportedModelError(f"{explainer.graph}: has no weights that could be randomised")
    original_maps, weights = _flatten(original.attributions), dict[str, np.ndarray]()
    names, columns, evaluations = [""], [np.ones(len(original.score))], original.evaluations.copy()
    rng = np.random.default_rng(seed)
    for group in _groups(layers, most):
        for _, variables in group:
            weights |= {name: _permute(explainer.graph.weight_value(name), rng) for name in variables}
        randomised = explainer.for_model(explainer.graph.with_weights(weights))
        result = randomised.run(xs, target=original.explained, batch_size=batch_size, seed=seed, return_result=True)
        names.append(", ".join(name for name, _ in group))
        columns.append(_similarity(original_maps, _flatten(result.attributions)))
        evaluations = evaluations + result.evaluations
    return Randomised(tuple(names), np.stack(columns, 1), evaluations)


def label_randomisation(
    explainer: Explainer,
    random_model: Any,
    xs: Any,
    *,
    ys: Any = None,
    target: Any = DEFAULT,
    batch_size: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Similarity `[N]`, as in `Randomised`, to the maps of the same architecture trained on permuted labels.

    Near 1: the maps show the input, not what the model learnt. Adebayo et al. 2018 (arXiv 1810.03292), section 4. Raises
    InputError if the random model takes other inputs.
    """
    inputs = explainer.check(xs)
    original = explainer.run(inputs, ys=ys, target=target, batch_size=batch_size, seed=seed, return_result=True)
    randomised = explainer.for_model(load_model(random_model))
    result = randomised.run(
        _rename(inputs, randomised), target=original.explained, batch_size=batch_size, seed=seed, return_result=True
    )
    return _similarity(_flatten(original.attributions), _flatten(result.attributions))


def _rename(inputs: Inputs, explainer: Explainer) -> Inputs:
    """The inputs with the names that another model of the same architecture has for them: Keras numbers its layers anew."""
    specs = tuple(explainer.submodel.entry_specs if inputs.are_entries else explainer.graph.inputs)
    are_alike = [(s.dtype, s.shape) for s in specs] == [(s.dtype, s.shape) for s in inputs.specs]
    are_permuted = {s.name for s in specs} == {s.name for s in inputs.specs}
    return dataclasses.replace(inputs, specs=specs) if are_alike and not are_permuted else inputs


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] Spearman's correlation of the magnitudes where not both are zero."""
    correlations = []
    for first, second in zip(abs(a), abs(b), strict=True):
        nonzero = (first > 0) | (second > 0)
        defined = nonzero.any()
        correlations.append(spearman(first[None, nonzero], second[None, nonzero])[0] if defined else np.nan)
    return np.array(correlations)


def _flatten(attributions: Any) -> np.ndarray:
    """The maps of all inputs side by side, [N, P]."""
    maps = attributions.values() if isinstance(attributions, dict) else attributions
    maps = maps if isinstance(maps, list | tuple) or isinstance(attributions, dict) else [maps]
    return np.concatenate([np.reshape(m, [len(m), -1]) for m in maps if m is not None], 1).astype(np.float64)


def _permute(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(values.reshape(-1)).reshape(values.shape)


def _groups(layers: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """The layers in at most `most` groups of successive ones."""
    for part in np.array_split(np.arange(len(layers)), min(most, len(layers))):
        yield [layers[i] for i in part]
