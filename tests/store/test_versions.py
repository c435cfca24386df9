"""Stores of every format version are read as version 2; the fixtures were written by the versions themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store import configuration
from tb_deepexplain.store.index import Location
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import FORMAT_VERSION, INPUT_SCHEMA, Attribution, Input, ModelInput, value_names
from tb_deepexplain.store.training_store import TrainingStore, training_configuration
from tb_deepexplain.store.version_1 import upgrade_input
from tb_deepexplain.store.writer import StoreWriter

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("v1", "v2")


def read(version: str, run: str) -> Store:
    return Store(store_path(FIXTURES / version, run, "default"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("run", "modality"), [("image", "image"), ("text", "text"), ("tabular", "tabular"), ("training", "tabular")]
)
def test_a_store_of_each_version_is_read_as_version_2(version: str, run: str, modality: str) -> None:
    store = read(version, run)
    assert (store.manifest["format_version"], store.manifest["modality"]) == (FORMAT_VERSION, modality)
    assert "kind" not in store.manifest
    index = store.index.to_pylist()
    for row in index:
        sums = run == "text"
        assert (row["target"], row["target_index"], row["score_function"]) == (
            (None, None, "sum") if sums else (1, [1], None)
        )
        assert row["extras"] is None
    for row in store.inputs(range(len(index))):
        assert set(row) == set(INPUT_SCHEMA.names)
        assert (row["modality"], row["texts"], row["label"]) == (modality, None, 0)
    assert {values.shape for values in store.maps(range(len(index)))} == {
        "image": {(8, 8, 3)}, "text": {(3,), (4,)}, "tabular": {(12,)}, "training": {(12,)},
    }[run]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_numeric_inputs_have_names_and_shapes(version: str) -> None:
    row = read(version, "tabular").inputs([0])[0]
    sizes = [(one["name"], one["shape"]) for one in row["inputs"]]
    assert sizes == [("age", []), ("income", [] if version == "v1" else [1]), ("signal", [3, 2]), ("codes", [4])]
    assert [one["axes"] for one in row["inputs"]][2:] == [["time", "feature"], ["feature"]]
    assert row["features"] is None
    names = value_names(row["inputs"], row["features"])
    assert names[:4] == ["age", "income", "signal[0,0]", "signal[0,1]"] and names[-1] == "codes[3]"
    assert len(names) == len(row["values"]) == 12


@pytest.mark.parametrize("version", VERSIONS)
def test_measures_and_their_curves_are_read(version: str) -> None:
    store = read(version, "image")
    assert store.index["deletion"].to_pylist() == pytest.approx([0.4] * 6)
    assert store.manifest["faithfulness"]["saliency"]["deletion"]["n"] == 3
    location = Location(*(store.index[name][0].as_py() for name in ("shard", "row_group", "row")))
    assert store.curves_at([location], ["deletion"])[0]["deletion_curve"] == pytest.approx([1, 0.5, 0.25, 0.1, 0])


def test_names_that_fill_no_shape_stay_names() -> None:
    for names in (["a[0]", "a[2]"], ["a[0]", "b", "a[1]"], ["a[0]", "a[0,1]"], ["a", "a"], ["a[1]", "a[0]"]):
        row = {"example_id": "1", "kind": "tabular", "features": names, "values": [0.0] * len(names)}
        upgraded = upgrade_input(row)
        assert (upgraded["features"], upgraded["inputs"]) == (names, [])


def test_a_run_of_version_1_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "configuration.json").write_text('{"model": "m"}')
    with pytest.raises(StoreError, match="format version 1, which can be read but not continued"):
        configuration.check(tmp_path, {"model": "m"}, resume=True)
    configuration.begin(tmp_path, {"model": "m"})
    configuration.check(tmp_path, {"model": "m"}, resume=True)


def test_nothing_is_added_to_a_store_of_version_1(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v1" / "training", tmp_path / "training")
    directory = store_path(tmp_path, "training", "default")
    version = Store(directory).manifest["version"]
    refused = pytest.raises(StoreError, match="format version 1, which can be read but not continued")
    with refused:
        TrainingStore(tmp_path, "training", "default", training_configuration("epoch", model="0"), dict).open(
            3, [], overwrite=False
        )
    with refused:
        StoreWriter(directory).append("step-3", {}, version)
    with refused:
        StoreWriter(directory).rewrite_manifest({}, version)
    with refused:
        StoreWriter(directory).commit(["examples", "step-000000000000"], {})
    assert Store(directory).manifest["version"] == version


def test_a_training_from_the_start_replaces_a_store_of_version_1(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v1" / "training", tmp_path / "training")
    store = TrainingStore(
        tmp_path, "training", "default", training_configuration("epoch", model="0"), lambda: {"modality": "tabular"}
    )
    store.open(0, [Input("a", "tabular", values=[1.0])], overwrite=True)
    store.add(0, [Attribution("a", "saliency", pa.array([1.0]).to_numpy())], [])
    assert Store(store.directory).format_version == FORMAT_VERSION


def test_what_later_versions_need_has_room(tmp_path: Path) -> None:
    inputs: list[ModelInput] = [
        {"name": "signal", "dtype": "float32", "shape": [2], "axes": ["time"]},
        {"name": "city", "dtype": "string", "shape": [], "axes": []},
    ]
    stored_input = Input(
        "a", "tabular", values=[1.0, 2.0, None], texts=[None, None, "Rome"], inputs=inputs, extras={"unit": "mV"}
    )
    values = pa.array([1.0, 2.0, 3.0]).to_numpy()
    parts = [{"input": "signal", "shape": [2]}, {"input": "city", "shape": []}]
    rows = [
        Attribution("a", "saliency", values, target_index=[4, 1], parts=parts, extras={"note": "x"}),  # type: ignore[arg-type]
        Attribution("a", "saliency", values, target_index=[5, 1]),
        Attribution("a", "saliency", values, score_function="energy"),
    ]
    with StoreWriter(tmp_path).shard("u") as shard:
        shard.add(rows, [stored_input])
    StoreWriter(tmp_path).commit(["u"], {"modality": "tabular"})
    store = Store(tmp_path)
    assert store.index["target"].to_pylist() == [None] * 3
    assert store.index["target_index"].to_pylist() == [[4, 1], [5, 1], None]
    assert store.index["score_function"].to_pylist() == [None, None, "energy"]
    assert store.index["parts"].to_pylist() == [parts, None, None]
    assert store.index["extras"].to_pylist() == [[("note", "x")], None, None]
    assert store.inputs([0])[0] == {**stored_input.row(), "extras": {"unit": "mV"}}
