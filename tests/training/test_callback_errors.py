"""Mistakes are raised before the first batch; later failures are warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tb_deepexplain.errors import InputError, ParameterError, StoreError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.writer import StoreWriter
from tb_deepexplain.training.callback import AttributionCallback
from tests import models
from tests.training.trainings import (
    NUMBERS,
    TEXT_LABELS,
    TEXTS,
    At,
    served,
    steps,
    store_directory,
    train,
)


def test_a_later_failure_warns_once_and_training_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = StoreWriter.append

    def full(self: StoreWriter, unit: str, *rest: Any) -> Any:
        if unit.endswith(("1", "2")):
            raise StoreError("the disk is full; make room")
        return write(self, unit, *rest)

    monkeypatch.setattr(StoreWriter, "append", full)
    with pytest.warns(
        UserWarning, match=r"no attributions of step 1: StoreError: the disk is full.*Training goes on"
    ) as warned:
        train(tmp_path, 4)
    assert len(warned) == 1
    assert steps(tmp_path) == [0, 3]


def test_maps_that_are_not_finite_are_errors_with_a_warning(tmp_path: Path) -> None:
    def spoil(model: keras.Model, epoch: int) -> None:
        if epoch == 0:
            model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])

    with pytest.warns(UserWarning, match="2 of 2 examples could not be explained at step 1: NotFinite") as warned:
        train(tmp_path, 3, more=[At(spoil)])
    assert len(warned) == 1
    assert served(tmp_path).steps == [0]
    store = Store(store_directory(tmp_path))
    assert store.manifest["counts"] == {"examples": 2, "maps": 2, "errors": 4}
    assert store.errors()["message"].to_pylist()[0].startswith("step 1: the model's output or a map is NaN")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ParameterError, "every=0: expected a whole number of at least 1"),
        ({"every_steps": True}, ParameterError, "every_steps=True: expected"),
        ({"every": 1, "every_steps": 1}, ParameterError, "got both every .epochs. and every_steps .batches.; give one"),
        ({"if_exists": "append"}, ParameterError, "if_exists='append': expected one of 'refuse', 'overwrite', 'new run'"),
        ({"overwrite": True}, ParameterError, "got overwrite=; write if_exists='overwrite'"),
        ({"measures": ["deltion"]}, ValueError, "did you mean deletion"),
        ({"measures": ["deletion"], "superpixels": 4}, ParameterError, "superpixels are parts of pictures"),
        ({"output": "kind"}, ParameterError, "the model has no output 'kind'; it has output_0"),
        ({"name": "a/b"}, ParameterError, "name 'a/b': expected letters"),
        ({"run": "train"}, ParameterError, "run='train' is where keras.callbacks.TensorBoard writes"),
        ({"methods": []}, ParameterError, "expected different methods, at least one"),
        ({"methods": ["salency"]}, UnknownMethodError, "did you mean saliency"),
        ({"methods": {"saliency": {"steps": 3}}}, ParameterError, "saliency has no parameter 'steps'"),
        ({"baseline": 0.0}, ParameterError, "baseline: none of saliency takes one; leave it out"),
        ({"target": "best"}, ParameterError, "target best: expected predicted, label"),
        ({"target": "top:4"}, ParameterError, "target top:4: the model has only 3 classes"),
        ({"target": "label"}, InputError, "it has no label, which target label needs"),
        ({"target": "label", "labels": [0, 7]}, InputError, "labels: holds 7; the model has 3 classes"),
        ({"class_names": ["a"]}, ParameterError, "got 1 class names, but the model has 3 classes"),
        ({"labels": ["a", "b"]}, InputError, "got the name 'a', but the names of the classes are unknown; give class_names"),
        ({"labels": [1]}, InputError, r"labels: got shape \(1,\); expected one for each of 2 examples"),
        ({"score": lambda outputs: outputs}, ParameterError, "expected one number for each example"),
        ({"score": lambda y: y[:, 0], "output": "output_0"}, ParameterError, "score is a function of all outputs"),
        ({"ids": ["a", "a"]}, InputError, "ids: got 2, 1 of them different; expected 2 different ones"),
        ({"examples": NUMBERS[:, :3]}, InputError, "which does not fit"),
        ({"examples": NUMBERS, "max_examples": 3}, InputError, "examples: got 12; expected 1 to 3"),
        ({"examples": NUMBERS[:0]}, InputError, "examples: got 0; expected 1 to 64"),
        ({"examples": tf.data.Dataset.from_tensor_slices(NUMBERS).batch(4).take(0)}, InputError, "without elements"),
        ({"examples": tf.data.Dataset.from_tensor_slices(NUMBERS[0])}, InputError, "one example without the batch dimension"),
    ],
)  # fmt: skip
def test_mistakes_are_raised_before_the_first_batch(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    never = At(lambda *_: pytest.fail("it trained"), batches=True)
    with pytest.raises(error, match=message):
        train(tmp_path, more=[never], **options)
    assert not any(tmp_path.iterdir())


def test_a_method_that_cannot_explain_the_model_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    model = models.text()
    model.compile("sgd", "sparse_categorical_crossentropy")
    callback = AttributionCallback(tmp_path, TEXTS[:2], ["deeplift"])
    with pytest.raises(UnsupportedModelError, match="lstm"):
        model.fit(TEXTS, TEXT_LABELS, verbose=0, callbacks=[callback])


def test_the_name_that_another_callback_has_for_the_log_directory(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"log_dir": tmp_path, "examples": NUMBERS[:2], "methods": ["saliency"]}
    with pytest.raises(ParameterError, match="got log_dir=; write logdir="):
        AttributionCallback(**arguments)
