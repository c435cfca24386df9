"""The labels of a training's examples, in the forms that Keras takes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from tb_deepexplain.errors import InputError
from tb_deepexplain.store.reader import Store
from tb_deepexplain.training.callback import AttributionCallback
from tests.training.trainings import NUMBERS, numeric, store_directory

X, CLASSES = NUMBERS[:3], [2, 0, 1]
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]


def labels_of(tmp_path: Path, examples: Any, model: keras.Model | None = None, **options: Any) -> list[Any]:
    """The labels that a training begins with."""
    callback = AttributionCallback(tmp_path, examples, ["saliency"], **options)
    callback.set_model(model or numeric())
    callback.on_train_begin()
    return [example.label for example in callback._examples]


def batches(*parts: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts).batch(2)


@pytest.mark.parametrize(
    ("examples", "options"),
    [
        (X, {"labels": ONE_HOT}),
        (X, {"labels": np.array(CLASSES, "float32")[:, None]}),
        (X, {"labels": ["c", "a", "b"], "class_names": ["a", "b", "c"]}),
        ((X, np.array(CLASSES)), {}),
        (batches(X, ONE_HOT), {}),
        (batches(X, np.array(CLASSES)[:, None], np.ones(3)), {}),
        (batches(X, np.array(CLASSES)).repeat(), {"max_examples": 3}),
        (((x, y) for x, y in zip(X, CLASSES, strict=True)), {}),
        (((X[i : i + 2], ONE_HOT[i : i + 2]) for i in (0, 2)), {}),
        ((pd.DataFrame(X), pd.Series(CLASSES, dtype="Int64")), {}),
    ],
)
def test_one_class_each(tmp_path: Path, examples: Any, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", ".*the sample weight is not used")
        assert labels_of(tmp_path, examples, **options) == CLASSES


def test_labels_win_over_targets_beside_the_examples(tmp_path: Path) -> None:
    assert labels_of(tmp_path, (X, np.array(CLASSES)), labels=[1, 1, 1]) == [1, 1, 1]


def test_the_targets_of_one_output(tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(1, name="size")(x)})
    data = batches(X, {"kind": np.array(CLASSES), "size": np.array([0.5, 1.5, 2.5])})
    assert labels_of(tmp_path, data, model, output="kind") == CLASSES
    assert labels_of(tmp_path, data, model, output="size") == [0.5, 1.5, 2.5]


def test_the_targets_of_another_output_are_no_labels(tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(3, name="size")(x)})
    for names in (["size"], ["size", "price"]):
        data = batches(X, dict.fromkeys(names, np.array(CLASSES)))
        with pytest.warns(
            UserWarning, match=f"not stored as labels: labels of {', '.join(names)}, and kind is explained"
        ):
            assert labels_of(tmp_path, data, model, output="kind") == [None] * 3
        with pytest.raises(InputError, match="labels of size"):
            labels_of(tmp_path, data, model, output="kind", target="label")
        assert labels_of(tmp_path, data, model, output="kind", labels=CLASSES) == CLASSES
    assert labels_of(tmp_path, batches(X, {"other": np.array(CLASSES)}), model, output="kind") == CLASSES


def test_several_classes_each(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="sigmoid")])
    rows = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert labels_of(tmp_path, (X, rows), model) == [(0, 2), (), (1,)]


def test_several_classes_of_a_model_with_one(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not stored as labels: .*classes exclude each other"):
        assert labels_of(tmp_path, (X, np.ones((3, 3)))) == [None] * 3


def test_quantities_of_a_regression(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = np.array([[0.25], [1], [-3]], "float32")
    callback = AttributionCallback(tmp_path, (X, y), ["saliency"])
    model.fit(X, y, verbose=0, callbacks=[callback])
    store = Store(store_directory(tmp_path))
    assert store.index["label_name"].to_pylist() == ["0.25", "1", "-3"]
    assert store.index["label"].to_pylist() == [None] * 3
    assert [row["label"] for row in store.inputs([0, 1, 2])] == [None] * 3


def test_targets_that_are_no_labels_are_left_out_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="targets beside the examples are not stored as labels: .*got rows of 4"):
        assert labels_of(tmp_path, (X, X)) == [None] * 3  # as an autoencoder is trained
    with pytest.raises(InputError, match="got rows of 4; the model has 3 classes"):
        labels_of(tmp_path, (X, X), target="label")


def test_what_is_done_to_examples_is_said(tmp_path: Path) -> None:
    ids = keras.Input((None,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids))
    callback = AttributionCallback(tmp_path, [[1, 2], [3]], ["saliency"])
    callback.set_model(keras.Model(ids, layers.Dense(2)(pooled)))
    with pytest.warns(UserWarning, match="1 of 2 examples: padded at the end with 0"):
        callback.on_train_begin()


def test_a_generator_is_read_once(tmp_path: Path) -> None:
    """A second `fit` explains the same examples."""
    callback = AttributionCallback(tmp_path, (x for x in X), ["saliency"])
    callback.set_model(numeric())
    for _ in range(2):
        callback.on_train_begin()
        assert [value.tolist() for e in callback._examples for value in e.inputs.values()] == X.tolist()
