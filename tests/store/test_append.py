"""Units are appended to a committed store while others read it, as a training does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.writer import StoreWriter
from tests.store.small_stores import MANIFEST, attribution, stored_input, write


def write_step(
    directory: Path, step: int, examples: Sequence[str] = ("a", "b"), inputs_of: str | None = "examples"
) -> str:
    """A unit of maps of a model at one step."""
    unit = f"step-{step}"
    with StoreWriter(directory).shard(unit, inputs_of) as shard:
        shard.add([dataclasses.replace(attribution(e), step=step, score=float(step)) for e in examples])
    return unit


def write_training(directory: Path, steps: int) -> dict[str, Any]:
    """A store whose first unit has all inputs, each other one the maps of a step."""
    with StoreWriter(directory).shard("examples") as shard:
        shard.add(inputs=[stored_input("a"), stored_input("b"), stored_input("c")])
    writer = StoreWriter(directory)
    manifest = writer.commit(["examples", write_step(directory, 0)], MANIFEST)
    for step in range(1, steps):
        manifest = writer.append(write_step(directory, step), MANIFEST, manifest["version"])
    return manifest


def test_units_whose_inputs_are_in_another_unit_are_appended(tmp_path: Path) -> None:
    manifest = write_training(tmp_path, 3)
    assert manifest == Store(tmp_path).manifest
    assert manifest["counts"] == {"examples": 3, "maps": 6, "errors": 0}  # examples, not examples × steps
    assert manifest["units"] == ["examples", "step-0", "step-1", "step-2"]
    # The previous index stays for readers of the previous manifest.
    assert len(list(tmp_path.glob("index-*.parquet"))) == 2
    ended = StoreWriter(tmp_path).rewrite_manifest({**MANIFEST, "complete": True}, manifest["version"])
    assert ended == Store(tmp_path).manifest == {**manifest, "complete": True, "version": ended["version"]}
    assert ended["version"] != manifest["version"]
    store = Store(tmp_path)
    index = store.index.to_pylist()
    assert [(row["example_id"], row["step"], row["score"]) for row in index] == [
        (example, step, step) for step in range(3) for example in "ab"
    ]
    assert [row["example_id"] for row in store.inputs(range(6))] == ["a", "b"] * 3
    np.testing.assert_allclose(store.maps([5])[0], attribution("b").values, rtol=1e-3)


def test_committing_a_training_store_whole_changes_nothing(tmp_path: Path) -> None:
    manifest = write_training(tmp_path, 3)
    index = Store(tmp_path).index
    recommitted = StoreWriter(tmp_path).commit(manifest["units"], MANIFEST)
    assert (recommitted["counts"], recommitted["units"]) == (manifest["counts"], manifest["units"])
    assert Store(tmp_path).index.equals(index)


def test_all_steps_of_an_example_with_the_id_of_another_are_removed(tmp_path: Path) -> None:
    with StoreWriter(tmp_path).shard("other") as shard:
        shard.add([attribution("a")], [stored_input("a")])
    units = ["other", *write_training(tmp_path, 2)["units"]]
    manifest = StoreWriter(tmp_path).commit(units, MANIFEST)
    assert Store(tmp_path).index.select(["example_id", "shard"]).to_pylist() == [
        {"example_id": "a", "shard": "other"}, {"example_id": "b", "shard": "step-0"}, {"example_id": "b", "shard": "step-1"},
    ]  # fmt: skip
    assert manifest["counts"] == {"examples": 3, "maps": 3, "errors": 1}


def test_a_unit_with_inputs_or_of_another_commit_is_not_appended(tmp_path: Path) -> None:
    version = write_training(tmp_path, 1)["version"]
    with pytest.raises(StoreError, match="committed by another program meanwhile; give each another run or name"):
        StoreWriter(tmp_path).append(write_step(tmp_path, 1), MANIFEST, "another")
    with pytest.raises(StoreError, match="committed by another program"):
        StoreWriter(tmp_path).rewrite_manifest(MANIFEST, "another")
    write(tmp_path, {"separate": ["d"]})
    for unit in ("step-0", "separate"):
        with pytest.raises(StoreError, match=f"unit {unit} is there already or has inputs"):
            StoreWriter(tmp_path).append(unit, MANIFEST, version)
    with pytest.raises(StoreError, match="example id 'a' is in unit step-2 twice"):
        StoreWriter(tmp_path).append(write_step(tmp_path, 2, ["a", "a"]), MANIFEST, version)
    with pytest.raises(StoreError, match="holds a map of example 'z' but not the example"):
        StoreWriter(tmp_path).append(write_step(tmp_path, 3, ["z"]), MANIFEST, version)
    assert Store(tmp_path).manifest["version"] == version


def test_an_index_without_the_location_of_inputs_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"], "v": ["b"]})
    [name] = StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)["index"]
    new = Store(tmp_path).index
    pq.write_table(new.drop_columns(["input_shard"]), tmp_path / name)  # as stores of 0.1 had it at first
    assert Store(tmp_path).index.select(new.column_names).equals(new)
    assert [row["example_id"] for row in Store(tmp_path).inputs([1, 0])] == ["b", "a"]


def test_the_index_of_the_previous_commit_stays_for_its_readers(tmp_path: Path) -> None:
    writer, version = StoreWriter(tmp_path), write_training(tmp_path, 1)["version"]
    for step in range(1, 4):
        store = Store(tmp_path)
        version = writer.append(write_step(tmp_path, step), MANIFEST, version)["version"]
        assert store.index.num_rows == 2 * step
        assert Store(tmp_path).index.num_rows == 2 * step + 2
    assert len(list(tmp_path.glob("index-*.parquet"))) == 2
