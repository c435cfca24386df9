"""AttributionCallback in real trainings: the maps of a step are those of the model at that step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution import explainer as explainer_module
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import split_map, value_names
from tb_deepexplain.training.callback import AttributionCallback
from tests import models
from tests.training.trainings import (
    METHODS,
    NUMBER_LABELS,
    NUMBERS,
    PICTURE_LABELS,
    PICTURES,
    TEXT_LABELS,
    TEXTS,
    At,
    assert_explains,
    index_rows,
    maps_at,
    numeric,
    served,
    steps,
    store_directory,
    train,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A CNN with batch norm and dropout, compiled by XLA, trained for three epochs; and what the store held after each."""
    logdir, weights, readings, traces = tmp_path_factory.mktemp("pictures"), [], [], [0]
    model = models.image()
    model.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy", jit_compile=True)
    compile_ = Explainer._compile

    def counted(self: Explainer, *args: Any) -> Any:
        traces[0] += 1
        return compile_(self, *args)

    def look(_: keras.Model, epoch: int) -> None:
        store = served(logdir)
        stored_inputs = store.reader.inputs_at([row.input_location for row in index_rows(store, epoch, "epsilon_lrp")])
        readings.append(
            (store.manifest["complete"], store.steps, [each["example_id"] for each in stored_inputs], traces[0])
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Explainer, "_compile", counted)
        model.fit(
            PICTURES, PICTURE_LABELS, batch_size=8, epochs=3, verbose=0,
            callbacks=[
                At(lambda model, _: weights.append(model.get_weights())),
                AttributionCallback(logdir, PICTURES[:5], METHODS, labels=PICTURE_LABELS[:5], class_names=["a", "b", "c"]),
                At(look),
            ],
        )  # fmt: skip
    return logdir, weights, readings


@pytest.mark.filterwarnings("ignore:.*the completeness gap")
@pytest.mark.parametrize("method", METHODS)
def test_the_maps_of_a_step_are_those_of_its_weights(pictures: Any, method: str) -> None:
    logdir, weights, _ = pictures
    assert steps(logdir) == [0, 1, 2]
    model = models.image()
    maps = []
    for step in range(3):
        model.set_weights(weights[step])
        expected = dx.explain(method, model, PICTURES[:5], target="predicted", **METHODS[method])
        maps.append(maps_at(logdir, step, method))
        assert_explains(maps[-1], expected)
    assert not np.allclose(maps[0]["0"], maps[2]["0"], rtol=0.05)  # it has learnt something


def test_the_store_can_be_read_while_it_grows(pictures: Any) -> None:
    logdir, _, readings = pictures
    ids = [str(i) for i in range(5)]
    assert [one[:3] for one in readings] == [
        (False, [0], ids), (False, [0, 1], ids), (False, [0, 1, 2], ids),
    ]  # fmt: skip
    store = Store(store_directory(logdir))
    assert store.manifest["complete"] is True
    assert store.manifest["counts"] == {"examples": 5, "maps": 30, "errors": 0}
    assert len(list(store_directory(logdir).glob("index-*.parquet"))) == 1
    assert len(list((logdir / "attributions").glob("events.out.tfevents.*"))) == 1
    row = store.index.to_pylist()[0]
    assert (row["label"], row["label_name"]) == (PICTURE_LABELS[0], "abc"[PICTURE_LABELS[0]])
    assert row["predicted"] == row["target"]


def test_only_the_first_step_is_traced(pictures: Any) -> None:
    _, _, readings = pictures
    assert [one[3] for one in readings] == [len(METHODS)] * 3


