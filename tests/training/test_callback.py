"""AttributionCallback in real trainings: what it stores is what the model said at that step, whatever becomes of the training."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.errors import InputError, ParameterError, StoreError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.index_rows import IndexRow, rows_by_id
from tb_deepexplain.plugin.parameters import Selection
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input, value_names
from tb_deepexplain.store.writer import StoreWriter
from tb_deepexplain.training.callback import AttributionCallback
from tests import models

METHODS = {"integrated_gradients": {"steps": 8}, "epsilon_lrp": {}}
NOISE = np.random.default_rng(0)
PICTURES, PICTURE_LABELS = NOISE.random((24, 8, 8, 3), np.float32), NOISE.integers(0, 3, 24)
TEXTS = np.array([[2, 3, 4, 0], [5, 6, 0, 0], [7, 4, 3, 2], [2, 0, 0, 0]] * 3)
TEXT_LABELS = np.array([0, 1, 1, 0] * 3)
NUMBERS, NUMBER_LABELS = NOISE.random((12, 4), np.float32), NOISE.integers(0, 3, 12)


class At(keras.callbacks.Callback):
    """Does something at the end of every epoch, or of every batch."""

    def __init__(self, do: Callable[[keras.Model, int], object], batches: bool = False) -> None:
        super().__init__()
        self.do, self.batches, self.calls = do, batches, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls += 1
        if self.batches:
            self.do(self.model, self.calls)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.batches:
            self.do(self.model, epoch)


def store_directory(logdir: Path) -> Path:
    return store_path(logdir, "attributions", "default")


def served(logdir: Path) -> ServedStore:
    """The store as TensorBoard reads it."""
    return ServedStore(store_directory(logdir), Engine([str(logdir)]))


def index_rows(store: ServedStore, step: int, method: str) -> list[IndexRow]:
    ids = store.reader.index["example_id"].unique().to_pylist()
    return [row for rows in rows_by_id(store, ids, Selection(step), [method]).values() for row in rows]


def steps(logdir: Path) -> list[int]:
    """As the page lists them, which are those of the manifest."""
    store = served(logdir)
    assert store.steps == store.manifest["steps"]
    return store.steps


def maps_at(logdir: Path, step: int, method: str) -> dict[str, np.ndarray]:
    """The maps by example, as the page shows them."""
    store = served(logdir)
    rows = index_rows(store, step, method)
    assert {row.step for row in rows} == {step}
    maps = store.reader.maps_at([row.map_location for row in rows])
    return dict(zip([row.example_id for row in rows], maps, strict=True))


def assert_explains(stored: dict[str, np.ndarray], expected: np.ndarray) -> None:
    assert list(stored) == [str(i) for i in range(len(expected))]
    for actual, values in zip(stored.values(), expected, strict=True):
        np.testing.assert_allclose(actual, values, rtol=2e-3, atol=2e-3 * np.abs(values).max())


KILLED = """
import os, signal, sys
from pathlib import Path
from tb_deepexplain.store.writer import StoreWriter
from tests.training.test_callback import train
append = StoreWriter.append
def die(self, unit, manifest, version):
    if unit.endswith("2"):
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, unit, manifest, version)
StoreWriter.append = die
train(Path(sys.argv[1]), 5)
"""


@pytest.fixture(scope="module", autouse=True)
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A training that kills itself when step 2 is written but not committed; it runs beside the other tests."""
    logdir = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-c", KILLED, str(logdir)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        yield logdir, process
        process.kill()


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
    assert steps(tmp_path) == [4, 6, 8]  # what is behind when a multiple of 3 is passed, and the last
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


