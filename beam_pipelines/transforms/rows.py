"""ToRows: the output of Attribute as plain rows, for files of Parquet or JSON, and BigQuery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_pipelines.transforms.elements import Attributions, Explained
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import (
    Attribution,
    Input,
    InputPart,
    ModelInput,
    input_names,
    split_map,
    value_names,
    write_number,
)

_FEATURE = pa.struct(
    [
        pa.field("input", pa.string()),  # of the model; null where a text or picture is computed from several
        pa.field("index", pa.int64(), nullable=False),  # of the value, token or picture in its input, from 0
        pa.field("name", pa.string(), nullable=False),  # the feature's, or the token, or for a picture its input's
        pa.field("value", pa.string()),  # as text: the number or category; null for tokens and pictures
        pa.field("attribution", pa.float64(), nullable=False),  # for a picture the sum over its pixels
    ]
)
_BIGQUERY_TYPES = {pa.string(): "STRING", pa.int64(): "INTEGER", pa.float64(): "FLOAT"}


def _bigquery_fields(fields: Sequence[pa.Field]) -> list[dict[str, Any]]:
    described = []
    for field in fields:
        dtype, mode = field.type, "NULLABLE" if field.nullable else "REQUIRED"
        if pa.types.is_list(dtype):
            dtype, mode = dtype.value_type, "REPEATED"
        if pa.types.is_struct(dtype):
            described.append(
                {"name": field.name, "type": "RECORD", "mode": mode, "fields": _bigquery_fields(list(dtype))}
            )
        else:
            described.append({"name": field.name, "type": _BIGQUERY_TYPES[dtype], "mode": mode})
    return described


class ToRows(beam.PTransform):
    """The output of `Attribute`, or its `explained`, as one dict for each map. Keys and types are those of `PARQUET_SCHEMA`.

    `rows | beam.io.WriteToParquet("maps", ToRows.PARQUET_SCHEMA)`, `rows | beam.io.WriteToBigQuery(table,
    schema=ToRows.BIGQUERY_SCHEMA)`, `rows | beam.Map(json.dumps) | beam.io.WriteToText("maps")`.

    `key` is the id of the example in a store, a string. `features` are the values of a table and the tokens of a text, and for a
    picture the sum over its pixels; `top`: only so many, those with the largest |attribution| first. Features that a method
    cannot explain, whose attribution is NaN, are left out.
    """

    PARQUET_SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("target", pa.int64()),  # the class explained; null if it is not a single class
            pa.field("target_label", pa.string()),
            pa.field("target_index", pa.list_(pa.int64())),  # the target as a position, such as [3] or [time, 3]
            pa.field("score_function", pa.string()),  # in place of a target
            pa.field("label", pa.int64()),
            pa.field("predicted", pa.int64()),
            pa.field("score", pa.float64()),
            pa.field("probability", pa.float64()),
            pa.field("baseline_score", pa.float64()),
            pa.field("gap", pa.float64()),
            pa.field("features", pa.list_(_FEATURE)),
        ]
    )
    BIGQUERY_SCHEMA: ClassVar[dict[str, Any]] = {"fields": _bigquery_fields(list(PARQUET_SCHEMA))}

    def __init__(self, top: int | None = None) -> None:
        super().__init__()
        if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
            raise ParameterError(f"top={top!r}: expected a whole number of at least 1, or None for all features")
        self._top = top

    def expand(self, attributions: Attributions | beam.PCollection[Explained]) -> beam.PCollection[dict[str, Any]]:
        explained = attributions.explained if isinstance(attributions, Attributions) else attributions
        make_rows = beam.FlatMap(_make_rows, top=self._top).with_output_types(dict[str, Any])
        rows: beam.PCollection[dict[str, Any]] = explained | "MakeRows" >> make_rows
        return rows


def _make_rows(explained: Explained, top: int | None) -> Iterator[dict[str, Any]]:
    for attribution in explained.attributions:
        features = [one for one in _features(explained.input, attribution) if not np.isnan(one["attribution"])]
        if top is not None:
            features = sorted(features, key=lambda one: -abs(one["attribution"]))[:top]
        columns = attribution.columns()
        row = {name: columns.get(name) for name in ToRows.PARQUET_SCHEMA.names}
        yield row | {
            "key": attribution.example_id,
            "target_index": list(map(int, columns["target_index"] or ())),
            "features": features,
        }


def _features(example: Input, attribution: Attribution) -> Iterator[dict[str, Any]]:
    if (
        attribution.parts is None or example.parts is None
    ):  # of one input, or of a table: the values of all its inputs in one list
        inputs = list(example.inputs)
        name = inputs[0]["name"] if len(inputs) == 1 else None
        yield from _features_of(example, name, inputs, np.asarray(attribution.values))
        return
    maps = split_map(np.asarray(attribution.values), attribution.parts)
    for part in example.parts:
        inputs = [one for one in example.inputs if one["name"] == part.input]
        yield from _features_of(part, part.input, inputs, maps[part.input])


def _features_of(
    shown: Input | InputPart, name: str | None, inputs: Sequence[ModelInput], values: np.ndarray
) -> Iterator[dict[str, Any]]:
    """The features of one input, or of a table of several."""
    flat = values.ravel().astype(np.float64)
    if shown.modality == "image":
        total = float(np.nansum(flat)) if not np.isnan(flat).all() else np.nan
        yield {"input": name, "index": 0, "name": name or "picture", "value": None, "attribution": total}
        return
    of_input: list[str | None]
    if shown.modality == "text":
        names, of_input = list(shown.tokens or ()), [name] * len(flat)
        texts: list[str | None] = [None] * len(flat)
    else:
        names, of_input = value_names(inputs, shown.features), list(input_names(inputs))
        numbers, words = shown.values or [None] * len(flat), shown.texts or [None] * len(flat)
        texts = [
            word if word is not None else None if number is None else write_number(number)
            for number, word in zip(numbers, words, strict=True)
        ]
    counts: dict[str | None, int] = {}
    for feature, one_input, text, value in zip(names, of_input, texts, flat.tolist(), strict=True):
        index = counts.get(one_input, 0)
        counts[one_input] = index + 1
        yield {"input": one_input, "index": index, "name": feature, "value": text, "attribution": value}
