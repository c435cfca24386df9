"""Sparse columns of tf.Examples: any number of values, or none, is one feature; maps equal literal computations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.graph.loading.load_model import load_model
from tests.closeness import assert_maps_close
from tests.graph.loading.test_example_signatures import record, save

RNG = np.random.default_rng(0)
SPEC = {
    "city": tf.io.VarLenFeature(tf.string),
    "tags": tf.io.VarLenFeature(tf.int64),
    "codes": tf.io.VarLenFeature(tf.int64),
    "age": tf.io.VarLenFeature(tf.float32),
}
ROWS = [
    {"city": ["Bern"], "tags": [1, 3], "codes": [2], "age": [50.0]},
    {"city": [], "tags": [], "codes": [], "age": []},
    {"city": ["Genf"], "tags": [2], "codes": [1, 2, 3], "age": [20.0]},
    {"city": ["nowhere"], "tags": [0, 1, 2, 4], "codes": [], "age": []},
]
NAMES = sorted(SPEC)


def single(column: Any, default: Any) -> Any:
    """The only values `[N]` of a sparse column, the default where there is none."""
    column = tf.sparse.SparseTensor(column.indices, column.values, [column.dense_shape[0], 1])
    return tf.squeeze(tf.sparse.to_dense(column, default), 1)


class Model(NamedTuple):
    """A saved model, and its parts: what columns become, and what follows."""

    graph: dx.ModelGraph
    encode: Any
    head: Any
    serve: Any

    def score(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`[N]` the score of rows, serialized as tf.Examples in which missing values are missing features."""
        scores: np.ndarray = self.serve(tf.constant([record(**_present(row)) for row in rows])).numpy()[:, 1]
        return scores

    def without(self, rows: Sequence[Mapping[str, Any]], *names: str) -> np.ndarray:
        return self.score([{name: [] if name in names else values for name, values in row.items()} for row in rows])


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in row.items() if values}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    def weights(*shape: int) -> Any:
        return tf.Variable(RNG.normal(size=shape), dtype=tf.float32)

    keys = tf.lookup.KeyValueTensorInitializer(["Bern", "Basel", "Genf"], tf.constant([1, 2, 3], tf.int64))
    table, embedding = tf.lookup.StaticHashTable(keys, 0), weights(9, 3)
    first, second = weights(4 + 5 + 3 + 1, 8), weights(8, 3)

    def encode(f: Mapping[str, Any]) -> dict[str, Any]:
        tags = f["tags"]
        places = tf.stack([tags.indices[:, 0], tags.values], 1)
        shape = tf.stack([tags.dense_shape[0], tf.constant(5, tf.int64)])
        return {
            "city": tf.one_hot(table.lookup(single(f["city"], "")), 4),
            "tags": tf.scatter_nd(places, tf.ones_like(tags.values, tf.float32), shape),
            "codes": tf.nn.safe_embedding_lookup_sparse(embedding, f["codes"], combiner="mean"),
            "age": (single(f["age"], 40.0)[:, None] - 40) / 10,
        }

    def head(encodings: Sequence[Any]) -> Any:
        return tf.tanh(tf.concat(encodings, 1) @ first) @ second

    def call(f: Mapping[str, Any]) -> Any:
        return head(list(encode(f).values()))

    path = save(tmp_path_factory.mktemp("sparse") / "m", SPEC, call, table, embedding, first, second)
    serve = tf.function(lambda records: call(tf.io.parse_example(records, SPEC)))
    return Model(load_model(path), encode, head, serve)


def attributions(explainer: dx.Explainer, xs: Any) -> dict[str, np.ndarray]:
    """Maps by column, without warnings (the map of an example without values is zero)."""
    maps: dict[str, np.ndarray] = explainer.run(xs, return_result=True).attributions
    return maps


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    return [record(**_present(row)) for row in ROWS]


