"""The store: what is written comes back, and what is not committed, broken or newer is never read as something else."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import open_parquet, read_columns
from tb_deepexplain.store import failures, index
from tb_deepexplain.store.configuration import as_json
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Failure, Input, InputPart, Part, split_map
from tb_deepexplain.store.writer import StoreWriter
from tests.store.small_stores import MANIFEST, attribution, stored_input, write


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_round_trip_over_units_and_row_groups(tmp_path: Path) -> None:
    units = {"00000-00000": [f"a{i}" for i in range(60)], "00000-00001": [f"b{i}" for i in range(7)]}
    written = write(tmp_path, units, size=12_000)  # 24 kB each: several row groups
    manifest = StoreWriter(tmp_path).commit(list(units), MANIFEST)
    store = Store(tmp_path)
    assert manifest == store.manifest
    assert manifest["counts"] == {"examples": 67, "maps": 67, "errors": 0}
    assert pq.read_metadata(tmp_path / "attributions-00000-00000.parquet").num_row_groups > 1
    ids = store.index.column("example_id").to_pylist()
    assert ids == [example for examples in units.values() for example in examples]
    rows = [66, 0, 31, 0, 59]
    for row, values, one_input in zip(rows, store.maps(rows), store.inputs(rows), strict=True):
        np.testing.assert_allclose(values, written[ids[row]].values, rtol=1e-3, atol=1e-6)
        assert one_input["example_id"] == ids[row]
        assert one_input["features"] == ["a", "b"]
    row = store.index.slice(3, 1).to_pylist()[0]
    assert (row["target"], row["label"], row["gap"], row["warnings"]) == (1, 2, None, ["odd"])
    assert row["score"] == 0.5


def test_errors_are_counted_and_read(tmp_path: Path) -> None:
    with StoreWriter(tmp_path).shard("u") as shard:
        shard.add([attribution("a")], [stored_input("a")], [Failure("b", "parse", "InputError", "no feature")])
    assert StoreWriter(tmp_path).commit(["u"], MANIFEST)["counts"] == {"examples": 1, "maps": 1, "errors": 1}
    assert Store(tmp_path).errors().to_pylist() == [
        {"example_id": "b", "stage": "parse", "error": "InputError", "message": "no feature"}
    ]


def test_errors_of_all_units_are_read(tmp_path: Path) -> None:
    for unit in ("u", "v"):
        with StoreWriter(tmp_path).shard(unit) as shard:
            shard.add(errors=[Failure(unit, "parse", "InputError", "no feature")])
    assert StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)["counts"]["errors"] == 2
    assert Store(tmp_path).errors().column("example_id").to_pylist() == ["u", "v"]


def test_files_without_rows_are_read(tmp_path: Path) -> None:
    """As every unit has them without a failure, or without an explained example. PyArrow 18 refuses to."""
    with StoreWriter(tmp_path).shard("u") as shard:
        shard.add([attribution("a")], [stored_input("a")])
    StoreWriter(tmp_path).commit(["u"], MANIFEST)
    assert Store(tmp_path).errors().schema.names == ["example_id", "stage", "error", "message"]
    assert Store(tmp_path).errors().num_rows == 0 and failures.summarize_units(tmp_path, ["u"]) == ""
    with StoreWriter(tmp_path).shard("v") as shard:
        shard.add(errors=[Failure("b", "parse", "InputError", "no feature")])
    StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)
    assert Store(tmp_path).errors().num_rows == 1
    with open_parquet(tmp_path / "inputs-v.parquet") as file:
        assert read_columns(file, ["example_id", "parts.list.element.tokens"]).column_names == ["example_id", "parts"]


@pytest.mark.parametrize("units", [[], ["u"], ["u", "v"]])
def test_a_store_without_rows_is_a_store(tmp_path: Path, units: list[str]) -> None:
    for unit in units:
        with StoreWriter(tmp_path).shard(unit):
            pass
    StoreWriter(tmp_path).commit(units, MANIFEST)
    store = Store(tmp_path)
    assert store.index.num_rows == store.errors().num_rows == 0
    assert store.maps([]) == store.inputs([]) == []


def test_nothing_is_a_store_before_its_manifest(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"]})
    with pytest.raises(StoreError, match="no committed store"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="no committed store"):
        Store(tmp_path / "missing")


def test_a_unit_without_shard_cannot_be_committed(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"]})
    with pytest.raises(StoreError, match=r"units \['v'\] have no shard"):
        StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)
    assert not (tmp_path / "manifest.json").exists()


def test_a_shard_that_ends_in_an_error_leaves_nothing(tmp_path: Path) -> None:
    shard = StoreWriter(tmp_path).shard("u")
    shard.add([attribution("a", size=300_000)], [stored_input("a")])  # large enough to be on disk already
    assert any(name.endswith(".tmp") for name in names(tmp_path))
    shard.__exit__(RuntimeError, RuntimeError(), None)
    assert names(tmp_path) == set()
    assert StoreWriter(tmp_path).finished_units() == set()


def test_the_second_writer_of_a_unit_discards_its_files(tmp_path: Path) -> None:
    first, second = (StoreWriter(tmp_path).shard("u") for _ in range(2))
    first.add([attribution("first")], [stored_input("first")])
    second.add([attribution("second")], [stored_input("second")])
    first.close()
    second.close()
    assert names(tmp_path) == {f"{table}-u.parquet" for table in ("attributions", "inputs", "errors")}
    StoreWriter(tmp_path).commit(["u"], MANIFEST)
    store = Store(tmp_path)
    assert store.index.column("example_id").to_pylist() == ["first"]
    assert store.inputs([0])[0]["example_id"] == "first"


def test_a_truncated_shard_is_named_and_leaves_the_others_readable(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"], "v": ["b"]}, size=20_000)
    StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)
    path = tmp_path / "attributions-u.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=r"attributions-u\.parquet cannot be read .* run the pipeline again"):
        store.maps([0])
    assert store.maps([1])[0].shape == (20_000,)
    assert store.inputs([0])[0]["example_id"] == "a"


def test_damaged_errors_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"]})
    StoreWriter(tmp_path).commit(["u"], MANIFEST)
    path = tmp_path / "errors-u.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    for use in (Store(tmp_path).errors, lambda: failures.summarize_units(tmp_path, ["u"])):
        with pytest.raises(StoreError, match=r"errors-u\.parquet cannot be read .* run the pipeline again"):
            use()


@pytest.mark.parametrize(
    ("version", "advice"), [(99, "upgrade tensorboard-plugin-deepexplain"), (None, "run the pipeline again")]
)
def test_another_format_is_refused(tmp_path: Path, version: int | None, advice: str) -> None:
    write(tmp_path, {"u": ["a"]})
    manifest = StoreWriter(tmp_path).commit(["u"], MANIFEST)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": version}))
    with pytest.raises(StoreError, match=rf"store format {version}; .*{advice}"):
        Store(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format_')
    with pytest.raises(StoreError, match="is not JSON"):
        Store(tmp_path)


def test_committing_again_replaces_the_index_and_changes_the_version(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a"]})
    before = StoreWriter(tmp_path).commit(["u"], MANIFEST)
    write(tmp_path, {"v": ["b"]})
    after = StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)
    assert before["version"] != after["version"]
    assert len(list(tmp_path.glob("index-*"))) == 1
    assert Store(tmp_path).index.num_rows == 2


def test_the_second_example_with_an_id_becomes_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a", "b"], "v": ["b", "c"], "w": ["a", "b"]})
    for _ in range(2):  # committing again is the same
        manifest = StoreWriter(tmp_path).commit(["u", "v", "w"], MANIFEST)
        assert manifest["counts"] == {"examples": 3, "maps": 3, "errors": 3}
        store = Store(tmp_path)
        assert store.index.select(["example_id", "shard"]).to_pylist() == [
            {"example_id": "a", "shard": "u"},
            {"example_id": "b", "shard": "u"},
            {"example_id": "c", "shard": "v"},
        ]
        failed = [(row["example_id"], row["error"], row["message"][:21]) for row in store.errors().to_pylist()]
        expected = [("b", "v"), ("a", "w"), ("b", "w")]
        assert failed == [(example, "DuplicateId", "an example in unit u ") for example, _ in expected]


def test_two_examples_with_one_id_in_one_unit_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"u": ["a", "b", "b"]})
    with pytest.raises(StoreError, match="example id 'b' is in unit u twice"):
        StoreWriter(tmp_path).commit(["u"], MANIFEST)


def test_two_ids_of_one_hash_are_two_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "hash", lambda text: len(text), raising=False)
    write(tmp_path, {"u": ["a", "b"], "v": ["c"]})
    assert StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)["counts"]["examples"] == 3


def test_an_index_written_in_parts_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = {f"{i:05}": [f"{i}-{j}" for j in range(i % 4)] for i in range(23)}
    write(tmp_path, units)
    StoreWriter(tmp_path).commit(list(units), MANIFEST)
    whole = Store(tmp_path).index
    monkeypatch.setattr(index, "_UNITS_READ_TOGETHER", 3)
    monkeypatch.setattr(index, "ROW_GROUP_ROWS", 7)
    manifest = StoreWriter(tmp_path).commit(list(units), MANIFEST)
    assert manifest["counts"]["maps"] == whole.num_rows == 33
    assert Store(tmp_path).index.equals(whole)
    assert pq.read_metadata(tmp_path / manifest["index"][0]).num_row_groups > 3


def test_one_id_of_different_targets_in_two_units_is_two_examples(tmp_path: Path) -> None:
    for unit, target in (("u", 0), ("v", 1)):
        with StoreWriter(tmp_path).shard(unit) as shard:
            shard.add([dataclasses.replace(attribution("b"), target=target)], [stored_input("b")])
    assert StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)["counts"] == {"examples": 1, "maps": 1, "errors": 1}
    assert Store(tmp_path).index.column("target").to_pylist() == [0]


@pytest.mark.parametrize("done", range(3))
def test_a_unit_counts_only_when_all_its_files_stand(
    tmp_path: Path, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.replace, iter(range(done))

    def replace(old: Path, new: Path) -> None:
        if next(left, None) is None:
            raise OSError("killed")
        real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(StoreError):
            write(tmp_path, {"u": ["a"]})
    assert not StoreWriter(tmp_path).finished_units()
    write(tmp_path, {"u": ["a"]})
    assert StoreWriter(tmp_path).commit(["u"], MANIFEST)["counts"]["examples"] == 1


def test_a_commit_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"u": ["a"]})
    before = StoreWriter(tmp_path).commit(["u"], MANIFEST)
    write(tmp_path, {"v": ["b"]})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", _raise)
        with pytest.raises(StoreError):
            StoreWriter(tmp_path).commit(["u", "v"], MANIFEST)
    assert Store(tmp_path).manifest == before
    assert Store(tmp_path).index.column("example_id").to_pylist() == ["a"]
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def _raise(*_: object, **__: object) -> None:
    raise OSError("killed")


def test_a_map_without_its_input_is_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path).shard("u") as shard:
        shard.add([attribution("a")])
    with pytest.raises(StoreError, match="holds a map of example 'a' but not the example"):
        StoreWriter(tmp_path).commit(["u"], MANIFEST)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot write to"),
        StoreWriter(tmp_path / "file" / "store").shard("u") as shard,
    ):
        shard.add([attribution("a")], [stored_input("a")])


def test_a_mixed_example_keeps_its_parts(tmp_path: Path) -> None:
    values = np.arange(12.0)
    parts: list[Part] = [
        {"input": "photo", "shape": [2, 2, 2]},
        {"input": "title", "shape": [3]},
        {"input": "x", "shape": []},
    ]
    shown = [
        InputPart(input="photo", modality="image", image=b"png"),
        InputPart(input="title", modality="text", tokens=["a", "b", ""]),
        InputPart(input="x", modality="tabular", values=[None], texts=["red"]),
    ]
    writer = StoreWriter(tmp_path / "s")
    with writer.shard("0") as shard:
        shard.add([Attribution("1", "saliency", values, parts=parts)], [Input("1", "mixed", parts=shown)])
    writer.commit(["0"], {"modality": "mixed", "methods": []})
    store = Store(tmp_path / "s")
    (row,), (stored,) = store.inputs([0]), store.maps([0])
    assert [InputPart(**part) for part in row["parts"]] == shown
    maps = split_map(stored, store.index.to_pylist()[0]["parts"])
    assert {name: one.shape for name, one in maps.items()} == {"photo": (2, 2, 2), "title": (3,), "x": ()}
    np.testing.assert_allclose(np.concatenate([one.ravel() for one in maps.values()]), values, rtol=1e-3)
    with pytest.raises(ValueError, match="12 values, but its parts have 11"):
        split_map(values, [*parts[:2], {"input": "x", "shape": [0]}])


def test_parameters_as_the_manifest_holds_them() -> None:
    few = {"city": np.array([b"Rome", "Bern"], object), "age": np.array([[1.5]]), "count": np.int64(3)}
    assert as_json(few) == {"city": ["Rome", "Bern"], "age": [[1.5]], "count": 3}
    assert as_json(np.arange(30.0).reshape(30, 1)) == [[float(i)] for i in range(30)]
    missing = {"age": np.array([np.nan], np.float32), "visits": [np.array(-np.inf)], "weight": float("nan")}
    assert as_json(missing) == {"age": ["nan"], "visits": ["-inf"], "weight": "nan"}
    assert as_json(np.zeros((8, 8))).startswith("array [8, 8] ")
    words = [np.array([f"word {i}" for i in range(60)], object) for _ in range(2)]  # equal texts, not the same objects
    assert as_json(words[0]) == as_json(words[1]) != as_json(words[0][::-1])
