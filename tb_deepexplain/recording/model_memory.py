"""Whether the weights of a model fit onto the device that it is loaded on."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution import device_memory
from tb_deepexplain.errors import OutOfMemoryError

_OF_TRAINING = ("optimizer", ".OPTIMIZER_SLOT")  # in the names of variables that explanations do not load


@contextlib.contextmanager
def fits_on_device(path: str | os.PathLike[str]) -> Iterator[None]:
    """OutOfMemoryError where the weights of the model at a path do not fit onto the current device, before or while they are loaded."""
    device = device_memory.current_device()
    free, size = device_memory.free_memory(device), None
    if free is not None:
        with contextlib.suppress(Exception):  # what cannot be read is for the loader to say
            size = weight_bytes(Path(path))
    if free is not None and size is not None and size > free:
        raise OutOfMemoryError(_describe(path, size, free, device))
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OutOfMemoryError(_describe(path, size, free, device)) from error


def weight_bytes(path: Path) -> int | None:
    """The bytes of the weights of a SavedModel, Keras file or frozen graph, without an optimizer's; None if they are not known."""
    if path.is_dir():
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        dtypes = reader.get_variable_to_dtype_map()
        return sum(
            int(np.prod(shape)) * dtypes[name].size
            for name, shape in reader.get_variable_to_shape_map().items()
            if dtypes[name] != tf.string and not any(part in name for part in _OF_TRAINING)
        )
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
            return _hdf5_bytes(file)
    if path.suffix in (".h5", ".hdf5"):
        with path.open("rb") as file:
            return _hdf5_bytes(file)
    return path.stat().st_size if path.suffix == ".pb" else None


def _hdf5_bytes(file: Any) -> int:
    import h5py

    sizes: list[int] = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not any(part in name for part in _OF_TRAINING):
            sizes.append(item.nbytes)

    with h5py.File(file, "r") as weights:
        weights.visititems(add)
    return sum(sizes)


def _describe(path: str | os.PathLike[str], size: int | None, free: int | None, device: str) -> str:
    weights = (
        "its weights do not fit"
        if size is None
        else f"its weights take {device_memory.format_bytes(size)}: they do not fit"
    )
    has = "" if free is None else f", which has {device_memory.format_bytes(free)} free"
    name = device.rpartition("device:")[2]
    return f"{path}: {weights} into the memory of {name}{has}; explain on the CPU (--gpus 0) or on a larger device"
