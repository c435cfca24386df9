"""Sparse columns of tf.Examples: any number of values, or none, is one feature; maps equal literal computations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.baselines import background_baseline
from tb_deepexplain.attribution.inputs import check_inputs
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.loading.example_signatures import _join_and_split
from tb_deepexplain.graph.loading.load_model import load_model
from tests.closeness import assert_maps_close
from tests.graph.loading.test_example_signatures import record, save, serve

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
    relevance: Any  # of the encodings, by ε-LRP
    answer: Any

    def score(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`[N]` the score of rows, serialized as tf.Examples in which missing values are missing features."""
        scores: np.ndarray = self.answer(tf.constant([record(**_present(row)) for row in rows])).numpy()[:, 1]
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
            "age": single(f["age"], 40.0)[:, None],
        }

    def scaled(encodings: Sequence[Any]) -> Any:
        return tf.concat([*encodings[:3], (encodings[3] - 40) / 10], 1)

    def head(encodings: Sequence[Any]) -> Any:
        return tf.tanh(scaled(encodings) @ first) @ second

    def relevance(encodings: Sequence[Any]) -> list[Any]:
        inner = scaled(encodings) @ first
        of_inner = tf.tanh(inner) / (inner + 1e-4 * tf.sign(inner)) * second[:, 1]
        parts: list[Any] = tf.split(of_inner @ tf.transpose(first), [4, 5, 3, 1], 1)
        parts = [values * part for values, part in zip(encodings, parts, strict=True)]
        parts[3] /= 10
        return parts

    def call(f: Mapping[str, Any]) -> Any:
        return head(list(encode(f).values()))

    path = save(tmp_path_factory.mktemp("sparse") / "m", SPEC, call, table, embedding, first, second)
    answer = tf.function(lambda records: call(tf.io.parse_example(records, SPEC)))
    return Model(load_model(path), encode, head, relevance, answer)


def attributions(explainer: dx.Explainer, xs: Any) -> dict[str, np.ndarray]:
    """Maps by column, without warnings (the map of an example without values is zero)."""
    maps: dict[str, np.ndarray] = explainer.run(xs, return_result=True).attributions
    return maps


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    return [record(**_present(row)) for row in ROWS]


def test_strings_of_any_bytes_are_separated() -> None:
    """Encoded pictures hold all pairs of bytes."""
    spec = InputSpec("x", "string", (None, None), "", is_sparse=True)
    content = RNG.integers(0, 256, 300_000, np.uint8).tobytes() + b"\xff\xfe\xff"
    rows = [[content, b""], [b"\xfe", spec.missing]]
    indices, values, shape = _join_and_split(tf.constant(rows), spec)
    assert indices.numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert values.numpy().tolist() == [content, b"", b"\xfe"]
    assert shape.numpy().tolist() == [2, 2]


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


def test_a_baseline_of_examples_holds_no_fillers(model: Model) -> None:
    """As manifests and the page show it."""
    columns = {"city": ["Genf", None], "tags": [[1, 2, 3], [1, 2, 3]], "codes": [None, None], "age": [20.0, 40.0]}
    arrays = dict(zip(NAMES, check_inputs(model.graph, columns).arrays, strict=True))
    baseline = background_baseline(model.graph, arrays, "median")
    assert {name: np.asarray(values).tolist() for name, values in baseline.items()} == {
        "city": ["Genf"], "tags": [1, 2, 3], "codes": [], "age": [30.0],
    }  # fmt: skip
    maps = attributions(dx.Explainer("occlusion", model.graph, target=1, baseline=baseline), columns)
    np.testing.assert_array_equal(maps["codes"], [0, 0])


def test_missing_values_are_no_nan(model: Model, records: list[bytes]) -> None:
    result = dx.Explainer("occlusion", model.graph, target=1).run(records, return_result=True)
    assert not any("NaN" in text for texts in result.warnings for text in texts)