def numeric() -> keras.Model:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(
    logdir: Path, epochs: int = 1, initial_epoch: int = 0, model: Any = None, more: Any = (), **options: Any
) -> keras.Model:
    model = model or numeric()
    arguments = {"examples": NUMBERS[:2], "methods": ["saliency"]} | options
    callbacks = [AttributionCallback(logdir, **arguments), *more]
    model.fit(
        NUMBERS, NUMBER_LABELS, batch_size=4, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=callbacks
    )
    return model


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


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of steps 0 and 1, to be copied."""
    logdir = tmp_path_factory.mktemp("two_epochs")
    train(logdir, 2)
    return logdir


def test_every_few_epochs_and_the_last(tmp_path: Path) -> None:
    train(tmp_path / "all", 6, every=2)
    assert steps(tmp_path / "all") == [0, 2, 4, 5]

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 3

    train(tmp_path / "stopped", 9, every=5, more=[Stop()])
    assert steps(tmp_path / "stopped") == [0, 3]


def test_a_training_goes_on_with_its_store(tmp_path: Path) -> None:
    model = train(tmp_path, 2, every=1)
    before = maps_at(tmp_path, 1, "saliency")
    train(tmp_path, 4, 2, model)
    assert steps(tmp_path) == [0, 1, 2, 3]
    np.testing.assert_array_equal(maps_at(tmp_path, 1, "saliency")["0"], before["0"])
    assert_explains(maps_at(tmp_path, 3, "saliency"), dx.explain("saliency", model, NUMBERS[:2], target="predicted"))
    assert Store(store_directory(tmp_path)).manifest["counts"] == {"examples": 2, "maps": 8, "errors": 0}
    # From a checkpoint of epoch 1: what came after it is of weights that are no more.
    with pytest.raises(
        StoreError, match=r"holds steps 0 to 3 of an earlier training, and this one begins at 2; .*initial_epoch=4"
    ):
        train(tmp_path, 3, 2)
    assert steps(tmp_path) == [0, 1, 2, 3]
    other = train(tmp_path, 3, 2, overwrite=True)
    assert steps(tmp_path) == [0, 1, 2]
    assert_explains(maps_at(tmp_path, 2, "saliency"), dx.explain("saliency", other, NUMBERS[:2], target="predicted"))
    units = {path.stem.split("-", 1)[1] for path in store_directory(tmp_path).glob("*-step-*.parquet")}
    assert units == {f"step-{step:012d}" for step in range(3)}


def test_a_training_anew_replaces_a_store_only_if_told(tmp_path: Path, two_epochs: Path) -> None:
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    version = Store(store_directory(tmp_path)).manifest["version"]
    model = numeric()
    weights = model.get_weights()
    with pytest.raises(StoreError, match="overwrite=True to replace"):
        train(tmp_path, 1, model=model)
    assert all(map(np.array_equal, model.get_weights(), weights))  # before the first batch
    assert Store(store_directory(tmp_path)).manifest["version"] == version
    train(tmp_path, 1, overwrite=True, methods=["gradient_x_input"], examples=NUMBERS[:1])
    assert steps(tmp_path) == [0]
    assert Store(store_directory(tmp_path)).manifest["counts"] == {"examples": 1, "maps": 1, "errors": 0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": {"saliency": {}, "gradient_x_input": {}}}, "methods.gradient_x_input was absent"),
        ({"examples": NUMBERS[1:3]}, "examples was"),
        ({"every_steps": 1}, "training was .epoch., now .batch."),
        ({"model": keras.Sequential([keras.Input((4,)), layers.Dense(3)])}, "model was"),
    ],
)
def test_a_training_goes_on_with_the_same_or_not_at_all(
    tmp_path: Path, two_epochs: Path, changed: dict[str, Any], message: str
) -> None:
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    if "model" in changed:
        changed["model"].compile("sgd", "mse")
    if "every_steps" in changed:
        model = numeric()
        model.optimizer.iterations.assign(3)
        changed = {**changed, "model": model}
    with pytest.raises(StoreError, match=f"was made differently .*{message}.*give another run or name"):
        train(tmp_path, 3, 2, overwrite=True, **changed)
    assert steps(tmp_path) == [0, 1]


@pytest.mark.parametrize("finished", [True, False])
def test_what_no_training_made_is_left_alone(tmp_path: Path, finished: bool) -> None:
    writer = StoreWriter(store_directory(tmp_path))
    with writer.shard("u") as shard:
        shard.add([Attribution("a", "saliency", np.ones(4))], [Input("a", "tabular")])
    if finished:
        writer.commit(["u"], {"modality": "tabular", "methods": []})
    with pytest.raises(StoreError, match="holds a store that no training made; give another run or name"):
        train(tmp_path, overwrite=True)
    assert writer.finished_units() == {"u"}


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
    assert store.manifest["mixed_precision"] is (make is half)
    assert store.index["example_id"].to_pylist() == ["x", "y", "z"] * 2


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


def test_a_model_that_is_no_more_a_number_is_told_and_not_stored(tmp_path: Path) -> None:
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


def test_two_trainings_into_one_store_are_not_mixed(tmp_path: Path) -> None:
    def meddle(model: keras.Model, epoch: int) -> None:
        if epoch == 0:
            written = Store(store_directory(tmp_path)).manifest
            StoreWriter(store_directory(tmp_path)).commit(
                written["units"], {k: v for k, v in written.items() if k != "version"}
            )

    with pytest.warns(UserWarning, match="no attributions of step 1: StoreError: .*committed by another program"):
        train(tmp_path, 2, more=[At(meddle)])
    assert steps(tmp_path) == [0]


def test_a_baseline_for_all_methods_that_take_one(tmp_path: Path) -> None:
    methods = {"occlusion": {"baseline": 0.25}, "deeplift": {}, "saliency": {}}
    train(tmp_path, methods=methods, baseline=np.ones(4, np.float32))
    baselines = {m["id"]: m["parameters"].get("baseline") for m in Store(store_directory(tmp_path)).manifest["methods"]}
    assert baselines["occlusion"] == 0.25
    assert baselines["deeplift"].startswith("array [4]")
    assert "baseline" not in Store(store_directory(tmp_path)).manifest["methods"][2]["parameters"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ParameterError, "every=0: expected a whole number of at least 1"),
        ({"every_steps": True}, ParameterError, "every_steps=True: expected"),
        ({"every": 1, "every_steps": 1}, ParameterError, "both every .epochs. and every_steps .batches. were given"),
        ({"name": "a/b"}, ParameterError, "name 'a/b': expected letters"),
        ({"methods": []}, ParameterError, "expected different methods, at least one"),
        ({"methods": ["salency"]}, UnknownMethodError, "did you mean saliency"),
        ({"methods": {"saliency": {"steps": 3}}}, ParameterError, "saliency has no parameter 'steps'"),
        ({"baseline": 0.0}, ParameterError, "baseline: none of saliency takes one; leave it out"),
        ({"target": "best"}, ParameterError, "target best: expected predicted, label"),
        ({"target": "top:4"}, ParameterError, "target top:4: the model has only 3 classes"),
        ({"target": "label"}, InputError, "it has no label, which target label needs"),
        ({"target": "label", "labels": [0, 7]}, InputError, "its label 7 is none of the model's 3 classes"),
        ({"class_names": ["a"]}, ParameterError, "1 class names were given but the model has 3 classes"),
        ({"labels": ["a", "b"]}, InputError, "expected 2 class numbers, .*names of classes are class_names"),
        ({"labels": [1]}, InputError, r"labels: got int64 values of shape \(1,\)"),
        ({"ids": ["a", "a"]}, InputError, "ids: got 2, 1 of them different; expected 2 different ones"),
        ({"examples": NUMBERS[:, :3]}, InputError, "which does not fit"),
        ({"examples": NUMBERS, "max_examples": 3}, InputError, "examples: got 12; expected 1 to 3"),
        ({"examples": NUMBERS[:0]}, InputError, "examples: got 0; expected 1 to 64"),
        ({"examples": tf.data.Dataset.from_tensor_slices(NUMBERS).batch(4).take(0)}, InputError, "dataset is empty"),
        ({"examples": tf.data.Dataset.from_tensor_slices(NUMBERS[0])}, InputError, "expected batches, .*dataset.batch"),
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


def test_the_package_loads_no_keras_for_it() -> None:
    program = "import sys, tb_deepexplain; print([n for n in sys.modules if n in ('keras', 'tensorflow', 'tb_deepexplain.training.callback')])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_killed_training_leaves_a_store_that_another_goes_on_with(killed: tuple[Path, Any]) -> None:
    tmp_path, process = killed
    _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr[-2000:]
    assert steps(tmp_path) == [0, 1]
    assert Store(store_directory(tmp_path)).manifest["complete"] is False
    assert (store_directory(tmp_path) / "attributions-step-000000000002.parquet").exists()  # written, never committed
    model = numeric()
    model.set_weights([w + 1 for w in model.get_weights()])
    train(tmp_path, 3, 2, model)
    assert steps(tmp_path) == [0, 1, 2]
    assert Store(store_directory(tmp_path)).manifest["complete"] is True
    assert_explains(maps_at(tmp_path, 2, "saliency"), dx.explain("saliency", model, NUMBERS[:2], target="predicted"))
