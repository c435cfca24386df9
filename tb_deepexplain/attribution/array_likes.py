"""One NumPy array from what people hold: lists, tensors, columns and frames of pandas, sparse and masked arrays.

pandas, SciPy and Pillow are recognised by the module of a type, never imported.
"""

from __future__ import annotations

import decimal
import math
import numbers
from typing import Any

import numpy as np

from tb_deepexplain.errors import InputError
from tb_deepexplain.lazy_tensorflow import tf

_NUMBERS = (numbers.Real, decimal.Decimal, np.bool_)


def package(value: Any) -> str:
    """The package that defines the type of a value, such as "pandas"."""
    return type(value).__module__.partition(".")[0]


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame of pandas."""
    return package(value) == "pandas" and type(value).__name__ == "DataFrame"


def is_series(value: Any) -> bool:
    """Whether it is a Series of pandas."""
    return package(value) == "pandas" and type(value).__name__ == "Series"


def column_names(value: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns, or of the values of one of its rows; None if it has none, or numbers."""
    labels = list(value.columns) if is_frame(value) else list(value.index) if is_series(value) else []
    return tuple(labels) if labels and all(isinstance(label, str) for label in labels) else None


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array-like, judged by its first rows; None for an axis of unequal rows."""
    if package(value) == "PIL":
        return (value.height, value.width, len(value.getbands()))
    if isinstance(value, list | tuple):
        return (len(value), *(shape_of(value[0]) if value else ()))
    if is_series(value):
        return (len(value), *(shape_of(value.iloc[0]) if len(value) and value.dtype == object else ()))
    return tuple(getattr(value, "shape", ()))


def has_axes(value: Any) -> bool:
    """Whether it is a list, an array or a column, and no single value."""
    try:
        return bool(np.ndim(value))
    except ValueError:  # rows of unequal lengths
        return True


def as_array(value: Any, name: str) -> np.ndarray:
    """The value as an array of numbers, booleans or objects; a missing value is None or NaN.

    Rows of unequal shapes become an array `[N]` of objects, one array for each. The columns of a frame stand in their order.
    InputError, which begins with `name`, for anything that is no array.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):  # else it is an ordinary array
        array = np.array(value.data, object)
        array[np.ma.getmaskarray(value)] = None
        return array
    if isinstance(value, np.ndarray):
        return _readable(value)
    if isinstance(value, list | tuple):
        return _from_list(value, name)
    if isinstance(value, tf.SparseTensor):
        value = tf.sparse.to_dense(tf.sparse.reorder(value))
    elif is_frame(value):
        columns = [as_array(value.iloc[:, i], f"{name}, column {c!r}") for i, c in enumerate(value.columns)]
        kinds = {column.dtype.kind for column in columns}
        if len(kinds) > 1 and not kinds <= set("biuf"):
            columns = [column.astype(object) for column in columns]
        return np.stack(columns, 1) if columns else np.zeros([len(value), 0])
    elif package(value) == "pandas":
        array = np.asarray(value) if isinstance(value.dtype, np.dtype) else np.asarray(value, dtype=object)
        return _objects(list(array), name) if array.dtype == object else _readable(array)
    elif package(value) == "scipy" and hasattr(value, "toarray"):
        return np.asarray(value.toarray())
    try:
        # A RaggedTensor's own method: one array for each row.
        array = np.asarray(value.numpy() if isinstance(value, tf.RaggedTensor) else value)
    except Exception as error:  # such as a symbolic tensor, or one on another device
        raise InputError(f"{name}: cannot read a {type(value).__name__} as an array: {error}") from error
    if array.dtype == object and not array.ndim and array.item() is value and not _is_missing(value):
        raise InputError(
            f"{name}: got a value of type {type(value).__name__}; expected an array, a list, a tensor or a frame"
        )
    return _readable(array)


def rows_differ(array: np.ndarray) -> bool:
    """Whether an array that `as_array` returned holds rows of unequal shapes."""
    return array.dtype == object and array.ndim == 1 and any(isinstance(row, np.ndarray) for row in array)


def missing(array: np.ndarray) -> np.ndarray:
    """Where the values are missing: NaN, None, pandas' NA and NaT. Bool, like the array."""
    if array.dtype.kind in "fc":
        return np.asarray(np.isnan(array))
    if array.dtype.kind in "mM":
        return np.asarray(np.isnat(array))
    if array.dtype != object:
        return np.zeros(array.shape, bool)
    return np.array([_is_missing(v) for v in array.ravel()], bool).reshape(array.shape)


def as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """An array of booleans, whole numbers or floats, NaN where a value is missing; InputError for anything else."""
    if array.dtype.kind in "biuf":
        return array
    if array.dtype != object:
        raise InputError(f"{name}: got {_describe_kind(array)}; expected numbers")
    flat, gone = array.ravel(), missing(array).ravel()
    for value in flat[~gone]:
        if not isinstance(value, _NUMBERS):
            shown = f"{value!r:.40}" if text_of(value) is None else f"text ({text_of(value)!r:.40})"
            raise InputError(f"{name}: got {shown}; expected numbers")
    values = [math.nan if g else v for v, g in zip(flat, gone, strict=True)]
    numeric = np.array(values)
    if numeric.dtype.kind not in "biuf":  # decimals, fractions, and whole numbers beyond 64 bits
        numeric = np.array([float(v) for v in values])
    return numeric.reshape(array.shape)


def text_of(value: Any) -> str | None:
    """The text of a string; None for anything else."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value) if isinstance(value, str) else None


def _describe_kind(array: np.ndarray) -> str:
    if array.dtype.kind in "SU":
        return f"text ({text_of(array.flat[0])!r:.40})" if array.size else "text"
    return {"M": "dates", "m": "time spans", "c": "complex numbers"}.get(array.dtype.kind, f"values of {array.dtype}")


def _readable(array: np.ndarray) -> np.ndarray:
    """Half-precision formats that NumPy does not know become float32."""
    name = array.dtype.name
    return array.astype(np.float32) if name.startswith(("bfloat16", "float8_", "float6_", "float4_")) else array


def _from_list(values: list[Any] | tuple[Any, ...], name: str) -> np.ndarray:
    containers = (tf.SparseTensor, tf.RaggedTensor, np.ma.MaskedArray)
    if any(isinstance(v, containers) or package(v) in ("pandas", "scipy") for v in values):
        return _objects(values, name)
    values = [v.numpy() if tf.is_tensor(v) and hasattr(v, "numpy") else v for v in values]
    try:
        array = np.asarray(values)
    except Exception:  # rows of unequal shapes
        return _objects(values, name)
    if array.dtype.kind in "SU":  # NumPy makes text of numbers beside text
        array = np.array(values, dtype=object)
    return _readable(array)


def _objects(values: list[Any] | tuple[Any, ...], name: str) -> np.ndarray:
    """Scalars as they are; rows stacked, or as they are if their shapes differ."""
    rows = [v if _is_scalar(v) else as_array(v, name) for v in values]
    arrays = [row for row in rows if isinstance(row, np.ndarray)]
    if (
        arrays
        and len(arrays) == len(rows)
        and len({a.shape for a in arrays}) == 1
        and not any(map(rows_differ, arrays))
    ):
        return np.stack(arrays)
    array = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        array[i] = row
    return array


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | np.generic | numbers.Number) or _is_missing(value)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | decimal.Decimal) and value != value
