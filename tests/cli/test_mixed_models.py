"""Models with several inputs of any kinds: a map for each input in the store, equal to the explainer's, and what is shown of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

import tb_deepexplain as dx
from tb_deepexplain.store.records import split_map
from tests.closeness import assert_map_close
from tests.pipeline_runs import Run, write_records

VOCABULARY = ["", "cheap", "old", "new", "house", "garden"]
CITIES = ["Bern", "Graz"]


def house_model() -> keras.Model:
    """A picture, token ids, two numbers and a category → three classes."""
    keras.utils.set_random_seed(5)
    photo = keras.Input((8, 8, 3), name="photo")
    words = keras.Input((5,), dtype="int64", name="words")
    numbers, city = keras.Input((2,), name="numbers"), keras.Input((1,), dtype="string", name="city")
    parts = [
        layers.Flatten()(layers.Conv2D(2, 4, strides=4, activation="relu")(layers.Rescaling(1 / 255)(photo))),
        layers.GlobalAveragePooling1D()(layers.Embedding(6, 4, embeddings_initializer="normal")(words)),
        numbers,
        layers.StringLookup(vocabulary=CITIES, output_mode="one_hot")(city),
    ]
    outputs = layers.Dense(3, activation="softmax", kernel_initializer="normal")(layers.Concatenate()(parts))
    return keras.Model([photo, words, numbers, city], outputs)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "house"
    house_model().export(path, verbose=False)
    return path


def houses(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "photo": rng.integers(0, 256, (count, 8, 8, 3)).astype(np.float32),
        "words": np.array([[1, 4, 0, 0, 0], [2, 4, 5, 0, 0], [3, 4, 0, 0, 0], [5, 0, 0, 0, 0]])[np.arange(count) % 4],
        "numbers": rng.normal(size=(count, 2)).astype(np.float32),
        "city": np.array([["Bern"], ["Graz"], ["Rome"]])[np.arange(count) % 3],
    }


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def records(xs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {
            "photo": png(xs["photo"][i]),
            "words": xs["words"][i],
            "numbers": xs["numbers"][i],
            "city": str(xs["city"][i, 0]),
        }
        for i in range(len(xs["photo"]))
    ]


def test_a_picture_beside_text_numbers_and_a_category(house: Path, tmp_path: Path) -> None:
    xs = houses(6)
    (tmp_path / "vocabulary").write_text("\n".join(VOCABULARY) + "\n")
    source, run = write_records(tmp_path / "a.tfrecord", records(xs)), Run(house, tmp_path / "logs")
    methods = "integrated_gradients,occlusion"
    assert run(source, f"--vocab={tmp_path / 'vocabulary'}", "--measures=deletion", methods=methods) == 0
    manifest = run.store.manifest
    assert (manifest["modality"], manifest["counts"]) == ("mixed", {"examples": 6, "maps": 12, "errors": 0})
    axes = {one["name"]: one["axes"] for one in manifest["inputs"]}
    assert axes == {
        "photo": ["height", "width", "channel"],
        "words": ["token"],
        "numbers": ["feature"],
        "city": ["feature"],
    }
    maps = run.maps()
    for method in methods.split(","):
        result = dx.Explainer(method, str(house)).run(xs, return_result=True)
        for i in range(6):
            row, values, shown = next(
                rows for (id_, name, _), rows in maps.items() if (id_, name) == (f"a:{i:06d}", method)
            )
            stored = split_map(values, row["parts"])
            assert {name: one.shape for name, one in stored.items()} == {
                "photo": (8, 8, 3),
                "words": (5,),
                "numbers": (2,),
                "city": (1,),
            }
            expected = {**{name: result.attributions[name][i] for name in xs}, "words": result.tokens[i]}
            whole = np.concatenate([np.ravel(expected[name]) for name in stored])
            assert_map_close(values, whole, share=1e-3)
            assert row["score"] == pytest.approx(float(result.score[i]), rel=1e-4)
            assert np.isfinite(row["deletion"])
            assert [part["input"] for part in shown["parts"]] == list(stored)
            parts = {part["input"]: part for part in shown["parts"]}
            photo, words, numbers, city = (parts[name] for name in xs)
            assert [part["modality"] for part in (photo, words, numbers, city)] == [
                "image",
                "text",
                "tabular",
                "tabular",
            ]
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(photo["image"]))), xs["photo"][i])
            assert words["tokens"] == [VOCABULARY[token] for token in xs["words"][i]]
            np.testing.assert_allclose(numbers["values"], xs["numbers"][i])
            assert (city["values"], city["texts"]) == ([None], [xs["city"][i, 0]])


def test_some_inputs_alone(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xs = houses(3)
    source = write_records(tmp_path / "a.tfrecord", records(xs))
    run = Run(house, tmp_path / "photo")
    assert run(source, "--inputs=photo", methods="gradient_x_input") == 0
    assert (run.store.manifest["modality"], run.store.manifest["model"]["inputs"]) == ("image", ["photo"])
    expected = dx.explain("gradient_x_input", str(house), xs, inputs="photo")
    for i, (_, values, shown) in enumerate(run.maps().values()):
        assert_map_close(values, expected["photo"][i] if isinstance(expected, dict) else expected[i], share=1e-3)
        assert shown["parts"] is None and shown["image"].startswith(b"\x89PNG")
    table = Run(house, tmp_path / "table")
    assert table(source, "--inputs=numbers,city", methods="occlusion") == 0
    assert table.store.manifest["modality"] == "tabular"
    for i, (row, values, shown) in enumerate(table.maps().values()):
        assert row["parts"] == [{"input": "city", "shape": [1]}, {"input": "numbers", "shape": [2]}]
        assert values.shape == (3,)
        assert shown["values"][1:] == pytest.approx(xs["numbers"][i].tolist()) and shown["values"][0] is None
        assert shown["texts"] == [xs["city"][i, 0], None, None]
        assert [one["name"] for one in shown["inputs"]] == ["city", "numbers"]
    assert table(source, "--inputs=sound", "--overwrite", methods="occlusion") == 2
    assert "sound" in capsys.readouterr().err
    assert table(source, "--inputs=numbers", "--resume", methods="occlusion") == 2
    assert 'inputs was ["numbers", "city"], now ["numbers"]' in capsys.readouterr().err


def test_two_texts_and_two_pictures(tmp_path: Path) -> None:
    keras.utils.set_random_seed(6)
    words, kinds = keras.Input((4,), dtype="int32", name="words"), keras.Input((4,), dtype="int32", name="kinds")
    left, right = keras.Input((4, 4, 1), name="left"), keras.Input((4, 4, 1), name="right")
    embedded = layers.Embedding(6, 3, name="w")(words) + layers.Embedding(2, 3, name="k")(kinds)
    features = [layers.Flatten()(embedded), layers.Flatten()(left), layers.Flatten()(right)]
    keras.Model([words, kinds, left, right], layers.Dense(2)(layers.Concatenate()(features))).export(
        tmp_path / "m", verbose=False
    )
    (tmp_path / "vocabulary").write_text("\n".join(VOCABULARY) + "\n")
    row = {"words": [1, 4, 5, 0], "kinds": [0, 1, 1, 0], "left": np.arange(16.0), "right": np.full(16, 2.0), "label": 1}
    run = Run(tmp_path / "m", tmp_path / "logs")
    assert (
        run(
            write_records(tmp_path / "a.tfrecord", [row]),
            f"--vocab={tmp_path / 'vocabulary'}",
            methods="gradient_x_input",
        )
        == 0
    )
    ((stored, values, shown),) = run.maps().values()
    parts = {part["input"]: part for part in shown["parts"]}
    assert list(parts) == ["kinds", "left", "right", "words"]
    assert parts["words"]["tokens"] == ["cheap", "house", "garden", ""]
    assert parts["kinds"]["tokens"] == ["0", "1", "1", ""]
    for name in ("left", "right"):
        assert parts[name]["image"].startswith(b"\x89PNG")
    maps = split_map(values, stored["parts"])
    xs = {
        name: np.asarray(value, np.float32).reshape(1, 4, 4, 1)
        for name, value in row.items()
        if name in ("left", "right")
    }
    xs |= {name: np.array([row[name]], np.int32) for name in ("words", "kinds")}
    result = dx.Explainer("gradient_x_input", str(tmp_path / "m")).run(xs, return_result=True)
    for name in ("left", "right"):
        assert_map_close(maps[name], result.attributions[name][0], share=1e-3)
    assert_map_close(
        np.stack([maps["kinds"], maps["words"]]), np.stack([tokens[0] for tokens in result.tokens]), share=1e-3
    )


def test_a_table_of_numbers_and_categories_from_csv(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    age, cabin = keras.Input((1,), name="age"), keras.Input((1,), dtype="bool", name="cabin")
    city, pclass = keras.Input((1,), dtype="string", name="city"), keras.Input((1,), dtype="int64", name="pclass")
    encoded = [
        age,
        layers.StringLookup(vocabulary=CITIES, output_mode="one_hot")(city),
        layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot")(pclass),
        keras.ops.cast(cabin, "float32"),
    ]
    hidden = layers.Dense(4, activation="tanh")(layers.Concatenate()(encoded))
    keras.Model([age, city, pclass, cabin], layers.Dense(1, activation="sigmoid")(hidden)).export(
        tmp_path / "m", verbose=False
    )
    (tmp_path / "a.csv").write_text("age,city,pclass,cabin,label\n0.5,Bern,1,True,1\n-1,Graz,3,False,0.0\n")
    run = Run(tmp_path / "m", tmp_path / "logs")
    assert (
        run(tmp_path / "a.csv", "--only=id:*", "--labels=lost,saved", methods="integrated_gradients,shapley_sampling")
        == 0
    )
    assert (run.store.manifest["modality"], run.store.manifest["counts"]["maps"]) == ("tabular", 4)
    xs = {
        "age": np.array([[0.5], [-1]], np.float32), "city": np.array([["Bern"], ["Graz"]]),
        "pclass": np.array([[1], [3]]), "cabin": np.array([[True], [False]]),
    }  # fmt: skip
    expected = dx.explain("integrated_gradients", str(tmp_path / "m"), xs, target="predicted")
    rows = [rows for (_, method, _), rows in run.maps().items() if method == "integrated_gradients"]
    for i, (row, values, shown) in enumerate(rows):
        assert row["label"] == 1 - i
        assert_map_close(values, np.array([expected[name][i, 0] for name in sorted(xs)]), share=1e-3)
        assert shown["values"] == [xs["age"][i, 0], xs["cabin"][i, 0], None, xs["pclass"][i, 0]]
        assert shown["texts"] == [None, None, xs["city"][i, 0], None]


def test_an_input_that_a_method_cannot_explain_has_no_numbers_and_a_warning(tmp_path: Path) -> None:
    keras.utils.set_random_seed(9)
    x, flag = keras.Input((3,), name="x"), keras.Input((1,), dtype="bool", name="flag")
    chosen = keras.ops.where(flag, x, -2.0 * x)
    keras.Model([x, flag], layers.Dense(2)(chosen)).export(tmp_path / "m", verbose=False)
    (tmp_path / "a.jsonl").write_text('{"x": [1, 2, 3], "flag": true, "label": 0}\n')
    run = Run(tmp_path / "m", tmp_path / "logs")
    assert run(tmp_path / "a.jsonl", methods="gradient_x_input,occlusion") == 0
    by_method = {method: rows for (_, method, _), rows in run.maps().items()}
    gradient, occlusion = (
        split_map(by_method[method][1], by_method[method][0]["parts"]) for method in ("gradient_x_input", "occlusion")
    )
    assert np.isnan(gradient["flag"]).all() and np.isfinite(gradient["x"]).all()
    assert "flag" in " ".join(by_method["gradient_x_input"][0]["warnings"])
    assert np.isfinite(occlusion["flag"]).all() and occlusion["flag"].all()
    np.testing.assert_allclose(gradient["x"], occlusion["x"], rtol=1e-3)  # without the flag the model is linear
    assert by_method["occlusion"][0]["disagreement"] == pytest.approx(0, abs=1e-6)


def test_pictures_of_whole_numbers_and_pictures_that_the_model_decodes(tmp_path: Path) -> None:
    keras.utils.set_random_seed(8)
    pixels = keras.Input((4, 4, 3), dtype="uint8", name="pixels")
    network = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)])
    keras.Model(pixels, network(pixels)).export(tmp_path / "whole", verbose=False)

    class Decoding(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "encoded")])
        def decode(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            decoded = tf.map_fn(lambda one: tf.io.decode_png(one, 3), encoded, fn_output_signature=tf.uint8)
            return {"logits": self.network(tf.cast(tf.reshape(decoded, [-1, 4, 4, 3]), tf.float32))}

    decoding = Decoding()
    decoding.network = network
    tf.saved_model.save(decoding, str(tmp_path / "decoding"), {"serving_default": decoding.decode})
    picture = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    expected = dx.explain("gradient_x_input", network, picture[None].astype(np.float32), target="predicted")[0]
    for model, feature in (("whole", "pixels"), ("decoding", "encoded")):
        run = Run(tmp_path / model, tmp_path / f"logs {model}")
        source = write_records(tmp_path / f"{model}.tfrecord", [{feature: png(picture)}])
        assert run(source, methods="gradient_x_input") == 0
        assert run.store.manifest["modality"] == "image"
        ((_, values, shown),) = run.maps().values()
        assert_map_close(values, expected, share=1e-3)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown["image"]))), picture)


LAYERS = """
import keras

