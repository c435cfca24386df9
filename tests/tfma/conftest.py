"""Tests that need TFMA are collected only in its environment (make test-tfx)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

collect_ignore = (
    [] if importlib.util.find_spec("tensorflow_model_analysis") else ["test_slice_features.py", "test_tfma.py"]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel whose serving signature parses tf.Examples."""
    from tests.tfx import artifacts  # needs TFX

    folder = tmp_path_factory.mktemp("model")
    artifacts.save_model(folder, artifacts.make_network())
    return folder / "Format-Serving"
