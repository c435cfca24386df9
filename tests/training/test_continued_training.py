"""A training that continues an earlier one adds to its store, or is refused; a killed training leaves a usable store."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tb_deepexplain.training.callback import AttributionCallback
from tests.training.trainings import (
    NUMBER_LABELS,
    NUMBERS,
    At,
    assert_explains,
    maps_at,
    numeric,
    steps,
    store_directory,
    train,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from tb_deepexplain.store.writer import StoreWriter
from tests.training.trainings import train
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
    """A training that kills itself when step 2 is written but not committed; it runs while the other tests run."""
    logdir = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-c", KILLED, str(logdir)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        yield logdir, process
        process.kill()


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of steps 0 and 1, to be copied."""
    logdir = tmp_path_factory.mktemp("two_epochs")
    train(logdir, 2)
    return logdir


def test_a_continued_training_adds_to_its_store(tmp_path: Path) -> None:
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
    other = train(tmp_path, 3, 2, if_exists="overwrite")
    assert steps(tmp_path) == [0, 1, 2]
    assert_explains(maps_at(tmp_path, 2, "saliency"), dx.explain("saliency", other, NUMBERS[:2], target="predicted"))
    units = {path.stem.split("-", 1)[1] for path in store_directory(tmp_path).glob("*-step-*.parquet")}
    assert units == {f"step-{step:012d}" for step in range(3)}


def test_a_new_training_replaces_a_store_only_with_overwrite(tmp_path: Path, two_epochs: Path) -> None:
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    version = Store(store_directory(tmp_path)).manifest["version"]
    model = numeric()
    weights = model.get_weights()
    with pytest.raises(StoreError, match="if_exists='new run' to write beside it, if_exists='overwrite' to replace"):
        train(tmp_path, 1, model=model)
    assert all(map(np.array_equal, model.get_weights(), weights))  # before the first batch
    assert Store(store_directory(tmp_path)).manifest["version"] == version
    train(tmp_path, 1, if_exists="overwrite", methods=["gradient_x_input"], examples=NUMBERS[:1])
    assert steps(tmp_path) == [0]
    assert Store(store_directory(tmp_path)).manifest["counts"] == {"examples": 1, "maps": 1, "errors": 0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": {"saliency": {}, "gradient_x_input": {}}}, "methods.gradient_x_input was absent"),
        ({"examples": NUMBERS[1:3]}, "examples was"),
        ({"every_steps": 1}, "training was .epoch., now .batch."),
        ({"output": "output_0"}, "output was absent, now .output_0."),
        ({"measures": ["deletion"]}, "measures was absent"),
        ({"model": keras.Sequential([keras.Input((4,)), layers.Dense(3)])}, "model was"),
    ],
)
def test_a_training_with_another_configuration_is_refused(
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
        train(tmp_path, 3, 2, if_exists="overwrite", **changed)
    assert steps(tmp_path) == [0, 1]


def test_steps_of_a_version_without_precision_are_not_continued(tmp_path: Path, two_epochs: Path) -> None:
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    file = store_directory(tmp_path) / "configuration.json"
    contents = json.loads(file.read_text())
    assert contents.pop("precision") == "float32"
    file.write_text(json.dumps(contents))
    with pytest.raises(StoreError, match=r"precision was TensorFlow's \(TF32 on a GPU\), now \"float32\""):
        train(tmp_path, 3, 2)
    assert steps(tmp_path) == [0, 1]


def test_a_new_run_beside_the_earlier_one(tmp_path: Path, two_epochs: Path) -> None:
    """As a notebook's cell that is run again and again; a training that fits continues the last run."""
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    before = maps_at(tmp_path, 1, "saliency")

    def fit(epochs: int, initial_epoch: int = 0, **more: Any) -> str:
        callback = AttributionCallback(tmp_path, NUMBERS[:2], ["saliency"], if_exists="new run", **more)
        span = {"epochs": epochs, "initial_epoch": initial_epoch}
        numeric().fit(NUMBERS, NUMBER_LABELS, verbose=0, callbacks=[callback], **span)
        return callback.run

    assert [fit(1), fit(1), fit(2, 1), fit(1, target="sum")] == [f"attributions-{n}" for n in (2, 3, 3, 4)]
    np.testing.assert_array_equal(maps_at(tmp_path, 1, "saliency")["0"], before["0"])
    kept = [
        Store(store_path(tmp_path, f"attributions{n}", "default")).manifest["steps"] for n in ("", "-2", "-3", "-4")
    ]
    assert kept == [[0, 1], [0], [0, 1], [0]]
    assert fit(1, name="other") == "attributions"  # no store of this name is there


@pytest.mark.parametrize("finished", [True, False])
def test_a_store_that_no_training_made_is_kept(tmp_path: Path, finished: bool) -> None:
    writer = StoreWriter(store_directory(tmp_path))
    with writer.shard("u") as shard:
        shard.add([Attribution("a", "saliency", np.ones(4))], [Input("a", "tabular")])
    if finished:
        writer.commit(["u"], {"modality": "tabular", "methods": []})
    with pytest.raises(StoreError, match="holds a store that no training made; give another run or name"):
        train(tmp_path, if_exists="overwrite")
    assert writer.finished_units() == {"u"}


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


def test_the_store_of_a_killed_training_is_continued(killed: tuple[Path, Any]) -> None:
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
