"""The memory that loading and explaining a model take: weights are captured, not copied."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STATUS = Path("/proc/self/status")

MEASURE = """
import gc, json, sys
from pathlib import Path
import keras, numpy as np, tensorflow as tf
import tb_deepexplain as dx

def megabytes(field):
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0]) / 1024

def memory_added_by_explaining(form, x):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = megabytes("VmRSS")
    attributions = dx.explain("saliency", form, x, target=0)
    assert attributions.any()
    return megabytes("VmHWM") - before
"""

WIDE = (
    MEASURE
    + """
layers = [keras.layers.Dense(7000, "relu", kernel_initializer="ones"), keras.layers.Dense(3)]
model = keras.Sequential([keras.Input((7000,)), *layers])
x = np.ones((2, 7000), np.float32)
dx.explain("saliency", keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)]), x[:, :10], target=0)
model(x)
added = {"weights": 4 * model.count_params() / 2**20, "object": memory_added_by_explaining(model, x)}
model.export(sys.argv[1], verbose=False)
added["saved model"] = memory_added_by_explaining(tf.saved_model.load(sys.argv[1]), x)  # loading is not counted
print(json.dumps(added))
"""
)

LONG = (
    MEASURE
    + """
layers = [keras.layers.Embedding(5_600_000, 100, embeddings_initializer="zeros"), keras.layers.LSTM(3)]
model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
ids = np.array([[1, 5_599_999, 3, 4]])
model(ids)
print(json.dumps({"weights": 4 * model.count_params() / 2**20, "object": memory_added_by_explaining(model, ids)}))
"""
)


def _measure(program: str, *arguments: str) -> dict[str, float]:
    """In MiB: the weights, and for each form of the model the peak that explaining adds."""
    process = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    measured: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return measured


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc to measure memory")
def test_weights_are_not_copied(tmp_path: Path) -> None:
    added = _measure(WIDE, str(tmp_path / "saved"))
    assert added["weights"] > 180
    assert max(added["object"], added["saved model"]) < added["weights"] / 2


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc to measure memory")
def test_weights_beyond_two_gigabytes() -> None:
    """A GraphDef cannot hold as many."""
    free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 2**20
    if free < 10:
        pytest.skip(f"{free:.1f} GiB of memory are available; this test needs 10")
    added = _measure(LONG)
    assert added["weights"] > 2048
    assert added["object"] < 500
