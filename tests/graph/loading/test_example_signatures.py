"""Signatures that take serialized tf.Examples: the parsed features are the inputs, and are explained by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from beam_pipelines.reading.example_parser import ExampleParser
from tb_deepexplain.attribution.inputs import check_inputs
from tb_deepexplain.errors import DeepExplainError, InputError, UnsupportedModelError
from tb_deepexplain.graph.loading.load_model import load_model
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
FLOAT = tf.io.FixedLenFeature([], tf.float32)


def save(path: Path, spec: Mapping[str, Any], call: Callable[[Mapping[str, Any]], Any], *keep: Any) -> str:
    """Save a model that parses `spec` and returns `call(features)`; `keep` are the layers that it uses."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def signature(examples: Any) -> dict[str, Any]:
        return {"scores": call(tf.io.parse_example(examples, dict(spec)))}

    module = tf.Module()
    module.kept = keep
    tf.saved_model.save(module, str(path), signatures={"serving_default": signature})
    return str(path)


def record(**values: Any) -> bytes:
    """A serialized tf.Example."""
    features = {}
    for name, value in values.items():
        array = np.ravel(value)
        if array.dtype.kind in "OSU":
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(v).encode() for v in array]))
        elif array.dtype.kind == "i":
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=array.tolist()))
        else:
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=array.tolist()))
        features[name] = feature
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


def serve(path: str, records: list[bytes]) -> np.ndarray:
    """The scores of the model's signature."""
    loaded = tf.saved_model.load(path)
    scores: np.ndarray = loaded.signatures["serving_default"](tf.constant(records))["scores"].numpy()
    return scores


def test_examples_are_ranked_and_checked_as_they_are_explained(tmp_path: Path) -> None:
    path = save(tmp_path / "m", {"a": FLOAT, "b": FLOAT}, lambda f: (f["a"] * f["b"])[:, None])
    records = [record(a=a, b=a + 1.0) for a in (1.0, 2.0, 3.0)]
    ranking = dx.rank(path, records, target=None, methods=["saliency", "occlusion"], measures=["deletion"])
    assert ranking.examples == 3
    np.testing.assert_array_equal(check_inputs(load_model(path), records).arrays[0], [1, 2, 3])


def test_features_are_inputs_by_name(tmp_path: Path) -> None:
    """Scalars, vectors and integers that are cast; a feature that the output ignores is no input."""
    dense = keras.layers.Dense(3, activation="tanh")
    dense.build((None, 4))
    spec = {
        "height": FLOAT,
        "blood": tf.io.FixedLenFeature([2], tf.float32),
        "age": tf.io.FixedLenFeature([], tf.int64),
        "name": tf.io.FixedLenFeature([], tf.string, default_value=""),
    }

    def call(f: Mapping[str, Any]) -> Any:
        return dense(tf.concat([f["height"][:, None], f["blood"], tf.cast(f["age"], tf.float32)[:, None]], 1))

    path = save(tmp_path / "m", spec, call, dense)
    xs = {"age": RNG.integers(1, 9, 5), "blood": RNG.normal(size=(5, 2)), "height": RNG.normal(size=5)}
    graph = load_model(path)
    assert {i.name: (i.dtype, i.shape) for i in graph.inputs} == {
        "age": ("float32", (None,)), "blood": ("float32", (None, 2)), "height": ("float32", (None,)),
    }  # fmt: skip
    explainer = dx.Explainer("integrated_gradients", path, steps=50)
    records = [record(age=int(a), blood=b, height=h) for a, b, h in zip(*xs.values(), strict=True)]
    features = {name: np.asarray(values, np.float32) for name, values in xs.items()}
    result = explainer.run(features, target=1, return_result=True)
    assert_maps_close(result.score, serve(path, records)[:, 1])
    assert set(result.attributions) == set(xs) and result.attributions["blood"].shape == (5, 2)
    network = keras.Sequential([keras.Input((4,)), dense])
    table = np.concatenate([features["height"][:, None], features["blood"], features["age"][:, None]], 1)
    expected = dx.explain("integrated_gradients", network, table, target=1, steps=50)
    assert_maps_close(result.attributions["age"], expected[:, 3])
    assert_maps_close(result.attributions["blood"], expected[:, 1:3])


