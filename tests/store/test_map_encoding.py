"""Maps become bytes and come back: exactly where that is promised, and never much worse anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tb_deepexplain.store.map_encoding import QUANTILES, decode_map, encode_maps


def encode_map(values: np.ndarray) -> dict[str, Any]:
    return {name: column[0] for name, column in encode_maps([values]).items()}


def decoded(values: np.ndarray) -> tuple[np.ndarray, str]:
    row = encode_map(values)
    return decode_map(row["attribution"], row["dtype"], row["scale"], row["shape"]), row["dtype"]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (5, 6), (4, 4, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_shape_and_type_comes_back(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    restored, _ = decoded(values)
    assert restored.shape == shape
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, values, rtol=2**-10, atol=2**-24 * np.abs(values).max(initial=0))


@pytest.mark.parametrize("size", [1e-38, 9e-5, 1.0, 6e4, 1e30])
def test_the_scale_makes_float16_good_for_maps_of_any_size(size: float) -> None:
    values = (size * np.random.default_rng(1).uniform(0.01, 1, 1000)).astype(np.float32)
    restored, dtype = decoded(values)
    assert dtype == "float16"
    np.testing.assert_allclose(restored, values, rtol=2**-10)


def test_a_map_that_float16_would_lose_is_kept_as_float32() -> None:
    values = np.full(1000, 1e-6, np.float32)
    values[0] = 1.0
    restored, dtype = decoded(values)
    assert dtype == "float32"
    np.testing.assert_array_equal(restored, values)


def test_zero_stays_zero_and_signs_stay() -> None:
    values = np.array([0.0, -3.0, 2.0], np.float32)
    np.testing.assert_array_equal(np.sign(decoded(values)[0]), [0, -1, 1])
    np.testing.assert_array_equal(decoded(np.zeros((3, 3)))[0], np.zeros((3, 3)))


def test_nan_and_infinity_stay_where_they_are_and_leave_the_rest_alone() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5, -1.0], np.float32)
    restored, _ = decoded(values)
    np.testing.assert_allclose(restored, values, rtol=2**-10)
    assert encode_map(values)["q100"] == 1.0


def test_quantiles_are_those_of_the_magnitudes() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    row = encode_map(values)
    for name, share in QUANTILES.items():
        assert row[name] == pytest.approx(np.quantile(np.abs(values), share))
    assert encode_map(np.full(3, np.nan))["q50"] is None


def test_bytes_are_little_endian_whatever_the_machine() -> None:
    assert encode_map(np.array([1.0]))["attribution"] == b"\x00\x3c"
    assert encode_map(np.array([1.0, 1e-6, 1e-6]))["attribution"][:4] == b"\x00\x00\x80\x3f"


def test_maps_encoded_together_are_encoded_as_alone() -> None:
    rng = np.random.default_rng(3)
    maps = [10.0**size * rng.normal(size=shape) for size in (-30, 0, 30) for shape in ((), (5,), (0,), (4, 3), (5,))]
    maps += [np.array([np.nan, 1, 0, -3, np.inf]), np.full(5, np.nan), np.zeros(5), np.array([1, 1e-9, 1e-9, 0, 1e-9])]
    columns = encode_maps([values.astype(np.float32) for values in maps])
    together = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for values, row in zip(maps, together, strict=True):
        assert row == encode_map(values.astype(np.float32))
    assert [row["dtype"] for row in together[-4:]] == ["float16", "float16", "float16", "float32"]
