"""`tb-deepexplain evaluate`: the ranked table, what it rests on, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from beam_pipelines.cli.evaluate import Candidate, _advice, _rank, faithful
from beam_pipelines.cli.main import main
from tb_deepexplain.recording.batch_explainer import Records
from tb_deepexplain.recording.request import Request
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input
from tests.pipeline_runs import pictures, write_records

FEW = [
    "--examples=8",
    "--sensitivity_n.samples=10",
    "--sensitivity_n.sizes=3",
    "--deletion.steps=5",
    "--insertion.steps=5",
]


def evaluate(model: Path, source: Path, logdir: Path, *more: str) -> int:
    return main(["evaluate", f"--model={model}", f"--input={source}", f"--logdir={logdir}", "--run=r", *more])


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A linear model of six numbers, and examples of it."""
    root = tmp_path_factory.mktemp("linear")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    keras.Model(inputs, layers.Dense(3)(inputs)).export(root / "m", verbose=False)
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return root / "m", write_records(root / "a.tfrecord", [{"x": row, "id": f"n{i}"} for i, row in enumerate(rows)])


def test_the_ranked_table(exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", [*pictures(10), b"no example"])
    assert evaluate(exported("image"), source, tmp_path / "logs", "--examples=11", *FEW[1:]) == 1
    said = capsys.readouterr().out
    directory = store_path(tmp_path / "logs", "r", "evaluation")
    found = json.loads((directory / "evaluation.json").read_text())
    store = Store(directory)
    assert store.manifest["evaluation"] == found
    assert store.manifest["counts"] == {"examples": 10, "maps": 10 * 7, "errors": 1}
    assert found["ranked_by"] == ["sensitivity_n", "deletion", "insertion"]
    ranked = [method["id"] for method in found["methods"]]
    assert len(ranked) == 7
    assert ranked[-1] == "saliency"  # it has no sign
    lines = said.splitlines()
    assert lines[0].split()[:4] == ["method", "mean", "rank", "↓"]
    assert [line.split()[1] for line in lines[1:8]] == ranked
    assert [line.split()[0] for line in lines[1:8]] == list("1234567")
    assert lines[8].split()[:2] == ["random", "maps"]
    assert "advice    " + found["advice"] in said
    assert "failed    1 of the examples" in said
    with Image.open(directory / "evaluation.png") as image:
        assert image.width > image.height > 300
    ranks = [method["mean_rank"] for method in found["methods"]]
    assert ranks == sorted(ranks)
    assert sum(ranks) == pytest.approx(7 * 8 / 2)
    for method in found["methods"]:
        assert method["low"] <= method["mean_rank"] <= method["high"]
        assert -1 <= method["sanity"] <= 1
    spent = {method["id"]: method["evaluations"] for method in found["methods"]}
    assert spent["occlusion"] == 65  # windows of one pixel with all channels: a fourteenth of eight
    assert spent["shapley_sampling"] == 5 * (8 * 8 * 3 - 1) + 2
    assert evaluate(exported("image"), source, tmp_path / "logs", *FEW) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err


@pytest.mark.slow
def test_of_a_linear_model_no_method_is_better(
    linear: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = "gradient_x_input,integrated_gradients,deeplift,shapley_sampling"
    assert evaluate(*linear, tmp_path, f"--methods={methods}", *FEW) == 0
    found = json.loads((store_path(tmp_path, "r", "evaluation") / "evaluation.json").read_text())
    assert found["examples"] == 8
    for method in found["methods"]:
        assert method["low"] <= 2.5 <= method["high"]
    assert "too few to tell it from" in found["advice"]
    capsys.readouterr()
    # The sample is random, and that of a seed.
    ids = set(Store(store_path(tmp_path, "r", "evaluation")).index.column("example_id").to_pylist())
    assert ids != {f"n{i}" for i in range(8)}
    assert evaluate(*linear, tmp_path, f"--methods={methods}", *FEW, "--overwrite", "--seed=1") == 0
    assert set(Store(store_path(tmp_path, "r", "evaluation")).index.column("example_id").to_pylist()) != ids


@pytest.mark.slow
def test_methods_that_cannot_explain_the_model_are_left_out(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["not a great film", "the dull film", "great film"]
    source = write_records(tmp_path / "a.tfrecord", [{"text": text} for text in texts])
    flags = ["--measures=deletion", "--deletion.steps=3", "--budget=20", "--integrated_gradients.steps=4"]
    assert evaluate(exported("strings"), source, tmp_path, *flags) == 0
    said = capsys.readouterr().out
    assert "left out  epsilon_lrp: " in said
    assert "left out  deeplift: " in said
    assert evaluate(exported("strings"), source, tmp_path, *flags, "--methods=saliency,deeplift", "--name=b") == 2
    assert "deeplift" in capsys.readouterr().err
    assert (
        evaluate(
            exported("strings"), source, tmp_path, "--methods=saliency,integrated_gradients", "--budget=100", "--name=c"
        )
        == 2
    )
    assert (
        "fewer than two methods are left to compare (integrated_gradients: 512 evaluations a map, more than --budget 100)"
        in (capsys.readouterr().err)
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--runner=DirectRunner"],
            "unknown option --runner=DirectRunner; tb-deepexplain evaluate --help lists the options",
        ),
        (["--measures=nothing"], "unknown measure 'nothing'"),
        (["--examples=0"], "0 is not a whole number of at least 1"),
        (["--deletion.steps=0"], "deletion: steps=0 is not accepted"),
    ],
)
def test_mistakes(
    linear: tuple[Path, Path], tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*linear, tmp_path, *flags) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# The ranking


def records(of: dict[str, dict[str, list[float]]], maps: int = 1) -> Records:
    """method → column → values of its maps, `maps` of them of each example."""
    found = Records()
    for method, columns in of.items():
        for i, values in enumerate(zip(*columns.values(), strict=True)):
            measures = dict(zip(columns, values, strict=True))
            found.attributions.append(Attribution(f"{i // maps}", method, np.ones(1), measures=measures))
    found.inputs += [Input(id_, "tabular") for id_ in dict.fromkeys(row.example_id for row in found.attributions)]
    return found


def request(*measures: str) -> Request:
    return Request(model="", methods=(), target=Target("predicted", 0), measures=tuple((name, {}) for name in measures))


def test_ranks_are_means_over_maps_and_measures() -> None:
    assert [m.id for m in faithful(request("completeness", "stability", "road", "deletion"))] == ["road", "deletion"]
    of = {"a": {"deletion": [0.1, 0.1, 0.9]}, "b": {"deletion": [0.2, 0.2, 0.2]}}
    first, second = _rank([Candidate("b", "B"), Candidate("a", "A")], records(of), request("deletion"), 0)
    assert (first.id, first.mean_rank) == ("a", pytest.approx(4 / 3))
    assert second.mean_rank == pytest.approx(5 / 3)
    assert 0.6 < first.best < 0.9  # of three maps drawn with replacement, two or three are the first two in 20 of 27
    assert (first.low, first.high) == (1, 2)


def test_many_maps_of_one_example_make_nothing_surer() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 0.2, 20), rng.normal(0.5, 0.2, 20)
    found = {}
    for maps in (1, 20):
        of = {name: {"deletion": np.repeat(v, maps).tolist()} for name, v in (("a", a), ("b", b))}
        [first, _] = _rank([Candidate("a", "A"), Candidate("b", "B")], records(of, maps), request("deletion"), 0)
        found[maps] = (first.low, first.high, first.best)
    assert found[1] == pytest.approx(found[20])


