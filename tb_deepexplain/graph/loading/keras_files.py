"""Keras files (.keras, .h5) → ModelGraph, read by the Keras that means the same by them as the one that wrote them."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

from tb_deepexplain.errors import UnsupportedModelError, first_line
from tb_deepexplain.graph.loading.keras_models import KERAS, from_keras
from tb_deepexplain.graph.model_graph import ModelGraph

_OWN = "if it needs code of yours, load it and give the model"
SUFFIXES = (".keras", ".h5", ".hdf5")


def from_file(path: Path) -> ModelGraph:
    """A whole model in a file; the source says which Keras read it."""
    version, config = _from_zip(path) if path.suffix == ".keras" else _from_hdf5(path)
    module, model = _load(path, int(version.split(".")[0]), config)
    return from_keras(model, f"{path} ({KERAS[module]})")


def _from_zip(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as file:
            metadata, config = json.loads(file.read("metadata.json")), file.read("config.json").decode()
            return metadata["keras_version"], config
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UnsupportedModelError(f"Keras cannot load {path}: {first_line(error)}") from error


def _from_hdf5(path: Path) -> tuple[str, str]:
    import h5py

    try:
        with h5py.File(path) as file:
            found = {k: file.attrs[k] for k in ("keras_version", "model_config") if k in file.attrs}
    except OSError as error:
        raise UnsupportedModelError(f"Keras cannot load {path}: {first_line(error)}") from error
    if "model_config" not in found:
        raise UnsupportedModelError(
            f"{path} holds weights without a model: load them into the model that they belong to, and give that"
        )
    version, config = (
        v.decode() if isinstance(v, bytes) else v for v in (found.get("keras_version", "1"), found["model_config"])
    )
    return version, config


def _load(path: Path, version: int, config: str) -> tuple[str, Any]:
    """(module, model): Keras 3, unless Keras 2 wrote the file and Keras 3 cannot read it or would change its meaning."""
    reason = _changed(config) if version < 3 else None
    if reason is None:
        import keras

        try:
            return "keras", keras.models.load_model(path, compile=False)
        except Exception as error:  # Keras raises whatever its layers raise
            reason = first_line(error)
            if version >= 3:
                raise UnsupportedModelError(f"Keras cannot load {path}: {reason}; {_OWN}") from error
    if '"Lambda"' in config:  # Keras 2 would run it unasked
        raise UnsupportedModelError(
            f"{path} holds a Lambda layer, which is Python code that may do anything: if you trust it, load it with "
            "tf_keras and give the model"
        )
    try:
        tf_keras = importlib.import_module("tf_keras")
    except ImportError as error:
        raise UnsupportedModelError(
            f"{path} was written by Keras 2, and Keras 3 does not read it as it was meant ({reason}): install the extra "
            "keras2, pip install 'tensorboard-plugin-deepexplain[keras2]'"
        ) from error
    try:
        return "tf_keras", tf_keras.models.load_model(path, compile=False)
    except Exception as error:
        raise UnsupportedModelError(
            f"no Keras can load {path}: Keras 3: {reason}; Keras 2: {first_line(error)}; {_OWN}"
        ) from error


def _changed(config: str) -> str | None:
    """What Keras 3 would silently compute differently from the Keras 2 that wrote this configuration."""
    if '"hard_sigmoid"' in config:
        return "its hard_sigmoid is another function"
    if '"Rescaling"' in config and ('"mask_zero": true' in config or '"Masking"' in config):
        return "it lets masks pass through Rescaling"
    return None
