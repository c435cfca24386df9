"""Pools maps to a few named numbers, as TFMA's metrics and the drift between stores need them.

A number is a sum, so that the numbers of a map have the sum of the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import Attribution, Input, Part, input_names, split_map, value_names

POOLS: Mapping[str, tuple[str, ...]] = {  # by modality; the first is the default
    "tabular": ("value", "feature"),
    "text": ("feature", "token"),
    "image": ("channel", "region"),
    "mixed": ("feature",),
}
REGIONS = 4


def check_pool(modality: str, pool: str | None) -> str:
    """The pool, or the default for None; ParameterError if maps of this modality cannot be pooled like that."""
    if modality not in POOLS:
        raise ParameterError(f"the model's inputs are {modality}; expected {', '.join(POOLS)}")
    if pool is not None and pool not in POOLS[modality]:
        raise ParameterError(
            f"pool={pool!r}: the model's input is {modality}; expected a pool of {' or '.join(POOLS[modality])}"
        )
    return pool or POOLS[modality][0]


def main_map(rows: Sequence[Attribution]) -> Attribution:
    """The map of the predicted class among the maps of an example, of several the most probable; or else the first."""
    of_predicted = [row for row in rows if row.target == row.predicted] or rows[:1]
    return max(of_predicted, key=lambda row: row.probability or 0.0)


def pool_map(
    example: Input,
    values: np.ndarray,
    pool: str | None,
    regions: int = REGIONS,
    parts: Sequence[Part] | None = None,
) -> dict[str, float]:
    """The named numbers of a map, which has `parts` if the example is mixed.

    Tabular: one for each `value`, or for each `feature` of the model with all its values. Text: one for the whole
    `feature`, or one for each `token`, summed over its occurrences. Picture: one for each `channel`, or for each of
    `regions` × `regions` regions, numbered from the upper left. Those of a text or picture begin with the name of its input.
    Mixed: one for each input.
    """
    pool = check_pool(example.modality, pool)
    if example.modality == "mixed":
        return {name: float(part.sum(dtype=np.float64)) for name, part in split_map(values, parts or ()).items()}
    if example.modality == "tabular":
        by_input = pool == "feature" and example.inputs
        names = input_names(example.inputs) if by_input else value_names(example.inputs, example.features)
        return _sum_by_name(names, values.ravel())
    if example.modality == "text":
        if pool == "feature":
            return {_shown_name(example): float(values.sum(dtype=np.float64))}
        return _sum_by_name([str(token) or "[padding]" for token in example.tokens or ()], values)
    name = _shown_name(example)
    by_pixel = values.reshape([*values.shape[:2], -1])
    if pool == "channel":
        sums = by_pixel.sum((0, 1), np.float64)
        return {f"{name}[channel {i}]": float(total) for i, total in enumerate(sums)}
    rows, columns = (np.arange(size) * regions // size for size in values.shape[:2])
    names = [f"{name}[region {row},{column}]" for row in rows for column in columns]
    return _sum_by_name(names, by_pixel.sum(2, np.float64).ravel())


def _shown_name(example: Input) -> str:
    """The name of the input that is the picture or text; the modality in a store that knows none."""
    names = [one["name"] for one in example.inputs]
    shown = [one["name"] for one in example.inputs if {"height", "token"} & set(one["axes"])]
    return (shown or names or [example.modality])[0]


def _sum_by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in zip(names, values.tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + value
    return sums
