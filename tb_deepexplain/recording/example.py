"""An example as it is explained: what the model reads, and what else is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Example:
    """One example: the model's inputs by name, without a batch dimension, and what else is known of it."""

    id: str
    inputs: Mapping[str, np.ndarray]
    label: int | None = None
    picture: bytes | None = None  # the PNG or JPEG it came as

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.inputs.values()) + len(self.picture or b"")

    @property
    def alike(self) -> tuple[Any, ...]:
        """What the examples of a batch have in common: the shapes of their inputs; and of texts, which the model itself pads
        to the longest of a batch, the length in powers of two."""
        return tuple((name, np.shape(value), _bits(value)) for name, value in sorted(self.inputs.items()))


def _bits(value: np.ndarray) -> int | None:
    strings = value.dtype.kind in "OSU"
    return max((len(text) for text in value.ravel()), default=0).bit_length() if strings else None


def alike(examples: Sequence[Example]) -> list[list[int]]:
    """The places of those that can be explained together."""
    groups: dict[Any, list[int]] = {}
    for i, example in enumerate(examples):
        groups.setdefault(example.alike, []).append(i)
    return list(groups.values())
