"""Schemas of tensorflow_metadata, as TFX's components write them: shapes, defaults and class names of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_pipelines.reading.files import open_file
from tb_deepexplain.errors import InputError

_TYPES = {1: ("bytes", "SUO"), 2: ("int64", "iub"), 3: ("float", "fiu")}  # FeatureType → name, dtype kinds


@dataclasses.dataclass(frozen=True)
class Feature:
    """What the schema defines for one feature."""

    type: int
    shape: tuple[int, ...] | None = None
    optional: bool = False
    default: Any = None
    names: tuple[str, ...] | None = None  # the domain of a string feature
    low: int | None = None  # the domain of an integer feature
    high: int | None = None


@dataclasses.dataclass(frozen=True)
class Schema:
    """The features by name."""

    features: Mapping[str, Feature]

    def class_names(self, feature: str) -> tuple[str, ...] | None:
        """The values of a label that is a string, if the schema lists them."""
        return self.features[feature].names if feature in self.features else None

    def complete(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The record with defaults for missing features, and flat values in their shapes.

        Raises InputError if the record does not conform to the schema.
        """
        completed = dict(columns)
        for name, feature in self.features.items():
            value = completed.get(name)
            if value is None or (isinstance(value, np.ndarray | list | str) and not len(value)):
                if feature.default is None:
                    if not feature.optional:
                        raise InputError(f"it has no feature {name!r}, which the schema requires in every example")
                    completed.pop(name, None)
                    continue
                value = np.full(feature.shape if feature.shape is not None else (), feature.default)
            completed[name] = _conform(name, feature, value)
        return completed


def load_schema(path: str) -> Schema:
    """The schema in a text file. Raises InputError if it cannot be read."""
    try:
        from google.protobuf import text_format
        from tensorflow_metadata.proto.v0 import schema_pb2
    except ImportError as error:
        raise InputError(f"to read the schema {path}, pip install tensorflow-metadata") from error
    try:
        with open_file(path) as file:
            proto = text_format.Parse(file.read().decode(), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"schema {path}: {reason}; give a schema.pbtxt as tensorflow_metadata writes it") from error
    domains = {domain.name: tuple(domain.value) for domain in proto.string_domain}
    tensors = proto.tensor_representation_group[""].tensor_representation
    dense = {t.dense_tensor.column_name: t.dense_tensor for t in tensors.values() if t.HasField("dense_tensor")}
    return Schema({feature.name: _feature(feature, dense.get(feature.name), domains) for feature in proto.feature})


def _feature(proto: Any, dense: Any, domains: Mapping[str, tuple[str, ...]]) -> Feature:
    """`dense`: the feature's dense tensor representation, if it has one; `domains`: the string domains by name."""
    names = tuple(proto.string_domain.value) if proto.HasField("string_domain") else domains.get(proto.domain)
    shape = dense.shape if dense else proto.shape if proto.HasField("shape") else None
    field = dense.default_value.WhichOneof("kind") if dense else None
    default = getattr(dense.default_value, field) if field else None
    domain = proto.int_domain if proto.HasField("int_domain") else None
    return Feature(
        type=proto.type,
        shape=None if shape is None else tuple(dim.size for dim in shape.dim),
        optional=proto.presence.min_fraction < 1,
        default=np.array(default, object) if isinstance(default, bytes) else default,
        names=names,
        low=domain.min if domain and domain.HasField("min") else None,
        high=domain.max if domain and domain.HasField("max") else None,
    )


def _conform(name: str, feature: Feature, value: Any) -> Any:
    """The value in the schema's shape. Raises InputError if its type or domain is not the schema's."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return value
    if not isinstance(value, np.ndarray) and array.dtype.kind not in "fiub":
        return value  # such as text of a CSV file: the example parser reads it
    type_name, dtype_kinds = _TYPES.get(feature.type, ("", array.dtype.kind))
    if array.dtype.kind not in dtype_kinds:
        raise InputError(f"its feature {name!r} holds {array.dtype} values; the schema has {type_name}")
    if array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if (feature.low is not None and low < feature.low) or (feature.high is not None and high > feature.high):
            raise InputError(f"its feature {name!r} is {low} to {high}; the schema has {feature.low} to {feature.high}")
    if feature.shape and array.ndim == 1 and array.size == np.prod(feature.shape):
        return array.reshape(feature.shape)
    return array
