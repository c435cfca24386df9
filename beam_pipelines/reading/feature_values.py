"""Converts the values of features to the arrays that a model's inputs take."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from beam_pipelines.reading.json_text import parse_json
from tb_deepexplain.attribution.array_likes import missing
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import column_width

_BOOLEANS = {"true": True, "false": False}  # as pandas and others write them in CSV files
_TYPES = {"f": "float", "i": "int64", "u": "int64", "b": "bool"}  # by kind of a NumPy dtype; others hold strings


class EmptyCell(str):
    """An empty cell of a CSV file: an empty text where a text must be, and no value in a sparse column."""


class PartitionValue(str):
    """The value of a column that a file's folders add: never that of the only input by another name."""


def to_scalar(value: Any) -> Any:
    """A value that holds one number or string as int, float or str; any other value unchanged."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.reshape(-1)[0] if value.dtype == object else value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def to_bytes(value: Any) -> bytes | None:
    """A value that holds one bytes string as bytes; None for any other."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    return value if isinstance(value, bytes) else None


def to_number(value: Any, feature: str) -> Any:
    """A value that holds one number or boolean, or text of one. Raises InputError, which names the feature, for any other."""
    scalar = to_scalar(value)
    if isinstance(scalar, int) and not -(2**63) <= scalar < 2**64:
        return _as_float(scalar, feature)
    if isinstance(scalar, int | float):
        return scalar
    if not isinstance(scalar, str):
        count = "null" if scalar is None else describe_values(scalar)
        raise InputError(f"its feature {feature!r} is {count}; expected one number")
    if scalar.strip().lower() in _BOOLEANS:
        return _BOOLEANS[scalar.strip().lower()]
    for parse in (int, float):
        try:
            number = parse(scalar)
        except ValueError:  # of whole numbers with thousands of digits, too, which are infinite as floats
            continue
        if isinstance(number, int):
            return to_number(number, feature)
        if math.isinf(number) and any(digit in scalar for digit in "123456789"):
            raise _too_large(feature, scalar)
        return number
    raise InputError(f"its feature {feature!r} is {shorten(scalar)}; expected a number")


def _as_float(number: int, feature: str) -> float:
    try:
        return float(number)
    except OverflowError:
        raise _too_large(feature, "") from None


def _too_large(feature: str, text: str) -> InputError:
    digits = f" of {len(text.strip()):,} characters" if len(text) > 40 else f" {text}" if text else ""
    return InputError(
        f"its feature {feature!r} is a number{digits}, which is larger than any float; expected a smaller one"
    )


def shorten(text: str) -> str:
    """A text in quotation marks, of which a message shows the beginning."""
    return repr(text) if len(text) <= 80 else f"{text[:40]!r}… ({len(text):,} characters)"


def describe_values(value: Any) -> str:
    """Count and type of the values, for messages: `3 float values`."""
    array = _to_array(value)
    return f"{array.size} {_type_name(array)} values"


def to_input(value: Any, spec: Any) -> np.ndarray:
    """Numbers or strings as an array with dtype and shape of the model's input `spec` (an InputSpec).

    Arrays keep their axes, flat lists take those of the input, and text is read as numbers where the input is numeric.
    Raises InputError if the values do not fit.
    """
    if type(value) is np.ndarray and value.shape == spec.shape[1:] and value.dtype == _numpy_dtype(spec.dtype):
        return value
    if spec.is_sparse:
        return _to_column(value, spec)
    if value is None:
        raise InputError(f"the feature for the model's input {spec} is null; expected a value")
    array = _parse_numbers(value, spec) if isinstance(value, str) and spec.dtype != "string" else _to_array(value)
    accepted = {"string": ("bytes",), "bool": ("bool", "int64")}.get(spec.dtype, ("int64", "bool"))
    if spec.is_float:
        accepted = ("float", "int64", "bool")
    if _type_name(array) not in accepted:
        raise InputError(
            f"the feature for the model's input {spec} holds {_type_name(array)} values; expected {accepted[0]}"
        )
    return _reshape(_cast(array, spec), spec)