def words() -> keras.Model:
    ids = keras.Input((None,), dtype="int64")
    x = layers.Conv1D(4, 2, padding="same", activation="gelu")(layers.Embedding(9, 3)(ids))
    return keras.Model(ids, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def test_texts_by_steps_from_a_dataset(tmp_path: Path) -> None:
    """Several batches at a time; explained at the embedding, with words for the page."""
    model = words()
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", steps_per_execution=2)
    data = tf.data.Dataset.from_tensor_slices((TEXTS, TEXT_LABELS)).batch(3)  # four batches
    weights: dict[int, Any] = {}
    watch = At(lambda model, n: weights.update({2 * n: model.get_weights()}), batches=True)

    def train(epochs: int, initial: int) -> None:
        callback = AttributionCallback(
            tmp_path, data, ["gradient_x_input"], every_steps=3, max_examples=4, target="label",
            vocabulary=["", "?", *models.VOCABULARY],
        )  # fmt: skip
        model.fit(data, epochs=epochs, initial_epoch=initial, shuffle=False, verbose=0, callbacks=[watch, callback])

    train(2, 0)
    assert steps(tmp_path) == [4, 6, 8]  # the batches trained when a multiple of 3 is passed, and the last
    store = Store(store_directory(tmp_path))
    assert [row["tokens"] for row in store.inputs(range(4))] == [
        ["a", "dull", "film", ""], ["great", "not", "", ""], ["the", "film", "dull", "a"], ["a", "", "", ""],
    ]  # fmt: skip
    assert store.index["label"].to_pylist()[:4] == store.index["target"].to_pylist()[:4] == [0, 1, 1, 0]
    train(3, 2)  # the optimizer knows how many batches there were
    assert steps(tmp_path) == [4, 6, 8, 10, 12]
    other = words()
    for step in (4, 12):
        other.set_weights(weights[step])
        result = dx.Explainer("gradient_x_input", other).run(TEXTS[:4], target=TEXT_LABELS[:4], return_result=True)
        maps = maps_at(tmp_path, step, "gradient_x_input")
        assert_explains(maps, result.tokens)
    assert Store(store_directory(tmp_path)).manifest["counts"]["examples"] == 4


def test_several_inputs_by_name_from_a_dataset_without_labels(tmp_path: Path) -> None:
    one, two = keras.Input((2,), name="one"), keras.Input((1,), name="two")
    model = keras.Model({"one": one, "two": two}, layers.Dense(1)(layers.Concatenate()([one, two])))
    model.compile("sgd", "mse")
    xs = {"one": NUMBERS[:, :2], "two": NUMBERS[:, 2:3]}
    data = tf.data.Dataset.from_tensor_slices((xs, NUMBERS[:, 3] / 3)).batch(5)
    callback = AttributionCallback(tmp_path, data, ["gradient_x_input"], max_examples=7)
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[callback])
    expected = dx.explain("gradient_x_input", model, {name: x[:7] for name, x in xs.items()}, target=0)
    assert_explains(maps_at(tmp_path, 1, "gradient_x_input"), np.concatenate([expected["one"], expected["two"]], 1))
    store = Store(store_directory(tmp_path))
    stored_input = store.inputs([0])[0]
    assert value_names(stored_input["inputs"], stored_input["features"]) == ["one[0]", "one[1]", "two"]
    assert store.manifest["inputs"] == [
        {"name": "one", "dtype": "float32", "shape": [2], "axes": ["feature"]},
        {"name": "two", "dtype": "float32", "shape": [1], "axes": ["feature"]},
    ]
    parts = [{"input": "one", "shape": [2]}, {"input": "two", "shape": [1]}]
    assert store.index["parts"].to_pylist() == [parts] * store.index.num_rows
    assert store.index["label"].null_count == store.index.num_rows == 14


def test_every_few_epochs_and_the_last(tmp_path: Path) -> None:
    train(tmp_path / "all", 6, every=2)
    assert steps(tmp_path / "all") == [0, 2, 4, 5]

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 3

    train(tmp_path / "stopped", 9, every=5, more=[Stop()])
    assert steps(tmp_path / "stopped") == [0, 3]


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.end = layers.Embedding(9, 3), layers.Dense(2, activation="softmax")

    def call(self, ids: Any) -> Any:
        return self.end(keras.ops.mean(self.embed(ids), axis=1))


def unbuilt() -> keras.Model:
    return keras.Sequential(
        [layers.Dense(4, activation="relu"), layers.Dropout(0.5), layers.Dense(2, activation="softmax")]
    )


def half() -> keras.Model:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return models.image(2)
    finally:
        keras.config.set_dtype_policy("float32")


def mirrored() -> keras.Model:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        return numeric()


@pytest.mark.parametrize(
    ("make", "xs", "modality"),
    [
        (mirrored, NUMBERS, "tabular"),
        (half, PICTURES[:12], "image"),
        (Subclassed, TEXTS, "text"),
        (unbuilt, NUMBERS, "tabular"),
        (lambda: models.text(strings=True), np.array(["a dull film", "not", "great", "the film"] * 3, object), "text"),
    ],
)
def test_models_of_all_kinds(tmp_path: Path, make: Callable[[], keras.Model], xs: np.ndarray, modality: str) -> None:
    model = make()
    if not model.compiled:
        model.compile("sgd", "sparse_categorical_crossentropy")
    callback = AttributionCallback(tmp_path, xs[:3], ["gradient_x_input"], ids=["x", "y", "z"])
    model.fit(tf.convert_to_tensor(xs), TEXT_LABELS, epochs=2, verbose=0, callbacks=[callback])
    assert steps(tmp_path) == [0, 1]
    store = Store(store_directory(tmp_path))
    assert (store.manifest["modality"], store.manifest["counts"]["maps"]) == (modality, 6)
    assert store.manifest["precision"] == ("mixed" if make is half else "float32")
    assert store.index["example_id"].to_pylist() == ["x", "y", "z"] * 2


