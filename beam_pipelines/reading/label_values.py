"""The class number of an example, from the forms in which files hold labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_pipelines.reading.feature_values import describe_values, to_number, to_scalar
from tb_deepexplain.errors import InputError


def to_class_number(value: Any, feature: str, class_numbers: Mapping[str, int]) -> int | None:
    """The class that a label stands for; None if there is no label: null, an empty text, or NaN.

    A class number (also 2.0, True, or text of one), a name of `class_numbers`, or a one-hot row. InputError, which names the
    feature, for anything else.
    """
    scalar = to_scalar(value)
    if scalar is None or (isinstance(scalar, str) and not scalar) or (isinstance(scalar, float) and math.isnan(scalar)):
        return None
    if isinstance(scalar, str):
        scalar = class_numbers[scalar] if scalar in class_numbers else _parse(scalar, feature, class_numbers)
    if not isinstance(scalar, int | float):
        scalar = _hot_position(scalar, feature, len(class_numbers))
    if scalar != math.floor(scalar):
        raise InputError(f"its label, feature {feature!r}, is {scalar:g}; expected a class number")
    if not -(2**31) <= scalar < 2**31:
        raise InputError(f"its label, feature {feature!r}, is {scalar:.0f}; expected a class number of 32 bits")
    return int(scalar)


def _parse(text: str, feature: str, class_numbers: Mapping[str, int]) -> Any:
    """A number, or the list of numbers that the text holds."""
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else to_number(text, feature)
    except (ValueError, InputError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        expected = "--labels with the class names"
        if class_numbers:
            expected = f"one of {', '.join(list(class_numbers)[:10])}"
        raise InputError(
            f"its label, feature {feature!r}, is {text!r}; expected a class number, or {expected}"
        ) from None
    return value


def _hot_position(row: Any, feature: str, classes: int) -> int:
    """The position of the only 1 in a row of zeros."""
    try:
        numbers = np.asarray(row)
    except ValueError:  # lists of different lengths
        numbers = np.array([None])
    is_hot = numbers.dtype.kind in "biuf" and bool(np.isin(numbers, (0, 1)).all()) and numbers.sum() == 1
    if not is_hot or numbers.size != max(numbers.shape):
        raise InputError(
            f"its label, feature {feature!r}, is {describe_values(row)}; expected one class number, or a one-hot row"
        )
    if classes and numbers.size != classes:
        raise InputError(
            f"its label, feature {feature!r}, is a one-hot row of {numbers.size}; there are {classes} class names"
        )
    return int(numbers.argmax())
