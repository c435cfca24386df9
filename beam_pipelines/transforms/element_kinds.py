"""The kinds of elements that pipelines hold: what is the key, and what the record that ExampleParser parses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from apache_beam.io.fileio import ReadableFile
from apache_beam.ml.inference.base import PredictionResult

from beam_pipelines.reading.record_spec import RecordSpec
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.media_types import media_type

_ONE_VALUE = (str, int, float, list, np.generic)  # for the model's only input, as is whatever NumPy takes for an array
_MOST_NAMED = 4  # inputs, in a message
_FIRST_OF_EXAMPLE = b"\n"  # the tag of its field `features`; pictures begin otherwise
_EXPECTED = (
    "a dict, beam.Row, NamedTuple or dataclass of columns, a serialized tf.Example, an array, a text, an encoded picture, a "
    "ReadableFile, a PredictionResult, or a pair of a key and one of these"
)


def split_key(element: Any) -> tuple[Any, Any]:
    """(key, value) of an element; the key is None where it has none. The key of a file is its path."""
    is_pair = isinstance(element, tuple) and len(element) == 2 and not hasattr(element, "_fields")
    key, value = element if is_pair else (None, element)
    if key is None and isinstance(value, ReadableFile):
        key = value.metadata.path
    elif key is None and isinstance(value, PredictionResult):
        key = split_key(value.example)[0]
    return key, value


def read_value(value: Any) -> Any:
    """The content to explain of an element without its key: a mapping of columns, bytes, or one value."""
    if isinstance(value, PredictionResult):
        return read_value(split_key(value.example)[1])
    if isinstance(value, ReadableFile):
        return value.read()
    if isinstance(value, tf.train.Example):
        return value.SerializeToString(deterministic=True)
    if hasattr(value, "_asdict"):  # beam.Row, NamedTuple
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return np.asarray(value) if hasattr(value, "__array__") and not isinstance(value, _ONE_VALUE) else value


class RecordMaker:
    """Makes records for ExampleParser: serialized tf.Examples, or mappings of columns."""

    def __init__(self, inputs: Sequence[Any], spec: RecordSpec) -> None:
        """`inputs`: the model's, as `graph.input_spec.InputSpec`."""
        self._inputs = list(inputs)
        required = [model_input for model_input in inputs if model_input.default is None] or self._inputs
        self._only = required[0] if len(required) == 1 else None
        self._feature = spec.features.get(self._only.name, self._only.name) if self._only else ""

    def record(self, value: Any, key: Any = None) -> bytes | Mapping[str, Any]:
        """The record of a value that `read_value` returned; `key`: of a pair. InputError, with the line of code that helps, if the
        value is of no kind that can be explained."""
        self._check_key(key)
        if isinstance(value, Mapping) or (isinstance(value, bytes) and not self._is_value(value)):
            return value
        if not isinstance(value, (*_ONE_VALUE, bytes, np.ndarray)):
            raise InputError(f"the element is {_describe(value)}; expected {_EXPECTED}: {self._advice(key, value)}")
        is_line = isinstance(value, str) and self._line_step(value)
        if self._only is None or (is_line and self._only.dtype != "string"):
            inputs = "; ".join([*map(str, self._inputs[:_MOST_NAMED]), *["…"] * (len(self._inputs) > _MOST_NAMED)])
            takes = f"has {len(self._inputs)} inputs ({inputs})" if self._only is None else f"takes numbers ({inputs})"
            raise InputError(
                f"the element is {_describe(value)}, but the model {takes}; name the values: {self._advice(key, value)}"
            )
        return {self._feature: value}

    def _is_value(self, content: bytes) -> bool:
        """Whether bytes are the value of the model's only input, a picture or a text, rather than a tf.Example."""
        if self._only is None:
            return media_type(content) is not None and not _is_example(content)
        if len(self._only.shape) == 4:
            return not content.startswith(_FIRST_OF_EXAMPLE)
        return self._only.dtype == "string" and not _is_example(content)

    def _check_key(self, key: Any) -> None:
        is_value = isinstance(key, list | Mapping | tf.train.Example) or hasattr(key, "__array__")
        if (is_value and not isinstance(key, np.generic)) or (isinstance(key, bytes) and media_type(key)):
            name = self._inputs[0].name
            raise InputError(
                f"the element is a pair whose key is {_describe(key)}; expected (key, value); for pairs (value, label) insert "
                f'`| beam.Map(lambda x: {{"{name}": x[0], "label": x[1]}})`'
            )

    def _advice(self, key: Any, value: Any) -> str:
        """The line of code that names the values."""
        names = [model_input.name for model_input in self._inputs]
        is_row = isinstance(value, tuple) and len(value) >= len(names)
        values = [f"x[{i}]" if is_row else "x" if i == 0 else "…" for i in range(len(names))]
        named = [f'"{name}": {value}' for name, value in zip(names, values, strict=True)]
        columns = "{" + ", ".join([*named[:_MOST_NAMED], *["…"] * (len(named) > _MOST_NAMED)]) + "}"
        if isinstance(value, str):
            columns = self._line_step(value) or columns
        step = f"beam.Map(lambda x: {columns})" if key is None else f"beam.MapTuple(lambda key, x: (key, {columns}))"
        return f"insert `| {step}` before Attribute"

    def _line_step(self, text: str) -> str:
        """The columns of a line of JSON or CSV, x, as code; empty if it is neither."""
        if text.lstrip().startswith("{"):
            return "json.loads(x)"
        if "," not in text or text.lstrip().startswith("["):
            return ""
        if self._only is not None:
            return f'{{"{self._only.name}": [float(part) for part in x.split(",")]}}'
        names = [f'"{model_input.name}"' for model_input in self._inputs]
        listed = ", ".join([*names[:_MOST_NAMED], *["…"] * (len(names) > _MOST_NAMED)])
        return f'dict(zip([{listed}], x.split(",")))'


def _is_example(content: bytes) -> bool:
    """Whether bytes are a tf.Example with features; other bytes rarely parse as one, and then as one without."""
    try:
        return content.startswith(_FIRST_OF_EXAMPLE) and bool(tf.train.Example.FromString(content).features.feature)
    except Exception:  # google.protobuf's DecodeError has two homes
        return False


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes ({value[:8]!r}…)"
    if isinstance(value, str):
        return f"the text {value[:20]!r}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"of type {type(value).__name__}"
