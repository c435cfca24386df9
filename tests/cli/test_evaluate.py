"""`tb-deepexplain evaluate`: the ranked table, the store and files it writes, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from beam_pipelines.cli.main import main
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.pipeline_runs import pictures, write_records

FEW = [
    "--examples=8",
    "--sensitivity_n.samples=10",
    "--sensitivity_n.sizes=3",
    "--deletion.steps=5",
    "--insertion.steps=5",
]


def evaluate(model: Path, source: Path, logdir: Path, *options: str) -> int:
    return main(["evaluate", f"--model={model}", f"--input={source}", f"--logdir={logdir}", "--run=r", *options])


def read_evaluation(logdir: Path) -> dict[str, Any]:
    evaluation: dict[str, Any] = json.loads((store_path(logdir, "r", "evaluation") / "evaluation.json").read_text())
    return evaluation


def example_ids(logdir: Path) -> set[str]:
    return set(Store(store_path(logdir, "r", "evaluation")).index.column("example_id").to_pylist())


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A linear model of six numbers, and a file of examples."""
    root = tmp_path_factory.mktemp("linear")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    keras.Model(inputs, layers.Dense(3)(inputs)).export(root / "m", verbose=False)
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return root / "m", write_records(root / "a.tfrecord", [{"x": row, "id": f"n{i}"} for i, row in enumerate(rows)])