GRADIENT_METHODS = ["saliency", "gradient_x_input", "epsilon_lrp", "integrated_gradients", "deeplift"]


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_gradient_methods(model: Model, records: list[bytes], method: str) -> None:
    """They explain what a column becomes, and sum it to the column; without values it becomes what the model makes of none."""
    parameters = {"steps": 200} if method == "integrated_gradients" else {}
    result = dx.Explainer(method, model.graph, target=1, **parameters).run(records, return_result=True)
    x, blank = (model.encode(tf.io.parse_example(r, SPEC)) for r in (records, [record()] * len(records)))

    def gradient(points: list[Any]) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(points)
            score = model.head(points)[:, 1]
        gradients: list[Any] = tape.gradient(score, points)
        return gradients

    differences = [x[name] - blank[name] for name in x]
    if method == "integrated_gradients":
        paths = [
            gradient([b + (k + 0.5) / 200 * d for b, d in zip(blank.values(), differences, strict=True)])
            for k in range(200)
        ]
        expected = [d * sum(g) / 200 for d, g in zip(differences, zip(*paths, strict=True), strict=True)]
    elif method == "deeplift":
        total = sum(result.attributions[name] for name in NAMES)
        np.testing.assert_allclose(total, model.score(ROWS) - model.without(ROWS, *NAMES), atol=1e-5)
        return
    elif method == "epsilon_lrp":
        expected = model.relevance(list(x.values()))
    else:
        gradients = gradient(list(x.values()))
        expected = [abs(g) if method == "saliency" else t * g for t, g in zip(x.values(), gradients, strict=True)]
    assert sorted(result.attributions) == NAMES
    assert not any("not explained" in text for texts in result.warnings for text in texts)
    for name, values in zip(x, expected, strict=True):
        np.testing.assert_allclose(result.attributions[name], tf.reduce_sum(values, 1), atol=2e-3)


def test_columns_that_are_counted_or_only_there(tmp_path: Path) -> None:
    """Numbers of values, masks as features and masks of features are explained; nothing is left out without a word."""
    spec = {name: tf.io.VarLenFeature(tf.int64) for name in ("bags", "counts", "gates", "here")}
    spec["age"] = tf.io.VarLenFeature(tf.float32)
    weights = tf.Variable(RNG.normal(size=(4, 2)), dtype=tf.float32)

    def call(f: Mapping[str, Any]) -> Any:
        ones = f["counts"].with_values(tf.ones_like(f["counts"].values, tf.float32))
        bag = tf.cast(tf.math.bincount(f["bags"], minlength=4, maxlength=4, axis=-1), tf.float32)
        is_here = single(f["here"], tf.constant(-1, tf.int64)) >= 0
        is_open = single(f["gates"], tf.constant(0, tf.int64)) > 0
        age = tf.where(is_open, single(f["age"], 0.0), 0.0)
        columns = [tf.sparse.reduce_sum(ones, 1), tf.cast(is_here, tf.float32), age]
        return tf.tanh(
            tf.reduce_sum(tf.reshape(tf.stack(columns, 1), [-1, 3]) * [0.3, 0.5, 0.01], 1)[:, None] + bag @ weights
        )

    path = save(tmp_path / "m", spec, call, weights)
    rows: list[dict[str, Any]] = [
        {"bags": [1, 3, 3], "counts": [7, 8], "gates": [1], "here": [0], "age": [30.0]},
        {"age": [4.0]},
    ]
    records = [record(**row) for row in rows]
    graph = load_model(path)
    maps = attributions(dx.Explainer("occlusion", graph, target=1), records)
    scores = serve(path, records)[:, 1]
    for name in spec:
        removed = [record(**{key: value for key, value in row.items() if key != name}) for row in rows]
        np.testing.assert_allclose(maps[name], scores - serve(path, removed)[:, 1], atol=1e-6)
    result = dx.Explainer("deeplift", graph, target=1).run(records, return_result=True)
    assert sorted(result.attributions) == ["age", "bags", "counts", "here"]
    assert all("not explained: gates" in " ".join(texts) for texts in result.warnings)


