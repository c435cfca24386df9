"""Reads from stores that may be damaged: a bad shard gives a sentence for each map or input in it, and the others are read.

What one answer reads is bounded: small files may hold much.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.index import Location

# What a damaged store may raise while it is read; each becomes one sentence about that store.
READ_ERRORS = (StoreError, OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError)

MOST_BYTES = 1 << 30  # in memory, of the maps or the inputs of one answer
_ITEM_BYTES = 32  # of a token or value, about

T = TypeVar("T")
_POOL = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "deepexplain")  # reading and unpacking release Python's lock


def read_locations(
    locations: Iterable[Location], read: Callable[[Sequence[Location]], list[T]]
) -> dict[Location, T | str]:
    """What `read` returns for each location, or a sentence that says why it failed. One call reads a whole row group.

    Once the values have MOST_BYTES, the others are not read.
    """
    bytes_read = 0
    groups: dict[tuple[str, int], list[Location]] = {}
    for location in dict.fromkeys(locations):
        groups.setdefault((location.shard, location.row_group), []).append(location)

    def attempt(shard: str, members: Sequence[Location]) -> dict[Location, T | str]:
        nonlocal bytes_read
        if bytes_read >= MOST_BYTES:
            return dict.fromkeys(members, f"this answer holds more than {MOST_BYTES >> 20:,} MiB; show fewer examples")
        try:
            values = read(members)
            bytes_read += sum(map(_count_bytes, values))  # by several threads, so about
            return dict(zip(members, values, strict=True))
        except READ_ERRORS as error:
            sentence = str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"
            return dict.fromkeys(members, sentence)

    tasks = [_POOL.submit(attempt, shard, members) for (shard, _), members in groups.items()]
    return {location: value for task in tasks for location, value in task.result().items()}


def _count_bytes(value: Any) -> int:
    """The size of a map, of an input or of curves in memory, about."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_count_bytes, value.values()))
    if isinstance(value, list):
        return sum(_count_bytes(item) if isinstance(item, dict | bytes) else _ITEM_BYTES for item in value)
    return len(value) if isinstance(value, bytes) else 0
