"""Models with several inputs: names, values and superpixels belong to the right one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.evaluation.superpixels import superpixels
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording import map_measures
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.store.records import split_map, value_names


def test_a_column_of_several_categories_has_one_value_beside_a_picture() -> None:
    genres, age = keras.Input((3,), dtype="string", name="genres"), keras.Input((1,), name="age")
    photo = keras.Input((4, 4, 1), name="photo")
    encoded = layers.StringLookup(vocabulary=["action", "drama"], output_mode="multi_hot")(genres)
    outputs = layers.Dense(2)(layers.Concatenate()([encoded, age, layers.Flatten()(photo)]))
    explainer = BatchExplainer(
        make_request("", ["gradient_x_input"]), load_model(keras.Model([genres, age, photo], outputs))
    )
    xs = {
        "genres": np.array(["action", "drama", ""], object),
        "age": np.array([3], np.float32),
        "photo": np.ones((4, 4, 1), np.float32),
    }
    records = explainer.explain([Example("a", xs)])
    (shown,), (row,) = records.inputs, records.attributions
    values = split_map(row.values, row.parts or [])
    shapes = {one["name"]: one["shape"] for one in shown.inputs}
    assert shapes == {"genres": [], "age": [1], "photo": [4, 4, 1]}
    for part in shown.parts or ():
        if part.modality == "tabular":
            names = value_names([one for one in shown.inputs if one["name"] == part.input], part.features)
            assert names == [part.input] and len(part.values or ()) == values[part.input].size == 1


def _two_pictures() -> keras.Model:
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((6, 6, 1), name="right")
    return keras.Model([left, right], layers.Dense(2)(layers.Flatten()(layers.Concatenate()([left, right]))))


def test_superpixels_are_those_of_the_picture_that_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    divided: list[np.ndarray] = []

    def divide(images: np.ndarray, count: int) -> np.ndarray:
        divided.append(images)
        return superpixels(images, count)

    monkeypatch.setattr(map_measures, "superpixels", divide)
    request = make_request("", ["gradient_x_input"], measures=["deletion"], superpixels=4, inputs=["right"])
    explainer = BatchExplainer(request, load_model(_two_pictures()))
    rng = np.random.default_rng(0)
    xs = {name: rng.normal(size=(6, 6, 1)).astype(np.float32) for name in ("left", "right")}
    records = explainer.explain([Example("a", xs)])
    assert not records.errors
    np.testing.assert_array_equal(divided[0], xs["right"][None])


def test_superpixels_of_pictures_that_the_model_decodes_are_refused() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "encoded")])
    def decode(encoded: tf.Tensor) -> tf.Tensor:
        decoded = tf.map_fn(lambda one: tf.io.decode_png(one, 3), encoded, fn_output_signature=tf.uint8)
        return tf.reduce_sum(tf.cast(tf.reshape(decoded, [-1, 4, 4, 3]), tf.float32), [1, 2])

    request = make_request("", ["gradient_x_input"], measures=["deletion"], superpixels=4)
    with pytest.raises(ParameterError, match="the model decodes its pictures"):
        BatchExplainer(request, load_model(decode))


def test_ids_are_shown_digit_by_digit() -> None:
    user, tags = keras.Input((1,), dtype="int64", name="user"), keras.Input((2,), dtype="int64", name="tags")
    encoded = [
        layers.Flatten()(layers.Embedding(8, 3)(layers.Hashing(8)(user))),
        layers.IntegerLookup(vocabulary=[1234567, 2], output_mode="multi_hot")(tags),
    ]
    model = keras.Model([user, tags], layers.Dense(2)(layers.Concatenate()(encoded)))
    explainer = BatchExplainer(make_request("", ["occlusion"]), load_model(model))
    xs = {"user": np.array([16777217]), "tags": np.array([1234567, 2])}  # float32 holds 16777216
    records = explainer.explain([Example("a", xs), Example("b", {"user": np.array([5]), "tags": np.array([2, 2])})])
    large, small = records.inputs
    assert (large.texts, small.texts) == (["1234567, 2", "16777217"][::-1], [None, "2, 2"])
    assert (large.values, small.values) == ([16777217, None], [5, None])
