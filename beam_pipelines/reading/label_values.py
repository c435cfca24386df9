"""The true class of an example, or its classes, from the forms in which files hold labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from beam_pipelines.reading.feature_values import describe_values, shorten, to_number, to_scalar
from beam_pipelines.reading.json_text import parse_json
from tb_deepexplain.attribution.array_likes import as_array
from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.targets import Label

_NULLS = ("", "nan", "none", "null", "<na>")


def to_label(value: Any, feature: str, class_names: Sequence[str]) -> Label:
    """The class that a label stands for, several classes, or a quantity; None if there is no label: null, NaN, or a text that
    says so.

    A class number (also 2.0, True, or text of one), one of `class_names`, a one-hot row, or several classes as a row of 0 and 1
    or as a list of numbers or names (numbers only with `class_names`). Any other number is a quantity (`Classes.fit_labels` refuses
    it where the model has classes). InputError, which names the feature, for anything else.
    """
    scalar = value if type(value) is int else to_scalar(value)
    if type(scalar) is int and -(2**31) <= scalar < 2**31:
        return scalar
    if _is_missing(scalar, class_names):
        return None
    if isinstance(scalar, str):
        scalar = class_names.index(scalar) if scalar in class_names else _parse(scalar, feature, class_names)
    if not isinstance(scalar, int | float):
        return _several(scalar, feature, class_names)
    if isinstance(scalar, int) and not -(2**63) <= scalar < 2**64:
        scalar = to_number(scalar, feature)
    if not math.isfinite(scalar):
        raise InputError(f"its label, feature {feature!r}, is {scalar:g}; expected a class number or a quantity")
    is_class = scalar == math.floor(scalar) and -(2**31) <= scalar < 2**31
    return int(scalar) if is_class else float(scalar)


def _is_missing(scalar: Any, class_names: Sequence[str]) -> bool:
    """Whether it is null as pandas and others write it."""
    if isinstance(scalar, str):
        return scalar.lower() in _NULLS and scalar not in class_names
    return scalar is None or (isinstance(scalar, float) and math.isnan(scalar)) or type(scalar).__name__ == "NAType"


def _parse(text: str, feature: str, class_names: Sequence[str]) -> Any:
    """A number, or the list of numbers or names that the text holds."""
    try:
        value = parse_json(text) if text.lstrip().startswith("[") else to_number(text, feature)
    except (ValueError, InputError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        expected = "one of the class names in `labels`"
        if class_names:
            expected = f"one of {', '.join(class_names[:10])}"
        raise InputError(
            f"its label, feature {feature!r}, is {shorten(text)}; expected a class number, or {expected}"
        ) from None
    return value


def _several(row: Any, feature: str, class_names: Sequence[str]) -> Label:
    """From a row for each class, or a list of classes."""
    name = f"its label, feature {feature!r}"
    values = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in np.ravel(as_array(row, name))
    ]
    labels = read_labels([values], 1, class_names=class_names or None, name=name)
    if labels.form == "value":
        raise InputError(
            f"{name}, is {describe_values(row)}; expected a class number, or a row of 0 and 1. Labels of the single positions of a "
            "sequence are not stored: the label feature `none` reads no label"
        )
    return int(labels.array[0]) if labels.form == "class" else tuple(np.flatnonzero(labels.array[0]).tolist())
