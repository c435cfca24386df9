"""A record becomes what the model reads: arrays shaped by the model's own input specs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from beam_pipelines.reading.formats import Columns
from beam_pipelines.reading.tfmd_schema import Schema
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.recording.error_text import describe
from tb_deepexplain.recording.example import Example
from tb_deepexplain.store.records import printable

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_KINDS = {"f": "float", "i": "int64", "u": "int64", "b": "bool"}  # of a NumPy dtype; all others are strings
_DTYPES = {"int64_list": np.int64, "bytes_list": object}  # of a tf.Example's lists


class Features(Mapping[str, np.ndarray]):
    """The features of a serialized tf.Example: arrays of one axis, float32, int64 or bytes."""

    def __init__(self, payload: bytes) -> None:
        try:
            self._found = tf.train.Example.FromString(payload).features.feature
        except Exception as error:
            raise InputError(f"the record is not a tf.Example ({error}); write tf.train.Example protos") from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._found:  # the proto would make it
            raise KeyError(name)
        field = self._found[name].WhichOneof("kind")
        if field is None:
            return np.array([])
        found = getattr(self._found[name], field)
        if field == "float_list":  # in a message they stand as in memory; the list would make an object of each
            count, packed = len(found.value), found.SerializeToString()
            return np.frombuffer(packed, "<f4", count, len(packed) - 4 * count)
        return np.array(found.value, _DTYPES[field])

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def canonical(record: bytes) -> bytes:
    """A serialized tf.Example with its features in one order: of equal examples the same, whoever wrote them and when."""
    try:
        found: bytes = tf.train.Example.FromString(record).SerializeToString(deterministic=True)
    except DecodeError:  # it is none
        return record
    return found


@dataclasses.dataclass(frozen=True)
class Parser:
    """Reads the records of any source for one model: serialized tf.Examples, or values by column.

    A value is a number, str, bytes, list or array. Arrays keep their axes, flat lists take those of the input, text is
    read as numbers where the input is numeric, and bytes are a picture where it is [?, height, width, channels].
    """

    specs: Sequence[Any]  # tb_deepexplain.graph.model_graph.InputSpec
    label_feature: str = "label"
    id_feature: str = "id"
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)  # input → feature, or features "a,b,c"
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)  # class name → class number
    resize: bool = False  # pictures, to the size that the model wants
    preprocess: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None  # record → inputs, label, id, image
    schema: Schema | None = None

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        for name in self.renamed:
            if name not in names:
                raise ParameterError(f"--feature {name}={self.renamed[name]}: the model takes {', '.join(names)}")

    @property
    def columns(self) -> Columns | None:
        """The features that it looks at; None if it may be any."""
        if self.preprocess or self.schema:
            return None
        inputs = [self.renamed.get(spec.name, spec.name).split(",") for spec in self.specs]
        return Columns(tuple(itertools.chain(*inputs)), (self.label_feature, self.id_feature))

    def __call__(self, record: bytes | Mapping[str, Any], position: str) -> Example:
        """The example; InputError says what does not fit the model."""
        columns = Features(record) if isinstance(record, bytes) else record
        if self.schema:
            columns = self.schema.complete(columns)
        id_, label = self._id(columns, self.id_feature), self._label(columns, self.label_feature)
        if self.preprocess:
            columns = self._preprocess(columns)
            id_, label = self._id(columns, "id") or id_, self._label(columns, "label") if "label" in columns else label
        inputs, picture = {}, None
        for spec in self.specs:
            value = self._find(columns, spec)
            if spec.is_float and (encoded := _encoded(value)) is not None:
                inputs[spec.name], resized = _decode_picture(encoded, spec, self.resize)
                picture = picture or (encoded if encoded.startswith((_PNG, _JPEG)) and not resized else None)
            else:
                inputs[spec.name] = _to_array(value, spec)
        if self.preprocess:
            picture = self._shown(columns) or picture
        return Example(id_ or position, inputs, label, picture)

    def _find(self, columns: Mapping[str, Any], spec: Any) -> Any:
        """The value of a model's input."""
        name = spec.name if self.preprocess else self.renamed.get(spec.name, spec.name)
        if name in columns:
            return columns[name]
        if "," in name and all(part in columns for part in name.split(",")):
            return np.array([_number(columns[part], part) for part in name.split(",")])
        others = set(columns) - {self.label_feature, self.id_feature, "label", "id"}
        if len(self.specs) == len(others) == 1 and spec.name not in self.renamed and not self.preprocess:
            return columns[others.pop()]  # it can mean no other
        if spec.default is not None:
            return spec.default
        has = ", ".join(sorted(columns)) or "no features"
        advice = "return it from --preprocess" if self.preprocess else f"name it with --feature {spec.name}=NAME"
        raise InputError(f"it has no feature {name!r} for the model's input {spec}; it has {has}: {advice}")

    def _preprocess(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self.preprocess
        try:
            found = self.preprocess(dict(columns))
        except Exception as error:  # the user's function may raise anything
            kind, reason = describe(error)
            raise InputError(f"preprocess raised {kind}: {reason}") from error
        if not isinstance(found, Mapping):
            raise InputError(f"preprocess returned a {type(found).__name__}; expected a dict of the model's inputs")
        return found

    def _shown(self, columns: Mapping[str, Any]) -> bytes | None:
        """The picture to show that preprocess gave: PNG or JPEG bytes, or [height, width, channels]."""
        if "image" in {spec.name for spec in self.specs} or columns.get("image") is None:
            return None
        if (encoded := _encoded(columns["image"])) is not None:
            return encoded
        from tb_deepexplain.recording.display import encode_png

        image = np.asarray(columns["image"])
        if image.ndim != 3:
            raise InputError(
                f"preprocess returned an image of shape {list(image.shape)}; expected [height, width, channels]"
            )
        return encode_png(image)

    def _id(self, columns: Mapping[str, Any], name: str) -> str | None:
        found = _single(columns.get(name))
        if found is None or (isinstance(found, str) and not found):
            return None
        if not isinstance(found, str | int):
            raise InputError(f"its id, feature {name!r}, is {_count(columns[name])}; expected one bytes value")
        return printable(str(found))

    def _label(self, columns: Mapping[str, Any], name: str) -> int | None:
        found = _single(columns.get(name))
        if found is None or (isinstance(found, str) and not found):
            return None
        if isinstance(found, str):
            if found not in self.labels and not found.removeprefix("-").isdecimal():
                known = (
                    f"one of {', '.join(list(self.labels)[:10])}" if self.labels else "--labels with the class names"
                )
                raise InputError(f"its label, feature {name!r}, is {found!r}; expected a class number, or {known}")
            found = self.labels.get(found, found)
        if not isinstance(found, int | str):
            raise InputError(
                f"its label, feature {name!r}, is {_count(columns[name])}; expected one int64 class number"
            )
        number = int(found)
        if not -(2**31) <= number < 2**31:
            raise InputError(f"its label, feature {name!r}, is {number}; expected a class number of 32 bits")
        return number


def _single(value: Any) -> Any:
    """A value that is one number or string as int, float or str; None as it is; what is neither, unchanged."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.reshape(-1)[0] if value.dtype == object else value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _encoded(value: Any) -> bytes | None:
    """The bytes, if the value is bytes alone."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    return value if isinstance(value, bytes) else None


def _count(value: Any) -> str:
    array = _array(value)
    return f"{array.size} {_kind(array)} values"


def _kind(array: np.ndarray) -> str:
    if array.dtype == object and not all(isinstance(item, str | bytes) for item in array.reshape(-1)):
        return "mixed or null"
    return _KINDS.get(array.dtype.kind, "bytes")


def _array(value: Any) -> np.ndarray:
    """The value as an array of numbers, or of str or bytes as objects."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str | bytes):
        return np.array(value, object)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError("it holds lists of different lengths, which are no array; pad them") from error
    return np.array(value, object) if array.dtype.kind in "SU" else array  # 'S' would drop zero bytes at the end


def _number(value: Any, name: str) -> Any:
    """A number, or text that says one."""
    value = _single(value)
    if not isinstance(value, str):
        if not isinstance(value, int | float):
            raise InputError(
                f"its feature {name!r} is {'null' if value is None else _count(value)}; expected one number"
            )
        return value
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    raise InputError(f"its feature {name!r} is {value!r}; expected a number")


def _numbers(text: str, spec: Any) -> np.ndarray:
    """Text such as `3.5`, `1 2 3` or `[[1, 2], [3, 4]]`."""
    if not text.lstrip().startswith("["):
        return np.array([_number(part, spec.name) for part in text.split()])
    try:
        return _array(json.loads(text))
    except ValueError as error:
        raise InputError(f"the feature for the model's input {spec} is {text[:40]!r}, which is no JSON list") from error


def _to_array(value: Any, spec: Any) -> np.ndarray:
    """Numbers or strings in the shape that the model wants."""
    if value is None:
        raise InputError(f"the feature for the model's input {spec} is null; expected a value")
    array = _numbers(value, spec) if isinstance(value, str) and spec.dtype != "string" else _array(value)
    wanted = {"string": ("bytes",), "bool": ("bool", "int64")}.get(spec.dtype, ("int64", "bool"))
    accepted = ("float", "int64", "bool") if spec.is_float else wanted
    if _kind(array) not in accepted:
        raise InputError(
            f"the feature for the model's input {spec} holds {_kind(array)} values; expected {accepted[0]}"
        )
    return _fit(_cast(array, spec), spec)


def _cast(array: np.ndarray, spec: Any) -> np.ndarray:
    if spec.dtype == "string":
        items = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
        found = np.empty(len(items), object)
        found[:] = items
        return found.reshape(array.shape)
    dtype = np.dtype(np.float32 if spec.dtype == "bfloat16" else spec.dtype)
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InputError(f"the feature for the model's input {spec} holds a number that {spec.dtype} cannot hold")
    return array.astype(dtype)


def _fit(array: np.ndarray, spec: Any) -> np.ndarray:
    """A flat array in the shape that the model wants; one of several axes only if it has that shape, but for axes of length 1."""
    shape = spec.shape[1:]
    fits = array.ndim == len(shape) and all(n in (None, got) for n, got in zip(shape, array.shape, strict=True))
    if fits and (array.size or None not in shape):
        return array
    if array.ndim > 1 and [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        raise InputError(
            f"the feature for the model's input {spec} has the shape {list(array.shape)}, which does not fit"
        )
    known = math.prod(n for n in shape if n is not None)
    open_axes = sum(n is None for n in shape)
    if open_axes > 1:
        raise InputError(
            f"the model's input {spec} leaves {open_axes} sizes open, which a flat feature cannot tell; "
            "fix them in the model, or give their shape with --schema"
        )
    if (array.size % known if open_axes and known else array.size != known) or (open_axes and not array.size):
        wanted = f"a multiple of {known}" if open_axes else str(known)
        raise InputError(f"the feature for the model's input {spec} has {array.size} values; expected {wanted}")
    return array.reshape([-1 if n is None else n for n in shape])


def _decode_picture(encoded: bytes, spec: Any, resize: bool) -> tuple[np.ndarray, bool]:
    """A PNG, JPEG, GIF or BMP as float32 [H, W, C] in 0..255, and whether it had another size."""
    if len(spec.shape) != 4:
        raise InputError(
            f"the feature for the model's input {spec} holds 1 bytes values; "
            "expected numbers, or one PNG or JPEG for an input [?, height, width, channels]"
        )
    height, width, channels = spec.shape[1:]
    try:
        picture = tf.io.decode_image(encoded, channels if channels in (1, 3, 4) else 0, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"its picture for {spec} cannot be decoded: {describe(error)[1]}") from error
    size = height or picture.shape[0], width or picture.shape[1]
    resized = resize and size != picture.shape[:2]
    if resized:
        picture = tf.image.resize(picture, size, "bilinear", antialias=True).numpy()
    if any(wanted not in (None, got) for wanted, got in zip(spec.shape[1:], picture.shape, strict=True)):
        sizes = "×".join(map(str, picture.shape))
        raise InputError(
            f"its picture is {sizes} (height×width×channels) but the model's input is {spec}; "
            "--resize makes it fit, or resize it as in training"
            if channels in (None, picture.shape[2])
            else f"its picture is {sizes} (height×width×channels) but the model's input is {spec}; convert its channels"
        )
    return picture.astype(np.float32), resized
