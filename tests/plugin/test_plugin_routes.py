"""The HTTP API over real stores: answers, validation, refusals, damaged stores."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr, t
from werkzeug.test import Client

from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.store.layout import MANIFEST, store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tests.plugin import stores
from tests.plugin.api_client import PICTURES, REVIEWS, ROOT, get, page, summary


def test_stores_lists_what_markers_announce(client: Client, logdir: Path) -> None:
    answer = get(client, "/api/stores").json
    assert [(s["run"], s["store"], s["kind"]) for s in answer["stores"]] == [
        ("pictures", "attributions", "image"),
        ("reviews", "attributions", "text"),
        ("wine", "attributions", "tabular"),
    ]
    pictures = answer["stores"][0]
    assert (pictures["examples"], pictures["maps"], pictures["errors"]) == (60, 239, 1)
    assert [m["reduction"] for m in pictures["methods"]] == ["max |a|", "sum", "sum", "sum"]
    assert answer["logdir"] == str(logdir)


def test_runs_come_as_people_count(tmp_path: Path, served: Callable[..., Client]) -> None:
    runs = ["step 12", "10/eval", "9/eval", "9/train", "step 2", "plain"]
    for run in runs:
        stores.write_tabular_store(tmp_path, run, count=2)
    found = get(served(tmp_path), "/api/stores").json["stores"]
    assert [s["run"] for s in found] == ["9/eval", "9/train", "10/eval", "plain", "step 2", "step 12"]


def test_default_order_is_wrong_answers_first_then_the_largest_gap(client: Client) -> None:
    found = get(client, "/api/query", **PICTURES, limit=200).json
    wrong, gap = np.array(found["misclassified"]), np.array(found["relative_gap"], float)
    assert 0 < wrong.sum() < len(wrong) == found["total"] == 60
    assert (wrong == (np.array(found["predicted"]) != np.array(found["label"]))).all()
    assert not (np.diff(wrong.astype(int)) > 0).any()
    for part in (wrong, ~wrong):
        assert (np.diff(gap[part]) <= 0).all()


@pytest.mark.parametrize("sort", ["score", "probability", "gap"])
@pytest.mark.parametrize("desc", ["0", "1"])
def test_sorting_by_a_number(client: Client, sort: str, desc: str) -> None:
    column = "relative_gap" if sort == "gap" else sort
    values = get(client, "/api/query", **PICTURES, sort=sort, desc=desc, limit=200).json[column]
    assert values == sorted(values, reverse=desc == "1")


def test_ids_sort_as_numbers_where_they_are_numbers(client: Client) -> None:
    found = get(
        client, "/api/query", run="wine", store="attributions", sort="id", desc=0, columns="score", limit=200
    ).json
    assert found["id"] == [str(i) for i in range(30)]
    assert set(found) == {"version", "total", "offset", "id", "score"}


def test_filter_and_pages_cover_each_example_once(client: Client) -> None:
    pages = [get(client, "/api/query", **PICTURES, offset=at, limit=24).json["id"] for at in (0, 24, 48)]
    assert [len(p) for p in pages] == [24, 24, 12]
    assert len({i for p in pages for i in p}) == 60
    wrong = get(client, "/api/query", **PICTURES, filter="is:misclassified", limit=200).json
    assert wrong["total"] == len(wrong["id"]) and all(wrong["misclassified"])


def test_tiles_hold_the_stored_maps(client: Client, logdir: Path) -> None:
    shown = page(client, **PICTURES, sort="id", desc=0, size=224)
    store = Store(store_path(logdir, "pictures", "attributions"))
    index = store.index.to_pylist()
    for number, row in enumerate(index[:20]):
        sent = shown.map(row["example_id"], row["method"])
        if row["example_id"] == stores.NAN and row["method"] == "occlusion":
            continue
        [stored] = store.maps([number])
        flat = np.abs(stored).max(2) if row["method"] == "saliency" else stored.sum(2)
        scale = np.abs(flat).max()
        assert sent["scale"] == pytest.approx(scale) and sent["shape"] == [96, 96]
        # A code is off by half a step at most: |dv| = 2 sqrt(|v| scale) / 254 + scale / 254².
        allowed = 2 * np.sqrt(np.abs(flat) * scale) / 254 + scale / 254**2
        assert (np.abs(shown.values(sent) - flat) <= allowed * 1.001 + 1e-12).all()
        assert sent["quantiles"] == pytest.approx(np.quantile(np.abs(flat), [0.5, 0.9, 0.95, 0.99, 1]).tolist())
        assert sent["gap"] == (None if np.isnan(row["gap"]) else pytest.approx(row["gap"]))


def test_odd_maps_are_said_to_be_odd(client: Client) -> None:
    shown = page(client, **PICTURES, sort="id", desc=0, size=224)
    zero = shown.map(stores.ZERO, "integrated_gradients")
    assert zero["zero"] and zero["scale"] == 0 and not shown.values(zero).any()
    bad = shown.map(stores.NAN, "occlusion")
    values = shown.values(bad)
    assert bad["not_finite"] == 8 * 40 and not bad["zero"]
    assert np.isnan(values[40:48, 16:56]).all() and np.isfinite(values).sum() == 96 * 96 - 8 * 40
    assert shown.map(stores.LACKING, "gradient_x_input") is None
    small = page(client, **PICTURES, sort="id", desc=0, size=48)
    assert np.isnan(small.values(small.map(stores.NAN, "occlusion"))).sum() == 4 * 20
    # The marks for clipping do not depend on the size of the tiles.
    for method in ("saliency", "occlusion"):
        assert small.map("img-0000", method)["quantiles"] == shown.map("img-0000", method)["quantiles"]


def test_tokens_and_features_come_as_float32(client: Client) -> None:
    shown = page(client, **REVIEWS, sort="id", desc=0, limit=200)
    row = shown.row("review-pieces")
    assert row["input"]["tokens"][2] == "##believ" and row["input"]["word_ids"][1:4] == [0, 0, 0]
    sent = shown.map("review-pieces", "integrated_gradients")
    np.testing.assert_allclose(shown.values(sent), [3, 0.2, 0.5, 0.4, 0.9, 0.01, -0.2, 0.3, -3, 0, 0], rtol=2e-3)
    assert sent["length"] == 11 and sent["quantiles"][0] == pytest.approx(0.4, rel=1e-3)  # padding is not counted
    wine = page(client, run="wine", store="attributions")
    assert wine.header["rows"][0]["input"]["features"][0] == "alcohol"


def test_one_map_is_exact_and_says_its_shape(client: Client, logdir: Path) -> None:
    store = Store(store_path(logdir, "pictures", "attributions"))
    row = next(
        i for i, r in enumerate(store.index.to_pylist()) if (r["example_id"], r["method"]) == ("img-0002", "saliency")
    )
    [stored] = store.maps([row])
    answer = get(client, "/api/tile", **PICTURES, id="img-0002", method="saliency")
    assert json.loads(answer.headers["X-Shape"]) == [96, 96, 3]
    np.testing.assert_array_equal(np.frombuffer(answer.data, "<f4").reshape(96, 96, 3), stored)
    flat = get(client, "/api/tile", **PICTURES, id="img-0002", method="saliency", flat=1)
    np.testing.assert_array_equal(np.frombuffer(flat.data, "<f4").reshape(96, 96), stored.max(2))


def test_example_tells_every_number(client: Client) -> None:
    found = get(client, "/api/example", **PICTURES, id=stores.LACKING).json
    assert [m["method"] for m in found["maps"]] == ["saliency", "integrated_gradients", "occlusion"]
    assert found["maps"][0]["gap"] is None and isinstance(found["maps"][1]["gap"], float)
    assert found["model"]["path"] == "models/pictures"
    curves = found["curves"]["occlusion"]["deletion"]
    assert [len(curves[end]) for end in ("at", "curve", "random_curve")] == [5] * 3 and curves["curve"][
        0
    ] == pytest.approx(0.9)
    assert get(client, "/api/example", **PICTURES, id="img-0050").json["curves"]["occlusion"] == {}  # not measured


@pytest.mark.parametrize(
    ("route", "query", "says"),
    [
        ("/api/stores", {"run": "pictures"}, "unknown parameter 'run'"),
        ("/api/query", {}, "'run' is missing"),
        ("/api/query", {"run": "pictures"}, "'store' is missing"),
        ("/api/query", {**PICTURES, "limit": "0"}, "a whole number from 1 to 200"),
        ("/api/query", {**PICTURES, "limit": "201"}, "a whole number from 1 to 200"),
        ("/api/query", {**PICTURES, "limit": "1e2"}, "a whole number"),
        ("/api/query", {**PICTURES, "offset": "-1"}, "a whole number"),
        ("/api/query", {**PICTURES, "offset": "٣"}, "a whole number"),
        ("/api/query", {**PICTURES, "sort": "shuffle"}, "unknown field 'shuffle'; this store has id, label, pred"),
        ("/api/query", {**PICTURES, "sort": "score; DROP TABLE m"}, "'errors', 'id' or a field"),
        ("/api/query", {**PICTURES, "sort": "lime.gap"}, "unknown method 'lime'; this store has saliency"),
        ("/api/query", {**PICTURES, "filter": "score>>3"}, "expected a number such as 0.9 or 5%, not '>3'"),
        ("/api/query", {**PICTURES, "columns": "id,attribution"}, "unknown field 'attribution'"),
        ("/api/query", {**PICTURES, "columns": "id,max(gap)"}, "names among"),
        ("/api/tiles", {**PICTURES, "pivot": "colours"}, "one of 'methods', 'steps', 'targets', 'runs'"),
        ("/api/tiles", {**PICTURES, "pivot": "targets", "targets": "1,x"}, "a whole number"),
        ("/api/facet", {**PICTURES, "bins": "1000"}, "a whole number from 2 to 200"),
        ("/api/query", {**PICTURES, "size": "3"}, "unknown parameter 'size'"),
        ("/api/tiles", {**PICTURES, "size": "100000"}, "a whole number from 16 to 1024"),
        ("/api/tiles", {**PICTURES, "methods": "saliency,saliency"}, "each once"),
        ("/api/tiles", {**PICTURES, "methods": "lime"}, "unknown method 'lime'; this store has saliency"),
        ("/api/tiles", {**PICTURES, "target": "cat"}, "'predicted', 'label', 'sum'"),
        ("/api/tiles", {**PICTURES, "step": "last"}, "a whole number"),
        ("/api/tile", {**PICTURES, "method": "saliency"}, "'id' is missing"),
        ("/api/tile", {**PICTURES, "id": "img-0000", "method": "lime"}, "unknown method 'lime'"),
        ("/api/example", {**PICTURES, "id": ""}, "some text"),
    ],
)
def test_malformed_questions_are_refused_in_a_sentence(
    client: Client, route: str, query: dict[str, str], says: str
) -> None:
    answer = get(client, route, **query)
    assert answer.status_code == 400
    assert answer.content_type.startswith("text/plain") and says in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_parameter_given_twice_is_refused(client: Client) -> None:
    answer = client.get(f"{ROOT}/api/query?run=pictures&run=reviews&store=attributions")
    assert answer.status_code == 400 and "more than once" in answer.text


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("/api/example", {**PICTURES, "id": "nobody"}),
        ("/api/tile", {**PICTURES, "id": "nobody", "method": "saliency"}),
        ("/api/tile", {**PICTURES, "id": stores.LACKING, "method": "gradient_x_input"}),
        ("/api/query", {"run": "pictures", "store": "other"}),
    ],
)
def test_what_is_not_stored_is_not_found(client: Client, route: str, query: dict[str, str]) -> None:
    assert get(client, route, **query).status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_only_get_is_answered(client: Client, method: str) -> None:
    assert getattr(client, method)(f"{ROOT}/api/stores").status_code == 405


ESCAPES = ["../../etc", "..", ".", "", "/etc", "pictures/../../..", "..%2f..", "pictures\0", "\\..\\.."]


@pytest.mark.parametrize("run", ESCAPES)
@pytest.mark.parametrize("store", ["attributions", *ESCAPES[:3]])
def test_no_path_is_taken_from_the_question(client: Client, run: str, store: str) -> None:
    answer = get(client, "/api/query", run=run, store=store)
    assert answer.status_code in (400, 404) and "root:" not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "../__init__.py",
        "assets/../../__init__.py",
        "..%2f__init__.py",
        "assets/%2e%2e/index.js",
        "/etc/passwd",
        "assets/",
        "",
        ".hidden.js",
    ],
)
def test_static_serves_nothing_but_the_built_page(client: Client, name: str) -> None:
    answer = client.get(f"{ROOT}/static/{name}")
    assert answer.status_code == 404 and "import" not in answer.text


def test_static_entry_is_asked_for_again_and_assets_are_kept(client: Client) -> None:
    entry = client.get(f"{ROOT}/static/index.js")
    assert entry.status_code == 200 and "no-cache" in entry.headers["Cache-Control"] and len(entry.data) < 4096
    asset = next(
        line
        for line in entry.text.replace('"', "`").split("`")
        if line.startswith("./assets/") and line.endswith(".js")
    )
    answer = client.get(f"{ROOT}/static/{asset[2:]}")
    assert answer.status_code == 200 and "max-age=31536000" in answer.headers["Cache-Control"]


def test_answers_about_a_version_may_be_kept(client: Client) -> None:
    version = get(client, "/api/stores").json["stores"][0]["version"]
    assert "max-age" in get(client, "/api/tiles", **PICTURES, v=version).headers["Cache-Control"]
    assert "no-cache" in get(client, "/api/tiles", **PICTURES, v="older").headers["Cache-Control"]


# — stores that change, and stores that are not well —


def small_store(logdir: Path, run: str, name: str = "s", examples: int = 4, **more: Any) -> Path:
    """A tiny text store, one shard an example."""
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    units = []
    for number in range(examples):
        units.append(f"{number:05d}")
        with writer.shard(units[-1]) as shard:
            shard.add(inputs=[Input(str(number), "text", tokens=["a", "b"])])
            shard.add(
                [Attribution(str(number), "saliency", np.array([1.0, 2.0]), target=t, predicted=1) for t in (0, 1)]
            )
    writer.commit(units, {**stores.manifest(name, "text", ["no", "yes"], stores.METHODS[:1]), **more})
    write_marker(logdir, run, name)
    return directory


def test_a_new_commit_is_seen_at_once(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r", examples=2)
    client = served(tmp_path)
    before = get(client, "/api/query", run="r", store="s").json
    small_store(tmp_path, "r", examples=5)
    after = get(client, "/api/query", run="r", store="s").json
    assert (before["total"], after["total"]) == (2, 5) and before["version"] != after["version"]


@pytest.mark.parametrize("desc", [0, 1])
def test_what_has_no_value_comes_last_either_way(tmp_path: Path, served: Callable[..., Client], desc: int) -> None:
    directory = store_path(tmp_path, "r", "s")
    writer = StoreWriter(directory)
    scores = [None, 3.0, 1.0, float("nan"), 2.0, None]
    with writer.shard("0") as shard:
        for number, score in enumerate(scores):
            shard.add(inputs=[Input(str(number), "tabular", features=["x"], values=[1.0])])
            shard.add([Attribution(str(number), "saliency", np.ones(1), score=score)])
    writer.commit(["0"], stores.manifest("s", "tabular", None, stores.METHODS[:1]))
    write_marker(tmp_path, "r", "s")
    found = get(served(tmp_path), "/api/query", run="r", store="s", sort="score", desc=desc).json
    assert found["id"] == [*(["1", "4", "2"] if desc else ["2", "4", "1"]), "0", "3", "5"]
    assert found["score"][3:] == [None] * 3


def test_targets_are_chosen(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r")
    client = served(tmp_path)
    targets = {
        t: get(client, "/api/query", run="r", store="s", **({} if t is None else {"target": t})).json["target"]
        for t in (None, 0, 1, 7, "label")
    }
    assert targets == {None: [1] * 4, 0: [0] * 4, 1: [1] * 4, 7: [], "label": []}
    # Without a label an answer is neither right nor wrong.
    assert get(client, "/api/query", run="r", store="s").json["misclassified"] == [False] * 4
    assert page(client, run="r", store="s").header["targets"] == [{"id": 0, "name": "no"}, {"id": 1, "name": "yes"}]


def test_a_truncated_shard_spoils_its_own_tiles_only(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    shard = directory / "attributions-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    client = served(tmp_path)
    shown = page(client, run="r", store="s", sort="id", desc=0)
    errors = [row["maps"][0].get("error", "") for row in shown.header["rows"]]
    assert [bool(e) for e in errors] == [False, False, True, False] and "00002" in errors[2]
    one = get(client, "/api/tile", run="r", store="s", id="2", method="saliency")
    assert one.status_code == 503 and "cannot be read" in one.text


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: (d / MANIFEST).unlink(), "no committed store"),
        (lambda d: (d / MANIFEST).write_text("{"), "not JSON"),
        (lambda d: (d / MANIFEST).write_text("[1]"), "run the pipeline again"),
        (
            lambda d: (d / MANIFEST).write_text(json.dumps({"format_version": 99})),
            "upgrade tensorboard-plugin-deepexplain",
        ),
        (lambda d: (d / MANIFEST).write_text(json.dumps({"format_version": 1})), "run the pipeline again"),
    ],
)
def test_a_broken_store_is_named_and_the_others_live(
    tmp_path: Path, served: Callable[..., Client], damage: Callable[[Path], None], says: str
) -> None:
    small_store(tmp_path, "good")
    damage(small_store(tmp_path, "bad"))
    client = served(tmp_path)
    bad, good = get(client, "/api/stores").json["stores"]
    assert says in bad["error"] and "error" not in good
    answer = get(client, "/api/tiles", run="bad", store="s")
    assert answer.status_code == 503 and says in answer.text
    assert get(client, "/api/query", run="good", store="s").json["total"] == 4


def test_a_lost_index_is_a_sentence(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    next(directory.glob("index-*.parquet")).unlink()
    answer = get(served(tmp_path), "/api/query", run="r", store="s")
    assert answer.status_code == 503 and "run the pipeline again" in answer.text


def test_a_store_outside_the_logdir_is_refused(tmp_path: Path, served: Callable[..., Client]) -> None:
    inside = tmp_path / "logdir"
    directory = small_store(inside, "r")
    outside = tmp_path / "elsewhere"
    shutil.move(directory, outside)
    directory.symlink_to(outside)
    client = served(inside)
    assert "outside the logdir" in get(client, "/api/stores").json["stores"][0]["error"]
    assert get(client, "/api/query", run="r", store="s").status_code == 503


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    manifest = json.loads((directory / MANIFEST).read_text())
    os.replace(directory / manifest["index"][0], tmp_path / "index.parquet")
    manifest["index"] = ["../../../../index.parquet"]
    (directory / MANIFEST).write_text(json.dumps(manifest))
    answer = get(served(tmp_path), "/api/query", run="r", store="s")
    assert answer.status_code == 503 and "outside itself" in answer.text


@pytest.mark.parametrize("flag", ["relative", "home", "spec", "remote"])
def test_logdir_as_people_write_it(
    tmp_path: Path, served: Callable[..., Client], flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_store(tmp_path / "logs", "r")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"relative": "logs", "home": "~/logs", "spec": "", "remote": "gs://bucket/logs"}[flag]
    answer = get(served(tmp_path / "logs", given), "/api/query", run="r", store="s")
    if flag in ("relative", "home"):
        assert answer.json["total"] == 4
    else:
        said = {"spec": "--logdir DIRECTORY", "remote": "pip install 'tensorboard-plugin-deepexplain[gcp]'"}[flag]
        assert answer.status_code == 503 and said in answer.text


def test_a_path_prefix_changes_nothing(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r")
    client = served(tmp_path, prefix="/a/b")
    assert client.get(f"/a/b{ROOT}/api/stores").json["stores"][0]["run"] == "r"


def test_an_index_that_does_not_say_where_inputs_are_is_read(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    [index] = directory.glob("index-*.parquet")
    whole = page(served(tmp_path), run="r", store="s").header["rows"]
    pq.write_table(pq.read_table(index).drop_columns(["input_shard"]), index)  # as it was first made
    found = page(served(tmp_path), run="r", store="s").header["rows"]
    assert found == whole and "error" not in found[0]["input"]


def test_a_training_is_served_step_by_step(tmp_path: Path, served: Callable[..., Client]) -> None:
    writer = StoreWriter(store_path(tmp_path, "fit", "s"))
    with writer.shard("examples") as shard:
        shard.add(inputs=[Input(e, "tabular", features=["a", "b"], values=[1.0, 2.0]) for e in "xy"])
    described = stores.manifest("s", "tabular", None, stores.METHODS[:1], complete=False)
    version = ""
    for step in (0, 5):
        unit = f"step-{step}"
        with writer.shard(unit, "examples") as shard:
            shard.add([Attribution(e, "saliency", np.full(2, step + 1.0), target=0, step=step) for e in "xy"])
        written = writer.append(unit, described, version) if step else writer.commit(["examples", unit], described)
        version = written["version"]
    write_marker(tmp_path, "fit", "s")
    client, store = served(tmp_path), {"run": "fit", "store": "s"}

    def complete() -> bool:
        return get(client, "/api/stores").json["stores"][0]["complete"]

    assert not complete()
    writer.rewrite_manifest({**described, "complete": True}, version)
    assert complete()
    for step, query in ((0, {"step": "0"}), (5, {})):  # the latest, if none is asked for
        found = page(client, **store, **query).header
        assert found["steps"] == [0, 5]
        assert [row["input"]["values"] for row in found["rows"]] == [[1.0, 2.0]] * 2
        assert get(client, "/api/tile", **store, id="x", method="saliency", step=step).status_code == 200
    inputs = writer.directory / "inputs-examples.parquet"
    inputs.write_bytes(inputs.read_bytes()[:-20])
    [first, _] = page(served(tmp_path), **store).header["rows"]
    assert "inputs-examples.parquet cannot be read" in first["input"]["error"]
    assert first["maps"][0] is not None
    assert "input_shard" not in get(client, "/api/example", **store, id="x").json["maps"][0]


def test_faithfulness_is_what_the_maps_columns_say(client: Client, logdir: Path) -> None:
    told = get(client, "/api/summary", **PICTURES, kind="faithfulness").json
    index = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    assert [m["id"] for m in told["measures"]] == ["sensitivity_n", "deletion", "stability"]
    assert [m["id"] for m in told["methods"]] == [m["id"] for m in stores.METHODS]
    assert (told["examples"], told["measured"], told["evaluation"]) == (60, stores.MEASURED / 60, None)
    for method, rows in index.groupby("method"):
        values = rows["sensitivity_n"].dropna().to_numpy(float)
        found = told["found"][method]["sensitivity_n"]
        half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        assert found["n"] == len(values) and 20 < len(values) < len(rows)
        np.testing.assert_allclose([found["mean"], found["high"]], [values.mean(), values.mean() + half], rtol=1e-4)
        assert found["random"]["mean"] == pytest.approx(rows["sensitivity_n_random"].mean(), rel=1e-4)
        assert len(found["curve"]["mean"]) == len(found["at"]) == 3
    without = get(client, "/api/summary", **REVIEWS, kind="faithfulness").json
    assert without["measures"] == [] and without["found"] == {}


@pytest.mark.parametrize("query", [{}, {"kind": "all"}, {"kind": "faithfulness", "size": "3"}])
def test_a_summary_of_nothing_known_is_refused(client: Client, query: dict[str, str]) -> None:
    answer = get(client, "/api/summary", **PICTURES, **query)
    assert answer.status_code == 400 and ("kind" in answer.text or "size" in answer.text)


def test_gaps_are_counted_in_bins(client: Client, logdir: Path) -> None:
    frame = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    own = frame[frame["method"] == "integrated_gradients"]
    relative = (own["gap"] / (own["score"] - own["baseline_score"])).abs()
    [found] = summary(client, "gap", **PICTURES)["found"]
    told = summary(client, "gap", **PICTURES)
    expected, _ = np.histogram(np.minimum(relative, 2), [*told["edges"], np.inf])
    assert found["method"] == "integrated_gradients" and found["counts"] == expected.tolist() and found["known"] == 60
    assert found["median"] == pytest.approx(relative.median(), rel=1e-4)
    few = summary(client, "gap", **PICTURES, filter="integrated_gradients.gap:0.01..0.02")["found"][0]
    at = told["edges"].index(0.01)
    assert few["counts"][at] == sum(few["counts"]) == found["counts"][at] > 0


def test_agreement_is_that_of_the_stored_maps(client: Client, logdir: Path) -> None:
    for query, kind in ((PICTURES, "image"), (REVIEWS, "text")):
        told = summary(client, "agreement", **query, filter="id:img-000*,review-00*")
        store = Store(store_path(logdir, query["run"], "attributions"))
        rows = store.index.select(["example_id", "method"]).to_pylist()
        [pair] = [p for p in told["pairs"] if (p["a"], p["b"]) == ("gradient_x_input", "integrated_gradients")]
        values = []
        for example in sorted(
            {r["example_id"] for r in rows if "-000" in r["example_id"] or "-00" in r["example_id"][6:9]}
        ):
            at = [i for i, r in enumerate(rows) if r["example_id"] == example and r["method"] in (pair["a"], pair["b"])]
            if len(at) == 2:
                a, b = (tile_encoding.merge_channels(m, True) if kind == "image" else m for m in store.maps(at))
                if kind == "text":
                    [shown] = store.inputs(at[:1])
                    a, b = (m[np.array([t != "" for t in shown["tokens"]])] for m in (a, b))
                if a.any() and b.any():
                    values.append(spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic)
        assert len(values) > 5 and pair["spearman"] == pytest.approx(np.mean(values), abs=1e-5)
        assert 0 <= pair["top"] <= 1 and 0 <= pair["signs"] <= 1


def test_what_matters_in_general(client: Client) -> None:
    pictures = summary(client, "global", **PICTURES)
    assert sum(row["n"] for row in pictures["classes"]) == pictures["sampled"] == 60
    rocket = next(row for row in pictures["classes"] if row["name"] == "<b>rocket</b> & co")
    codes = np.frombuffer(base64.b64decode(rocket["maps"]["occlusion"]), np.uint8).reshape(pictures["side"], -1)
    assert codes.shape == (48, 48) and codes.max() == 255
    words = summary(client, "global", **REVIEWS)["words"]
    means = {row["word"]: row["mean"] for row in words["integrated_gradients"]}
    assert means["awful"] < means["bad"] < 0 < means["great"] < means["best"]
    assert [row["mean"] for row in words["occlusion"]] == sorted(
        (row["mean"] for row in words["occlusion"]), reverse=True
    )
    assert min(row["mean"] for row in words["saliency"]) > 0.05  # of what has no sign, the largest only
    features = summary(client, "global", run="wine", store="attributions")["features"]["occlusion"]
    assert len(features) == 10 and all(len(f["points"]) == 30 for f in features)
    assert [f["mean"] for f in features] == sorted((f["mean"] for f in features), reverse=True)


# — odd stores —


def odd_store(logdir: Path, kind: str, rows: list[tuple[Input, list[Attribution]]], **more: Any) -> None:
    writer = StoreWriter(store_path(logdir, "odd", "s"))
    with writer.shard("0") as shard:
        for shown, maps in rows:
            shard.add(inputs=[shown], attributions=maps)
    writer.commit(["0"], {**stores.manifest("s", kind, None, stores.METHODS[:2]), **more})
    write_marker(logdir, "odd", "s")


ODD = {"run": "odd", "store": "s"}


@pytest.mark.parametrize("kind", ["image", "text", "tabular"])
def test_a_store_of_no_rows_is_empty(tmp_path: Path, served: Callable[..., Client], kind: str) -> None:
    odd_store(tmp_path, kind, [])
    client = served(tmp_path)
    header = page(client, **ODD).header
    assert (header["total"], header["rows"], header["steps"], header["targets"]) == (0, [], [], None)
    for pivot in ("steps", "targets", "runs"):
        assert page(client, **ODD, pivot=pivot).header["rows"] == []
    assert get(client, "/api/facet", **ODD, sort="score").json["counts"] == []
    for name in ("faithfulness", "gap", "agreement", "global"):
        summary(client, name, **ODD)
    assert get(client, "/api/example", **ODD, id="1").status_code == 404


def test_maps_of_different_sizes_stand_side_by_side(tmp_path: Path, served: Callable[..., Client]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number, (height, width) in enumerate([(3, 5), (200, 20), (1, 1), (64, 64)]):
        picture = rng.integers(0, 255, (height, width, 3), np.uint8)
        maps = [
            Attribution(str(number), m["id"], np.abs(rng.normal(size=(height, width, 3)))) for m in stores.METHODS[:2]
        ]
        rows.append((Input(str(number), "image", image=stores.png(picture)), maps))
    odd_store(tmp_path, "image", rows)
    client = served(tmp_path)
    shown = page(client, **ODD, sort="id", desc=0, size=32)
    assert [row["maps"][0]["full"] for row in shown.header["rows"]] == [[3, 5], [200, 20], [1, 1], [64, 64]]
    assert [row["maps"][0]["shape"] for row in shown.header["rows"]] == [[3, 5], [32, 3], [1, 1], [32, 32]]
    assert summary(client, "agreement", **ODD)["pairs"][0]["n"] == 4
    assert len(summary(client, "global", **ODD)["methods"]) == 2


def test_names_that_are_markup_or_control_characters_come_as_they_are(
    tmp_path: Path, served: Callable[..., Client]
) -> None:
    names = [
        "<img src=x onerror=alert(1)>",
        "tab\there",
        "line\nbreak",
        "nul\0",
        "\u202eright to left",
        "'; DROP TABLE m; --",
        "💥",
    ]
    tokens = ["<b>", "a\tb", "\u0007bell", "]]>", "&amp;", "", "🙂"]
    rows = [
        (
            Input(f"id {n}", "text", tokens=tokens),
            [
                Attribution(
                    f"id {n}",
                    "saliency",
                    np.ones(7),
                    target=n,
                    target_label=name,
                    label=n,
                    label_name=name,
                    predicted=n,
                )
            ],
        )
        for n, name in enumerate(names)
    ]
    odd_store(tmp_path, "text", rows)
    client = served(tmp_path)
    shown = page(client, **ODD, sort="id", desc=0)
    assert [row["label_name"] for row in shown.header["rows"]] == names
    assert shown.header["rows"][0]["input"]["tokens"] == tokens
    for n, name in enumerate(names):
        quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        assert get(client, "/api/query", **ODD, filter=f"label:{quoted}").json["id"] == [f"id {n}"], name


def test_a_hundred_thousand_classes(tmp_path: Path, served: Callable[..., Client]) -> None:
    labels = [f"class {n}" for n in range(100_000)]
    rows = [
        (
            Input(str(n), "tabular", features=["x"], values=[1.0], label=n),
            [Attribution(str(n), "saliency", np.ones(1), target=n, label=n, predicted=n if n % 2 else n - 1)],
        )
        for n in range(0, 100_000, 1000)
    ]
    odd_store(tmp_path, "tabular", rows, labels=labels)
    client = served(tmp_path)
    shown = page(client, **ODD, sort="id", desc=0)
    assert shown.header["rows"][3]["label_name"] == "class 3000" and shown.header["targets"] is None
    assert len(shown.header["rows"]) == 24
    assert get(client, "/api/query", **ODD, filter='label:"class 99000"').json["id"] == ["99000"]
    assert get(client, "/api/query", **ODD, filter='label:"class 9*"', limit=200).json["total"] == 11
    assert len(get(client, "/api/stores").data) < 5000  # the names stay on the server


def test_all_numbers_of_a_window_are_a_file(client: Client) -> None:
    asked = {**PICTURES, "filter": "is:error", "sort": "id", "desc": 0}
    answer = get(client, "/api/export", **asked, format="csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="pictures_attributions.csv"'
    frame = pd.read_csv(io.StringIO(answer.text))
    listed = get(
        client, "/api/query", **asked, columns="score,integrated_gradients.gap,occlusion.deletion", limit=200
    ).json
    assert frame["id"].tolist() == listed["id"] and frame["misclassified"].all()
    for name in ("score", "integrated_gradients.gap", "occlusion.deletion"):
        np.testing.assert_allclose(frame[name], np.array(listed[name], float), rtol=1e-6)
    assert "saliency.gap" not in frame  # it promises no sum
    lines = [json.loads(line) for line in get(client, "/api/export", **asked, format="jsonl").text.splitlines()]
    assert [line["id"] for line in lines] == listed["id"] and lines[0]["label_name"] == frame["label_name"][0]
    assert get(client, "/api/export", **PICTURES, format="xls").status_code == 400


def test_a_file_holds_no_formula(tmp_path: Path, served: Callable[..., Client]) -> None:
    rows = [
        (
            Input("=1+1", "tabular", features=["x"], values=[1.0]),
            [Attribution("=1+1", "saliency", np.ones(1), score=-1.0)],
        )
    ]
    odd_store(tmp_path, "tabular", rows)
    frame = pd.read_csv(io.StringIO(get(served(tmp_path), "/api/export", **ODD, format="csv").text))
    assert frame["id"][0] == "'=1+1" and frame["score"][0] == -1
