"""Records become examples with the model's dtypes and shapes; a record that does not fit is rejected with the reason."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.feature_values import EmptyCell, to_input
from beam_pipelines.reading.record_spec import RecordSpec
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.recording.example import Example, batch_positions, fill_up
from tests.pipeline_runs import serialize


def parse(record: dict[str, Any], dtype: str, shape: tuple[int | None, ...], **options: Any) -> Example:
    parser = ExampleParser([InputSpec("x", dtype, (None, *shape), "x")], RecordSpec(**options))
    return parser.parse(serialize(record), "a:000007")


def test_numbers_take_the_shape_of_the_input() -> None:
    array = parse({"x": np.arange(6.0)}, "float32", (2, 3)).inputs["x"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [[0, 1, 2], [3, 4, 5]])
    assert parse({"x": np.arange(6)}, "float32", (None, 3)).inputs["x"].shape == (2, 3)
    assert parse({"x": [1, 2, 3]}, "int64", (None,)).inputs["x"].dtype == np.int64
    assert parse({"x": 5.0}, "float32", ()).inputs["x"].shape == ()


def test_a_string_stays_bytes() -> None:
    array = parse({"x": "größer"}, "string", ()).inputs["x"]
    assert array.shape == ()
    assert array[()] == "größer".encode()


@pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
def test_a_picture_is_decoded_to_0_255_and_kept(encode: Any) -> None:
    pixels = np.full((4, 5, 3), 200, np.uint8)
    encoded = encode(pixels).numpy()
    example = parse({"x": encoded}, "float32", (4, 5, 3))
    assert example.inputs["x"].dtype == np.float32
    np.testing.assert_allclose(example.inputs["x"], pixels, atol=2)
    assert example.pictures == {"x": encoded}
    assert parse({"x": encoded}, "float32", (None, None, 3)).inputs["x"].shape == (4, 5, 3)
    assert parse({"x": encoded}, "float32", (4, 5, 1)).inputs["x"].shape == (4, 5, 1)


def test_a_picture_is_decoded_for_an_input_of_bytes_or_whole_numbers() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    encoded = tf.io.encode_png(pixels).numpy()
    for dtype in ("uint8", "int32"):
        array = parse({"x": encoded}, dtype, (4, 4, 3)).inputs["x"]
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, pixels)
    resized = parse({"x": encoded}, "uint8", (2, 2, 3), resize="bilinear").inputs["x"]
    np.testing.assert_array_equal(resized, tf.image.resize(pixels, (2, 2)).numpy().round())
    assert parse({"x": encoded}, "string", ()).inputs["x"].item() == encoded  # the model decodes it


def test_a_resized_picture_keeps_its_sides_and_its_colours() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 250, 100, 10  # black on the left, a colour on the right
    encoded = tf.io.encode_png(pixels).numpy()
    example = parse({"x": encoded}, "float32", (2, 4, 3), resize="bilinear")
    assert not example.pictures  # what is shown is what the model reads
    assert example.inputs["x"].shape == (2, 4, 3)
    np.testing.assert_allclose(example.inputs["x"][:, 0], np.zeros((2, 3)), atol=1)
    np.testing.assert_allclose(example.inputs["x"][:, 3], [[250, 100, 10]] * 2, atol=1)
    same = parse({"x": encoded}, "float32", (4, 8, 3), resize="bilinear")
    np.testing.assert_array_equal(same.inputs["x"], pixels)
    assert same.pictures == {"x": encoded}


def test_a_picture_made_much_smaller_is_averaged() -> None:
    stripes = np.where(np.arange(64) % 8, 0, 200)[:, None, None].repeat(64, 1).astype(np.uint8)
    array = parse({"x": tf.io.encode_png(stripes).numpy()}, "float32", (8, 8, 1), resize="antialias").inputs["x"]
    np.testing.assert_allclose(array[1:-1], np.full((6, 8, 1), 25), atol=5)  # seen from afar they are grey


def test_columns_that_make_up_an_input_keep_the_order_of_the_spec() -> None:
    parser = ExampleParser([InputSpec("x", "float32", (None, 3), "x")], RecordSpec(features={"x": "c,a,b"}))
    np.testing.assert_array_equal(parser.parse({"a": "1", "b": 2.5, "c": 3}, "a:000000").inputs["x"], [3, 1, 2.5])


@pytest.mark.parametrize("text", ["1 2.5 -3", "[1, 2.5, -3]", " [1, 2.5, -3] "])
def test_text_of_numbers(text: str) -> None:
    example = ExampleParser([InputSpec("x", "float32", (None, 3), "x")]).parse({"x": text}, "a:000000")
    np.testing.assert_array_equal(example.inputs["x"], [1, 2.5, -3])


def test_strings_keep_zero_bytes_at_their_end() -> None:
    example = ExampleParser([InputSpec("x", "string", (None, 2), "x")]).parse({"x": [b"a\0", b"\0"]}, "a:000000")
    assert example.inputs["x"].tolist() == [b"a\0", b"\0"]


def test_id_and_label() -> None:
    example = parse({"x": 1.0, "id": "one", "label": 3}, "float32", (1,))
    assert (example.id, example.label) == ("one", 3)
    assert parse({"x": 1.0, "id": 17}, "float32", (1,)).id == "17"
    bare = parse({"x": 1.0}, "float32", (1,))
    assert (bare.id, bare.label) == ("a:000007", None)
    other = parse({"x": 1.0, "key": "k", "class": 2}, "float32", (1,), id_feature="key", label_feature="class")
    assert (other.id, other.label) == ("k", 2)


@pytest.mark.parametrize(
    ("label", "number"),
    [
        (2.0, 2), ("2.0", 2), (np.array([2.0], np.float32), 2), ([[2]], 2), (True, 1), ("True", 1), ("false", 0), ("-1", -1),
        (np.array([0, 0, 1]), 2), ([0.0, 1.0, 0.0], 1), ([False, True, False], 1), ("[0, 0, 1]", 2), (np.array([[1, 0, 0]]), 0),
        ([0, 1, 1], (1, 2)), ([0, 0, 0], ()), (["dog", "cat"], (0, 2)), ([0, 2], (0, 2)), (np.array([b"dog", b"cat"], object), (0, 2)),
        ("cow", 1), (b"dog", 2), (float("nan"), None), (None, None), ("", None),
        ("nan", None), ("None", None), (np.array([np.nan], np.float32), None), (pd.NA, None), (np.array([None], object), None),
    ],
)  # fmt: skip
def test_labels_as_people_keep_them(label: Any, number: Any) -> None:
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")], RecordSpec(class_names=("cat", "cow", "dog")))
    assert parser.parse({"x": 1.0, "label": label}, "a:000000").label == number


def test_a_text_that_stands_for_no_label_may_be_the_name_of_a_class() -> None:
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")], RecordSpec(class_names=("none", "mild")))
    assert [parser.parse({"x": 1.0, "label": label}, "1").label for label in ("none", "None")] == [0, None]


def test_the_empty_label_of_a_tf_example_is_none() -> None:
    """TFX writes so the empty cell of a table. No values of a type are no classes, of several."""
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")])
    record = tf.train.Example.FromString(serialize({"x": 1.0}))
    assert record.features.feature["label"].WhichOneof("kind") is None  # adds the feature
    assert parser.parse(record.SerializeToString(), "1").label is None
    record.features.feature["label"].int64_list.SetInParent()
    assert parser.parse(record.SerializeToString(), "1").label == ()


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ([0.2, 0.8, 0.0], "is 3 float values; expected a class number, or a row of 0 and 1"),
        ([1, 0, 1, 0], "got rows of 4; the model has 3 classes"),
        (["cat", "hen"], "no class is named 'hen'"),
        ("inf", "is 'inf'; expected a class number, or one of cat, cow, dog"),
    ],
)
def test_labels_that_are_no_class_are_refused(label: Any, reason: str) -> None:
    parser = ExampleParser([InputSpec("x", "float32", (None, 1), "x")], RecordSpec(class_names=("cat", "cow", "dog")))
    with pytest.raises(InputError, match=re.escape(reason)):
        parser.parse({"x": 1.0, "label": label}, "a:000000")


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_booleans_as_text_are_numbers(dtype: str) -> None:
    spec = InputSpec("x", dtype, (None, 3), "x")
    parser = ExampleParser([spec], RecordSpec(features={"x": "a,b,c"}))
    np.testing.assert_array_equal(
        parser.parse({"a": "True", "b": "false", "c": "1"}, "a:000000").inputs["x"], [1, 0, 1]
    )
    np.testing.assert_array_equal(ExampleParser([spec]).parse({"x": "TRUE False 0"}, "a:000000").inputs["x"], [1, 0, 0])


def test_a_label_that_is_no_class_number_is_a_quantity() -> None:
    for label in (1.5, "1.5", 2**31, 3e9):
        parsed = parse({"x": 1.0, "label": label}, "float32", (1,)).label
        assert (type(parsed), parsed) == (float, float(label))
    assert parse({"x": 1.0, "label": 2**31 - 1}, "float32", (1,)).label == 2**31 - 1
    with pytest.raises(InputError, match="is inf; expected a class number or a quantity"):
        parse({"x": 1.0, "label": np.inf}, "float32", (1,))


def test_a_feature_of_another_name() -> None:
    assert parse({"image/raw": 1.0}, "float32", (1,), features={"x": "image/raw"}).inputs["x"][0] == 1


@pytest.mark.parametrize(
    ("features", "dtype", "shape", "reason"),
    [
        ({"y": 1.0, "z": 2.0}, "float32", (1,), r"no feature 'x' .* it has y, z"),
        ({}, "float32", (1,), "it has no features"),
        ({"x": np.arange(5.0)}, "float32", (2, 3), "has 5 values; expected 6"),
        ({"x": np.arange(5.0)}, "float32", (None, 3), "has 5 values; expected a multiple of 3"),
        ({"x": np.arange(0.0)}, "float32", (None, 3), "expected a multiple of 3"),
        ({"x": np.arange(6.0)}, "float32", (None, None), "leaves 2 sizes open"),
        ({"x": 1.5}, "int64", (1,), "holds float values; expected int64"),
        ({"x": 1}, "string", (), "holds int64 values; expected bytes"),
        ({"x": "text"}, "float32", (4,), "expected numbers, or one PNG or JPEG"),
        ({"x": "no picture"}, "float32", (4, 4, 3), "picture .* cannot be decoded"),
        (
            {"x": tf.io.encode_png(np.zeros((4, 5, 3), np.uint8)).numpy()},
            "float32",
            (4, 4, 3),
            "picture is 4×5×3 .* give --resize",
        ),
        ({"x": 1.0, "label": [1, 2]}, "float32", (1,), "is 2 int64 values"),
        ({"x": 1.0, "id": 0.5}, "float32", (1,), "its id, feature 'id', is 1 float values"),
    ],
)
def test_a_record_that_does_not_fit_is_rejected_with_the_reason(
    features: dict[str, Any], dtype: str, shape: tuple[int | None, ...], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        parse(features, dtype, shape)


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "reason"),
    [
        (np.ones((3, 2)), "float32", (2, 3), r"has the shape \[3, 2\], which does not fit"),
        (np.ones((2, 3, 4)), "float32", (None, 3), r"has the shape \[2, 3, 4\]"),
        ([2**40], "int32", (1,), "holds a number that int32 cannot hold"),
        ([-1], "uint8", (1,), "holds a number that uint8 cannot hold"),
        ([[1, 2], [3]], "float32", (None,), "lists of different lengths"),
    ],
)
def test_columns_that_do_not_fit_are_not_reshaped(
    value: Any, dtype: str, shape: tuple[int | None, ...], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        ExampleParser([InputSpec("x", dtype, (None, *shape), "x")]).parse({"x": value}, "a:000000")


def test_axes_of_length_one_are_ignored() -> None:
    example = ExampleParser([InputSpec("x", "float32", (None, 2, 3), "x")]).parse(
        {"x": np.arange(6.0).reshape(1, 2, 3)}, "a:000000"
    )
    np.testing.assert_array_equal(example.inputs["x"], [[0, 1, 2], [3, 4, 5]])


def test_a_record_that_is_not_a_tf_example() -> None:
    with pytest.raises(InputError, match=r"not a tf\.Example"):
        ExampleParser([InputSpec("x", "float32", (None, 1), "x")]).parse(b"\xff\xff\xff", "a:000000")


@pytest.mark.parametrize(
    ("in_python", "feature", "resize", "unknown"),
    [
        (False, "--feature x=NAME", "give --resize", "--feature size=a: the model takes x"),
        (True, 'features={"x": "NAME"}', "give resize=True", 'features={"size": "a"}: the model takes x'),
    ],
)
def test_advice_has_the_form_of_the_caller(in_python: bool, feature: str, resize: str, unknown: str) -> None:
    """Options of the command, or Python's keywords."""
    with pytest.raises(InputError, match=re.escape(f"name it with {feature}")):
        parse({"y": 1.0, "z": 2.0}, "float32", (1,), in_python=in_python)
    picture = tf.io.encode_png(np.zeros((4, 5, 3), np.uint8)).numpy()
    with pytest.raises(InputError, match=re.escape(resize)):
        parse({"x": picture}, "float32", (4, 4, 3), in_python=in_python)
    with pytest.raises(ParameterError, match=re.escape(unknown)):
        parse({"x": 1.0}, "float32", (1,), features={"size": "a"}, in_python=in_python)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("string", None, []),
        ("string", "", [b""]),
        ("string", EmptyCell(), []),  # of a CSV file
        ("string", ["Bern", None], [b"Bern"]),
        ("int64", 6.0, [6]),  # as pandas writes whole numbers beside missing ones
        ("int64", "6.0", [6]),
        ("int64", [1, 2, 3], [1, 2, 3]),
        ("int64", math.nan, []),
        ("float32", "", []),
        ("float32", "1 nan 2.5", [1, 2.5]),
    ],
)
def test_values_of_sparse_columns(dtype: str, value: Any, expected: list[Any]) -> None:
    spec = InputSpec("x", dtype, (None, None), "x", is_sparse=True)
    values = to_input(value, spec)
    assert len(values) == {0: 1, 1: 1, 2: 2, 3: 4}[len(expected)]  # few lengths make large batches
    assert values[~spec.is_missing(values)].tolist() == expected


def test_a_half_is_no_whole_number() -> None:
    with pytest.raises(InputError, match="holds float values; expected int64"):
        to_input([1.5], InputSpec("x", "int64", (None, None), "x", is_sparse=True))


def test_examples_with_other_numbers_of_values_in_sparse_columns_are_one_batch() -> None:
    specs = [InputSpec(name, "int64", (None, None), name, is_sparse=True) for name in ("tags", "codes")]
    parse = ExampleParser(specs).parse
    examples = [parse({"tags": list(range(n)), "codes": list(range(4 - n))}, str(n)) for n in range(5)]
    assert batch_positions(examples) == [[0, 1, 2, 3, 4]]
    rows = fill_up([example.inputs["tags"] for example in examples], specs[0].missing)
    assert [row[~specs[0].is_missing(row)].tolist() for row in rows] == [list(range(n)) for n in range(5)]
    assert {len(row) for row in rows} == {4}
