"""--baseline_examples: statistics of examples stand for missing features, of numbers and of categories."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import tb_deepexplain as dx
from beam_pipelines.cli.main import main
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.closeness import assert_maps_close

ROWS = [(0.5, "Bern", 1), (2.0, "Graz", 3), (-1.0, "?", 2)]
BACKGROUND = [(3.0, "Rome", 2), (1.0, "Rome", 2), (1.0, "Bern", 3), (9.0, "Graz", 2)]


def _write(path: Path, rows: list[tuple[float, str, int]]) -> Path:
    path.write_text("age,city,pclass\n" + "".join(f"{age},{city},{pclass}\n" for age, city, pclass in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    keras.utils.set_random_seed(2)
    age, city = keras.Input((1,), name="age"), keras.Input((1,), name="city", dtype="string")
    pclass = keras.Input((1,), name="pclass", dtype="int64")
    encoded = [
        age,
        layers.StringLookup(vocabulary=["Bern", "Graz", "Rome"], output_mode="one_hot")(city),
        layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot")(pclass),
    ]
    return keras.Model([age, city, pclass], layers.Dense(2)(layers.Concatenate()(encoded)))


@pytest.mark.parametrize(
    ("options", "age"), [([], 1.0), (["--occlusion.baseline=median"], 2.0), (["--occlusion.baseline=mean"], 3.5)]
)
def test_statistics_are_the_baseline(model: keras.Model, tmp_path: Path, options: list[str], age: float) -> None:
    model.save(tmp_path / "m.keras")
    inputs = [
        f"--input={_write(tmp_path / 'rows.csv', ROWS)}",
        f"--baseline_examples={_write(tmp_path / 'b.csv', BACKGROUND)}",
    ]
    command = [
        "explain",
        f"--model={tmp_path / 'm.keras'}",
        f"--logdir={tmp_path}",
        "--run=r",
        "--methods=occlusion",
        "--target=1",
    ]
    assert main([*command, *inputs, *options]) == 0
    store = Store(store_path(tmp_path, "r", "default"))

    def scores(rows: list[tuple[float, str, int]]) -> np.ndarray:
        columns = [np.array([row[i] for row in rows])[:, None] for i in range(3)]
        return np.asarray(model([columns[0].astype("float32"), columns[1], columns[2]]))[:, 1]

    missing = (age, "Rome", 2)
    for n, row in enumerate(ROWS):
        without = [
            tuple(m if i == j else v for j, (v, m) in enumerate(zip(row, missing, strict=True))) for i in range(3)
        ]
        expected = scores([row] * 3) - scores(without)
        assert_maps_close(store.maps([n])[0].ravel(), expected, 1e-3)  # stored in half precision


def test_no_example_fits(model: keras.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "m.keras")
    (tmp_path / "b.csv").write_text("age\n1\n")
    rows = _write(tmp_path / "rows.csv", ROWS)
    command = ["explain", f"--model={tmp_path / 'm.keras'}", f"--logdir={tmp_path}", "--run=r", "--methods=occlusion"]
    assert main([*command, f"--input={rows}", f"--baseline_examples={tmp_path / 'b.csv'}"]) == 2
    assert "--baseline_examples" in capsys.readouterr().err


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model of two inputs with two numbers each."""
    keras.utils.set_random_seed(3)
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    path = tmp_path_factory.mktemp("models") / "numbers"
    keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b]))).export(path, verbose=False)
    return path


def _explain(model: Path, logdir: Path, *options: str) -> int:
    return main(["explain", f"--model={model}", f"--logdir={logdir}", "--run=r", "--methods=occlusion", *options])


def test_baseline_examples_that_nothing_uses_are_refused(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", **{name: np.zeros((3, 2), np.float32) for name in ("a", "b")})
    options = [
        f"--input={tmp_path / 'd.npz'}",
        f"--baseline_examples={tmp_path / 'd.npz'}",
        "--feature=a=a",
        "--feature=b=b",
    ]
    assert _explain(numbers, tmp_path, *options, "--methods=saliency,gradient_x_input") == 2
    assert "none of saliency, gradient_x_input takes a baseline" in capsys.readouterr().err


def test_arrays_are_chosen_by_their_names_and_baselines_belong_to_the_explained_inputs(
    numbers: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(n, 2)).astype(np.float32) for name, n in (("a", 5), ("b", 5), ("other", 9))}
    np.savez(tmp_path / "d.npz", **arrays)
    options = [f"--input={tmp_path / 'd.npz'}", f"--baseline_examples={tmp_path / 'd.npz'}"]
    options += ["--feature=a=a", "--feature=b=b", "--occlusion.baseline=mean"]
    assert _explain(numbers, tmp_path, *options) == 0
    manifest = Store(store_path(tmp_path, "r", "default")).manifest
    assert manifest["options"]["baseline_examples"] == [str(tmp_path / "d.npz")]
    (method,) = manifest["methods"]
    assert set(method["parameters"]["baseline"]) == {"a", "b"}
    assert _explain(numbers, tmp_path, *options, "--inputs=a", "--name=some") == 0
    (method,) = Store(store_path(tmp_path, "r", "some")).manifest["methods"]
    assert set(method["parameters"]["baseline"]) == {"a"}


def test_a_baseline_of_numbers_is_kept(numbers: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=np.ones((3, 2), np.float32), b=np.ones((3, 2), np.float32))
    np.save(tmp_path / "baseline.npy", np.full(2, 0.5, np.float32))
    options = [f"--input={tmp_path / 'd.npz'}", f"--baseline_examples={tmp_path / 'd.npz'}"]
    assert _explain(numbers, tmp_path, *options, f"--occlusion.baseline={tmp_path / 'baseline.npy'}", "--inputs=a") == 0
    store = Store(store_path(tmp_path, "r", "default"))
    weights = np.asarray(dx.explain("gradient_x_input", str(numbers), {n: np.ones((1, 2)) for n in "ab"})["a"])[0]
    assert_maps_close(store.maps([0])[0].ravel(), weights * 0.5, 1e-3)


def test_examples_that_do_not_fit_are_told(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": [1, 2], "b": [3, 4]}\n{"a": [1, 2]}\n')
    options = [f"--{name}={tmp_path / 'a.jsonl'}" for name in ("input", "baseline_examples")]
    assert _explain(numbers, tmp_path, *options) == 1
    message = capsys.readouterr().err
    assert "a.jsonl: 1 of 2 examples do not fit the model and are left out; the first, a:000001: it has no" in message
