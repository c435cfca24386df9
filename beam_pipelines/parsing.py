"""A serialized tf.Example becomes what the model reads: arrays shaped by the model's own input specs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from beam_pipelines.trouble import describe
from tb_deepexplain.errors import InputError

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_LISTS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


@dataclasses.dataclass(frozen=True)
class Example:
    """One example: the model's inputs by name, without a batch dimension, and what else is known of it."""

    id: str
    inputs: Mapping[str, np.ndarray]
    label: int | None = None
    picture: bytes | None = None  # the PNG or JPEG it came as


@dataclasses.dataclass(frozen=True)
class Parser:
    """Reads tf.Examples for one model."""

    specs: Sequence[Any]  # tb_deepexplain.graph.model.InputSpec
    label_feature: str = "label"
    id_feature: str = "id"
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)  # input → feature

    def __call__(self, payload: bytes, position: str) -> Example:
        """The example; InputError says what does not fit the model."""
        try:
            features = tf.train.Example.FromString(payload).features.feature
        except Exception as error:
            raise InputError(f"the record is not a tf.Example ({error}); write tf.train.Example protos") from error
        inputs, picture = {}, None
        for spec in self.specs:
            kind, values = self._feature(features, self.renamed.get(spec.name, spec.name), spec)
            if kind == "bytes" and spec.is_float:
                inputs[spec.name] = _decode_picture(values, spec)
                picture = picture or (values[0] if values[0].startswith((_PNG, _JPEG)) else None)
            else:
                inputs[spec.name] = _to_array(kind, values, spec)
        return Example(self._id(features) or position, inputs, self._label(features), picture)

    def _feature(self, features: Any, name: str, spec: Any) -> tuple[str, Any]:
        if name not in features:
            has = ", ".join(sorted(features)) or "no features"
            raise InputError(
                f"it has no feature {name!r} for the model's input {spec}; it has {has}: name it with --feature {spec.name}=NAME"
            )
        return _values(features, name)

    def _id(self, features: Any) -> str | None:
        if self.id_feature not in features:
            return None
        kind, values = _values(features, self.id_feature)
        if kind not in ("bytes", "int64") or len(values) != 1:
            raise InputError(
                f"its id, feature {self.id_feature!r}, is {len(values)} {kind} values; expected one bytes value"
            )
        return values[0].decode("utf-8", "replace") if kind == "bytes" else str(values[0])

    def _label(self, features: Any) -> int | None:
        if self.label_feature not in features:
            return None
        kind, values = _values(features, self.label_feature)
        if kind != "int64" or len(values) != 1:
            raise InputError(
                f"its label, feature {self.label_feature!r}, is {len(values)} {kind} values; expected one int64 class number"
            )
        if not -(2**31) <= values[0] < 2**31:
            raise InputError(
                f"its label, feature {self.label_feature!r}, is {values[0]}; expected a class number of 32 bits"
            )
        return int(values[0])


def _values(features: Any, name: str) -> tuple[str, Any]:
    field = features[name].WhichOneof("kind")
    return (_LISTS[field], getattr(features[name], field).value) if field else ("empty", [])


def _to_array(kind: str, values: Any, spec: Any) -> np.ndarray:
    """A list of numbers or strings in the shape that the model wants."""
    accepted = {"string": ("bytes",)}.get(spec.dtype, ("float", "int64") if spec.is_float else ("int64",))
    if kind not in accepted:
        raise InputError(
            f"the feature for the model's input {spec} holds {kind} values; expected {' or '.join(accepted)}"
        )
    shape = spec.shape[1:]
    known = math.prod(n for n in shape if n is not None)
    open_axes = sum(n is None for n in shape)
    if open_axes > 1:
        raise InputError(
            f"the model's input {spec} leaves {open_axes} sizes open, which a flat feature cannot tell; fix them in the model"
        )
    if (len(values) % known if open_axes and known else len(values) != known) or (open_axes and not len(values)):
        wanted = f"a multiple of {known}" if open_axes else str(known)
        raise InputError(f"the feature for the model's input {spec} has {len(values)} values; expected {wanted}")
    dtype = object if spec.dtype == "string" else np.float32 if spec.dtype == "bfloat16" else np.dtype(spec.dtype)
    try:
        array = np.array(values, dtype)
    except OverflowError:
        raise InputError(
            f"the feature for the model's input {spec} holds a number that {spec.dtype} cannot hold"
        ) from None
    return array.reshape([-1 if n is None else n for n in shape])


def _decode_picture(values: Any, spec: Any) -> np.ndarray:
    """A PNG, JPEG, GIF or BMP as float32 [H, W, C] in 0..255."""
    if len(spec.shape) != 4 or len(values) != 1:
        raise InputError(
            f"the feature for the model's input {spec} holds {len(values)} bytes values; "
            "expected numbers, or one PNG or JPEG for an input [?, height, width, channels]"
        )
    channels = spec.shape[3]
    try:
        picture = tf.io.decode_image(
            values[0], channels=channels if channels in (1, 3, 4) else 0, expand_animations=False
        ).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"its picture for {spec} cannot be decoded: {describe(error)[1]}") from error
    if any(wanted not in (None, got) for wanted, got in zip(spec.shape[1:], picture.shape, strict=True)):
        sizes = "×".join(map(str, picture.shape))
        raise InputError(
            f"its picture is {sizes} (height×width×channels) but the model's input is {spec}; resize the picture"
        )
    return picture.astype(np.float32)