def test_a_baseline_for_all_methods_that_take_one(tmp_path: Path) -> None:
    methods = {"occlusion": {"baseline": 0.25}, "deeplift": {}, "saliency": {}}
    train(tmp_path, methods=methods, baseline=np.ones(4, np.float32))
    baselines = {m["id"]: m["parameters"].get("baseline") for m in Store(store_directory(tmp_path)).manifest["methods"]}
    assert baselines["occlusion"] == 0.25
    assert baselines["deeplift"] == [1, 1, 1, 1]
    assert "baseline" not in Store(store_directory(tmp_path)).manifest["methods"][2]["parameters"]


def two_heads() -> keras.Model:
    x = keras.Input((4,), name="x")
    hidden = layers.Dense(5, activation="tanh")(x)
    kind = layers.Dense(3, activation="softmax", name="kind")(hidden)
    model = keras.Model(x, {"kind": kind, "size": layers.Dense(1, name="size")(hidden)})
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "size": "mse"})
    return model


@pytest.mark.parametrize(("output", "target"), [("kind", "predicted"), ("size", 0)])
def test_one_output_of_several(tmp_path: Path, output: str, target: Any) -> None:
    model = two_heads()
    callback = AttributionCallback(tmp_path, NUMBERS[:3], ["gradient_x_input"], output=output)
    model.fit(NUMBERS, {"kind": NUMBER_LABELS, "size": NUMBERS[:, 0]}, verbose=0, callbacks=[callback])
    head = keras.Model(model.inputs, model.output[output])
    expected = dx.explain("gradient_x_input", head, NUMBERS[:3], target=target)
    assert_explains(maps_at(tmp_path, 0, "gradient_x_input"), expected)
    assert Store(store_directory(tmp_path)).manifest["model"]["output"] == output


