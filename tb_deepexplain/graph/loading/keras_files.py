"""Keras files (.keras, .h5) → ModelGraph, loaded by a version of Keras that keeps their meaning."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.keras_models import KERAS, from_keras
from tb_deepexplain.graph.model_graph import ModelGraph

SUFFIXES = (".keras", ".h5", ".hdf5")
_CUSTOM_CODE_HINT = "if it needs your own code, load it and give the model"


def from_file(path: Path) -> ModelGraph:
    """A model in a file; the graph's source names the version of Keras that loaded it."""
    version, config = _read_zip(path) if path.suffix == ".keras" else _read_hdf5(path)
    package, model = _load(path, int(version.split(".")[0]), config)
    return from_keras(model, f"{path} ({KERAS[package]})")


def _load_error(path: Path, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"Keras cannot load {path}: {reason}")


def _read_zip(path: Path) -> tuple[str, str]:
    """(version of Keras that wrote the file, configuration of the model as JSON)."""
    try:
        with zipfile.ZipFile(path) as file:
            metadata, config = json.loads(file.read("metadata.json")), file.read("config.json").decode()
            return metadata["keras_version"], config
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise _load_error(path, model_error_text(error)) from error


def _read_hdf5(path: Path) -> tuple[str, str]:
    """As `_read_zip`."""
    import h5py

    try:
        with h5py.File(path) as file:
            attributes = {k: file.attrs[k] for k in ("keras_version", "model_config") if k in file.attrs}
    except OSError as error:
        raise _load_error(path, model_error_text(error)) from error
    if "model_config" not in attributes:
        raise UnsupportedModelError(
            f"{path} holds weights without a model: load them into the model that they belong to, and give that model"
        )
    version, config = (
        v.decode() if isinstance(v, bytes) else v
        for v in (attributes.get("keras_version", "1"), attributes["model_config"])
    )
    return version, config


def _load(path: Path, version: int, config: str) -> tuple[str, Any]:
    """(package, model): Keras 3, unless Keras 2 wrote the file and Keras 3 cannot load it or would change its meaning."""
    reason = _changed_meaning(config) if version < 3 else None
    if reason is None:
        import keras

        try:
            return "keras", keras.models.load_model(path, compile=False)
        except Exception as error:  # a layer may raise anything
            reason = model_error_text(error)
            if version >= 3:
                raise _load_error(path, f"{reason}; {_CUSTOM_CODE_HINT}") from error
    if '"Lambda"' in config:  # Keras 2 would run it without asking
        raise UnsupportedModelError(
            f"{path} holds a Lambda layer, which is Python code that may do anything: if you trust it, load it with "
            "tf_keras and give the model"
        )
    try:
        tf_keras = importlib.import_module("tf_keras")
    except ImportError as error:
        raise UnsupportedModelError(
            f"{path} was written by Keras 2, and Keras 3 does not keep its meaning ({reason}): install the extra "
            "keras2, pip install 'tensorboard-plugin-deepexplain[keras2]'"
        ) from error
    try:
        return "tf_keras", tf_keras.models.load_model(path, compile=False)
    except Exception as error:
        raise UnsupportedModelError(
            f"no Keras can load {path}: Keras 3: {reason}; Keras 2: {model_error_text(error)}; {_CUSTOM_CODE_HINT}"
        ) from error


def _changed_meaning(config: str) -> str | None:
    """What Keras 3 would silently compute differently from the Keras 2 that wrote this configuration; None if nothing."""
    if '"hard_sigmoid"' in config:
        return "its hard_sigmoid is another function"
    if '"Rescaling"' in config and ('"mask_zero": true' in config or '"Masking"' in config):
        return "it lets masks pass through Rescaling"
    return None
