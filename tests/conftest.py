"""Models exported once as SavedModels, and a run of the pipeline that writes into a fresh log directory.

Keras is imported when a fixture is first used: many tests need neither.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pipeline_runs import Run

gc.set_threshold(10_000, 20, 10)  # TensorFlow's modules are a million objects, and tracing creates many more


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a SavedModel by name: image, text, strings, binary or columns."""
    root = tmp_path_factory.mktemp("models")

    def path(name: str) -> Path:
        from tests import models

        builders = {
            "image": models.image,
            "text": models.text,
            "strings": lambda: models.text(strings=True),
            "binary": models.binary,
            "columns": models.columns,
        }
        if not (root / name).exists():
            builders[name]().export(root / name, verbose=False)
        return root / name

    return path


@pytest.fixture
def image(exported: Callable[[str], Path], tmp_path: Path) -> Run:
    """A run of the picture model."""
    from tests.pipeline_runs import Run

    return Run(exported("image"), tmp_path / "logs")
