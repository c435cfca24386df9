"""Stores that grow, are change by a commit, are damaged, or lie elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from werkzeug.test import Client

from tb_deepexplain.store.layout import MANIFEST, store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tests.plugin import stores
from tests.plugin.api_client import get, page
from tests.plugin.small_stores import small_store


def test_a_new_commit_is_seen_at_once(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r", examples=2)
    client = served(tmp_path)
    before = get(client, "/api/query", run="r", store="s").json
    small_store(tmp_path, "r", examples=5)
    after = get(client, "/api/query", run="r", store="s").json
    assert (before["total"], after["total"]) == (2, 5) and before["version"] != after["version"]


def test_a_store_that_grows_is_served_step_by_step(tmp_path: Path, served: Callable[..., Client]) -> None:
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
    for step, query in ((0, {"step": "0"}), (5, {})):  # by default the latest
        header = page(client, **store, **query).header
        assert header["steps"] == [0, 5]
        assert [row["input"]["values"] for row in header["rows"]] == [[1.0, 2.0]] * 2
        assert get(client, "/api/tile", **store, id="x", method="saliency", step=step).status_code == 200
    inputs = writer.directory / "inputs-examples.parquet"
    inputs.write_bytes(inputs.read_bytes()[:-20])
    [first, _] = page(served(tmp_path), **store).header["rows"]
    assert "inputs-examples.parquet cannot be read" in first["input"]["error"]
    assert first["maps"][0] is not None
    assert "input_shard" not in get(client, "/api/example", **store, id="x").json["maps"][0]


def test_an_index_without_input_shards_is_read(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    [index] = directory.glob("index-*.parquet")
    rows = page(served(tmp_path), run="r", store="s").header["rows"]
    pq.write_table(pq.read_table(index).drop_columns(["input_shard"]), index)  # as the first stores were
    older = page(served(tmp_path), run="r", store="s").header["rows"]
    assert older == rows and "error" not in older[0]["input"]


def test_a_truncated_shard_affects_only_its_own_maps(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    shard = directory / "attributions-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    client = served(tmp_path)
    answer = page(client, run="r", store="s", sort="id", desc=0)
    errors = [row["maps"][0].get("error", "") for row in answer.header["rows"]]
    assert [bool(e) for e in errors] == [False, False, True, False] and "00002" in errors[2]
    one = get(client, "/api/tile", run="r", store="s", id="2", method="saliency")
    assert one.status_code == 503 and "cannot be read" in one.text


@pytest.mark.parametrize(
    ("damage", "sentence"),
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
def test_a_broken_store_is_named_and_the_others_are_served(
    tmp_path: Path, served: Callable[..., Client], damage: Callable[[Path], None], sentence: str
) -> None:
    small_store(tmp_path, "good")
    damage(small_store(tmp_path, "bad"))
    client = served(tmp_path)
    bad, good = get(client, "/api/stores").json["stores"]
    assert sentence in bad["error"] and "error" not in good
    answer = get(client, "/api/tiles", run="bad", store="s")
    assert answer.status_code == 503 and sentence in answer.text
    assert get(client, "/api/query", run="good", store="s").json["total"] == 4


def test_a_missing_index_is_a_sentence(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    next(directory.glob("index-*.parquet")).unlink()
    answer = get(served(tmp_path), "/api/query", run="r", store="s")
    assert answer.status_code == 503 and "run the pipeline again" in answer.text


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory = small_store(tmp_path, "r")
    manifest = json.loads((directory / MANIFEST).read_text())
    os.replace(directory / manifest["index"][0], tmp_path / "index.parquet")
    manifest["index"] = ["../../../../index.parquet"]
    (directory / MANIFEST).write_text(json.dumps(manifest))
    answer = get(served(tmp_path), "/api/query", run="r", store="s")
    assert answer.status_code == 503 and "expected the name of a file in the store" in answer.text