def _to_column(value: Any, spec: Any) -> np.ndarray:
    """The values of a sparse column, filled up with what stands for none: few lengths make large batches."""
    flat = [] if value is None or isinstance(value, EmptyCell) else _to_array(value).reshape(-1).tolist()
    if isinstance(value, str) and spec.dtype != "string":
        flat = _parse_numbers(value, spec).reshape(-1).tolist() if value.strip() else []
    present = [item for item in flat if not missing(np.array([item], object)).any()]
    width = column_width(len(present))
    if not present:
        return np.full(width, spec.missing, object if spec.dtype == "string" else spec.dtype)
    if spec.dtype == "int64" and all(isinstance(item, float) and item.is_integer() for item in present):
        present = list(map(int, present))  # pandas makes floats of whole numbers beside missing ones
    values = to_input(present, dataclasses.replace(spec, is_sparse=False))
    filled = np.full(width, spec.missing, values.dtype)
    filled[: len(values)] = values
    return filled


def _type_name(array: np.ndarray) -> str:
    if array.dtype == object and not all(isinstance(item, str | bytes) for item in array.reshape(-1)):
        is_number = all(isinstance(item, int | float) for item in array.reshape(-1))
        return "numbers beyond 64 bits among its" if is_number else "mixed or null"
    return _TYPES.get(array.dtype.kind, "bytes")


def _to_array(value: Any) -> np.ndarray:
    """The value as an array of numbers, or of str or bytes as objects."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str | bytes):
        return np.array(value, object)
    try:
        array = np.asarray(value)
    except (ValueError, RecursionError) as error:
        if "maximum number of dimension" in str(error) or isinstance(error, RecursionError):
            raise InputError(
                "it holds lists more than 64 deep within each other, which do not make an array"
            ) from error
        raise InputError("it holds lists of different lengths, which do not make an array; pad them") from error
    return np.array(value, object) if array.dtype.kind in "SU" else array  # 'S' would drop zero bytes at the end


def _parse_numbers(text: str, spec: Any) -> np.ndarray:
    """Text such as `3.5`, `1 2 3` or `[[1, 2], [3, 4]]`."""
    if not text.lstrip().startswith("["):
        return np.array([to_number(part, spec.name) for part in text.split()])
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(f"the feature for the model's input {spec} is {text[:40]!r}, which is {error}") from error
    return _to_array(value)


def _cast(array: np.ndarray, spec: Any) -> np.ndarray:
    if spec.dtype == "string":
        try:
            items = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
        except UnicodeEncodeError as error:
            raise InputError(
                f"the feature for the model's input {spec} holds half of a surrogate pair ({error.object[error.start]!a}), which no "
                "text may hold"
            ) from error
        strings = np.empty(len(items), object)
        strings[:] = items
        return strings.reshape(array.shape)
    dtype = _numpy_dtype(spec.dtype)
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InputError(f"the feature for the model's input {spec} holds a number that {spec.dtype} cannot hold")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if (
        dtype.kind == "f"
        and array.dtype.itemsize > dtype.itemsize
        and np.isinf(cast).any()
        and not np.isinf(array).any()
    ):
        raise InputError(f"the feature for the model's input {spec} holds a number that {spec.dtype} cannot hold")
    return cast


@functools.cache
def _numpy_dtype(name: str) -> np.dtype[Any]:
    """Of the values of a feature; str, which none has, for strings."""
    return np.dtype({"bfloat16": "float32", "string": "str"}.get(name, name))


def _reshape(array: np.ndarray, spec: Any) -> np.ndarray:
    """A flat array in the shape of the input; an array with several axes only if it has that shape, up to axes of length 1."""
    shape = spec.shape[1:]
    fits = array.ndim == len(shape) and all(n in (None, size) for n, size in zip(shape, array.shape, strict=True))
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
            f"the model's input {spec} leaves {open_axes} sizes open, which a flat feature cannot determine; "
            "fix them in the model, or give their shape in a schema"
        )
    if (array.size % known if open_axes and known else array.size != known) or (open_axes and not array.size):
        expected = f"a multiple of {known}" if open_axes else str(known)
        raise InputError(f"the feature for the model's input {spec} has {array.size} values; expected {expected}")
    return array.reshape([-1 if n is None else n for n in shape])
