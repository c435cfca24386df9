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
_LAYERS_WITH_ANOTHER_MASK = "Rescaling Normalization Add Subtract Multiply Average Maximum Minimum Concatenate".split()
_INSTALL_KERAS_2 = "the extra keras2 (pip install 'tensorboard-plugin-deepexplain[keras2]')"
_CUSTOM_CODE_HINT = (
    "if it needs classes of your own, name them (--custom_objects module:Class), or in Python give the loaded model"
)


def from_file(path: Path) -> ModelGraph:
    """A model in a file; the graph's source names the version of Keras that loaded it."""
    version, config = _read_zip(path) if path.suffix == ".keras" else _read_hdf5(path)
    package, model, warning = _load(path, int(version.split(".")[0]), config)
    graph = from_keras(model, f"{path} ({KERAS[package]})")
    return graph.with_warning(warning) if warning else graph


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


def _load(path: Path, version: int, config: str) -> tuple[str, Any, str]:
    """(package, model, warning): the model as the Keras that wrote it reads it, if that is installed; else as Keras 3 does."""
    if version >= 3:
        try:
            return "keras", _load_with_keras_3(path), ""
        except Exception as error:  # a layer may raise anything
            raise _load_error(path, f"{model_error_text(error)}; {_CUSTOM_CODE_HINT}") from error
    if '"Lambda"' in config:  # Keras 2 would run it without asking
        raise UnsupportedModelError(
            f"{path} holds a Lambda layer, which is Python code that may do anything: if you trust it, load it with "
            "tf_keras and give the model"
        )
    try:
        return "tf_keras", importlib.import_module("tf_keras").models.load_model(path, compile=False), ""
    except ImportError:
        reason = f"{_INSTALL_KERAS_2} reads it as it was meant"
    except Exception as error:
        reason = f"Keras 2 cannot load it: {model_error_text(error)}"
    if changed := _changed_meaning(config):
        raise UnsupportedModelError(
            f"{path} was written by Keras 2, and Keras 3 does not keep its meaning ({changed}): {reason}"
        )
    try:
        model = _load_with_keras_3(path)
    except Exception as error:
        raise UnsupportedModelError(
            f"no Keras can load {path}: Keras 3: {model_error_text(error)}; {reason}; {_CUSTOM_CODE_HINT}"
        ) from error
    return "keras", model, f"the model was written by Keras 2 and is read by Keras 3, which may change it; {reason}"


def _load_with_keras_3(path: Path) -> Any:
    import keras

    return keras.models.load_model(path, compile=False)


def _changed_meaning(config: str) -> str | None:
    """What Keras 3 would silently compute differently from the Keras 2 that wrote this configuration; None if nothing is known.

    All layers of Keras 2 were compared: each in a file of its own, with and without a mask.
    """
    if '"hard_sigmoid"' in config:
        return "its hard_sigmoid is another function"
    if '"training": true' in config:
        return "it forgets that a layer is called with training=True"
    if '"mask_zero": true' in config or '"Masking"' in config:
        for layer in _LAYERS_WITH_ANOTHER_MASK:
            if f'"class_name": "{layer}"' in config:
                return f"masks pass {layer} in another way"
    return None
