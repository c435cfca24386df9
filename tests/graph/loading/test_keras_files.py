"""Keras files, most of them of Keras 2: each means what it meant to the Keras that wrote it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tb_deepexplain as dx
from tests.closeness import assert_maps_close
from tests.graph.loading import keras_2_models
from tests.graph.loading.comparison import IDS, assert_same_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:the explained output is a softmax"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


@pytest.mark.parametrize(
    ("form", "source"),
    [
        ("object", "Keras 2 model 'old'"),
        ("h5", "h5 (Keras 2)"),
        ("keras", "keras (Keras 2)"),
        ("saved_model", "saved_model"),
    ],
)
def test_every_form_of_a_keras_2_model(form: str, source: str, tmp_path: Path) -> None:
    model = keras_2_models.functional()
    path = tmp_path / f"model.{form}"
    if form != "object":
        model.save(path, save_format="tf" if form == "saved_model" else None)
    graph = assert_same_model(model if form == "object" else path, model)
    inner = tf_keras.Model(model.inputs, model.get_layer("hidden_1").output)
    assert_same_model(graph, inner, output="hidden_1")
    assert source in graph.source


@pytest.mark.parametrize("options", [{}, {"recurrent_activation": "hard_sigmoid"}], ids=["time_major", "hard_sigmoid"])
@pytest.mark.parametrize("suffix", ["h5", "hdf5", "keras"])
def test_text_models_of_keras_2_keep_their_meaning(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, path = keras_2_models.text(**options), tmp_path / f"model.{suffix}"
    model.save(path, save_format="h5" if suffix == "hdf5" else None)
    graph = dx.load_model(path)
    assert graph.source == f"{path} (Keras 2)"
    predictions = dx.Explainer("saliency", graph).predict(IDS)
    assert_maps_close(predictions.outputs, model(IDS))
    np.testing.assert_array_equal(predictions.token_ids, IDS)
    embedded = tf.gather(model.get_layer("embedding").embeddings, IDS)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        score = model.get_layer("head")(model.get_layer("lstm")(embedded, mask=tf.constant(IDS != 0)))[:, 1]
    expected = (embedded * tape.gradient(score, embedded)).numpy()
    result = dx.explain("gradient_x_input", graph, IDS, target=1, return_result=True)
    assert_maps_close(result.attributions, expected)


def _remove_time_major(path: Path) -> None:
    """As older versions of Keras 2 wrote the file, so that Keras 3 can read it."""
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"time_major": false, ', "")


def test_keras_2_loads_what_keras_3_would_silently_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.h5"
    model = keras_2_models.text(recurrent_activation="hard_sigmoid")
    model.save(path)
    _remove_time_major(path)
    changed = keras.models.load_model(path, compile=False)(IDS)
    assert abs(changed - model(IDS)).numpy().max() > 1e-4, "Keras 3 computes something else"
    outputs = dx.Explainer("saliency", path).predict(IDS).outputs
    assert_maps_close(outputs, model(IDS))
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(
        dx.UnsupportedModelError, match=r"hard_sigmoid.*the extra keras2 \(pip install '.*\[keras2\]'\) reads it"
    ):
        dx.load_model(path)


def _masked(layer: Any) -> tf_keras.Model:
    """The mean of an embedding with a mask, behind this layer."""
    ids = tf_keras.Input((5,), name="ids")
    x = layer(tf_keras.layers.Embedding(9, 4, mask_zero=True, embeddings_initializer="normal")(ids))
    return tf_keras.Model(ids, tf_keras.layers.GlobalAveragePooling1D()(x))


def _half_masked() -> tf_keras.Model:
    """The mean of a sum of embeddings, of which one has a mask."""
    ids = tf_keras.Input((5,), name="ids")
    masked, plain = (
        tf_keras.layers.Embedding(9, 4, mask_zero=m, embeddings_initializer="normal") for m in (True, False)
    )
    x = tf_keras.layers.Add()([masked(ids), plain(ids)])
    return tf_keras.Model(ids, tf_keras.layers.GlobalAveragePooling1D()(x))


def _noisy() -> tf_keras.Model:
    ids = tf_keras.Input((5,), name="ids")
    x = tf_keras.layers.BatchNormalization()(tf_keras.layers.Rescaling(0.1)(ids), training=True)
    return tf_keras.Model(ids, tf_keras.layers.Dense(2)(x))


def _of_open_length() -> tf_keras.Model:
    layers = [tf_keras.layers.Embedding(9, 4), tf_keras.layers.TimeDistributed(tf_keras.layers.Dense(2, "tanh"))]
    return tf_keras.Sequential([tf_keras.Input((None,)), *layers, tf_keras.layers.GlobalAveragePooling1D()])


_CHANGED = {
    "rescaled": (lambda: _masked(tf_keras.layers.Rescaling(2.0)), "masks pass Rescaling in another way"),
    "sum": (_half_masked, "masks pass Add in another way"),
    "training": (_noisy, "it forgets that a layer is called with training=True"),
}


@pytest.mark.parametrize("name", [*_CHANGED, "open length"])
def test_what_keras_3_would_change_in_other_models(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, message = _CHANGED.get(name, (_of_open_length, ""))
    model, path = build(), tmp_path / "model.h5"
    model.save(path)
    graph = dx.load_model(path)
    explainer = dx.Explainer("saliency", graph, target=0, check_batch=False)
    assert_maps_close(explainer.predict(IDS).outputs, model(IDS, training=False))
    assert graph.warnings == ()
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    if message:
        changed = keras.models.load_model(path, compile=False)(IDS, training=False)
        assert abs(changed - model(IDS, training=False)).numpy().max() > 1e-3, "Keras 3 computes something else"
        with pytest.raises(dx.UnsupportedModelError, match=message):
            dx.load_model(path)
        return
    result = dx.explain("saliency", path, IDS, target=0, return_result=True)
    assert_maps_close(result.score, model(IDS)[:, 0])
    assert all("written by Keras 2 and is read by Keras 3, which may" in warnings[0] for warnings in result.warnings)


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    model = keras_2_models.functional()
    model.save_weights(tmp_path / "weights.h5")
    (tmp_path / "noise.h5").write_bytes(b"noise")
    tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Lambda(lambda x: x)]).save(tmp_path / "lambda.h5")

    class Custom(tf_keras.layers.Dense):
        pass

    tf_keras.Sequential([tf_keras.Input((3,)), Custom(2)]).save(tmp_path / "custom.h5")
    for name, message in {
        "weights": "holds weights without a model: load them",
        "noise": "Keras cannot load",
        "lambda": "holds a Lambda layer, .* if you trust it, load it with tf_keras and give the model",
        "custom": "no Keras can load .*Keras 3: .*Custom.*; Keras 2 cannot load it: .*Custom.*; if it needs classes of your own, name them",
    }.items():
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(tmp_path / f"{name}.h5")
        assert "\n" not in str(caught.value)
