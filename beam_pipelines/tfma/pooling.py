"""Maps pooled to a few named numbers, for readers that take numbers by name: TFMA's metrics, drift between stores.

A pooled number is the sum of what it stands for, so that the numbers of a map sum to what the map sums to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import Input, input_names, value_names

# By the kind of the input; the first is the default.
POOLS: Mapping[str, tuple[str, ...]] = {
    "tabular": ("value", "feature"),
    "text": ("feature", "token"),
    "image": ("channel", "region"),
}
REGIONS = 4


def check_pool(kind: str, pool: str | None) -> str:
    """The pool, or that by default; ParameterError if inputs of this kind have no such one."""
    if pool is not None and pool not in POOLS[kind]:
        raise ParameterError(
            f"pool={pool!r}: the model's input is of kind {kind}, whose maps are pooled by {' or '.join(POOLS[kind])}"
        )
    return pool or POOLS[kind][0]


def pooled(
    shown: Input, values: np.ndarray, pool: str | None, regions: int = REGIONS, name: str = ""
) -> dict[str, float]:
    """The numbers of a map, by name.

    Tabular: each `value`, or each `feature` of the model with all its values. Text: the whole `feature`, or each `token` with
    all places where it stands. Pictures: each `channel`, or each of `regions` × `regions` regions, numbered from the upper
    left. `name` is that of the model's input, of texts and pictures.
    """
    pool = check_pool(shown.modality, pool)
    if shown.modality == "tabular":
        names = value_names(shown.inputs, shown.features)
        if pool == "feature" and shown.inputs:
            names = input_names(shown.inputs)
        return _sums(names, values.ravel())
    if shown.modality == "text":
        if pool == "feature":
            return {name or "text": float(values.sum(dtype=np.float64))}
        return _sums([str(token) or "[padding]" for token in shown.tokens or ()], values)
    name = name or "image"
    if pool == "channel":
        sums = values.reshape([*values.shape[:2], -1]).sum((0, 1), np.float64)
        return {f"{name}[channel {i}]": float(total) for i, total in enumerate(sums)}
    rows, columns = (np.arange(size) * regions // size for size in values.shape[:2])
    flat = values.reshape([*values.shape[:2], -1]).sum(2, np.float64)
    places = [f"{name}[region {row},{column}]" for row in rows for column in columns]
    return _sums(places, flat.ravel())


def _sums(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in zip(names, values.tolist(), strict=True):
        found[name] = found.get(name, 0.0) + value
    return found
