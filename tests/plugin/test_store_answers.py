"""What the routes answer about stores and examples: lists, columns, one example, exports."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from werkzeug.test import Client

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tests.plugin import stores
from tests.plugin.api_client import PICTURES, get, page
from tests.plugin.small_stores import ODD, odd_store, small_store


def test_stores_lists_what_markers_announce(client: Client, logdir: Path) -> None:
    answer = get(client, "/api/stores").json
    assert [(s["run"], s["store"], s["modality"]) for s in answer["stores"]] == [
        ("pictures", "attributions", "image"),
        ("reviews", "attributions", "text"),
        ("wine", "attributions", "tabular"),
    ]
    pictures = answer["stores"][0]
    assert (pictures["examples"], pictures["maps"], pictures["errors"]) == (60, 239, 1)
    assert [m["reduction"] for m in pictures["methods"]] == ["max |a|", "sum", "sum", "sum"]
    assert answer["logdir"] == str(logdir)


def test_runs_are_listed_in_natural_order(tmp_path: Path, served: Callable[..., Client]) -> None:
    runs = ["step 12", "10/eval", "9/eval", "9/train", "step 2", "plain"]
    for run in runs:
        stores.write_tabular_store(tmp_path, run, count=2)
    answer = get(served(tmp_path), "/api/stores").json["stores"]
    assert [s["run"] for s in answer] == ["9/eval", "9/train", "10/eval", "plain", "step 2", "step 12"]


def test_the_default_order_is_misclassified_first_then_the_largest_gap(client: Client) -> None:
    answer = get(client, "/api/query", **PICTURES, limit=200).json
    misclassified, gap = np.array(answer["misclassified"]), np.array(answer["relative_gap"], float)
    assert 0 < misclassified.sum() < len(misclassified) == answer["total"] == 60
    assert (misclassified == (np.array(answer["predicted"]) != np.array(answer["label"]))).all()
    assert not (np.diff(misclassified.astype(int)) > 0).any()
    for part in (misclassified, ~misclassified):
        assert (np.diff(gap[part]) <= 0).all()


@pytest.mark.parametrize("sort", ["score", "probability", "gap"])
@pytest.mark.parametrize("desc", ["0", "1"])
def test_sorting_by_a_number(client: Client, sort: str, desc: str) -> None:
    column = "relative_gap" if sort == "gap" else sort
    values = get(client, "/api/query", **PICTURES, sort=sort, desc=desc, limit=200).json[column]
    assert values == sorted(values, reverse=desc == "1")


def test_ids_sort_as_numbers_where_they_are_numbers(client: Client) -> None:
    answer = get(
        client, "/api/query", run="wine", store="attributions", sort="id", desc=0, columns="score", limit=200
    ).json
    assert answer["id"] == [str(i) for i in range(30)]
    assert set(answer) == {"version", "total", "offset", "id", "score"}


@pytest.mark.parametrize("desc", [0, 1])
def test_examples_without_a_value_come_last_in_either_direction(
    tmp_path: Path, served: Callable[..., Client], desc: int
) -> None:
    directory = store_path(tmp_path, "r", "s")
    writer = StoreWriter(directory)
    scores = [None, 3.0, 1.0, float("nan"), 2.0, None]
    with writer.shard("0") as shard:
        for number, score in enumerate(scores):
            shard.add(inputs=[Input(str(number), "tabular", features=["x"], values=[1.0])])
            shard.add([Attribution(str(number), "saliency", np.ones(1), score=score)])
    writer.commit(["0"], stores.manifest("s", "tabular", None, stores.METHODS[:1]))
    write_marker(tmp_path, "r", "s")
    answer = get(served(tmp_path), "/api/query", run="r", store="s", sort="score", desc=desc).json
    assert answer["id"] == [*(["1", "4", "2"] if desc else ["2", "4", "1"]), "0", "3", "5"]
    assert answer["score"][3:] == [None] * 3


def test_filter_and_pages_cover_each_example_once(client: Client) -> None:
    pages = [get(client, "/api/query", **PICTURES, offset=at, limit=24).json["id"] for at in (0, 24, 48)]
    assert [len(p) for p in pages] == [24, 24, 12]
    assert len({i for p in pages for i in p}) == 60
    misclassified = get(client, "/api/query", **PICTURES, filter="is:misclassified", limit=200).json
    assert misclassified["total"] == len(misclassified["id"]) and all(misclassified["misclassified"])


def test_the_target_parameter_selects_maps(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r")
    client = served(tmp_path)
    targets = {
        t: get(client, "/api/query", run="r", store="s", **({} if t is None else {"target": t})).json["target"]
        for t in (None, 0, 1, 7, "label")
    }
    assert targets == {None: [1] * 4, 0: [0] * 4, 1: [1] * 4, 7: [], "label": []}
    # Without a label an answer is neither right nor misclassified.
    assert get(client, "/api/query", run="r", store="s").json["misclassified"] == [False] * 4
    assert page(client, run="r", store="s").header["targets"] == [{"id": 0, "name": "no"}, {"id": 1, "name": "yes"}]


def test_example_holds_every_stored_number(client: Client) -> None:
    answer = get(client, "/api/example", **PICTURES, id=stores.LACKING).json
    assert [m["method"] for m in answer["maps"]] == ["saliency", "integrated_gradients", "occlusion"]
    assert answer["maps"][0]["gap"] is None and isinstance(answer["maps"][1]["gap"], float)
    assert answer["model"]["path"] == "models/pictures"
    curves = answer["curves"]["occlusion"]["deletion"]
    assert [len(curves[end]) for end in ("at", "curve", "random_curve")] == [5] * 3 and curves["curve"][
        0
    ] == pytest.approx(0.9)
    assert get(client, "/api/example", **PICTURES, id="img-0050").json["curves"]["occlusion"] == {}  # not measured


def test_an_export_holds_the_numbers_of_all_examples_of_a_filter(client: Client) -> None:
    query = {**PICTURES, "filter": "is:error", "sort": "id", "desc": 0}
    answer = get(client, "/api/export", **query, format="csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="pictures_attributions.csv"'
    frame = pd.read_csv(io.StringIO(answer.text))
    listed = get(
        client, "/api/query", **query, columns="score,integrated_gradients.gap,occlusion.deletion", limit=200
    ).json
    assert frame["id"].tolist() == listed["id"] and frame["misclassified"].all()
    for name in ("score", "integrated_gradients.gap", "occlusion.deletion"):
        np.testing.assert_allclose(frame[name], np.array(listed[name], float), rtol=1e-6)
    assert "saliency.gap" not in frame  # it promises no sum
    lines = [json.loads(line) for line in get(client, "/api/export", **query, format="jsonl").text.splitlines()]
    assert [line["id"] for line in lines] == listed["id"] and lines[0]["label_name"] == frame["label_name"][0]
    assert get(client, "/api/export", **PICTURES, format="xls").status_code == 400


def test_an_export_holds_tokens_and_features_with_their_attributions(client: Client) -> None:
    query = {"store": "attributions", "sort": "id", "desc": 0, "limit": 5, "values": 1}
    for run, names in (("reviews", ["tokens"]), ("wine", ["features", "values"])):
        shown = page(client, run=run, store="attributions", sort="id", desc=0, limit=5)
        lines = get(client, "/api/export", **query, run=run, format="jsonl").text.splitlines()
        frame = pd.read_csv(io.StringIO(get(client, "/api/export", **query, run=run, format="csv").text))
        for k, (line, row) in enumerate(zip(map(json.loads, lines), shown.header["rows"], strict=True)):
            for name in names:
                expected = row["input"][name] if name != "features" else list(row["input"]["features"])
                assert line[name] == json.loads(frame[name][k]) == expected
            for column, one in zip(shown.header["columns"], row["maps"], strict=True):
                attributions = line[f"{column['key']}.attributions"]
                if one is None:
                    assert attributions is None
                else:
                    np.testing.assert_allclose(attributions, shown.values(one), rtol=1e-6)
                    assert json.loads(frame[f"{column['key']}.attributions"][k]) == attributions
    refused = get(client, "/api/export", **query, run="pictures", format="csv")
    assert refused.status_code == 400 and "a picture's map is no list of numbers" in refused.text


def test_an_export_of_mixed_examples_has_columns_for_each_input(tmp_path: Path, served: Callable[..., Client]) -> None:
    stores.write_mixed_store(tmp_path, count=2)
    query = {"run": "recipes", "store": "attributions", "sort": "id", "desc": 0}
    client = served(tmp_path)
    answer = get(client, "/api/export", **query, values=1, format="jsonl")
    first = json.loads(answer.text.splitlines()[0])
    assert first["review.tokens"][:3] == ["a", "warm", "and"]
    assert (first["city.features"], first["city.values"], first["price.values"]) == (["city"], ["Bern"], [8.5])
    sent = page(client, **query).row("meal-00")["maps"][1]["parts"]
    for part in sent:
        name = f"gradient_x_input.{part['name']}.attributions"
        if part["name"] == "photo":
            assert name not in first
        else:
            assert sum(first[name]) == pytest.approx(part["sum"], rel=1e-4)


def test_an_export_of_a_damaged_map_is_refused(tmp_path: Path, served: Callable[..., Client]) -> None:
    shard = small_store(tmp_path, "r") / "attributions-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    answer = get(served(tmp_path), "/api/export", run="r", store="s", format="csv", values=1)
    assert answer.status_code == 503 and "00002" in answer.text


def test_an_export_holds_no_formula(tmp_path: Path, served: Callable[..., Client]) -> None:
    rows = [
        (
            Input("=1+1", "tabular", features=["x"], values=[1.0]),
            [Attribution("=1+1", "saliency", np.ones(1), score=-1.0)],
        )
    ]
    odd_store(tmp_path, "tabular", rows)
    frame = pd.read_csv(io.StringIO(get(served(tmp_path), "/api/export", **ODD, format="csv").text))
    assert frame["id"][0] == "'=1+1" and frame["score"][0] == -1