def test_the_ranked_table(exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", [*pictures(10), b"no example"])
    assert evaluate(exported("image"), source, tmp_path / "logs", "--examples=11", *FEW[1:]) == 1
    output = capsys.readouterr().out
    directory, evaluation = store_path(tmp_path / "logs", "r", "evaluation"), read_evaluation(tmp_path / "logs")
    manifest = Store(directory).manifest
    assert manifest["evaluation"] == evaluation
    assert manifest["counts"] == {"examples": 10, "maps": 10 * 7, "errors": 1}
    assert evaluation["ranked_by"] == ["sensitivity_n", "deletion", "insertion"]
    methods = evaluation["methods"]
    ids = [method["id"] for method in methods]
    assert len(ids) == 7
    assert ids[-1] == "saliency"  # it has no sign
    lines = output.splitlines()
    assert lines[0].split()[:4] == ["method", "mean", "rank", "↓"]
    assert [line.split()[1] for line in lines[1:8]] == ids
    assert [line.split()[0] for line in lines[1:8]] == list("1234567")
    assert lines[8].split()[:2] == ["random", "maps"]
    assert f"advice    {evaluation['advice']}" in output
    assert "failed    1 of the examples" in output
    with Image.open(directory / "evaluation.png") as image:
        assert image.width > image.height > 300
    ranks = [method["mean_rank"] for method in methods]
    assert ranks == sorted(ranks)
    assert sum(ranks) == pytest.approx(7 * 8 / 2)
    for method in methods:
        assert method["low"] <= method["mean_rank"] <= method["high"]
        assert -1 <= method["sanity"] <= 1
    evaluations = {method["id"]: method["evaluations"] for method in methods}
    assert evaluations["occlusion"] == 65  # windows of one pixel with all channels: 8 / 14 is rounded to 1
    assert evaluations["shapley_sampling"] == 5 * (8 * 8 * 3 - 1) + 2
    assert evaluate(exported("image"), source, tmp_path / "logs", *FEW) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err


def test_the_table_shows_the_means_of_the_store(
    linear: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*linear, tmp_path, "--methods=saliency,occlusion", "--measures=deletion,stability", *FEW[:1]) == 0
    lines = capsys.readouterr().out.splitlines()
    means = Store(store_path(tmp_path, "r", "evaluation")).manifest["faithfulness"]
    for line in lines[1:3]:
        of_method = means[line.split()[1]]
        assert f"{of_method['deletion']['mean']:.3f}" in line
        assert f"{of_method['stability']['mean']:.3f}" in line
    first = means[lines[1].split()[1]]
    assert lines[3].split() == ["random", "maps", f"{first['deletion']['random']['mean']:.3f}"]


@pytest.mark.slow
def test_examples_that_fail_are_left_out_of_the_ranking(linear: tuple[Path, Path], tmp_path: Path) -> None:
    labels = [None, 99, 2, None, 1, 2, 0]  # 99 is no class
    rows = [{"x": np.full(6, i + 1.0)} | ({} if label is None else {"label": label}) for i, label in enumerate(labels)]
    source = write_records(tmp_path / "a.tfrecord", rows)
    options = ["--target=label", "--methods=saliency,gradient_x_input", "--measures=deletion", "--deletion.steps=2"]
    assert evaluate(linear[0], source, tmp_path, *options) == 1
    assert example_ids(tmp_path) == {f"a:{i:06d}" for i in (2, 4, 5, 6)}
    assert {row["id"] for row in read_evaluation(tmp_path)["methods"]} == {"saliency", "gradient_x_input"}


@pytest.mark.slow  # tests/evaluation/test_ranking.py has the same of `dx.rank`
def test_on_a_linear_model_no_method_is_better(linear: tuple[Path, Path], tmp_path: Path) -> None:
    methods = "--methods=gradient_x_input,integrated_gradients,deeplift,shapley_sampling"
    assert evaluate(*linear, tmp_path, methods, *FEW) == 0
    evaluation = read_evaluation(tmp_path)
    assert evaluation["examples"] == 8
    for method in evaluation["methods"]:
        assert method["low"] <= 2.5 <= method["high"]
    assert "too few to distinguish it from" in evaluation["advice"]
    # The sample is random, and depends on the seed.
    ids = example_ids(tmp_path)
    assert ids != {f"n{i}" for i in range(8)}
    assert evaluate(*linear, tmp_path, methods, *FEW, "--overwrite", "--seed=1") == 0
    assert example_ids(tmp_path) != ids


def test_methods_are_compared_in_a_precision(
    linear: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--methods=saliency,gradient_x_input", "--measures=deletion", "--precision=float64"]
    assert evaluate(*linear, tmp_path / "logs", *options) == 0
    manifest = Store(store_path(tmp_path / "logs", "r", "evaluation")).manifest
    assert (manifest["precision"], [*manifest["precision_error"]]) == ("float64", ["saliency", "gradient_x_input"])
    assert re.search(
        r"\nprecision float64: maps of Saliency differ from float32 by \S+ % \(median\)", capsys.readouterr().out
    )


def test_methods_without_a_baseline_are_compared_with_others(linear: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--methods=saliency,gradient_x_input,occlusion", f"--baseline_examples={linear[1]}"]
    assert evaluate(*linear, tmp_path, *options, "--measures=deletion", "--deletion.steps=2", "--examples=3") == 0
    assert {row["id"] for row in read_evaluation(tmp_path)["methods"]} == {"saliency", "gradient_x_input", "occlusion"}


@pytest.mark.slow
def test_methods_that_cannot_explain_the_model_are_left_out(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["not a great film", "the dull film", "great film"]
    source = write_records(tmp_path / "a.tfrecord", [{"text": text} for text in texts])
    options = ["--measures=deletion", "--deletion.steps=3", "--budget=20", "--integrated_gradients.steps=4"]
    assert evaluate(exported("strings"), source, tmp_path, *options) == 0
    output = capsys.readouterr().out
    assert "left out  epsilon_lrp: " in output
    assert "left out  deeplift: " in output
    assert evaluate(exported("strings"), source, tmp_path, *options, "--methods=saliency,deeplift", "--name=b") == 2
    assert "deeplift" in capsys.readouterr().err
    over_budget = ["--methods=saliency,integrated_gradients", "--budget=100", "--name=c"]
    assert evaluate(exported("strings"), source, tmp_path, *over_budget) == 2
    assert (
        "fewer than two methods are left to compare (integrated_gradients: 512 evaluations per map, over the budget of 100)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--runner=DirectRunner"],
            "unknown option --runner=DirectRunner; tb-deepexplain evaluate --help lists the options",
        ),
        (["--measures="], "name at least one, such as deletion"),
        (["--measures=nothing"], "unknown measure 'nothing'"),
        (["--examples=0"], "0 is not a whole number of at least 1"),
        (["--deletion.steps=0"], "deletion: steps=0 is not accepted"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    linear: tuple[Path, Path],
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(*linear, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
