"""A digest of values: equal if two calls compute the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(*values: Any) -> str:
    """Equal for equal arrays, numbers, texts, None, and lists, tuples and mappings of them."""
    state = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            value = sorted(value.items())
        if isinstance(value, list | tuple):
            state.update(f"{len(value)}[".encode())
            for item in value:
                add(item)
            return
        array = np.asarray(value)
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes())

    add(values)
    return state.hexdigest()
