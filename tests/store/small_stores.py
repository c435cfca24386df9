"""Small stores of made-up maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter

MANIFEST = {"name": "default", "modality": "tabular"}


def attribution(example: str, method: str = "saliency", size: int = 4) -> Attribution:
    values = np.random.default_rng(abs(hash((example, method))) % 2**32).normal(size=size).astype(np.float32)
    return Attribution(example, method, values, target=1, label=2, predicted=1, score=0.5, gap=None, warnings=["odd"])


def stored_input(example: str) -> Input:
    return Input(example, "tabular", features=["a", "b"], values=[1.0, 2.0], label=2)


def write(directory: Path, units: dict[str, list[str]], size: int = 4) -> dict[str, Attribution]:
    written = {}
    for unit, examples in units.items():
        with StoreWriter(directory).shard(unit) as shard:
            for example in examples:
                written[example] = attribution(example, size=size)
                shard.add([written[example]], [stored_input(example)])
    return written
