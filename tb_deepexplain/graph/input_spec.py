"""InputSpec: name, dtype and shape of one input of a model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.lazy_tensorflow import tf

# In a sparse column whose values are joined to one string, what stands between them, and for none: no text, because no UTF-8, and too
# long for the bytes of a picture to hold it by chance.
SEPARATOR, JOINED_MISSING = b"\xff\xfe separator \xfe\xff", b"\xffmissing"
COLUMN_SCOPE = "sparse_column"  # of the nodes that make a sparse column of its values
# In arrays of a sparse column, what stands for no value.
_MISSING = {"string": JOINED_MISSING, "int64": np.iinfo(np.int64).min, "float32": np.nan, "float64": np.nan}


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of a model: its name, dtype ("float32", "int64", "string", ...) and shape, batch included."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    node: str = dataclasses.field(repr=False, compare=False)  # of the graph
    default: Any = dataclasses.field(default=None, repr=False, compare=False)  # value for an example without this input
    traced_shape: tuple[int | None, ...] = dataclasses.field(
        default=(), repr=False, compare=False
    )  # of the graph's node
    any_size: bool = False  # `shape` is that of the first call, and the model may take other sizes
    is_sparse: bool = False  # a column of any number of values, or none; `missing` fills up its rows

    @property
    def accepted_shape(self) -> tuple[int | None, ...]:
        """The shape, batch included, that values must have; the model itself decides about sizes where this is open."""
        return (None,) * len(self.shape) if self.any_size else self.shape

    @property
    def missing(self) -> Any:
        """In arrays of a sparse column, what stands for no value; None if the input is no sparse column."""
        return _MISSING[self.dtype] if self.is_sparse else None

    def is_missing(self, values: Any) -> Any:
        """Where the values of a sparse column, an array or a tensor, are none. Bool, like the values."""
        if self.is_float:
            return values != values
        return values == self.missing

    @functools.cached_property
    def is_float(self) -> bool:
        return bool(tf.as_dtype(self.dtype).is_floating)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


def column_width(longest: int) -> int:
    """The length of the rows of a sparse column whose longest row holds so many values: few lengths make few traces."""
    return 1 << max(0, int(longest) - 1).bit_length()


def fits(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Whether the shape has the expected lengths; None accepts any length."""
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))
