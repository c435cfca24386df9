"""Maps that are encoded where they are computed have the columns of those that the host encodes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework import kernels

from tb_deepexplain.attribution import batch_sizes
from tb_deepexplain.attribution import explainer as explainer_module
from tb_deepexplain.attribution.compiled_method import EncodedMaps, MethodOutput
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording import device_encoding
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Records
from tb_deepexplain.recording.device_encoding import encode_on_device
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.store.map_encoding import QUANTILES, EncodedMap, encode_maps
from tb_deepexplain.store.records import attribution_columns
from tests import models

PICTURES = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype(np.float32)


def assert_same_columns(columns: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    """Float16 values may differ in the last digit, statistics by 1e-6."""
    assert columns.keys() == expected.keys()
    statistics = {"concentration", *QUANTILES}
    for name in columns.keys() - statistics - {"attribution"}:
        assert repr(columns[name]) == repr(expected[name]), name  # NaN is not equal to itself
    for name in statistics:
        values, of_host = (np.array(of[name], float) for of in (columns, expected))  # None becomes NaN
        np.testing.assert_allclose(values, of_host, rtol=1e-6, err_msg=name)
    for dtype, data, of_host in zip(columns["dtype"], columns["attribution"], expected["attribution"], strict=True):
        if dtype == "float32":
            assert data == of_host
            continue
        halves, of_host = (np.frombuffer(of, "<f2") for of in (data, of_host))
        np.testing.assert_array_equal(np.signbit(halves), np.signbit(of_host))
        digits = [abs(of).view("<i2").astype(int) for of in (halves, of_host)]
        assert abs(digits[0] - digits[1]).max(initial=0) <= 1


def hard_maps(count: int) -> np.ndarray:
    """Maps `[N, count]` of every kind that the host encodes in another way."""
    rng = np.random.default_rng(count)
    normal = rng.normal(size=count)
    one, sparse, has_nan, has_infinity = np.zeros(count), np.zeros(count), normal.copy(), normal.copy()
    one[count // 2], sparse[::3], has_nan[-1], has_infinity[0] = -3, normal[::3], np.nan, -np.inf
    peak = normal * 1e-6
    peak[0] = 1.0
    middle = np.where(np.arange(count) < count // 2, 1.0, 2.0**-14)  # whose median is at the bound of float16
    ties = rng.integers(-2, 3, count).astype(float)
    denormal = normal.copy()
    denormal[count // 3 :] = 1e-40
    maps = [normal, one, sparse, has_nan, has_infinity, peak, middle, middle[::-1], ties, denormal, np.full(count, 0.5)]
    maps += [np.zeros(count), np.full(count, -0.0), normal * 1e30, normal * 1e-30, np.full(count, 1e-40), -abs(normal)]
    return np.array(maps, np.float32)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (7,), (6, 7), (5, 5, 2), (9, 9, 3), (450,)])
def test_columns_and_flags_are_those_of_the_host(shape: tuple[int, ...]) -> None:
    flat = hard_maps(int(np.prod(shape)))
    maps = flat.reshape(len(flat), *shape)
    encoded = encode_on_device([0], [maps])
    assert_same_columns(encode_maps(encoded.rows.tolist()), encode_maps(list(maps)))
    np.testing.assert_array_equal(encoded.is_zero, ~flat.any(1))
    np.testing.assert_array_equal(encoded.is_finite, np.isfinite(flat).all(1))
    finite = flat[encoded.is_finite].astype(np.float64)
    errors = abs(encoded.sums[encoded.is_finite] - finite.sum(1))
    assert (errors <= 1e-9 * abs(finite).max(1) + 1e-37).all()  # devices may take denormal values for zeros
    assert isinstance(encoded.rows[0], EncodedMap)


def test_only_maps_that_float16_does_not_hold_come_back_as_they_are() -> None:
    encoded = encode_on_device([0], [hard_maps(90)])
    as_they_are = [i for i, row in enumerate(encoded.rows) if not isinstance(row, EncodedMap)]
    assert as_they_are == [3, 4, 5, 9, 15]  # NaN, infinity, a peak, denormal values


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow has no kernels for GPUs")
def test_a_gpu_has_every_operation_and_keeps_the_maps_in_its_memory() -> None:
    """TensorFlow computes on int32 on the host, and would copy the maps there."""
    function = device_encoding._encode.get_concrete_function()
    of_maps = [op for op in function.graph.get_operations() if any(t.shape.rank == 2 for t in op.inputs)]
    assert len(of_maps) > 20
    for op in of_maps:
        names = [argument.name for argument in op.op_def.input_arg]
        kernels_of_gpu = [
            kernel
            for kernel in kernels.get_registered_kernels_for_op(op.type).kernel
            if kernel.device_type == "GPU"
            and all(
                tf.as_dtype(op.get_attr(one.name)).as_datatype_enum in one.allowed_values.list.type
                for one in kernel.constraint
            )
        ]
        assert kernels_of_gpu, op
        in_memory_of_host = set(kernels_of_gpu[0].host_memory_arg)
        assert not in_memory_of_host & {n for n, t in zip(names, op.inputs, strict=False) if t.shape.rank == 2}, op


def test_an_encoded_map_is_the_array_that_a_reader_gets() -> None:
    maps = PICTURES[:2]
    row = encode_on_device([0], [maps]).rows[1]
    assert (row.size, row.shape, np.asarray(row, np.float64).dtype.name) == (192, [8, 8, 3], "float64")
    np.testing.assert_allclose(np.asarray(row), maps[1], atol=2**-11 * abs(maps[1]).max())


def test_maps_of_several_inputs_are_one_row_in_the_order_of_the_store() -> None:
    first, second = PICTURES, np.arange(48, dtype=np.float32).reshape(24, 2)
    encoded = encode_on_device([1, 0], [first, second])
    expected = [np.concatenate([b, a.ravel()]) for a, b in zip(first, second, strict=True)]
    assert_same_columns(encode_maps(encoded.rows.tolist()), encode_maps(expected))
    assert encoded.shapes == [(2,), (8, 8, 3)]
    np.testing.assert_allclose(encoded.of_inputs(3)[0], second[3], atol=0.01)


def explain(request: Any, model: Any, examples: Sequence[Example], encodes_maps: bool) -> Records:
    return BatchExplainer(request, load_model(model), encodes_maps=encodes_maps).explain(examples)


def assert_same_records(request: Any, model: Any, examples: Sequence[Example]) -> Records:
    records, expected = (explain(request, model, examples, encodes_maps) for encodes_maps in (True, False))
    assert all(isinstance(row.values, EncodedMap) for row in records.attributions)
    assert_same_columns(*(attribution_columns(of.attributions) for of in (records, expected)))
    assert list(records.inputs) == list(expected.inputs)
    assert (records.errors, records.map_numbers) == (expected.errors, expected.map_numbers)
    return records


def test_pictures() -> None:
    examples = [Example(str(i), {"image": picture}) for i, picture in enumerate(PICTURES)]
    examples[4] = Example("not finite", {"image": np.full((8, 8, 3), np.nan, np.float32)})
    examples[7] = Example("zero", {"image": np.zeros((8, 8, 3), np.float32)})
    model = keras.Sequential(
        [keras.Input((8, 8, 3), name="image"), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    )
    records = assert_same_records(make_request("", ["gradient_x_input"], target="top:2"), model, examples)
    assert [error.example_id for error in records.errors] == ["not finite"]
    assert "the map is zero everywhere" in str(
        [row.warnings for row in records.attributions if row.example_id == "zero"]
    )


def test_tables_of_several_inputs() -> None:
    names = ["b", "a", "c"]
    inputs = [keras.Input((1 + i,), name=name) for i, name in enumerate(names)]
    model = keras.Model(inputs, layers.Dense(2, "tanh")(layers.Concatenate()(inputs)))
    rng = np.random.default_rng(1)
    examples = [
        Example(str(k), {name: rng.normal(size=1 + i).astype(np.float32) for i, name in enumerate(names)})
        for k in range(9)
    ]
    records = assert_same_records(make_request("", ["gradient_x_input"], target=1), model, examples)
    assert {part["input"]: part["shape"] for part in records.attributions[0].parts or ()} == {
        "b": [1],
        "a": [2],
        "c": [3],
    }


def test_a_map_that_is_not_finite_is_an_error_where_its_score_is_finite() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
    def root(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.sqrt(x), 1)

    examples = [Example(name, {"x": np.array(x, np.float32)}) for name, x in (("a", [1, 4]), ("b", [0, 4]))]
    records = assert_same_records(make_request("", ["gradient_x_input"]), root, examples)
    assert [error.example_id for error in records.errors] == ["b"]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (models.sequential, {"methods": ["saliency", "gradient_x_input"]}),
        (models.sequential, {"measures": ["max_sensitivity"]}),
        (models.sequential, {"precision": "float64"}),
    ],
)
def test_maps_that_the_host_needs_stay_arrays(model: Any, options: dict[str, Any]) -> None:
    request = make_request("", **{"methods": ["saliency"], "target": 0, **options})
    explainer = BatchExplainer(request, load_model(model()), encodes_maps=True)
    examples = [Example(str(i), {explainer.names[0]: np.full(10, i, np.float32)}) for i in range(8)]
    explainer.explain(examples)  # a sample of float64 is compared with float32
    records = explainer.explain(examples)
    assert not records.errors
    assert all(isinstance(row.values, np.ndarray) for row in records.attributions)


def test_maps_of_texts_stay_arrays() -> None:
    ids = keras.Input((5,), dtype="int32", name="ids")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(ids))
    model = keras.Model(ids, layers.Dense(2)(pooled))
    records = explain(
        make_request("", ["saliency"], target=0), model, [Example("a", {"ids": np.arange(5, dtype=np.int32)})], True
    )
    assert not records.errors
    assert isinstance(records.attributions[0].values, np.ndarray)


encode = functools.partial(encode_on_device, [0])


def test_warnings_of_maps_that_are_not_finite_say_where() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="a"), tf.TensorSpec([None, 2], name="b")])
    def logarithm(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.reduce_sum(a, 1) + tf.reduce_sum(b, 1) - 3)

    xs = {"a": np.array([[1, 1], [9, 9]], np.float32), "b": np.array([[0, 2], [9, 9]], np.float32)}
    explainer = Explainer("occlusion", load_model(logarithm))
    expected = explainer.run(xs, return_result=True).warnings
    assert "of 4 values, the first at input 0, (0,)" in expected[0][0]
    assert (
        explainer.run(xs, return_result=True, encode=functools.partial(encode_on_device, [0, 1])).warnings == expected
    )


def test_a_sample_that_is_compared_with_float32_stays_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainer_module, "computes_on_gpu", lambda: True)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    explainer = Explainer("integrated_gradients", models.graph(models.image), target=1, steps=8, precision="tf32")
    first, second = (explainer.run(PICTURES, return_result=True, encode=encode) for _ in range(2))
    assert isinstance(first.attributions, np.ndarray)
    assert first.precision_error.examples == 8
    assert isinstance(second.attributions, EncodedMaps)
    assert np.isfinite(first.gap).all()
    np.testing.assert_allclose(second.gap, first.gap, atol=1e-5)


def test_maps_without_values_stay_arrays() -> None:
    output = MethodOutput([np.zeros((3, 0), np.float32)], np.zeros(3), np.zeros(3), np.zeros(3), [])
    assert output.encoded(encode) is output


def test_a_batch_that_cannot_be_encoded_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sizes, "_measured", {})  # which would remember it

    def encode_few(maps: Sequence[Any]) -> EncodedMaps:
        if len(maps[0]) > 6:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return encode(maps)

    explainer = Explainer("gradient_x_input", models.graph(models.image), target=1)
    explainer.batch_log.say = lambda _: None
    result = explainer.run(PICTURES, batch_size=24, return_result=True, encode=encode_few)
    assert explainer.batch_log.take().halvings == 2
    expected = explainer.run(PICTURES)
    assert len(result.attributions.rows) == 24
    for row, values in zip(result.attributions.rows, expected, strict=True):
        np.testing.assert_allclose(np.asarray(row), values, atol=2**-10 * abs(values).max())
