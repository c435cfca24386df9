"""Reading what may be damaged: a bad shard becomes a sentence for what it holds, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store import Place

# Whatever a damaged store may raise while it is read; each becomes one sentence about that store.
READ_ERRORS = (StoreError, OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError)

T = TypeVar("T")


def read_places(places: Iterable[Place], read: Callable[[Sequence[Place]], list[T]]) -> dict[Place, T | str]:
    """What `read` gives for each place, or why it cannot be read; what lies in one row group is read together."""
    together: dict[tuple[str, int], list[Place]] = {}
    for place in dict.fromkeys(places):
        together.setdefault((place.shard, place.row_group), []).append(place)
    found: dict[Place, T | str] = {}
    for (shard, _), members in together.items():
        try:
            found.update(zip(members, read(members), strict=True))
        except READ_ERRORS as error:
            sentence = str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"
            found.update(dict.fromkeys(members, sentence))
    return found
