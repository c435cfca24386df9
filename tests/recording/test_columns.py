"""Records go to the store as columns, and as objects: with the same rows in the same row groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tb_deepexplain.recording.batch_explainer import BatchExplainer, Records
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.store.columns import make_table
from tb_deepexplain.store.layout import TABLES, shard_file
from tb_deepexplain.store.records import Attribution
from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import pictures


@pytest.fixture(scope="module")
def explained(exported: object) -> Records:
    """Maps of two methods for two targets of each of eleven examples, of which one has a map that is not finite."""
    rows = [*pictures(10), {"image": np.full((8, 8, 3), np.nan, np.float32), "label": 1}]
    examples = [
        Example(f"é{i}", {"image": row["image"]}, row["label"], slices={"plan": "a"} if i % 2 else {})
        for i, row in enumerate(rows)
    ]
    request = make_request(str(exported("image")), ["saliency", "gradient_x_input"], target="top:2")  # type: ignore[operator]
    return BatchExplainer(request).explain(examples)


def test_rows_are_in_the_order_of_examples_targets_and_methods(explained: Records) -> None:
    assert [one.example_id for one in explained.inputs] == [f"é{i}" for i in range(10)]
    assert [(error.example_id, error.error) for error in explained.errors] == [("é10", "NotFinite")]
    assert [one.example_id for one in explained.attributions] == [f"é{i}" for i in range(10) for _ in range(4)]
    for i, outcome in enumerate(explained.outcomes()[:10]):
        assert isinstance(outcome, tuple)
        shown, maps = outcome
        assert shown.example_id == f"é{i}"
        assert [one.method for one in maps] == ["saliency", "gradient_x_input"] * 2
        assert maps[0].target == maps[1].target != maps[2].target == maps[3].target
        assert {one.example_id for one in maps} == {f"é{i}"}
        assert maps[0].disagreement == maps[1].disagreement is not None


@pytest.mark.parametrize("group_bytes", [1, 2000, 1 << 20])
def test_columns_and_objects_make_the_same_files(
    explained: Records, tmp_path: Path, group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_deepexplain.store.shard_writer.ROW_GROUP_BYTES", group_bytes)
    maps, inputs = explained.attributions, explained.inputs
    objects, shown = list(maps), list(inputs)
    ways = {
        "columns": [(maps, inputs)],
        "objects": [(objects, shown)],
        "one by one": [([one], []) for one in objects] + [([], [one]) for one in shown],
        "both": [(objects[:3], shown[:3]), (maps[3:30], inputs[3:9]), (objects[30:], shown[9:])],
    }
    for way, parts in ways.items():
        writer = StoreWriter(tmp_path / way)
        with writer.shard("a") as shard:
            for of_maps, of_inputs in parts:
                shard.add(of_maps, of_inputs)
            shard.add(errors=explained.errors)
    for table in TABLES:
        files = [pq.ParquetFile(shard_file(tmp_path / way, table, "a")) for way in ways]
        groups = [[file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] for file in files]
        assert groups == groups[:1] * len(ways)
        assert all(file.read().equals(files[0].read()) for file in files)
    assert isinstance(maps[0], Attribution)


def test_columns_become_a_table_once_however_many_row_groups_they_fill(
    explained: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []

    def make(*arguments: Any) -> pa.Table:
        tables.append(make_table(*arguments))
        return tables[-1]

    monkeypatch.setattr("tb_deepexplain.store.shard_writer.make_table", make)
    monkeypatch.setattr("tb_deepexplain.store.shard_writer.ROW_GROUP_BYTES", 1)
    with StoreWriter(tmp_path / "store").shard("a") as shard:
        shard.add(explained.attributions, explained.inputs)
    assert [table.num_rows for table in tables] == [40, 10]
    assert pq.ParquetFile(shard_file(tmp_path / "store", "attributions", "a")).num_row_groups == 40


def test_columns_that_begin_without_values_are_not_compressed(
    explained: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_deepexplain.store.shard_writer.ROW_GROUP_BYTES", 1)
    named = explained.attributions.replace(label_name=[None] * 39 + ["é"])
    with StoreWriter(tmp_path / "store").shard("a") as shard:
        shard.add(named, explained.inputs)
    file = pq.ParquetFile(shard_file(tmp_path / "store", "attributions", "a"))
    group = file.metadata.row_group(39)
    codecs = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert codecs["label_name"] == codecs["score"] == codecs["parts.list.element.input"] == "UNCOMPRESSED"
    assert codecs["attribution"] == codecs["example_id"] == codecs["shape.list.element"] == "ZSTD"
    assert file.read()["label_name"].to_pylist() == [None] * 39 + ["é"]