def test_no_measure_ranks_nothing(
    linear: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*linear, tmp_path, "--measures=") == 2
    assert "name at least one, such as deletion" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    candidates = [Candidate("a", "A"), Candidate("b", "B")]
    of = {name: {"stability": [0.5, 0.6]} for name in "ab"}
    assert [c.mean_rank for c in _rank(candidates, records(of), request("stability"), 0)] == [None, None]


def test_the_advice_is_honest() -> None:
    rng = np.random.default_rng(0)
    good, bad = (rng.normal(mean, 0.05, 60).tolist() for mean in (0.2, 0.5))

    def advice(a: Any, b: Any, random: Any, sanity: float = 0.1) -> str:
        of = {name: {"deletion": values, "deletion_random": random} for name, values in (("a", a), ("b", b))}
        ranked = _rank([Candidate("a", "A", sanity=sanity), Candidate("b", "B")], records(of), request("deletion"), 0)
        return _advice(ranked, records(of), request("deletion"))

    assert advice(good, bad, bad) == "a ranks first, in 100% of 1,000 resamplings of 60 examples."
    assert "too few to tell it from b" in advice(bad, bad[::-1], [1.0] * 60)
    assert "By deletion it is not better than random maps" in advice(good, bad, good)
    assert "Its maps stay much the same when the model's weights are random (0.80 of 1)" in advice(good, bad, bad, 0.8)
