"""Tiny stores for single tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tests.plugin import stores


def small_store(logdir: Path, run: str, name: str = "s", examples: int = 4, **more: Any) -> Path:
    """A tiny text store, one shard an example."""
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    units = []
    for number in range(examples):
        units.append(f"{number:05d}")
        with writer.shard(units[-1]) as shard:
            shard.add(inputs=[Input(str(number), "text", tokens=["a", "b"])])
            shard.add(
                [Attribution(str(number), "saliency", np.array([1.0, 2.0]), target=t, predicted=1) for t in (0, 1)]
            )
    writer.commit(units, {**stores.manifest(name, "text", ["no", "yes"], stores.METHODS[:1]), **more})
    write_marker(logdir, run, name)
    return directory


ODD = {"run": "odd", "store": "s"}


def odd_store(
    logdir: Path, modality: str, rows: list[tuple[Input, list[Attribution]]], run: str = "odd", **more: Any
) -> None:
    writer = StoreWriter(store_path(logdir, run, "s"))
    with writer.shard("0") as shard:
        for stored_input, maps in rows:
            shard.add(inputs=[stored_input], attributions=maps)
    writer.commit(["0"], {**stores.manifest("s", modality, None, stores.METHODS[:2]), **more})
    write_marker(logdir, run, "s")