def test_values_in_python(model: Model, records: list[bytes]) -> None:
    """Lists of values, single values, and missing ones; as records, and as columns of a frame."""
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
    for xs in (columns, one_each, pd.DataFrame(columns)):
        maps = attributions(explainer, xs)
        assert sorted(maps) == NAMES
        for name in NAMES:
            np.testing.assert_allclose(maps[name], expected[name], atol=1e-6)


def test_texts_that_are_pooled_are_one_feature(tmp_path: Path) -> None:
    """Words of a text, weighted and pooled, and a cross of a text with a column: no feature for each number of the embedding."""
    spec = {
        "note": tf.io.FixedLenFeature([], tf.string),
        "plan": tf.io.FixedLenFeature([], tf.string),
        "tags": SPEC["city"],
    }
    weights, crossed = (tf.Variable(RNG.normal(size=(8, 2)), dtype=tf.float32) for _ in range(2))

    def call(f: Mapping[str, Any]) -> Any:
        words = tf.strings.split(f["note"]).to_sparse()
        ids = words.with_values(tf.strings.to_hash_bucket_fast(words.values, 8))
        counts = tf.sparse.reduce_sum(words.with_values(tf.ones_like(words.values, tf.float32)), 1)
        shares = words.with_values(1 / tf.gather(counts, words.indices[:, 0]))
        note = tf.nn.safe_embedding_lookup_sparse(weights, ids, shares, combiner="sum")
        both = tf.sparse.cross_hashed([f["plan"][:, None], f["tags"]], 8)
        return tf.tanh(note + tf.nn.safe_embedding_lookup_sparse(crossed, both, combiner="sum"))

    path = save(tmp_path / "m", spec, call, weights, crossed)
    rows: list[dict[str, Any]] = [{"note": "a b a", "plan": "x", "tags": ["u", "v", "w"]}, {"note": "c", "plan": "y"}]
    records = [record(**row) for row in rows]
    graph = load_model(path)
    maps = attributions(dx.Explainer("occlusion", graph, target=1), records)
    scores = serve(path, records)[:, 1]
    for name, blank in {"note": "", "plan": "", "tags": None}.items():
        replaced = [{**row, name: blank} for row in rows]
        removed = [record(**{key: value for key, value in row.items() if value is not None}) for row in replaced]
        np.testing.assert_allclose(maps[name], scores - serve(path, removed)[:, 1], atol=1e-6)
    result = dx.Explainer("deeplift", graph, target=1).run(records, return_result=True)
    assert {name: values.shape for name, values in result.attributions.items()} == dict.fromkeys(spec, (2,))
    np.testing.assert_allclose(
        sum(result.attributions.values()), scores - serve(path, [record(note="", plan="")] * 2)[:, 1], atol=1e-6
    )


def test_one_hot_values_are_summed_over_any_number_of_positions(tmp_path: Path) -> None:
    """As feature columns do it: the one-hot vectors have as many positions as the longest example of a batch has values."""
    weights = tf.Variable(RNG.normal(size=(5, 2)), dtype=tf.float32)

    def call(f: Mapping[str, Any]) -> Any:
        one_hot = tf.one_hot(tf.sparse.to_dense(f["tags"], -1), 5)
        return tf.tanh(tf.reduce_sum(one_hot, 1) @ weights)

    path = save(tmp_path / "m", {"tags": SPEC["tags"]}, call, weights)
    records = [record(tags=[1, 3, 1]), record(tags=[2])]
    result = dx.Explainer("deeplift", path, target=1).run(records, return_result=True)
    scores = serve(path, [*records, record()])[:, 1]
    assert_maps_close(result.attributions["tags"], scores[:2] - scores[2])
