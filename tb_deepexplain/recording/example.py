"""An example: the model's inputs for one answer, and what else is known about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.graph.input_spec import column_width
from tb_deepexplain.recording.targets import Label

_SHORT_TEXT = 63  # characters; shorter texts, and categories, are batched together


@dataclasses.dataclass(frozen=True)
class Example:
    """The model's inputs by name, without a batch axis, with an id and perhaps a label and encoded pictures."""

    id: str
    inputs: Mapping[str, np.ndarray]
    label: Label = None
    pictures: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # PNG or JPEG files to show, by input
    slices: Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )  # values of slice features as text, where it has some
    columns: frozenset[str] = frozenset()  # the inputs that are sparse columns

    @property
    def single_label(self) -> int | None:
        """The label, unless it is several classes or a quantity."""
        return self.label if isinstance(self.label, int) else None

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.inputs.values()) + sum(map(len, self.pictures.values()))

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """Equal for examples that can be batched: the shapes of the inputs that are no sparse columns, and the length of long texts
        in powers of two, because the model pads the texts of a batch to the longest."""
        inputs = self.inputs.items()
        return tuple(
            [
                (name, () if name in self.columns else value.shape, _length_bits(value))
                for name, value in (inputs if len(inputs) == 1 else sorted(inputs))
            ]
        )


def batch_positions(examples: Sequence[Example]) -> list[list[int]]:
    """The positions of the examples, in groups that can be batched."""
    groups: dict[Any, list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault(example.batch_key, []).append(position)
    return list(groups.values())


def fill_up(rows: Sequence[np.ndarray], missing: Any) -> list[np.ndarray]:
    """The values `[T]` of a sparse column, each filled up to one length for all."""
    length = column_width(max(map(len, rows)))
    return [np.append(row, np.full(length - len(row), missing, row.dtype)) for row in rows]


def _length_bits(value: np.ndarray) -> int | None:
    if value.dtype.kind not in "OSU":
        return None
    length = max((len(text) for text in value.ravel()), default=0)
    return max(length, _SHORT_TEXT).bit_length()
