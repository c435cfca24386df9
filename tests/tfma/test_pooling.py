"""Maps pooled to named numbers."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipelines.tfma.pooling import check_pool, pool_map
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.records import Input, model_input

RNG = np.random.default_rng(0)


def test_pooled_numbers_sum_to_the_sum_of_the_map() -> None:
    picture, values = Input("1", "image"), RNG.normal(size=(9, 7, 3))
    for pool, count in (("channel", 3), ("region", 16)):
        numbers = pool_map(picture, values, pool)
        assert len(numbers) == count
        assert sum(numbers.values()) == pytest.approx(values.sum())
    assert pool_map(picture, values, None)["image[channel 1]"] == pytest.approx(values[..., 1].sum())
    inputs = [model_input("age", "float32", (1,), "tabular"), model_input("x", "float32", (9, 7, 3), "image")]
    regions = pool_map(Input("1", "image", inputs=inputs), values, "region", regions=2)
    assert regions["x[region 1,0]"] == pytest.approx(values[5:, :4].sum())


def test_texts_are_pooled_by_token() -> None:
    text = Input("1", "text", tokens=["not", "bad", "not", ""])
    assert pool_map(text, np.array([1.0, 2.0, 3.0, 0.0]), "token") == {"not": 4.0, "bad": 2.0, "[padding]": 0.0}
    inputs = [model_input("stars", "float32", (1,), "tabular"), model_input("review", "int64", (4,), "text")]
    text = Input("1", "text", tokens=["not", "bad", "not", ""], inputs=inputs)
    assert pool_map(text, np.array([1.0, 2.0, 3.0, 0.0]), None) == {"review": 6.0}


def test_tables_are_pooled_by_value_or_feature() -> None:
    inputs = [model_input("age", "float32", (), "tabular"), model_input("blood", "float32", (2,), "tabular")]
    row = Input("1", "tabular", values=[0.0, 0.0, 0.0], inputs=inputs)
    assert pool_map(row, np.array([1.0, 2.0, 3.0]), None) == {"age": 1.0, "blood[0]": 2.0, "blood[1]": 3.0}
    assert pool_map(row, np.array([1.0, 2.0, 3.0]), "feature") == {"age": 1.0, "blood": 5.0}


def test_the_pool_of_another_modality_is_rejected() -> None:
    with pytest.raises(ParameterError, match=r"pool='token': .* image.* channel or region"):
        check_pool("image", "token")
    with pytest.raises(ParameterError, match="the model's inputs are videos; expected tabular, text, image, mixed"):
        check_pool("videos", None)


def test_mixed_maps_are_pooled_by_input() -> None:
    parts = [{"input": "photo", "shape": [2, 2, 1]}, {"input": "age", "shape": []}]
    assert pool_map(Input("1", "mixed"), np.array([1.0, 2.0, 3.0, 4.0, 5.0]), None, parts=parts) == {
        "photo": 10.0,
        "age": 5.0,
    }
