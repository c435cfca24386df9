"""Parses records of any format into examples: arrays with the dtypes and shapes of the model's inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from beam_pipelines.reading import preprocess
from beam_pipelines.reading.feature_values import (
    PartitionValue,
    describe_values,
    to_bytes,
    to_input,
    to_number,
    to_scalar,
)
from beam_pipelines.reading.label_values import to_label
from beam_pipelines.reading.named_features import is_present
from beam_pipelines.reading.picture_decoding import decode_picture
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.slice_values import slice_values
from beam_pipelines.reading.tf_example import ExampleFeatures
from beam_pipelines.reading.work_unit import Columns
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.recording.display import encode_png
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.targets import Label
from tb_deepexplain.store.media_types import JPEG, PNG, media_type
from tb_deepexplain.store.records import Failure, printable


class ExampleParser:
    """Parses the records of any format for one model: serialized tf.Examples, or values by column.

    A value is a number, str, bytes, list or array. Bytes are an encoded picture if the input is
    [?, height, width, channels]; `feature_values.to_input` has the rules for all others. Several threads may use a parser at once.
    """

    def __init__(self, inputs: Sequence[Any], spec: RecordSpec | None = None) -> None:
        """`inputs`: the model's, as `graph.input_spec.InputSpec`. Raises ParameterError if `spec` does not fit them."""
        self.inputs, self.spec = tuple(inputs), spec or RecordSpec()
        names = [model_input.name for model_input in self.inputs]
        for name, feature in self.spec.features.items():
            if name not in names:
                raise ParameterError(f"{self.spec.feature_option(name, feature)}: the model takes {', '.join(names)}")
        self._preprocess = self.spec.load_preprocess()
        self._takes_pictures = {
            one.name: one.is_float or (one.dtype != "string" and len(one.shape) == 4) for one in self.inputs
        }
        self._sparse = frozenset(model_input.name for model_input in self.inputs if model_input.is_sparse)
        self.unread = set(self.spec.named_features)  # those that none of the parsed records has had

    @property
    def columns(self) -> Columns | None:
        """The features that the parser uses; None if it may use any."""
        if self._preprocess or self.spec.schema:
            return None
        features = [self._feature(model_input).split(",") for model_input in self.inputs]
        optional = (self.spec.label_feature, self.spec.id_feature, *self.spec.slice_features)
        return Columns(tuple(itertools.chain(*features)), optional)

    @property
    def sparse_features(self) -> list[str]:
        """The features of the model's sparse columns, which a record may lack."""
        return [] if self._preprocess else [self._feature(i) for i in self.inputs if i.is_sparse]

    def parse(self, record: bytes | Mapping[str, Any], position: str) -> Example:
        """The example; its id is `position` if the record has none. Raises InputError if it does not fit the model."""
        columns: Mapping[str, Any] = ExampleFeatures(record) if isinstance(record, bytes) else record
        slices = slice_values(columns, self.spec.slice_features) if self.spec.slice_features else {}
        if self.unread:
            self.unread -= {name for name in tuple(self.unread) if is_present(columns, name, self.spec)}
        if self.spec.schema:
            columns = self.spec.schema.complete(columns)
        id_, label = self._id(columns, self.spec.id_feature), self._label(columns, self.spec.label_feature)
        if self._preprocess:
            columns = self._run_preprocess(columns)
            id_ = self._id(columns, "id") or id_
            label = self._label(columns, "label") if "label" in columns else label
        arrays: dict[str, np.ndarray] = {}
        pictures: dict[str, bytes] = {}
        for model_input in self.inputs:
            value = self._value(columns, model_input)
            encoded = to_bytes(value) if self._takes_pictures[model_input.name] else None
            if encoded is None:
                arrays[model_input.name] = to_input(value, model_input)
                continue
            picture, resized = decode_picture(encoded, model_input, self.spec)
            arrays[model_input.name] = picture if model_input.is_float else _to_whole_numbers(picture, model_input)
            if not resized and media_type(encoded) in (PNG, JPEG):
                pictures[model_input.name] = encoded
        if self._preprocess and (returned := self._returned_picture(columns)):
            of_pictures = [one.name for one in self.inputs if len(one.shape) == 4]
            pictures[(of_pictures or [self.inputs[0].name])[0]] = returned
        return Example(id_ or position, arrays, label, pictures, slices, self._sparse)

    def parse_or_fail(self, record: bytes | Mapping[str, Any], position: str) -> Example | Failure:
        """The example, or why there is none: a bad record may raise anything."""
        try:
            return self.parse(record, position)
        except Exception as error:
            return Failure(position, "parse", *describe_failure(error))

    def check_columns(self, names: Iterable[str]) -> None:
        """InputError if no record with these columns can be parsed, or if a named feature for label or slices is missing."""
        columns = dict.fromkeys(names, 0)
        for feature, option in self.spec.named_features.items():
            if feature not in columns and feature != self.spec.id_feature:  # a key may be the id
                raise InputError(f"{option}: the rows have no such column; they have {', '.join(columns)}")
        if not self._preprocess and not self.spec.schema:  # these may add columns
            for model_input in self.inputs:
                self._value(columns, model_input)

    def _feature(self, model_input: Any) -> str:
        """The name of the feature for an input, or names separated by commas."""
        return self.spec.features.get(model_input.name, model_input.name)

    def _value(self, columns: Mapping[str, Any], model_input: Any) -> Any:
        name = model_input.name if self._preprocess else self._feature(model_input)
        if name in columns:
            return columns[name]
        parts = name.split(",")
        if len(parts) > 1 and all(part in columns for part in parts):
            return np.array([to_number(columns[part], part) for part in parts])
        others = set(columns) - {self.spec.label_feature, self.spec.id_feature, "label", "id"}
        if len(others) > 1:
            others -= set(self.spec.slice_features)
            others -= {each for each in others if isinstance(columns[each], PartitionValue)}
        is_only = (
            len(self.inputs) == len(others) == 1 and not model_input.is_sparse
        )  # a record may lack a sparse column
        if is_only and model_input.name not in self.spec.features and not self._preprocess:
            return columns[others.pop()]  # the only feature is for the only input
        if model_input.default is not None:
            return model_input.default
        features = ", ".join(sorted(columns)) or "no features"
        advice = f"name it with {self.spec.feature_option(model_input.name, 'NAME')}"
        if self._preprocess:
            advice = f"return it from {self.spec.option('preprocess')}"
        raise InputError(f"it has no feature {name!r} for the model's input {model_input}; it has {features}: {advice}")

    def _run_preprocess(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._preprocess
        try:
            with preprocess.one_at_a_time:
                returned = self._preprocess(dict(columns))
        except Exception as error:  # the user's function may raise anything
            error_type, reason = describe_failure(error)
            raise InputError(f"preprocess raised {error_type}: {reason}") from error
        if not isinstance(returned, Mapping):
            raise InputError(f"preprocess returned a {type(returned).__name__}; expected a dict of the model's inputs")
        return returned

    def _returned_picture(self, columns: Mapping[str, Any]) -> bytes | None:
        """The picture to show that preprocess returned as `image`: encoded, or an array [height, width, channels]."""
        if "image" in {model_input.name for model_input in self.inputs} or columns.get("image") is None:
            return None
        if (encoded := to_bytes(columns["image"])) is not None:
            return encoded
        image = np.asarray(columns["image"])
        if image.ndim != 3:
            raise InputError(
                f"preprocess returned an image of shape {list(image.shape)}; expected [height, width, channels]"
            )
        return encode_png(image)

    def _id(self, columns: Mapping[str, Any], feature: str) -> str | None:
        value = columns.get(feature)
        if value is not None:
            value = to_scalar(value)
        if value is None or (isinstance(value, str) and not value):
            return None
        if not isinstance(value, str | int):
            raise InputError(
                f"its id, feature {feature!r}, is {describe_values(columns[feature])}; expected one bytes value"
            )
        try:
            return printable(str(value))
        except ValueError as error:  # Python writes no whole number of thousands of digits
            raise InputError(
                f"its id, feature {feature!r}, is a number of too many digits; expected a shorter one"
            ) from error

    def _label(self, columns: Mapping[str, Any], feature: str) -> Label:
        if isinstance(columns, ExampleFeatures) and columns.is_missing(feature):
            return None
        return to_label(columns.get(feature), feature, self.spec.class_names)


def _to_whole_numbers(picture: np.ndarray, model_input: Any) -> np.ndarray:
    """A picture in 0..255 for an input of integers; resizing with some methods exceeds these bounds."""
    return to_input(np.clip(picture.round(), 0, 255).astype(np.uint8), model_input)
