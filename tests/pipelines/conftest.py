"""The models of these tests, exported once as SavedModels, and a run that writes into a fresh logdir."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from keras import layers

from tests import models
from tests.pipelines.data import Run


def binary() -> keras.Model:
    """Four numbers → one sigmoid."""
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(6, activation="tanh"), layers.Dense(1, activation="sigmoid")]
    )


def columns() -> keras.Model:
    """Two numeric inputs → one quantity."""
    keras.utils.set_random_seed(6)
    age, sizes = keras.Input((1,), name="age"), keras.Input((2, 2), name="sizes")
    x = layers.Concatenate()([age, layers.Flatten()(sizes)])
    return keras.Model({"age": age, "sizes": sizes}, layers.Dense(1)(layers.Dense(3, activation="tanh")(x)))


_BUILDERS: dict[str, Callable[[], keras.Model]] = {
    "image": models.image,
    "text": lambda: models.text(),
    "strings": lambda: models.text(strings=True),
    "binary": binary,
    "columns": columns,
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The SavedModel of this name, exported when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def path(name: str) -> Path:
        if not (root / name).exists():
            _BUILDERS[name]().export(root / name, verbose=False)
        return root / name

    return path


@pytest.fixture
def image(exported: Callable[[str], Path], tmp_path: Path) -> Run:
    """A run of the picture model."""
    return Run(exported("image"), tmp_path / "logs")