@pytest.mark.parametrize("sparse", [False, True])
def test_texts_by_token(tmp_path: Path, sparse: bool) -> None:
    """A fixed or a varying number of token ids."""
    embedding, dense = keras.layers.Embedding(20, 4), keras.layers.Dense(2)
    embedding.build((None,))
    dense.build((None, 4))
    feature = tf.io.VarLenFeature(tf.int64) if sparse else tf.io.FixedLenFeature([6], tf.int64)

    def call(f: Mapping[str, Any]) -> Any:
        ids = tf.sparse.to_dense(f["ids"]) if sparse else f["ids"]
        return dense(tf.reduce_mean(embedding(ids), 1))

    path = save(tmp_path / "m", {"ids": feature}, call, embedding, dense)
    ids = RNG.integers(1, 20, (3, 6))
    result = dx.Explainer("gradient_x_input", path).run({"ids": ids}, target=0, return_result=True)
    assert_maps_close(result.score, serve(path, [record(ids=row) for row in ids])[:, 0])
    network = keras.Sequential(
        [keras.Input((6,), dtype="int32"), embedding, keras.layers.GlobalAveragePooling1D(), dense]
    )
    expected = dx.Explainer("gradient_x_input", network).run(ids, target=0, return_result=True)
    assert_maps_close(result.tokens, expected.tokens)


def test_raw_strings_by_token(tmp_path: Path) -> None:
    text = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["good", "bad", "film"])
    embedding, dense = keras.layers.Embedding(6, 3), keras.layers.Dense(1)
    embedding.build((None,))
    dense.build((None, 3))
    spec = {"review": tf.io.FixedLenFeature([], tf.string)}
    path = save(
        tmp_path / "m", spec, lambda f: dense(tf.reduce_mean(embedding(text(f["review"])), 1)), text, embedding, dense
    )
    result = dx.Explainer("gradient_x_input", path).run({"review": np.array(["good film", "bad"])}, return_result=True)
    assert result.tokens.shape == (2, 4) and result.tokens[0, 0] != result.tokens[1, 0]
    assert_maps_close(result.score, serve(path, [record(review="good film"), record(review="bad")])[:, 0])


def test_a_model_that_uses_the_batch_size_of_the_serialized_examples(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def signature(examples: Any) -> dict[str, Any]:
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([3], tf.float32)})["x"]
        return {"scores": tf.reshape(x, [tf.shape(examples)[0], 3]) ** 2}

    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": signature})
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    maps = dx.explain("gradient_x_input", str(tmp_path / "m"), {"x": x}, target=2)
    np.testing.assert_allclose(maps["x"], 2 * x**2 * [0, 0, 1], rtol=1e-5)


def test_an_example_may_lack_features_with_a_default(tmp_path: Path) -> None:
    spec = {
        "dose": tf.io.FixedLenFeature([], tf.float32, default_value=2.5),
        "sites": tf.io.FixedLenFeature([3], tf.float32, default_value=[1.0, 2.0, 3.0]),
        "weight": FLOAT,
    }
    path = save(tmp_path / "m", spec, lambda f: f["dose"][:, None] * f["sites"] + f["weight"][:, None])
    parse = ExampleParser(load_model(path).inputs).parse
    inputs = parse(record(weight=1.0), "1").inputs
    assert inputs["dose"] == 2.5 and inputs["sites"].tolist() == [1, 2, 3] and inputs["weight"] == 1
    assert parse(record(weight=1.0, dose=4.0), "1").inputs["dose"] == 4
    with pytest.raises(InputError, match="it has no feature 'weight'"):
        parse(record(dose=1.0), "1")


