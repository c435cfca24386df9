"""WriteAttributions on Beam's local runner."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindow, TimestampedValue

import tb_deepexplain as dx
from beam_pipelines.transforms import (
    Attribute,
    Attributions,
    Failure,
    WriteAttributions,
)
from beam_pipelines.transforms.write_attributions import _Commit, _Stores, _WriteShards
from tb_deepexplain.attribution.precision_error import SAMPLE
from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store import configuration
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import PLUGIN_NAME
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter
from tests.closeness import assert_map_close
from tests.transforms.elements import METHODS, PICTURES, make_elements, make_pipeline


def test_a_store_of_elements(model: Path, tmp_path: Path) -> None:
    broken = [("short", {"image": np.ones(5)}), ("nothing", {3})]
    with make_pipeline() as p:
        _ = (
            p
            | beam.Create([*make_elements(), *broken])
            | Attribute(model, METHODS, target="label", labels=["cat", "dog", "fish"])
            | WriteAttributions(tmp_path, "run")
        )
    store = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 40, "maps": 80, "errors": 2}
    assert [m["id"] for m in store.manifest["methods"]] == list(METHODS)
    assert store.manifest["labels"] == ["cat", "dog", "fish"]
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    failed = {row["example_id"]: row["message"] for row in store.errors().to_pylist()}
    assert "has 5 values; expected 192" in failed["short"]
    assert "the element is of type set; expected a dict, beam.Row" in failed["nothing"]
    expected = dx.explain("gradient_x_input", model, PICTURES, target=np.arange(40) % 3)
    rows = store.index.to_pylist()
    chosen = [i for i, row in enumerate(rows) if row["method"] == "gradient_x_input"]
    for i, values in zip(chosen, store.maps(chosen), strict=True):
        assert_map_close(values, expected[int(rows[i]["example_id"][1:])], share=1e-3)
    with pytest.raises(StoreError, match="holds a store already"), make_pipeline() as p:
        _ = p | beam.Create(make_elements()) | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path, "run")


def test_the_documented_pipeline_runs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model").symlink_to(model)
    exec(code, {"picture": PICTURES[0]})
    store = dx.Store(tmp_path / "logs" / "mine" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 1, "maps": 2, "errors": 0}


@pytest.mark.parametrize("methods", [["saliency"], ["saliency", "gradient_x_input"]])
def test_the_manifest_says_how_far_another_precision_differs(model: Path, tmp_path: Path, methods: list[str]) -> None:
    with make_pipeline() as p:
        elements = p | beam.Create(make_elements())
        outputs = [
            elements | method >> Attribute(model, [method], target=0, precision="float64", batch_size=4)
            for method in methods
        ]
        _ = tuple(outputs) | WriteAttributions(tmp_path, "run")
    manifest = dx.Store(store_path(tmp_path, "run", "default")).manifest
    errors = manifest["precision_error"]
    assert manifest["precision"] == "float64"
    assert sorted(errors) == sorted(methods)
    for error in errors.values():
        assert error["examples"] == SAMPLE  # and not the blank example by which the request is checked
        assert 0 < error["median"] <= error["worst"] < 1e-4


def test_the_manifest_says_how_many_examples_were_without_tf32(model: Path, tmp_path: Path) -> None:
    with make_pipeline() as p:
        attributions = p | beam.Create(make_elements()) | Attribute(model, ["saliency"], target=0, precision="tf32")
        _ = attributions.filter(lambda one: one.input.example_id < "p2") | WriteAttributions(tmp_path, "run")
    manifest = dx.Store(store_path(tmp_path, "run", "default")).manifest
    assert 0 < manifest["counts"]["examples"] < 40
    assert manifest["precision_error"] == {}
    assert manifest["spent"] == {"examples_without_tf32": manifest["counts"]["examples"]}


def _write_units(directory: Path, *units: str) -> None:
    for unit in units:
        with StoreWriter(directory).shard(unit) as shard:
            shard.add([Attribution(unit, "saliency", np.ones(2, np.float32))], [Input(unit, "tabular", values=[1, 2])])


def test_a_repeated_commit_changes_nothing(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run" / "plugins" / PLUGIN_NAME / "mine"
    _write_units(directory, "bundle-a", "bundle-b", "bundle-c")
    request = Attribute(model, ["saliency"]).request
    commit = _Commit(_Stores((str(tmp_path), "run", "mine"), False, ()), 0.5, request, "predicted")
    (first,) = commit.process(["bundle-c", "bundle-a"], (), GlobalWindow())
    assert (first["name"], first["modality"], first["units"]) == ("mine", "tabular", ["bundle-a", "bundle-c"])
    kept = {f"{table}-{unit}.parquet" for table in ("attributions", "inputs", "errors") for unit in first["units"]}
    assert {path.name for path in directory.iterdir()} == kept | {"manifest.json", *first["index"]}
    _write_units(directory, "bundle-d")  # of a repeated bundle
    assert list(commit.process(["bundle-a", "bundle-c"], (), GlobalWindow())) == [first]
    assert {path.name for path in directory.iterdir()} == kept | {"manifest.json", *first["index"]}
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1
    with pytest.raises(StoreError, match="was committed by another run meanwhile; give another name"):
        list(commit.process(["bundle-e"], (), GlobalWindow()))
    assert dx.Store(directory).manifest == first


def test_each_bundle_with_elements_makes_a_unit(tmp_path: Path) -> None:
    write, units_of_bundles = _WriteShards(_Stores((str(tmp_path), "run", "mine"), False, ())), []
    for names in ("a", "", "bc", "a"):
        write.start_bundle()
        for name in names:
            write.process(Failure(name, None, name, "explain", "NotFinite", "why"), GlobalWindow())
        units_of_bundles.append([value.value for value in write.finish_bundle()])
    assert [len(units) for units in units_of_bundles] == [1, 0, 1, 1]
    units = [unit for units in units_of_bundles for unit in units]
    assert StoreWriter(store_path(tmp_path, "run", "mine")).finished_units() == set(units)
    assert len(set(units)) == 3


def test_windows_make_one_store(model: Path, tmp_path: Path) -> None:
    with make_pipeline() as p:
        _ = (
            p
            | beam.Create(list(enumerate([*make_elements()[:20], ("short", {"image": np.ones(5)})])))
            | beam.Map(lambda pair: TimestampedValue(pair[1], pair[0]))
            | beam.WindowInto(FixedWindows(5))
            | Attribute(model, ["saliency"])
            | WriteAttributions(tmp_path, "run", "second")
        )
    store = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "second")
    assert store.manifest["name"] == "second"
    assert store.manifest["counts"] == {"examples": 20, "maps": 20, "errors": 1}
    assert store.manifest["model"]["fingerprint"] == configuration.fingerprint(model)


def test_an_unbounded_collection_is_rejected(tmp_path: Path) -> None:
    p = make_pipeline()
    endless = beam.PCollection(p, is_bounded=False)
    with pytest.raises(ParameterError, match="needs a bounded PCollection"):
        WriteAttributions(tmp_path).expand(Attributions(endless, endless, endless, endless))


def test_equal_examples_are_kept_once(model: Path, tmp_path: Path) -> None:
    twice = [{"image": PICTURES[i % 3]} for i in range(6)]
    with make_pipeline() as p:
        _ = p | beam.Create(twice) | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path)
    store = dx.Store(tmp_path / "attributions" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 3, "maps": 3, "errors": 3}
    assert {row["error"] for row in store.errors().to_pylist()} == {"DuplicateId"}


def test_too_many_errors_end_the_pipeline_without_a_store(model: Path, tmp_path: Path) -> None:
    p = make_pipeline()
    elements = p | beam.Create([*make_elements()[:1], *[("short", {"image": [1.0]})] * 3])
    _ = elements | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path)
    with pytest.raises(Exception, match=r"3 of 4 examples failed, more than max_error_rate=0.5 allows"):
        p.run()
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_failed_bundle_leaves_no_file(tmp_path: Path) -> None:
    write = _WriteShards(_Stores((str(tmp_path), "run", "mine"), False, ()))
    write.start_bundle()
    write.process(Failure("x", None, "x", "parse", "InputError", "no"), GlobalWindow())
    write._shards[GlobalWindow()].writer._writer("errors")
    assert list(tmp_path.rglob("*.tmp"))
    write.teardown()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_slice_features_of_elements(model: Path, tmp_path: Path) -> None:
    """Columns of elements that are dicts, whether a key is beside them or not; in `extras` of a stored example, too."""
    elements = [
        (key, {**columns, "plan": f"p{i % 2}", "age": i}) for i, (key, columns) in enumerate(make_elements()[:6])
    ]
    with make_pipeline() as p:
        attributions = p | beam.Create(elements) | Attribute(model, "saliency", slice_features=["plan", "age"])
        extras = attributions.explained | beam.Map(lambda explained: explained.input.extras)
        assert_that(extras, equal_to([{"slice.plan": f"p{i % 2}", "slice.age": str(i)} for i in range(6)]))
        _ = attributions | WriteAttributions(tmp_path, "run")
    index = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "default").index.to_pandas().set_index("example_id")
    assert index["slice.plan"].to_dict() == {key: columns["plan"] for key, columns in elements}
    assert index["slice.age"].to_dict() == {key: columns["age"] for key, columns in elements}
