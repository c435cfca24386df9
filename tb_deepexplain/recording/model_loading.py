"""Loads the model of a request, here or remote, with the Keras classes that the user names."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tb_deepexplain.named_functions import identify_function, load_function
from tb_deepexplain.storage import local_copy

if TYPE_CHECKING:  # imports TensorFlow, which a request can be made without
    from tb_deepexplain.graph.model_graph import ModelGraph


def load_requested_model(
    path: str, signature: str | None, custom_objects: Sequence[str] = (), transform_graph: str | None = None
) -> ModelGraph:
    """The model at a path. `custom_objects`: `module:name` of the classes and functions that a Keras file names.

    `transform_graph`: the folder of the graph of TFX's Transform in front of it.

    Raises UnsupportedModelError if it cannot be read, OutOfMemoryError if its weights do not fit onto the current device,
    ParameterError if a custom object cannot be imported.
    """
    from tb_deepexplain.graph.loading.load_model import load_model
    from tb_deepexplain.recording.model_memory import fits_on_device

    with contextlib.ExitStack() as stack:
        model = stack.enter_context(local_copy(path))
        stack.enter_context(_known_to_keras(custom_objects))
        folder = None if transform_graph is None else stack.enter_context(local_copy(transform_graph))
        stack.enter_context(fits_on_device(model))
        return load_model(model, signature=signature, transform_graph=folder)


def check_custom_objects(names: Sequence[str]) -> list[str]:
    """The names, each with a digest of its module's file, on which a store depends. Raises ParameterError."""
    _load(names)
    return [identify_function(name) for name in names]


def _load(names: Sequence[str]) -> dict[str, Any]:
    """The objects by the names under which Keras looks for them."""
    objects = {}
    for name in names:
        loaded = load_function(name, "custom_objects", "a Keras model's file")
        objects[getattr(loaded, "__name__", name.rpartition(":")[2])] = loaded
    return objects


@contextlib.contextmanager
def _known_to_keras(names: Sequence[str]) -> Iterator[None]:
    objects = _load(names)
    with contextlib.ExitStack() as stack:
        if objects:
            import keras

            stack.enter_context(keras.saving.custom_object_scope(objects))
            if "tf_keras" in sys.modules:  # imported by the module of a class for Keras 2
                stack.enter_context(sys.modules["tf_keras"].utils.custom_object_scope(objects))
        yield
