"""Slice features: named features of the examples that are stored beside their maps, whether the model reads them or not.

The inputs table holds their values as text, in `extras` under `slice.NAME`; an example without a value has no such entry. A commit
makes a column `slice.NAME` of the index of each (`slice_columns.py`). This module imports nothing large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tb_deepexplain.errors import ParameterError

PREFIX = "slice."  # begins the column of a slice feature
MANIFEST_KEY = "slice_features"  # of the manifest: name, type and, of a text with few values, these
_NOT_IN_NAMES = frozenset(',"\\')
# As Python writes numbers. Digits that a float would round, and numbers that begin with a zero, such as postal codes, are text.
WHOLE = r"^-?(?:0|[1-9]\d{0,14})$"
NUMBER = r"^-?(?:(?:0|[1-9]\d{0,14})(?:\.\d+)?(?:[eE][-+]?\d+)?|inf)$"


def check_slice_features(names: str | Sequence[str]) -> tuple[str, ...]:
    """The names; ParameterError if the page could not tell them apart, or not write them."""
    checked = (names,) if isinstance(names, str) else tuple(names)
    for name in checked:
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or _NOT_IN_NAMES & set(name):
            raise ParameterError(
                f"slice_features (--keep): {name!r} is no name; expected printable characters without commas, quotation "
                "marks and backslashes"
            )
    by_lower_case: dict[str, str] = {}
    for name in checked:
        if (other := by_lower_case.setdefault(name.lower(), name)) is not name or checked.count(name) > 1:
            raise ParameterError(
                f"slice_features (--keep): {other!r} and {name!r} are the same without regard to case; name each feature once"
            )
    return checked


def column_name(name: str) -> str:
    """The column of a slice feature in the index, and the key of its values in `extras` of the inputs."""
    return PREFIX + name


def as_extras(values: Mapping[str, str]) -> dict[str, str] | None:
    """The values of an example as entries of `extras`; None if it has none."""
    return {column_name(name): value for name, value in values.items()} or None


def from_extras(extras: Mapping[str, str] | None) -> dict[str, str]:
    """The values of an example by slice feature, from its `extras`."""
    return {key.removeprefix(PREFIX): value for key, value in (extras or {}).items() if key.startswith(PREFIX)}


def as_number(text: str) -> float | None:
    """The number that a value is; None for a text."""
    return float(text) if re.fullmatch(NUMBER, text) else None