def test_occlusion_removes_the_column(model: Model, records: list[bytes]) -> None:
    """Alone as in a batch whose examples have other numbers of values."""
    explainer = dx.Explainer("occlusion", model.graph, target=1)
    maps = attributions(explainer, records)
    assert sorted(maps) == NAMES
    alone = attributions(explainer, [records[1]]), attributions(explainer, [records[2]])
    for name in NAMES:
        expected = model.score(ROWS) - model.without(ROWS, name)
        np.testing.assert_allclose(maps[name], expected, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([a[name] for a in alone]), expected[1:3], atol=1e-5)


def test_shapley_values(model: Model, records: list[bytes]) -> None:
    result = dx.Explainer("shapley_sampling", model.graph, target=1, samples=200, estimator="kernel").run(
        records, return_result=True
    )
    absent = {
        names: model.without(ROWS, *names) for count in range(5) for names in itertools.combinations(NAMES, count)
    }
    assert_maps_close(result.baseline_score, absent[tuple(NAMES)])
    for name in NAMES:
        expected = np.zeros(len(ROWS))
        for names, score in absent.items():
            if name not in names:
                weight = math.factorial(len(names)) * math.factorial(3 - len(names)) / math.factorial(4)
                expected += weight * (score - absent[tuple(sorted((*names, name)))])
        np.testing.assert_allclose(result.attributions[name], expected, atol=1e-4)


@pytest.mark.parametrize("method", ["occlusion", "shapley_sampling"])
def test_baselines_of_background(model: Model, records: list[bytes], method: str) -> None:
    """The most frequent values or the median, which may be more than an example has."""
    background = [*records, record(city="Bern", tags=[0, 1, 2, 4], codes=[5, 6], age=30.0), record(codes=[5, 6])]
    typical = {"city": ["Bern"], "tags": [0, 1, 2, 4], "codes": [5, 6], "age": [30.0]}
    explainer = dx.Explainer(method, model.graph, background=background, baseline="median", target=1)
    result = explainer.run(records[2:3], return_result=True)
    if method == "shapley_sampling":
        assert_maps_close(result.baseline_score, model.score([typical]))
        return
    for name in NAMES:
        replaced = [{**ROWS[2], name: typical[name]}]
        np.testing.assert_allclose(result.attributions[name], model.score(ROWS[2:3]) - model.score(replaced), atol=1e-5)


def test_baselines_by_name(model: Model, records: list[bytes]) -> None:
    """A value, several values, and None for the blank one; no value is repeated for each position."""
    baseline = {"city": "Genf", "tags": [0, 4], "codes": None, "age": 30}
    maps = attributions(dx.Explainer("occlusion", model.graph, target=1, baseline=baseline), records)
    values = {"city": ["Genf"], "tags": [0, 4], "codes": [], "age": [30.0]}
    for name in NAMES:
        replaced = [{**row, name: values[name]} for row in ROWS]
        np.testing.assert_allclose(maps[name], model.score(ROWS) - model.score(replaced), atol=1e-5)


def test_missing_values_are_no_nan(model: Model, records: list[bytes]) -> None:
    result = dx.Explainer("occlusion", model.graph, target=1).run(records, return_result=True)
    assert not any("NaN" in text for texts in result.warnings for text in texts)


def test_values_in_python(model: Model, records: list[bytes]) -> None:
    """Lists of values, single values, and missing ones; as records, and as columns of a frame."""
    pandas = pytest.importorskip("pandas")
    missing = math.nan
    columns: dict[str, list[Any]] = {
        "city": ["Bern", missing, "Genf", "nowhere"],
        "tags": [[1, 3], [], [2], [0, 1, 2, 4]],
        "codes": [[2], None, [1, 2, 3], []],
        "age": [50.0, missing, 20.0, missing],
    }
    explainer = dx.Explainer("occlusion", model.graph, target=1)
    expected = attributions(explainer, records)
    one_each = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for xs in (columns, one_each, pandas.DataFrame(columns)):
        maps = attributions(explainer, xs)
        assert sorted(maps) == NAMES
        for name in NAMES:
            np.testing.assert_allclose(maps[name], expected[name], atol=1e-6)