class Scale(keras.layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return super().get_config() | {"factor": self.factor}

def softish(x):
    return keras.ops.softplus(x) - 1
"""


def test_a_keras_file_with_classes_of_the_user_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_layers.py").write_text(LAYERS)
    namespace: dict[str, Any] = {}
    exec(LAYERS, namespace)
    inputs = keras.Input((3,), name="x")
    scaled = namespace["Scale"](2.0)(layers.Dense(2, activation=namespace["softish"])(inputs))
    keras.Model(inputs, scaled).save(tmp_path / "m.keras")
    (tmp_path / "a.jsonl").write_text(json.dumps({"x": [1, 2, 3]}) + "\n")
    run = Run(tmp_path / "m.keras", tmp_path / "logs")
    assert run(tmp_path / "a.jsonl", methods="saliency") == 2
    assert "name them (--custom_objects module:Class)" in capsys.readouterr().err
    both = ["--custom_objects=own_layers:Scale", "--custom_objects=own_layers:softish"]
    assert run(tmp_path / "a.jsonl", *both, methods="saliency") == 0
    assert run.store.manifest["model"]["custom_objects"] == ["own_layers:Scale", "own_layers:softish"]
    assert run.store.manifest["counts"]["maps"] == 1
    assert run(tmp_path / "a.jsonl", "--custom_objects=own_layers:Skale", "--overwrite", methods="saliency") == 2
    assert "custom_objects own_layers:Skale: AttributeError" in capsys.readouterr().err
