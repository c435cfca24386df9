"""Reading what may be damaged: a bad shard becomes a sentence for the rows it holds, and for no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin.grid import Grid

# Whatever a damaged store may raise while it is read; each becomes one sentence about that store.
READ_ERRORS = (StoreError, OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError)

T = TypeVar("T")


def read_rows(grid: Grid, rows: np.ndarray, group: str, read: Callable[[Sequence[int]], list[T]]) -> dict[int, T | str]:
    """What `read` gives for each index row, or why it cannot be read; rows of one row group are read together."""
    unit = "input_shard" if group == "input_row_group" else "shard"
    place = pa.table({k: grid.index[k].take(pa.array(rows, pa.int64())) for k in (unit, group)})
    keys = zip(place[unit].to_pylist(), place[group].to_pylist(), strict=True)
    together: dict[tuple[str, int], list[int]] = {}
    for key, row in zip(keys, rows.tolist(), strict=True):
        together.setdefault(key, []).append(row)
    found: dict[int, T | str] = {}
    for (shard, _), members in together.items():
        try:
            found.update(zip(members, read(members), strict=True))
        except READ_ERRORS as error:
            sentence = str(error) if isinstance(error, StoreError) else f"shard {shard} is damaged ({error})"
            found.update(dict.fromkeys(members, sentence))
    return found
