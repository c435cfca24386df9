"""Log directories as TensorBoard takes them: links, `--logdir_spec`, relative paths; and no path leads outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin.log_directories import LogDirectories
from tb_deepexplain.store.layout import MANIFEST
from tests.plugin.api_client import get, page
from tests.plugin.small_stores import small_store


def assert_is_served(client: Client, run: str, examples: int = 4) -> None:
    """The store of this run answers queries, and its maps and inputs can be read."""
    assert get(client, "/api/query", run=run, store="s").json["total"] == examples
    for row in page(client, run=run, store="s").header["rows"]:
        assert "error" not in row["input"] and "error" not in row["maps"][0]


def test_directories_of_runs_may_be_links(tmp_path: Path, served: Callable[..., Client]) -> None:
    """TensorBoard advises a tree of symbolic links in the place of --logdir_spec."""
    small_store(tmp_path / "data" / "one", ".")
    small_store(tmp_path / "data" / "many", "a/b", examples=2)
    small_store(tmp_path / "logs", "plain", examples=3)
    (tmp_path / "logs" / "linked").symlink_to(tmp_path / "data" / "one")
    (tmp_path / "logs" / "many").symlink_to(tmp_path / "data" / "many")
    client = served(tmp_path / "logs")
    for run, examples in (("plain", 3), ("linked", 4), ("many/a/b", 2), ("plain", 3)):
        assert_is_served(client, run, examples)
    assert [store.get("error") for store in get(client, "/api/stores").json["stores"]] == [None] * 3
    header = page(client, run="plain", store="s", pivot="runs").header
    assert [column["key"] for column in header["columns"]] == ["linked", "many/a/b", "plain"]


def test_named_log_directories(tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    small_store(tmp_path / "x" / "one", ".")
    small_store(tmp_path / "y", "fit", examples=3)
    small_store(tmp_path / "z", "fit2", examples=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    specification = f"first:{tmp_path / 'x' / 'one'},second:y,~/z"
    client = served(None, specification=specification)
    listed = get(client, "/api/stores").json
    assert listed["logdir"] == specification
    assert {s["run"]: s["examples"] for s in listed["stores"]} == {"first/.": 4, "second/fit": 3, "fit2": 2}
    for run, examples in (("first/.", 4), ("second/fit", 3), ("fit2", 2)):
        assert_is_served(client, run, examples)


def test_of_directories_with_the_same_run_the_one_with_a_store_is_read(
    tmp_path: Path, served: Callable[..., Client]
) -> None:
    small_store(tmp_path / "x", "fit")
    (tmp_path / "y").mkdir()
    assert_is_served(served(None, specification=f"{tmp_path / 'x'},{tmp_path / 'y'}"), "fit")


def move_store(store: Path, outside: Path) -> None:
    shutil.move(store, outside)
    store.symlink_to(outside)


def move_plugins(store: Path, outside: Path) -> None:
    move_store(store.parent.parent, outside)


def move_file(pattern: str) -> Callable[[Path, Path], None]:
    def move(store: Path, outside: Path) -> None:
        [file, *_] = store.glob(pattern)
        move_store(file, outside)

    return move


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    "move", [move_store, move_plugins, *map(move_file, (MANIFEST, "index-*", "attributions-*", "inputs-*"))]
)
def test_nothing_below_a_run_leads_outside(
    tmp_path: Path, served: Callable[..., Client], linked: bool, move: Callable[[Path, Path], None]
) -> None:
    logdir = tmp_path / "logs"
    move(small_store(tmp_path / "data" if linked else logdir, "r"), tmp_path / "elsewhere")
    if linked:
        logdir.mkdir()
        (logdir / "r").symlink_to(tmp_path / "data" / "r")
    client = served(logdir)
    answer = get(client, "/api/query", run="r", store="s")
    assert answer.status_code == 503 and "leads outside the logdir; move it inside" in answer.text
    if move in (move_store, move_plugins):
        assert "outside the logdir" in get(client, "/api/stores").json["stores"][0]["error"]


def test_a_link_within_the_logdir_is_followed(tmp_path: Path, served: Callable[..., Client]) -> None:
    move_store(small_store(tmp_path, "r"), tmp_path / "elsewhere")
    assert_is_served(served(tmp_path), "r")


@pytest.mark.parametrize("flag", ["relative", "home", "none", "remote"])
def test_relative_and_home_logdirs_are_read_and_others_refused_with_a_hint(
    tmp_path: Path, served: Callable[..., Client], flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_store(tmp_path / "logs", "r")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    logdir = {"relative": "logs", "home": "~/logs", "none": "", "remote": "gs://bucket/logs"}[flag]
    answer: Any = get(served(tmp_path / "logs", logdir), "/api/query", run="r", store="s")
    if flag in ("relative", "home"):
        assert answer.json["total"] == 4
    else:
        sentence = {"none": "--logdir DIRECTORY", "remote": "pip install 'tensorboard-plugin-deepexplain[gcp]'"}[flag]
        assert answer.status_code == 503 and sentence in answer.text


def test_a_run_that_tensorboard_would_never_list_is_refused(tmp_path: Path) -> None:
    small_store(tmp_path, "r")
    directories = LogDirectories(TBContext(logdir=str(tmp_path / "logs")))
    for run in ("../r", "a/../../r", os.fspath(tmp_path / "r")):
        with pytest.raises(StoreError, match="leads outside the logdir"):
            directories.find(run, "s")
