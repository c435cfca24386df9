"""Reads the weights of a PyTorch checkpoint without PyTorch."""

from __future__ import annotations

import collections
import dataclasses
import os
import pickle
from typing import Any, BinaryIO

import numpy as np

from tb_deepexplain.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """The part of a storage that a tensor occupies; offset and strides count elements."""

    storage: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: dict[str, bytes]) -> np.ndarray:
        size = self.dtype.itemsize
        strides = tuple(size * s for s in self.strides)
        return np.ndarray(self.shape, self.dtype, storages[self.storage], self.offset * size, strides)


class _Unpickler(pickle.Unpickler):
    """Allows the few names that a file of weights needs; any other name in a pickle could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise InputError(f"the checkpoint needs {module}.{name}; only plain weights can be read")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _, dtype, key, *_ = pid
        return key, dtype


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Name → array, from a checkpoint in the format before PyTorch 1.6.

    The format: pickles of a magic number, a version, the machine, the tensors by name, and the keys of the storages; then
    each storage in the order of the keys, as its length and its values.
    """
    with open(path, "rb") as file:
        try:
            magic = _load(file)
        except pickle.UnpicklingError:
            magic = None
        if magic != _MAGIC:
            raise InputError(
                f"{path} is not a PyTorch checkpoint in the format before version 1.6; reinstall its package"
            )
        _load(file), _load(file)  # version and machine
        tensors: dict[str, _Tensor] = _load(file)
        keys: list[str] = _load(file)
        sizes = {tensor.storage: tensor.dtype.itemsize for tensor in tensors.values()}
        storages = {key: _read_storage(file, sizes[key]) for key in keys}
    return {name: tensor.read(storages) for name, tensor in tensors.items()}


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file).load()


def _tensor(storage: tuple[str, np.dtype[Any]], offset: int, shape: Any, strides: Any, *_: object) -> _Tensor:
    return _Tensor(*storage, offset, tuple(shape), tuple(strides))


def _read_storage(file: BinaryIO, size: int) -> bytes:
    count = int.from_bytes(file.read(8), "little")
    return file.read(count * size)