def test_serialized_examples_in_python(tmp_path: Path) -> None:
    """They give the maps of their features, and features with a default may be left out of both forms."""
    spec = {
        "dose": tf.io.FixedLenFeature([], tf.float32, default_value=2.5),
        "age": tf.io.FixedLenFeature([], tf.int64),
        "ids": tf.io.VarLenFeature(tf.int64),
        "note": tf.io.FixedLenFeature([2], tf.string),  # no output depends on it
    }
    table = tf.Variable(RNG.normal(size=(5, 2)), dtype=tf.float32)

    def call(f: Mapping[str, Any]) -> Any:
        words = tf.reduce_sum(tf.nn.embedding_lookup(table, tf.sparse.to_dense(f["ids"])), 1)
        return tf.tanh(words * f["dose"][:, None] + 0.1 * tf.cast(f["age"], tf.float32)[:, None])

    path = save(tmp_path / "m", spec, call, table)
    ids = np.array([[1, 2], [4, 3]])
    explainer = dx.Explainer("gradient_x_input", path, target=1)
    records = [record(age=n, ids=row, note=["a", "b"]) for n, row in enumerate(ids, 3)]
    result = explainer.run(records, return_result=True)
    assert_maps_close(result.score, serve(path, records)[:, 1])
    assert result.warnings == [[]] * 2
    values = {"age": np.array([3.0, 4.0]), "ids": ids}
    for xs in (values, values | {"dose": np.array([2.5, 2.5])}, np.array(records, object), tf.constant(records)):
        same = explainer.run(xs, return_result=True)
        tf.nest.map_structure(np.testing.assert_array_equal, same.attributions, result.attributions)
    with pytest.raises(InputError, match="feature ids has from 1 to 2 values in these"):
        explainer.run([records[0], record(age=1, ids=[1], note=["a", "b"])])
    with pytest.raises(InputError, match=r"tf\.Examples that the model cannot parse: .*age"):
        explainer.run([record(ids=[1], note=["a", "b"])])
    with pytest.raises(InputError, match="age"):
        explainer.run({"ids": ids})


def test_a_signature_chosen_by_name_is_also_entered_at_its_features(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def parsing(examples: Any) -> dict[str, Any]:
        return {"scores": 3 * tf.io.parse_example(examples, {"x": FLOAT})["x"][:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="columns")])
    def plain(columns: Any) -> dict[str, Any]:
        return {"scores": columns}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"parsing": parsing, "serving_default": plain})
    assert [i.name for i in load_model(str(tmp_path)).inputs] == ["columns"]
    assert [i.name for i in load_model(str(tmp_path), signature="parsing").inputs] == ["x"]


def test_features_that_cannot_be_explained_are_refused(tmp_path: Path) -> None:
    ragged = {"words": tf.io.RaggedFeature(tf.float32)}
    path = save(tmp_path / "ragged", ragged, lambda f: tf.reduce_sum(f["words"], 1)[:, None])
    with pytest.raises(UnsupportedModelError, match=r"ragged features \(words\).*FixedLenFeature or VarLenFeature"):
        load_model(path)
    path = save(tmp_path / "nothing", {"x": FLOAT}, lambda f: tf.ones([2, 3]))
    with pytest.raises(UnsupportedModelError, match="depends on none of the features that the model parses"):
        load_model(path)
    pixels = {"png": tf.io.FixedLenFeature([], tf.string)}

    def decode(f: Mapping[str, Any]) -> Any:
        decode_one = lambda png: tf.cast(tf.io.decode_png(png, 1)[:2, :2], tf.float32)  # noqa: E731
        return tf.reduce_sum(
            tf.map_fn(decode_one, f["png"], fn_output_signature=tf.TensorSpec([2, 2, 1], tf.float32)), [1, 2]
        )

    with pytest.raises(DeepExplainError):
        dx.explain("saliency", save(tmp_path / "png", pixels, decode), {"png": np.array([b"no"])})
