"""A schema.pbtxt gives shapes, defaults and class names; records that do not conform to it are rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.tfmd_schema import Schema, load_schema
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.recording.example import Example
from tests.pipeline_runs import Run, serialize, write_records

pytest.importorskip("tensorflow_metadata", reason="reads schemas only where it is installed")

TEXT = """
string_domain { name: "animals" value: "cat" value: "dog" }
feature { name: "x" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 2 } dim { size: 3 } } }
feature { name: "age" type: INT presence { min_fraction: 0 } int_domain { min: 0 max: 120 } shape {} }
feature { name: "label" type: BYTES presence { min_fraction: 1 } domain: "animals" }
tensor_representation_group { key: "" value { tensor_representation { key: "age" value {
  dense_tensor { column_name: "age" shape {} default_value { int_value: 40 } } } } } }
"""
SPECS = [InputSpec("x", "float32", (None, None, None), "x"), InputSpec("age", "float32", (None,), "age")]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[dict[str, Any]], Example]:
    (tmp_path / "schema.pbtxt").write_text(TEXT)
    schema = load_schema(str(tmp_path / "schema.pbtxt"))
    parser = ExampleParser(SPECS, RecordSpec(class_names=schema.class_names("label") or (), schema=schema))
    return lambda features: parser.parse(serialize(features), "a:000000")


def test_shape_default_and_class_names(parse: Callable[[dict[str, Any]], Example]) -> None:
    example = parse({"x": np.arange(6.0), "label": "dog"})
    np.testing.assert_array_equal(example.inputs["x"], [[0, 1, 2], [3, 4, 5]])  # the model leaves both sizes open
    assert example.inputs["age"] == 40
    assert example.label == 1
    assert parse({"x": np.arange(6.0), "label": "cat", "age": 7}).inputs["age"] == 7


def _load(tmp_path: Path, text: str) -> Schema:
    (tmp_path / "schema.pbtxt").write_text(text)
    return load_schema(str(tmp_path / "schema.pbtxt"))


def test_defaults_have_the_shape_of_the_feature_and_may_be_zero(tmp_path: Path) -> None:
    dense = """tensor_representation_group { key: "" value {
      tensor_representation { key: "v" value { dense_tensor {
        column_name: "v" shape { dim { size: 2 } dim { size: 2 } } default_value { float_value: 0 } } } }
      tensor_representation { key: "w" value { dense_tensor {
        column_name: "w" shape {} default_value { bytes_value: "none" } } } } } }"""
    schema = _load(tmp_path, f'feature {{ name: "v" type: FLOAT }} feature {{ name: "w" type: BYTES }} {dense}')
    for record in ({}, {"v": np.array([]), "w": np.array([])}, {"v": None, "w": ""}, {"v": []}):
        completed = schema.complete(record)
        np.testing.assert_array_equal(completed["v"], np.zeros((2, 2)), strict=True)
        assert completed["w"].item() == b"none"
    np.testing.assert_array_equal(schema.complete({"v": np.arange(4.0)})["v"], [[0, 1], [2, 3]])


@pytest.mark.parametrize("presence", ["", "presence { min_count: 1 }", "presence { min_fraction: 0.5 }"])
def test_an_optional_feature_may_be_missing(tmp_path: Path, presence: str) -> None:
    schema = _load(tmp_path, f'feature {{ name: "a" type: INT {presence} }}')
    assert schema.complete({}) == schema.complete({"a": np.array([])}) == {}


def test_class_names_come_from_the_feature_or_a_domain_of_the_schema(tmp_path: Path) -> None:
    schema = _load(
        tmp_path,
        'string_domain { name: "animals" value: "cat" value: "dog" } '
        'feature { name: "a" type: BYTES domain: "animals" } '
        'feature { name: "b" type: BYTES string_domain { value: "no" value: "yes" } } feature { name: "c" type: INT }',
    )
    assert [schema.class_names(name) for name in "abcd"] == [("cat", "dog"), ("no", "yes"), None, None]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"x": None}, "no feature 'x', which the schema requires in every example"),
        ({"age": 1.5}, "'age' holds float32 values; the schema has int64"),
        ({"x": np.arange(5.0)}, "leaves 2 sizes open"),
        ({"age": 121}, "'age' is 121 to 121; the schema has 0 to 120"),
        ({"age": -1}, "'age' is -1 to -1; the schema has 0 to 120"),
        ({"label": "cow"}, "'label', is 'cow'; expected a class number, or one of cat, dog"),
    ],
)
def test_a_record_that_does_not_conform_is_rejected(
    parse: Callable[[dict[str, Any]], Example], changed: dict[str, Any], reason: str
) -> None:
    features = {"x": np.arange(6.0), "label": "cat", **changed}
    with pytest.raises(InputError, match=reason):
        parse({name: value for name, value in features.items() if value is not None})


def test_a_schema_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.pbtxt").write_text("feature {")
    for name in ("bad.pbtxt", "none.pbtxt"):
        with pytest.raises(InputError, match=rf"schema .*{name}: .*; give a schema\.pbtxt"):
            load_schema(str(tmp_path / name))


def test_the_command_takes_class_names_from_the_schema(exported: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "schema.pbtxt").write_text(
        'feature { name: "label" type: BYTES string_domain { value: "no" value: "yes" } }'
    )
    rows = [{"x": np.arange(4.0), "label": name, "id": name} for name in ("yes", "no")]
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(write_records(tmp_path / "a.tfrecord", rows), f"--schema={tmp_path / 'schema.pbtxt'}") == 0
    assert run.store.manifest["labels"] == ["no", "yes"]
    labels = {row["example_id"]: (row["label"], row["label_name"]) for row in run.store.index.to_pylist()}
    assert labels == {"yes": (1, "yes"), "no": (0, "no")}
    (tmp_path / "schema.pbtxt").write_text('feature { name: "label" type: BYTES }')
    assert run(tmp_path / "a.tfrecord", f"--schema={tmp_path / 'schema.pbtxt'}", "--resume") == 2
