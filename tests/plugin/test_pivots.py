"""Pivots: the columns are methods, steps, runs or targets, and one value is chosen for each of the other three."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from werkzeug.test import Client

from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input, model_input
from tests.plugin import stores
from tests.plugin.api_client import get, page
from tests.plugin.binary_page import Page
from tests.plugin.small_stores import ODD, odd_store

TRAINING = {"run": "training", "store": "attributions", "sort": "id", "desc": "0"}
METHOD = "integrated_gradients"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("training")
    stores.write_steps_store(directory)
    stores.write_steps_store(directory, "stronger", strength=3)
    stores.write_text_store(directory, "reviews")
    return directory


@pytest.fixture(scope="module")
def client(training: Path, served_once: Callable[..., Client]) -> Client:
    return served_once(training)


@pytest.fixture(scope="module")
def served_once() -> Callable[..., Client]:
    from tests.plugin.conftest import serve

    return serve


def stored(training: Path, run: str = "training", **where: object) -> np.ndarray:
    """The one stored map of these columns, its channels summed."""
    store = Store(store_path(training, run, "attributions"))
    frame = store.index.to_pandas()
    for name, value in where.items():
        frame = frame[frame[name] == value]
    [row] = frame.index.tolist()
    return tile_encoding.merge_channels(store.maps([row])[0], True)


def is_close(answer: Page, cell: dict[str, object], values: np.ndarray) -> bool:
    """Whether a cell of the answer is this map, up to its eight bits."""
    difference = np.abs(answer.values(cell) - values).max()
    return bool(difference < 0.02 * np.abs(values).max())


def test_columns_of_steps(client: Client, training: Path) -> None:
    answer = page(client, **TRAINING, pivot="steps", methods=METHOD, limit=200)
    assert [c["title"] for c in answer.header["columns"]] == ["step 0", "step 500", "step 2,000"]
    assert {c["method"]["id"] for c in answer.header["columns"]} == {METHOD}
    row = answer.row("train-01")
    for cell, step in zip(row["maps"], stores.STEPS, strict=True):
        assert cell["step"] == step
        target = 0 if step == 0 else 1  # the predicted class at that step
        assert cell["target"] == target
        assert is_close(answer, cell, stored(training, example_id="train-01", method=METHOD, step=step, target=target))
    assert [cell is None for cell in answer.row("train-29")["maps"]] == [False, True, False]
    # Of examples that lack the first or the last there is no change to show.
    early = page(client, **TRAINING, pivot="steps", methods=METHOD, change=1, filter="id:train-29")
    assert early.row("train-29")["maps"][-1] is not None


def test_change_is_the_last_map_less_the_first(client: Client, training: Path) -> None:
    answer = page(client, **TRAINING, pivot="steps", methods=METHOD, target=1, change=1, size=96)
    last = answer.header["columns"][-1]
    assert last["change"] and last["title"] == "step 2,000 − step 0" and last["method"]["signed"]
    where = {"example_id": "train-04", "method": METHOD, "target": 1}
    difference = stored(training, **where, step=2000) - stored(training, **where, step=0)
    cell = answer.row("train-04")["maps"][-1]
    assert np.abs(difference).max() > 0 and is_close(answer, cell, difference)
    assert cell["score"] is None and cell["gap"] is None


def test_columns_of_targets(client: Client, training: Path) -> None:
    answer = page(client, **TRAINING, pivot="targets", methods=METHOD, step=2000)
    assert sorted(c["title"] for c in answer.header["columns"]) == sorted(stores.CLASSES[t] for t in stores.TARGETS)
    answer = page(client, **TRAINING, pivot="targets", methods=METHOD, step=2000, targets="2,0")
    assert [c["key"] for c in answer.header["columns"]] == ["2", "0"]
    for cell, target in zip(answer.row("train-02")["maps"], (2, 0), strict=True):
        assert cell["target"] == target and cell["target_name"] == stores.CLASSES[target]
        assert is_close(answer, cell, stored(training, example_id="train-02", method=METHOD, step=2000, target=target))


def test_columns_of_runs(client: Client, training: Path) -> None:
    answer = page(client, **TRAINING, pivot="runs", methods=METHOD, step=600, target=1, change=1)
    assert [c["title"] for c in answer.header["columns"]] == ["stronger", "training", "training − stronger"]
    strong, plain, _ = answer.row("train-03")["maps"]
    where = {"example_id": "train-03", "method": METHOD, "target": 1, "step": 500}
    assert (strong["step"], plain["step"]) == (500, 500)  # the latest that is not after `step`
    assert is_close(answer, strong, stored(training, "stronger", **where)) and is_close(
        answer, plain, stored(training, **where)
    )
    assert strong["quantiles"][-1] == pytest.approx(3 * plain["quantiles"][-1], rel=1e-2)
    versioned = get(client, "/api/tiles", **TRAINING, pivot="runs", v=answer.header["version"])
    assert "no-cache" in versioned.headers["Cache-Control"]  # the other run may change


def test_a_run_that_explains_other_inputs_is_not_compared(tmp_path: Path, served: Callable[..., Client]) -> None:
    for run, name, values in (("odd", "age", [1.0]), ("other", "income", [5.0]), ("same", "age", [2.0])):
        stored = Input("1", "tabular", values=values, inputs=[model_input(name, "float32", (), "tabular")])
        maps = [Attribution("1", "saliency", np.array(values))]
        odd_store(tmp_path, "tabular", [(stored, maps)], run, model={"inputs": [name]})
    answer = page(served(tmp_path), **ODD, pivot="runs", change=1)
    odd, other, same, change = answer.row("1")["maps"]
    assert "error" not in odd and "error" not in same
    assert other["error"] == "this run explains other inputs of the model"
    assert answer.values(change) == pytest.approx([1])
    shutil.rmtree(tmp_path / "same")
    assert page(served(tmp_path), **ODD, pivot="runs", change=1).row("1")["maps"][-1] is None


def test_methods_at_a_step_show_the_class_predicted_then(client: Client) -> None:
    early = page(client, **TRAINING, step=0)
    assert {cell["target"] for row in early.header["rows"] for cell in row["maps"]} == {0}
    late = page(client, **TRAINING)
    assert [row["maps"][0]["target"] for row in late.header["rows"][:3]] == [0, 1, 2]
    assert late.header["steps"] == list(stores.STEPS)
    assert [t["id"] for t in late.header["targets"]] == list(stores.TARGETS)
    # Every example has one row of maps, however many targets it has.
    assert early.header["total"] == late.header["total"] == 30
    assert page(client, **TRAINING, step=500).header["total"] == 28


def test_examples_sort_by_how_far_their_score_moved(client: Client, training: Path) -> None:
    moved = get(
        client, "/api/query", **{**TRAINING, "sort": "change", "desc": "1"}, columns="change,score", limit=200
    ).json
    frame = Store(store_path(training, "training", "attributions")).index.to_pandas()
    late = frame[(frame["step"] == 2000) & (frame["target"] == frame["predicted"])].drop_duplicates("example_id")
    score = frame.drop_duplicates(["example_id", "target", "step"]).set_index(["example_id", "target", "step"])["score"]
    expected = {
        r.example_id: abs(score[r.example_id, r.target, 2000] - score[r.example_id, r.target, 0])
        for r in late.itertuples()
    }
    assert len(moved["id"]) == 30
    for example, change in zip(moved["id"], moved["change"], strict=True):
        assert change == pytest.approx(expected[example], rel=1e-5)
    assert moved["change"] == sorted(moved["change"], reverse=True) and len({round(c, 3) for c in moved["change"]}) > 1
    filtered = get(client, "/api/query", **TRAINING, filter="change>3", limit=200).json
    assert sorted(filtered["id"]) == sorted(i for i, c in expected.items() if c > 3) != []
    one_step = get(client, "/api/query", run="reviews", store="attributions", sort="change")
    assert one_step.status_code == 400
