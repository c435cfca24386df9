"""SavedModels → ModelGraph."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import tensorflow as tf

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.loading.example_signatures import enter_at_features
from tb_deepexplain.graph.loading.functions import from_concrete, from_module
from tb_deepexplain.graph.model_graph import ModelGraph


def from_directory(path: Path, signature: str | None) -> ModelGraph:
    """A SavedModel directory."""
    if not any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise UnsupportedModelError(f"{path} holds no saved_model.pb; give the directory that model.export() wrote")
    try:
        loaded = _load(path)
    except Exception as error:
        raise UnsupportedModelError(f"TensorFlow cannot load {path}: {model_error_text(error)}") from error
    return from_loaded(loaded, signature, str(path))


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(path)
    except (RuntimeError, ValueError, KeyError):
        with contextlib.suppress(Exception):  # TensorFlow 1 wrote several graphs, distinguished by tags
            return tf.saved_model.load(path, tags=["serve"])
        raise


def from_loaded(loaded: Any, signature: str | None, source: str) -> ModelGraph:
    """The result of tf.saved_model.load: one of its signatures, or its function if it has no signature.

    Where a signature takes serialized tf.Examples, the inputs are the features parsed from them.
    """
    signatures = dict(loaded.signatures)
    if not signatures and signature is None:
        return from_module(loaded, source)
    default = "serving_default" if "serving_default" in signatures or len(signatures) != 1 else next(iter(signatures))
    if (signature or default) not in signatures:
        names = ", ".join(map(repr, signatures)) or "none"
        missing = f"no signature {signature!r}" if signature else "no serving_default signature"
        raise UnsupportedModelError(
            f"{source} has {missing}; it has {names}; choose one with load_model(model, signature=...) (--signature)"
        )
    return enter_at_features(from_concrete(signatures[signature or default], source, keep=loaded))
