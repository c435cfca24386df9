"""What the host takes for an example, whatever the model: from an .npz to the committed store.

The model is one addition, so that its passes take next to nothing; the method is gradient × input. Each run is the ordinary command
in this process. Processor time (of all threads) and run time of an example are the differences between a run with many and a run with
few examples, divided by the difference of the counts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

FEW, MANY = 4_096, 32_768  # examples of 28×28×1; a quarter of them of 64×64×3


class Case(NamedTuple):
    """Examples of one shape."""

    name: str
    make: Callable[[int], np.ndarray]  # float32 [N, H, W, C] in 0..1
    goal: int  # examples a second
    share: float = 1.0  # of the examples


def digits(n: int) -> np.ndarray:
    """The digits of scikit-learn in 28×28."""
    from sklearn.datasets import load_digits

    images = np.kron(load_digits().images / 16, np.ones((1, 4, 4)))[:, 2:30, 2:30, None]
    return images[np.random.default_rng(0).integers(0, len(images), n)].astype(np.float32)


def photos(n: int) -> np.ndarray:
    """Sections of 64×64 of the two photos of scikit-learn."""
    from sklearn.datasets import load_sample_images

    images, rng = np.stack(load_sample_images().images), np.random.default_rng(0)
    _, height, width, _ = images.shape
    places = zip(rng.integers(0, 2, n), rng.integers(0, height - 63, n), rng.integers(0, width - 63, n), strict=True)
    sections = np.stack([images[k, top : top + 64, left : left + 64] for k, top, left in places])
    return sections.astype(np.float32) / np.float32(255)


def noise(*shape: int) -> Callable[[int], np.ndarray]:
    """Random numbers, which nothing compresses."""
    return lambda n: np.random.default_rng(0).random((n, *shape), np.float32)


CASES = (
    Case("digits, 28×28×1", digits, 25_000),
    Case("noise, 28×28×1", noise(28, 28, 1), 25_000),
    Case("photos, 64×64×3", photos, 2_500, 0.25),
    Case("noise, 64×64×3", noise(64, 64, 3), 2_500, 0.25),
)

# A stage → the functions whose processor time, without that of other stages that they call, it has.
_STAGES = {
    "read and parse": ["beam_pipelines.engine.unit_worker.UnitWorker._read"],
    "predict": ["tb_deepexplain.attribution.explainer.Explainer.predict"],
    "explain": ["tb_deepexplain.attribution.explainer.Explainer.run"],
    "rows": ["tb_deepexplain.recording.map_rows.make_rows"],
    "pictures": ["tb_deepexplain.recording.display.store_examples"],
    "maps": ["tb_deepexplain.store.records.encode_maps"],
    "columns": ["tb_deepexplain.store.records.make_table"],
    "Parquet": ["pyarrow.parquet.ParquetWriter.write_table"],
}