def meals() -> keras.Model:
    """A picture, a text of token ids, a number and a category."""
    photo, review = keras.Input((8, 8, 3), name="photo"), keras.Input((4,), dtype="int64", name="review")
    price, city = keras.Input((1,), name="price"), keras.Input((1,), dtype="string", name="city")
    parts = [
        layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, activation="relu")(photo)),
        layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(review)),
        price,
        layers.StringLookup(vocabulary=["Bern", "Oslo"], output_mode="one_hot")(city),
    ]
    model = keras.Model(
        [photo, review, price, city], layers.Dense(2, activation="softmax")(layers.Concatenate()(parts))
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("inputs", [None, ["price", "city"]])
def test_inputs_of_several_kinds(tmp_path: Path, inputs: Any) -> None:
    model = meals()
    xs = {
        "photo": PICTURES[:12], "review": TEXTS, "price": NUMBERS[:, :1],
        "city": np.array([["Bern"], ["Oslo"]] * 6, object),
    }  # fmt: skip
    shown = {name: x[:3] for name, x in xs.items()}
    callback = AttributionCallback(tmp_path, shown, ["gradient_x_input"], labels=TEXT_LABELS[:3], inputs=inputs)
    tensors = {name: tf.constant(x.tolist()) if name == "city" else x for name, x in xs.items()}
    model.fit(tensors, TEXT_LABELS, verbose=0, callbacks=[callback])
    store = Store(store_directory(tmp_path))
    assert store.manifest["modality"] == ("mixed" if inputs is None else "tabular")
    result = dx.explain("gradient_x_input", model, shown, target="predicted", inputs=inputs, return_result=True)
    rows = store.index.to_pylist()
    for k, (values, row) in enumerate(zip(store.maps(range(3)), rows, strict=True)):
        parts = split_map(values, row["parts"])
        assert set(parts) == set(inputs or xs)
        for name, part in parts.items():
            expected = result.tokens if name == "review" else result.attributions[name]
            np.testing.assert_allclose(part.ravel(), np.ravel(expected[k]), rtol=2e-3, atol=1e-4)
    [stored, *_] = store.inputs([0])
    texts = (
        [part["texts"] for part in stored["parts"] if part["input"] == "city"]
        if inputs is None
        else [stored["texts"][1:]]
    )
    assert texts == [["Bern"]]


def test_a_score_function(tmp_path: Path) -> None:
    def contrast(logits: Any) -> Any:
        return logits[:, 2] - logits[:, 0]

    model = train(tmp_path, examples=NUMBERS[:3], methods=["gradient_x_input"], score=contrast)
    x = tf.Variable(NUMBERS[:3])
    with tf.GradientTape() as tape:
        score = contrast(model(x))
    assert_explains(maps_at(tmp_path, 0, "gradient_x_input"), (tape.gradient(score, x) * x).numpy())
    store = Store(store_directory(tmp_path))
    np.testing.assert_allclose(store.index["score"].to_numpy(), score.numpy(), rtol=1e-4)
    assert store.manifest["score"].endswith("contrast")
    with pytest.raises(StoreError, match=r"made differently .*score was"):
        train(tmp_path, 2, 1, examples=NUMBERS[:3], methods=["gradient_x_input"], score=lambda logits: logits[:, 1])


def test_a_segmentation_explains_the_region_of_a_class(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3, padding="same", activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    y = np.random.default_rng(1).integers(0, 2, (24, 8, 8))
    callback = AttributionCallback(tmp_path, PICTURES[:2], ["gradient_x_input"])
    model.fit(PICTURES, y, verbose=0, callbacks=[callback])
    result = dx.explain("gradient_x_input", model, PICTURES[:2], target="predicted", return_result=True)
    assert_explains(maps_at(tmp_path, 0, "gradient_x_input"), result.attributions)
    [text] = {text for row in Store(store_directory(tmp_path)).index["warnings"].to_pylist() for text in row}
    assert "summed over the positions where the model predicts it" in text


def test_measures_at_every_step(tmp_path: Path) -> None:
    """The means of the manifest are those of the last step: other steps are other models."""
    train(
        tmp_path, 3, measures={"deletion": {"steps": 4}}, methods=["saliency", "gradient_x_input"], examples=NUMBERS[:5]
    )
    store = Store(store_directory(tmp_path))
    rows = [row for row in store.index.to_pylist() if row["method"] == "saliency"]
    means = store.manifest["faithfulness"]["saliency"]["deletion"]
    of_step = {step: [row["deletion"] for row in rows if row["step"] == step] for step in range(3)}
    assert all(np.isfinite(values).all() and len(values) == 5 for values in of_step.values())
    assert (means["n"], means["random"]["n"]) == (5, 5)
    assert means["mean"] == pytest.approx(np.mean(of_step[2])) != pytest.approx(np.mean(of_step[0]))
    assert len(means["curve"]["mean"]) == len(means["at"]) == 5
    model = numeric()
    model.fit(NUMBERS, NUMBER_LABELS, batch_size=4, epochs=3, verbose=0)
    explainer = dx.Explainer("saliency", model)
    result = explainer.run(NUMBERS[:5], target="predicted", return_result=True)
    measured = dx.Evaluator(explainer, {"deletion": {"steps": 4}}).run(NUMBERS[:5], result, target=result.target)
    np.testing.assert_allclose(of_step[2], measured["deletion"].value, rtol=1e-3, atol=1e-5)
    train(
        tmp_path,
        2,
        1,
        measures={"deletion": {"steps": 4}},
        methods=["saliency", "gradient_x_input"],
        examples=NUMBERS[:5],
        if_exists="overwrite",
    )
    assert Store(store_directory(tmp_path)).manifest["faithfulness"]["saliency"]["deletion"]["n"] == 5


def test_the_package_loads_no_keras_for_it() -> None:
    program = "import sys, tb_deepexplain; print([n for n in sys.modules if n in ('keras', 'tensorflow', 'tb_deepexplain.training.callback')])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_precision_is_compared_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a model in training grow, and so does their rounding."""
    monkeypatch.setattr(explainer_module, "SAMPLE", 2)
    train(tmp_path, epochs=2, precision="float64")
    figures = Store(store_directory(tmp_path)).manifest["precision_error"]["saliency"]
    assert figures["examples"] == 1 + 2 * 2  # one before the training


def test_maps_without_tf32_are_stored_as_float32(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="precision='tf32' changes nothing on a CPU"):
        train(tmp_path, epochs=1, precision="tf32")
    assert Store(store_directory(tmp_path)).manifest["precision"] == "float32"
