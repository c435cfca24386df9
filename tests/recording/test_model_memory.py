"""Models larger than the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution import device_memory
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.recording.model_memory import weight_bytes

BYTES = 4 * (1000 * 10 + 10)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained model in each of its forms."""
    folder = tmp_path_factory.mktemp("models")
    model = keras.Sequential([layers.Input([1000]), layers.Dense(10)])
    model.compile("adam", "mse")
    model.train_on_batch(tf.zeros([1, 1000]), tf.zeros([1, 10]))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved", verbose=False)
    return {"keras": folder / "model.keras", "h5": folder / "model.h5", "saved_model": folder / "saved"}


@pytest.mark.parametrize("form", ["keras", "h5", "saved_model"])
def test_weights_are_counted_without_the_optimizer(form: str, paths: dict[str, Path]) -> None:
    size = weight_bytes(paths[form])
    assert size is not None
    copies = 2 if form == "saved_model" else 1  # Keras exports its variables twice, and TensorFlow loads both
    assert copies * BYTES <= size <= copies * BYTES + 100


@pytest.mark.parametrize("form", ["keras", "h5", "saved_model"])
def test_a_model_larger_than_the_device_is_refused_before_it_is_loaded(
    form: str, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory, "free_memory", lambda _: BYTES - 1)
    monkeypatch.setattr("tb_deepexplain.graph.loading.load_model.load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(
        dx.OutOfMemoryError,
        match=r"its weights take 0\.\d MB: they do not fit into the memory of CPU:0, which has 0\.0 MB free;",
    ):
        load_requested_model(str(paths[form]), None)


def test_memory_that_ends_while_weights_are_copied_is_one_sentence(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[1000,10]")

    monkeypatch.setattr("tb_deepexplain.graph.loading.load_model.load_model", load)
    with pytest.raises(
        dx.OutOfMemoryError, match=r"its weights do not fit into the memory of CPU:0; explain on the CPU \(--gpus 0\)"
    ):
        load_requested_model(str(paths["saved_model"]), None)


def test_a_model_that_fits_is_loaded(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "free_memory", lambda _: BYTES + 100)
    assert load_requested_model(str(paths["keras"]), None).inputs
