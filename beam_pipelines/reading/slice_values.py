"""Values of slice features as text: what the store keeps beside an example's maps."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_pipelines.reading.feature_values import describe_values, to_scalar
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.records import printable

_NULL_TYPES = ("NAType", "NaTType")  # of pandas
_NULL_TEXTS = ("", "nan", "NaN", "NaT", "<NA>")  # as pandas and NumPy write what is missing; other words may be values


def slice_values(columns: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The values that a record has of these features, as text. InputError for a value that is not one number or string."""
    values = {name: to_text(columns.get(name), name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def to_text(value: Any, feature: str) -> str | None:
    """A value that holds one number, boolean, string or date as text; None if there is none: null, NaN, an empty text or list.

    Numbers are written as Python writes them. Raises InputError, which names the feature, for anything else.
    """
    if (
        value is None
        or (isinstance(value, list | tuple) and not value)
        or (isinstance(value, np.ndarray) and not value.size)
    ):
        return None
    scalar = _single_float(value)
    if scalar is None:
        scalar = to_scalar(value)
    if type(scalar).__name__ in _NULL_TYPES or (isinstance(scalar, str) and scalar in _NULL_TEXTS):
        return None
    if isinstance(scalar, bool):
        return str(scalar).lower()
    if isinstance(scalar, datetime.date | datetime.time):
        return scalar.isoformat()
    if isinstance(scalar, float | np.floating) and math.isnan(scalar):
        return None
    if isinstance(scalar, str | int | float | np.floating | decimal.Decimal):
        try:
            return printable(str(scalar))
        except ValueError as error:  # Python writes no whole number of thousands of digits
            raise InputError(
                f"its slice feature {feature!r} is a number of too many digits; expected a shorter one"
            ) from error
    if scalar is None:
        return None
    held = "a dict" if isinstance(scalar, Mapping) else describe_values(scalar)
    raise InputError(f"its slice feature {feature!r} is {held}; expected one number or string")


def _single_float(value: Any) -> np.floating | None:
    """A single float32 as it is: as a Python float, 0.1 would be 0.10000000149011612."""
    array = np.asarray(value) if isinstance(value, np.ndarray | np.floating) else None
    return array.reshape(-1)[0] if array is not None and array.dtype.kind == "f" and array.size == 1 else None
