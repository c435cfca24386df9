"""ToRows: maps as plain rows for Parquet, BigQuery and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to

import tb_deepexplain as dx
from beam_pipelines.transforms import Attribute, Explained, ToRows
from beam_pipelines.transforms.rows import _make_rows
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import Attribution, Input, InputPart, model_input
from tests import models
from tests.transforms.elements import PICTURES, make_elements, make_pipeline

TABLE = Input(
    "t",
    "tabular",
    values=[0.25, None, 3.0],
    texts=[None, "Bern", None],
    inputs=[model_input("age", "float32", [1], "tabular"), model_input("rest", "float32", [2], "tabular")],
)
MIXED = Input(
    "m",
    "mixed",
    inputs=[model_input("photo", "float32", [2, 2, 1], "image"), model_input("words", "int32", [3], "text")],
    parts=[
        InputPart(input="photo", modality="image", image=b""),
        InputPart(input="words", modality="text", tokens=["a", "fine", "day"]),
    ],
)


def rows(example: Input, *attributions: Attribution, top: int | None = None) -> list[dict[str, Any]]:
    return list(_make_rows(Explained(7, None, example, list(attributions)), top))


def features(example: Input, attribution: Attribution, top: int | None = None) -> list[tuple[Any, ...]]:
    (row,) = rows(example, attribution, top=top)
    return [tuple(one.values()) for one in row["features"]]


def test_the_features_of_a_table() -> None:
    parts = [{"input": "age", "shape": [1]}, {"input": "rest", "shape": [2]}]
    values = np.array([0.5, -2, np.nan], np.float32)
    attribution = Attribution("t", "saliency", values, target=2, score=1.5, parts=parts)  # type: ignore[arg-type]
    first, second = ("age", 0, "age", "0.25", 0.5), ("rest", 0, "rest[0]", "Bern", -2.0)
    assert features(TABLE, attribution) == [first, second]  # not what the method cannot explain
    assert features(TABLE, attribution, top=1) == [second]
    (row,) = rows(TABLE, attribution)
    assert {name: row[name] for name in ("key", "method", "target", "target_index", "score", "gap")} == {
        "key": "t",
        "method": "saliency",
        "target": 2,
        "target_index": [2],
        "score": 1.5,
        "gap": None,
    }


def test_numbers_are_written_in_full() -> None:
    example = Input("t", "tabular", values=[1234567.0, 0.1, 1e20], inputs=[model_input("x", "float32", [3], "tabular")])
    of_example = features(example, Attribution("t", "saliency", np.ones(3, np.float32)))
    assert [value for _, _, _, value, _ in of_example] == ["1234567", "0.1", "1e+20"]


def test_a_table_of_several_inputs_has_its_features(tmp_path: Path) -> None:
    models.columns().export(tmp_path, verbose=False)
    element = {"age": 31.0, "sizes": [[1.0, 2.0], [3.0, 4.0]]}
    with make_pipeline() as p:
        made = p | beam.Create([(7, element)]) | Attribute(tmp_path, ["occlusion"], target=0) | ToRows()
        seen = made | beam.Map(lambda row: [f"{one['name']} = {one['value']}" for one in row["features"]])
        assert_that(
            seen, equal_to([["age = 31", "sizes[0,0] = 1", "sizes[0,1] = 2", "sizes[1,0] = 3", "sizes[1,1] = 4"]])
        )


def test_the_features_of_a_picture_and_a_text() -> None:
    parts = [{"input": "photo", "shape": [2, 2, 1]}, {"input": "words", "shape": [3]}]
    attribution = Attribution("m", "saliency", np.arange(7, dtype=np.float32), parts=parts)  # type: ignore[arg-type]
    words = [("words", i, word, None, 4.0 + i) for i, word in enumerate(["a", "fine", "day"])]
    assert features(MIXED, attribution) == [("photo", 0, "photo", None, 6.0), *words]
    assert rows(MIXED, attribution)[0]["score_function"] == "sum"


def test_rows_go_into_parquet_and_json(model: Path, tmp_path: Path) -> None:
    with make_pipeline() as p:
        attributions = p | beam.Create(make_elements()[:4]) | Attribute(model, ["saliency", "deeplift"], target=1)
        made = attributions | ToRows()
        _ = made | beam.io.WriteToParquet(str(tmp_path / "maps"), ToRows.PARQUET_SCHEMA)
        _ = made | beam.Map(json.dumps) | beam.io.WriteToText(str(tmp_path / "lines"))
        _ = attributions.explained | "top" >> ToRows(top=1) | beam.Map(lambda row: None)
    table = pa.concat_tables([pq.read_table(path) for path in tmp_path.glob("maps*")])
    lines = [json.loads(line) for path in tmp_path.glob("lines*") for line in path.read_text().splitlines()]
    by_key = {(row["key"], row["method"]): row for row in table.to_pylist()}
    assert by_key == {(row["key"], row["method"]): row for row in lines}
    assert len(lines) == len(by_key) == 8
    result = dx.explain("deeplift", model, PICTURES[:4], target=1, return_result=True)
    for i in range(4):
        row = by_key[f"p{i:02}", "deeplift"]
        assert (row["target"], row["label"]) == (1, i % 3)
        assert row["score"] == pytest.approx(result.score[i], rel=1e-4)
        assert row["features"][0]["attribution"] == pytest.approx(result.attributions[i].sum(), rel=1e-3, abs=1e-5)


def test_the_schema_for_bigquery_is_that_for_parquet() -> None:
    def names(fields: list[dict[str, Any]]) -> list[Any]:
        return [(f["name"], f["type"], f["mode"], names(f.get("fields", []))) for f in fields]

    described = names(ToRows.BIGQUERY_SCHEMA["fields"])
    assert [name for name, *_ in described] == ToRows.PARQUET_SCHEMA.names
    assert described[0] == ("key", "STRING", "REQUIRED", [])
    assert described[3] == ("target", "INTEGER", "NULLABLE", [])
    assert described[5] == ("target_index", "INTEGER", "REPEATED", [])
    *_, (name, dtype, mode, of_features) = described
    assert (name, dtype, mode) == ("features", "RECORD", "REPEATED")
    assert of_features[-1] == ("attribution", "FLOAT", "REQUIRED", [])


@pytest.mark.parametrize("top", [0, 1.5, True, "all"])
def test_a_wrong_number_of_features_is_refused(top: Any) -> None:
    with pytest.raises(ParameterError, match="expected a whole number of at least 1"):
        ToRows(top=top)
