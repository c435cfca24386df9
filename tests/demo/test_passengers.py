"""The demo's table of strings and numbers: what is stored is what a computation apart, from the raw values on, gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines.cli import demo
from beam_pipelines.cli.demo import passengers
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store

UNKNOWN = {"travel_class": "", "sex": "", "title": "", "namesakes": 28, "age": 28.0}
ROUNDING = 1e-3  # of stored maps, in half precision


def test_the_table_holds_raw_values_of_the_passengers_whose_age_is_known() -> None:
    table, survived, names = passengers.data()
    assert {column: values.shape for column, values in table.items()} == dict.fromkeys(passengers.COLUMNS, (756, 1))
    i = names.index("Brown, Mr Thomas William Solomon")
    assert {column: values[i, 0] for column, values in table.items()} == {
        "travel_class": "2nd", "sex": "male", "title": "Mr", "namesakes": 3, "age": 45
    }  # fmt: skip
    assert (len(names), survived[i], survived.sum()) == (756, 0, 313)
    assert passengers.UNKNOWN == np.median(table["age"]) == UNKNOWN["age"]
    assert passengers.UNKNOWN not in table["namesakes"]


@pytest.mark.slow
def test_stored_maps_are_those_of_the_net_at_raw_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRAINED": 746, "EPOCHS": 2, "COPIES": 1}.items():
        monkeypatch.setattr(passengers, name, value)
    assert demo._explain("passengers", tmp_path / "model", tmp_path / "logs") == 0
    store = Store(store_path(tmp_path / "logs", "passengers", "default"))
    assert store.manifest["counts"] == {"examples": 10, "maps": 40, "errors": 0}
    table, survived, names = passengers.data()
    logits = _net([v.numpy() for v in tf.saved_model.load(tmp_path / "model" / "model").trainable_variables], table)
    columns = [one["name"] for one in store.manifest["inputs"]]
    assert set(columns) == set(UNKNOWN)
    rows = store.index.to_pylist()
    for row, stored, shown in zip(rows, store.maps(range(40)), store.inputs(range(40)), strict=True):
        i = names.index(row["example_id"])
        x = {column: values[i, 0] for column, values in table.items()}
        texts = shown["texts"] or [None] * len(columns)
        assert [
            value if text is None else text for value, text in zip(shown["values"], texts, strict=True)
        ] == pytest.approx([x[column] for column in columns])
        assert row["label"] == survived[i]
        assert row["predicted"] == logits(x).argmax()
        drops = _shapley(lambda values, k=row["predicted"]: float(logits(values)[k]), x)
        change = sum(drops.values())
        match row["method"]:
            case "occlusion":
                score = logits(x)[row["predicted"]]
                drops = {c: score - logits(x | {c: UNKNOWN[c]})[row["predicted"]] for c in columns}
                np.testing.assert_allclose(stored.ravel(), [drops[c] for c in columns], rtol=ROUNDING, atol=1e-5)
            case "shapley_sampling":
                np.testing.assert_allclose(stored.ravel(), [drops[c] for c in columns], rtol=ROUNDING, atol=1e-5)
            case "deeplift":
                assert stored.sum() == pytest.approx(change, abs=float(ROUNDING * np.abs(stored).sum()))
            case "integrated_gradients":
                assert stored.sum() == pytest.approx(change, abs=float(0.02 * np.abs(stored).sum()))


def _net(weights: list[np.ndarray], table: Mapping[str, np.ndarray]) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """The logits of one passenger."""
    trained = {column: values[: passengers.TRAINED, 0] for column, values in table.items()}

    def encode(column: str, value: Any) -> list[float]:
        if column == "age":
            scaled = (value - trained["age"].mean()) / trained["age"].std()
            return [scaled, *(float(value // 10 == i or (i == 6 and value >= 60)) for i in range(7))]
        known = sorted(set(trained[column].tolist()))
        return [float(value not in known and value != UNKNOWN[column]), *(float(value == one) for one in known)]

    def logits(values: Mapping[str, Any]) -> np.ndarray:
        x = np.concatenate([encode(column, values[column]) for column in passengers.COLUMNS])
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
        return x @ weights[-2] + weights[-1]

    return logits


def _shapley(score: Callable[[Mapping[str, Any]], float], x: Mapping[str, Any]) -> dict[str, float]:
    """Shapley values by their definition."""
    values = dict.fromkeys(x, 0.0)
    for column in x:
        others = [one for one in x if one != column]
        for size in range(len(x)):
            weight = math.factorial(size) * math.factorial(len(x) - size - 1) / math.factorial(len(x))
            for present in itertools.combinations(others, size):
                without = {one: x[one] if one in present else UNKNOWN[one] for one in x}
                values[column] += weight * (score(without | {column: x[column]}) - score(without))
    return values
