"""Reading what may be damaged: a bad shard becomes a sentence for what it holds, and for nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.store import Place

# Whatever a damaged store may raise while it is read; each becomes one sentence about that store.
READ_ERRORS = (StoreError, OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError)

T = TypeVar("T")
_POOL = ThreadPoolExecutor(
    min(4, os.cpu_count() or 1), "deepexplain"
)  # to read and to unpack leave the interpreter free


def read_places(places: Iterable[Place], read: Callable[[Sequence[Place]], list[T]]) -> dict[Place, T | str]:
    """What `read` gives for each place, or why it cannot be read; what lies in one row group is read together."""
    together: dict[tuple[str, int], list[Place]] = {}
    for place in dict.fromkeys(places):
        together.setdefault((place.shard, place.row_group), []).append(place)

    def attempt(shard: str, members: Sequence[Place]) -> dict[Place, T | str]:
        try:
            return dict(zip(members, read(members), strict=True))
        except READ_ERRORS as error:
            sentence = str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"
            return dict.fromkeys(members, sentence)

    tasks = [_POOL.submit(attempt, shard, members) for (shard, _), members in together.items()]
    return {place: value for task in tasks for place, value in task.result().items()}
