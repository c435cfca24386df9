"""Serialized tf.Examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from google.protobuf.message import DecodeError

from tb_deepexplain.errors import InputError
from tb_deepexplain.lazy_tensorflow import tf

_DTYPES = {"int64_list": np.int64, "bytes_list": object}


class ExampleFeatures(Mapping[str, np.ndarray]):
    """The features of a serialized tf.Example: arrays with one axis, of float32, int64 or bytes."""

    def __init__(self, serialized: bytes) -> None:
        """Raises InputError if the bytes are not a tf.Example."""
        try:
            self._features = tf.train.Example.FromString(serialized).features.feature
        except Exception as error:
            raise InputError(f"the record is not a tf.Example ({error}); write tf.train.Example protos") from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._features:  # the proto would add it
            raise KeyError(name)
        field = self._features[name].WhichOneof("kind")
        if field is None:
            return np.array([])
        values = getattr(self._features[name], field)
        if field == "float_list":  # serialized floats are as in memory; the list would make an object of each
            count, packed = len(values.value), values.SerializeToString()
            return np.frombuffer(packed, "<f4", count, len(packed) - 4 * count)
        return np.array(values.value, _DTYPES[field])

    def is_missing(self, name: str) -> bool:
        """Whether there is no such feature, or one without values of any type: so TFX writes the empty cell of a table."""
        return name not in self._features or self._features[name].WhichOneof("kind") is None

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


def canonical_bytes(serialized: bytes) -> bytes:
    """The tf.Example with its features in a fixed order: equal examples have the same bytes, whoever wrote them.

    Bytes that are not a tf.Example are returned unchanged.
    """
    try:
        canonical: bytes = tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)
    except DecodeError:
        return serialized
    return canonical
