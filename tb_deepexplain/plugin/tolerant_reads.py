"""Reads from stores that may be damaged: a bad shard gives a sentence for each map or input in it, and the others are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.index import Location

# What a damaged store may raise while it is read; each becomes one sentence about that store.
READ_ERRORS = (StoreError, OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError)

T = TypeVar("T")
_POOL = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "deepexplain")  # reading and unpacking release Python's lock


def read_locations(
    locations: Iterable[Location], read: Callable[[Sequence[Location]], list[T]]
) -> dict[Location, T | str]:
    """What `read` returns for each location, or a sentence that says why it failed. One call reads a whole row group."""
    groups: dict[tuple[str, int], list[Location]] = {}
    for location in dict.fromkeys(locations):
        groups.setdefault((location.shard, location.row_group), []).append(location)

    def attempt(shard: str, members: Sequence[Location]) -> dict[Location, T | str]:
        try:
            return dict(zip(members, read(members), strict=True))
        except READ_ERRORS as error:
            sentence = str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"
            return dict.fromkeys(members, sentence)

    tasks = [_POOL.submit(attempt, shard, members) for (shard, _), members in groups.items()]
    return {location: value for task in tasks for location, value in task.result().items()}
