"""AttributionGen on artifacts as TFX's components write them; its stores have the maps of Explainer for the same examples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.orchestration import data_types
from tfx.types import artifact_utils, channel_utils, standard_artifacts

import tb_deepexplain as dx
from beam_pipelines.tfx import executor, start_check
from beam_pipelines.tfx.component import AttributionGen
from beam_pipelines.tfx.examples import Sample
from beam_pipelines.tfx.executor import SKIPPED, Executor
from beam_pipelines.tfx.parameters import decode
from beam_pipelines.transforms import Attribute, digest
from tb_deepexplain.errors import InputError, ParameterError, StoreError, UnknownMethodError, UnsupportedModelError
from tb_deepexplain.recording import batch_explainer
from tb_deepexplain.recording.model_loading import load_requested_model
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tb_deepexplain.store.writer import StoreWriter
from tests.tfx import artifacts
from tests.tfx.artifacts import FEATURES, make_rows, serialize, write_examples

METHODS = {"integrated_gradients": {"steps": 16}, "occlusion": {}}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return artifacts.make_network()


@pytest.fixture(scope="module")
def model(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return artifacts.save_model(tmp_path_factory.mktemp("model"), network)


def open_store(artifact: Any, split: str = "eval") -> Store:
    return Store(store_path(artifact.uri, f"Split-{split}", "default"))


def read_maps(store: Store) -> dict[tuple[str, str], tuple[dict[str, Any], np.ndarray, dict[str, float]]]:
    """(example, method) → (row of the index, map, the example's values by feature)."""
    rows = store.index.to_pylist()
    inputs = [
        dict(zip(value_names(i["inputs"], i["features"]), i["values"], strict=True))
        for i in store.inputs(range(len(rows)))
    ]
    values = store.maps(range(len(rows)))
    return {
        (row["example_id"], row["method"]): each
        for row, *each in zip(rows, rows, values, inputs, strict=True)  # type: ignore[misc]
    }


def assert_explained(store: Store, network: keras.Model, methods: Mapping[str, Mapping[str, Any]]) -> None:
    """The maps are those of Explainer for the predicted class: class 0, the negative logit, where the sigmoid is below one half."""
    maps = read_maps(store)
    for method, parameters in methods.items():
        of_method = [(values.ravel(), inputs) for (_, name), (_, values, inputs) in maps.items() if name == method]
        assert of_method
        xs = {name: np.array([inputs[name] for _, inputs in of_method], np.float32) for name in FEATURES}
        sign = np.where(network(xs).numpy().ravel() > 0.5, 1, -1) if method != "saliency" else 1
        expected = dx.explain(method, network, xs, **parameters)
        for name in FEATURES:
            values = np.array([v[list(inputs).index(name)] for v, inputs in of_method])
            np.testing.assert_allclose(values, sign * expected[name], rtol=2e-3, atol=1e-4, err_msg=f"{method} {name}")


def test_each_split_has_a_store_with_the_maps_of_explainer(model: Any, network: keras.Model, tmp_path: Path) -> None:
    """Two spans, gzip and not, several shards, two splits of three; a signature that parses tf.Examples."""
    spans = [
        write_examples(
            tmp_path / "1", {"train": make_rows(30, 1), "eval": make_rows(20, 2), "test": make_rows(5, 3)}, shards=3
        ),
        write_examples(
            tmp_path / "2", {"train": make_rows(10, 4), "eval": make_rows(7, 5), "test": make_rows(5, 6)}, gzip=True
        ),
    ]
    inputs = {"examples": spans, "model": model}
    artifact = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods=METHODS, splits=["train", "eval"], labels=["no", "yes"]
    )
    assert artifact_utils.decode_split_names(artifact.get_string_custom_property("split_names")) == ["train", "eval"]
    assert not (tmp_path / "out" / "Split-test").exists()
    for split, rows in (("train", make_rows(30, 1) + make_rows(10, 4)), ("eval", make_rows(20, 2) + make_rows(7, 5))):
        maps = read_maps(open_store(artifact, split))
        assert len(maps) == 2 * len(rows)
        assert_explained(open_store(artifact, split), network, METHODS)
        seen = set()
        for (_, method), (row, _, inputs) in maps.items():
            source = next(r for r in rows if r["age"] == inputs["age"])
            assert {name: inputs[name] for name in FEATURES} == {name: source[name] for name in FEATURES}
            assert row["label"] == source["label"] and row["label_name"] == ["no", "yes"][source["label"]]
            seen.add((source["age"], method))
        assert len(seen) == 2 * len(rows)
        assert list((tmp_path / "out" / f"Split-{split}").glob("events*"))  # TensorBoard finds it


def test_the_store_of_each_split_says_how_far_another_precision_differs(model: Any, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "1", {"train": make_rows(20, 1), "eval": make_rows(20, 2)})
    options = {"methods": ["saliency", "occlusion"], "splits": ["train", "eval"], "precision": "float64"}
    inputs = {"examples": examples, "model": model}
    artifact = artifacts.run_component(AttributionGen, tmp_path / "out", inputs, **options)
    for split in ("train", "eval"):
        errors = open_store(artifact, split).manifest["precision_error"]
        assert {method: error["examples"] for method, error in errors.items()} == {"saliency": 8, "occlusion": 8}


def test_a_model_that_is_not_blessed_is_not_explained(model: Any, tmp_path: Path) -> None:
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": make_rows(3, 1)}), "model": model}
    refused = artifacts.run_component(
        AttributionGen,
        tmp_path / "out",
        {**inputs, "model_blessing": artifacts.make_blessing(tmp_path / "no", False)},
        methods="saliency",
    )
    assert "not blessed" in refused.get_string_custom_property(SKIPPED)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_sample_does_not_depend_on_the_shards(model: Any, tmp_path: Path) -> None:
    rows = make_rows(60, 1)

    def chosen(name: str, shards: Sequence[Sequence[Any]], seed: int) -> list[str]:
        """The ids of the examples in a sample of 12."""
        with beam.Pipeline(FnApiRunner()) as pipeline:
            records = [pipeline | str(i) >> beam.Create(list(map(serialize, shard))) for i, shard in enumerate(shards)]
            sampled = records | beam.Flatten() | Sample(12, seed)
            _ = sampled | beam.Map(digest) | beam.io.WriteToText(str(tmp_path / name), shard_name_template="")
        return sorted((tmp_path / name).read_text().split())

    first = chosen("one", [rows], 0)
    assert len(set(first)) == 12
    assert chosen("three", [rows[40:], rows[20:40], rows[19::-1]], 0) == first
    assert chosen("seed", [rows], 7) != first
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}, shards=2), "model": model}
    artifact = artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency", max_examples=12)
    assert sorted(open_store(artifact).index["example_id"].to_pylist()) == first


def test_equal_examples_are_both_explained(model: Any, tmp_path: Path) -> None:
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": make_rows(3, 1) * 2}), "model": model}
    ids = open_store(artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency")).index[
        "example_id"
    ]
    assert sorted(id_.endswith("-2") for id_ in ids.to_pylist()) == [False] * 3 + [True] * 3


def test_ids_and_labels_by_their_features(model: Any, tmp_path: Path) -> None:
    rows = [{**row, "patient": f"p{i}", "ill": row.pop("label")} for i, row in enumerate(make_rows(4, 1))]
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model}
    named = {"id_feature": "patient", "label_feature": "ill"}
    index = open_store(
        artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency", **named)
    ).index
    assert dict(zip(index["example_id"].to_pylist(), index["label"].to_pylist(), strict=True)) == {
        f"p{i}": row["ill"] for i, row in enumerate(rows)
    }


def test_the_median_of_baseline_examples_is_the_baseline(
    model: Any, network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is loaded once, for the baseline, the check at the start and the examples of two splits."""
    loaded: list[str] = []

    def load(path: str, *arguments: Any) -> Any:
        loaded.append(path)
        return load_requested_model(path, *arguments)

    for module in (start_check, batch_explainer):
        monkeypatch.setattr(module, "load_requested_model", load)
    background = make_rows(50, 9)
    inputs = {
        "examples": write_examples(tmp_path / "1", {"eval": make_rows(5, 1), "test": make_rows(5, 2)}),
        "baseline_examples": write_examples(tmp_path / "2", {"train": background, "eval": make_rows(5, 10)}),
        "model": model,
    }
    artifact = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods={"occlusion": {}, "saliency": {}}, splits=["eval", "test"]
    )
    assert len(loaded) == 1
    baseline = {name: np.float32(np.median([row[name] for row in background])) for name in FEATURES}
    assert_explained(open_store(artifact), network, {"occlusion": {"baseline": baseline}, "saliency": {}})


def test_a_schema_names_classes(model: Any, tmp_path: Path) -> None:
    """As SchemaGen and people write it: the label's values, the shape and presence of features."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(
        """
        feature { name: "label" type: BYTES string_domain { value: "healthy" value: "ill" } }
        feature { name: "age" type: FLOAT shape {} }
        feature { name: "dose" type: FLOAT shape {} }
        feature { name: "weight" type: FLOAT shape {} }
        """
    )
    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path / "schema")
    rows = [{**row, "label": ["healthy", "ill"][row["label"]]} for row in make_rows(6, 1)]
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model, "schema": schema}
    index = open_store(artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency")).index
    assert sorted(zip(index["label"].to_pylist(), index["label_name"].to_pylist(), strict=True)) == sorted(
        (int(row["label"] == "ill"), row["label"]) for row in rows
    )


def test_another_signature_of_a_blessed_model(model: Any, network: keras.Model, tmp_path: Path) -> None:
    inputs = {
        "examples": write_examples(tmp_path / "1", {"eval": make_rows(4, 1)}),
        "model": model,
        "model_blessing": artifacts.make_blessing(tmp_path / "yes", True),
    }
    artifact = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods="gradient_x_input", signature="columns"
    )
    assert_explained(open_store(artifact), network, {"gradient_x_input": {}})


def test_bad_records_fail_alone_and_too_many_fail_the_run(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of a worker, without Beam's traceback, and leaves no files; or it is the reason of an empty artifact."""
    rows = [*make_rows(9, 1), {"age": 1.0}]
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model}
    store = open_store(artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency"))
    assert store.index.num_rows == 9
    [error] = store.errors().to_pylist()
    assert (
        "it has no feature 'dose'" in error["message"] and 'name it with features={"dose": "NAME"}' in error["message"]
    )
    few = {"methods": "saliency", "max_error_rate": 0.05}
    with pytest.raises(
        StoreError, match=(reason := r"1 of 10 \w+ failed, more than .*max_error_rate=0\.05 allows")
    ) as raised:
        artifacts.run_component(AttributionGen, tmp_path / "out2", inputs, **few)
    assert "while running" not in str(raised.value) and raised.value.__suppress_context__
    assert not list((tmp_path / "out2").iterdir())
    skipped, skip = list[Any](), executor._skip
    monkeypatch.setattr(executor, "_skip", lambda outputs, reason: (skipped.extend(outputs), skip(outputs, reason)))
    empty = artifacts.run_component(AttributionGen, tmp_path / "out3", inputs, **few, on_refusal="empty")
    assert re.match(reason, empty.get_string_custom_property(SKIPPED))
    assert not list((tmp_path / "out3").iterdir()) and not list((tmp_path / "out3-statistics").iterdir())
    _, statistics = skipped
    assert not artifact_utils.decode_split_names(statistics.split_names)  # whose files ExampleValidator would read


@pytest.mark.parametrize(
    ("rows", "parameters", "error", "message"),
    [
        ([], {}, InputError, "split eval has no examples; choose others with splits="),
        (make_rows(4, 1), {"signature": "scores"}, UnsupportedModelError, "no signature 'scores'; it has 'serving_default', 'columns'"),
        ([{"age": 1.0}] * 4, {}, InputError, 'none of the first 4 examples of split eval fits the model; .*features={"dose": "NAME"}'),
        (make_rows(4, 1), {"label_feature": "chrun"}, ParameterError, "label_feature='chrun': none of .* they have age, dose, label, w"),
        (make_rows(4, 1), {"inputs": ["height"]}, ParameterError, "no tensor or layer 'height'"),
        (make_rows(4, 1), {"target": "7"}, ParameterError, "target 7: the model has 2 classes"),
        (make_rows(4, 1), {"features": {"size": "age"}}, ParameterError, 'features={"size": "age"}: the model takes age, dose'),
        (make_rows(4, 1), {"labels": ["stays"]}, ParameterError, "1 class names"),
    ],
)  # fmt: skip
def test_refusals_come_before_beam_starts(
    rows: list[Any], parameters: dict[str, Any], error: type[Exception], message: str, model: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In one sentence."""
    monkeypatch.setattr(Executor, "_make_beam_pipeline", lambda _: pytest.fail("Beam was started"))
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model}
    with pytest.raises(error, match=message) as raised:
        artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency", **parameters)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "out").iterdir())


def test_a_refusal_may_leave_the_artifact_empty(model: Any, tmp_path: Path) -> None:
    """The reason is its custom property, and the pipeline goes on."""
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": make_rows(4, 1)}), "model": model}
    empty = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods="saliency", target="7", on_refusal="empty"
    )
    assert empty.get_string_custom_property(SKIPPED) == "target 7: the model has 2 classes, numbered from 0"
    assert not list((tmp_path / "out").iterdir())


def test_an_execution_that_fails_leaves_no_files(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says nothing of model or examples fails with on_refusal="empty", too."""

    def commit(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(StoreWriter, "commit", commit)
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": make_rows(4, 1)}), "model": model}
    with pytest.raises(Exception, match="no space left on device"):
        artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency", on_refusal="empty")
    assert not list((tmp_path / "out").iterdir())


def test_a_model_of_transformed_features_is_explained_from_the_raw_ones(network: keras.Model, tmp_path: Path) -> None:
    """The model takes scaled features; the examples are raw, and so are the features that the maps are of."""
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    raw = [{name: 100 * row[name] for name in FEATURES} | {"label": row["label"]} for row in make_rows(40, 1)]
    spec = {**artifacts.SPEC, "label": tf.io.FixedLenFeature([], tf.int64)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))

    def preprocess(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tft.scale_to_z_score(inputs[name]) for name in FEATURES} | {"label": inputs["label"]}

    with beam.Pipeline(FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(tmp_path / "tmp")):
        data = pipeline | beam.Create(
            [{k: np.float32(v) if k != "label" else v for k, v in row.items()} for row in raw]
        )
        _, function = (data, metadata) | tft_beam.AnalyzeAndTransformDataset(preprocess)
        _ = function | tft_beam.WriteTransformFn(str(tmp_path / "graph"))
        _ = metadata | tft_beam.WriteMetadata(str(tmp_path / "graph" / "metadata"), pipeline)  # as Transform does
    graph = standard_artifacts.TransformGraph()
    graph.uri = str(tmp_path / "graph")
    inputs = {
        "examples": write_examples(tmp_path / "1", {"eval": raw[:6]}),
        "model": artifacts.save_model(tmp_path / "model", network),
        "transform_graph": graph,
    }
    artifact = artifacts.run_component(
        AttributionGen,
        tmp_path / "out",
        inputs,
        methods="gradient_x_input",
        signature="columns",
        slice_features=["age"],
    )
    maps = read_maps(open_store(artifact))
    assert len(maps) == 6
    for index, values, features in maps.values():
        row = next(row for row in raw[:6] if np.float32(row["age"]) == np.float32(features["age"]))
        assert index["label"] == row["label"]
        assert np.float32(index["slice.age"]) == np.float32(row["age"])  # raw, too
        scaled, deviations = {}, {}
        for name in FEATURES:
            column = np.array([r[name] for r in raw])
            deviations[name] = column.std()
            scaled[name] = tf.constant([(row[name] - column.mean()) / deviations[name]], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(scaled)
            probability = network(scaled)
            logit = tf.math.log(probability / (1 - probability)) * (1 if probability > 0.5 else -1)
        gradients = tape.gradient(logit, scaled)
        expected = [row[name] * gradients[name].numpy()[0] / deviations[name] for name in features]
        np.testing.assert_allclose(np.ravel(values), expected, rtol=2e-3, atol=1e-4)


def build(**parameters: Any) -> Any:
    """The component, without anything to run on."""
    nothing = {"examples": standard_artifacts.Examples(), "model": standard_artifacts.Model()}
    channels = {name: channel_utils.as_channel([artifact]) for name, artifact in nothing.items()}
    return AttributionGen(**channels, **parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"methods": ["integrated_gradient"]}, UnknownMethodError, "integrated_gradients"),
        ({"methods": {"occlusion": {"windows": 3}}}, ParameterError, "windows"),
        ({"methods": []}, ParameterError, "method"),
        ({"methods": "saliency", "target": "best"}, ParameterError, "target"),
        ({"methods": "saliency", "splits": "eval"}, ParameterError, r"splits='eval': expected a list of names"),
        ({"methods": "saliency", "max_examples": 0}, ParameterError, "max_examples=0: expected a whole number"),
        ({"methods": "saliency", "measures": ["delete"]}, UnknownMethodError, "did you mean deletion"),
        ({"methods": "saliency", "colour": "red"}, ParameterError, "no parameter colour; it takes"),
        ({"methods": {"occlusion": {"baseline": np.zeros(3)}}}, ParameterError, "baseline_examples"),
        ({"methods": "saliency", "on_refusal": "skip"}, ParameterError, "on_refusal='skip': expected fail or empty"),
    ],
)
def test_mistakes_are_reported_when_the_pipeline_is_built(
    parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        build(**parameters)
    assert "\n" not in str(raised.value)


def test_wrong_splits_and_formats_are_reported_before_explaining(model: Any, tmp_path: Path) -> None:
    inputs = {"examples": write_examples(tmp_path / "1", {"train": make_rows(3, 1)}), "model": model}
    with pytest.raises(ParameterError, match=r"splits eval are not in the examples at .*, which have train"):
        artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="saliency")
    images = standard_artifacts.Examples()
    images.uri, images.split_names = str(tmp_path / "1"), artifact_utils.encode_split_names(["eval"])
    images.set_string_custom_property("payload_format", "FORMAT_PROTO")
    with pytest.raises(ParameterError, match="the examples are FORMAT_PROTO; expected FORMAT_TF_EXAMPLE"):
        artifacts.run_component(AttributionGen, tmp_path / "out2", {**inputs, "examples": images}, methods="saliency")


def test_baseline_examples_must_fit_the_model(model: Any, tmp_path: Path) -> None:
    inputs = {
        "examples": write_examples(tmp_path / "1", {"eval": make_rows(3, 1)}),
        "baseline_examples": write_examples(tmp_path / "2", {"eval": [{"age": 1.0}]}),
        "model": model,
    }
    with pytest.raises(InputError, match="baseline_examples: none of 1 examples fits the model"):
        artifacts.run_component(AttributionGen, tmp_path / "out", inputs, methods="occlusion")


def test_conditions_inputs_and_switches(model: Any, network: keras.Model, tmp_path: Path) -> None:
    rows = make_rows(40, 3)
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model}
    options = {"inputs": ["age", "dose"], "only": "misclassified", "logits": False}
    artifact = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods="saliency", check_model=False, check_batch=False, **options
    )
    store = open_store(artifact)
    xs = {name: np.array([row[name] for row in rows], np.float32) for name in FEATURES}
    wrong = (network(xs).numpy().ravel() > 0.5) != np.array([row["label"] for row in rows])
    assert 0 < store.manifest["counts"]["examples"] == wrong.sum() < 40
    assert store.manifest["options"] == {"only": "misclassified"}
    assert (store.manifest["model"]["inputs"], store.manifest["model"]["logits"]) == (["age", "dose"], False)


def test_switches_are_stored_and_read() -> None:
    made = build(methods="saliency", check_model=False, check_batch=True, only="correct")
    parameters = decode(made.spec.exec_properties)
    assert {name: parameters[name] for name in ("check_model", "check_batch", "only")} == {
        "check_model": False,
        "check_batch": True,
        "only": "correct",
    }
    del parameters["seed"], parameters["on_refusal"]  # of the executor
    assert Attribute("m", **parameters).request.check_model is False
    with pytest.raises(ParameterError, match="check_model='perhaps': expected true or false"):
        decode({"check_model": "perhaps"})
    with pytest.raises(ParameterError, match="check_model='no': expected True or False"):
        build(methods="saliency", check_model="no")


def test_parameters_may_be_runtime_parameters() -> None:
    late = data_types.RuntimeParameter(name="methods", ptype=str, default="saliency")
    made = build(methods=late, max_examples=data_types.RuntimeParameter(name="most", ptype=int, default=5))
    assert made.spec.exec_properties["methods"] is late


def test_runtime_parameters_hold_json_or_names_separated_by_commas() -> None:
    texts = {"methods": "saliency, occlusion", "labels": "stays,leaves", "splits": '["train", "eval"]', "inputs": "age"}
    parameters = decode({**texts, "features": '{"age": "Age"}', "resize": "true"})
    assert parameters == {
        "methods": ["saliency", "occlusion"],
        "labels": ["stays", "leaves"],
        "splits": ["train", "eval"],
        "inputs": ["age"],
        "features": {"age": "Age"},
        "resize": True,
        "on_refusal": "fail",
    }
    assert decode(build(methods="saliency", labels="stays,leaves").spec.exec_properties)["labels"] == [
        "stays",
        "leaves",
    ]
    with pytest.raises(ParameterError, match=r"features='age=Age': expected \{\"INPUT\": \"FEATURE\"\}"):
        decode({"features": "age=Age"})
    with pytest.raises(
        ParameterError, match=r"methods='\[saliency\]': expected a JSON list, or names separated by commas"
    ):
        decode({"methods": "[saliency]"})


def test_the_pipeline_compiles_for_vertex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

    from examples.tfx_pipeline import make

    monkeypatch.chdir(tmp_path)
    config = KubeflowV2DagRunnerConfig(default_image="registry.example/team/deepexplain:tfx")
    runner = KubeflowV2DagRunner(config, output_filename="pipeline.json")
    runner.run(make("gs://bucket/root", "gs://bucket/data"), write_out=True)
    spec = json.loads((tmp_path / "pipeline.json").read_text())["pipelineSpec"]
    executor = spec["components"]["AttributionGen"]["executorLabel"]
    container = spec["deploymentSpec"]["executors"][executor]["container"]
    assert container["image"] == "registry.example/team/deepexplain:tfx"
    assert "beam_pipelines.tfx.executor.Executor" in container["args"]
    outputs = spec["components"]["AttributionGen"]["outputDefinitions"]["artifacts"]
    assert "tb_deepexplain.Attributions" in json.dumps(outputs["attributions"])
    parameters = spec["root"]["dag"]["tasks"]["AttributionGen"]["inputs"]["parameters"]
    assert json.loads(parameters["methods"]["runtimeValue"]["constantValue"]["stringValue"]) == [
        "integrated_gradients",
        "occlusion",
        "shapley_sampling",
    ]


def test_slice_features_are_kept_as_the_raw_examples_have_them(model: Any, tmp_path: Path) -> None:
    rows = [{**row, "plan": ["basic", "pro"][i % 2], "visits": i} for i, row in enumerate(make_rows(8, 1))]
    inputs = {"examples": write_examples(tmp_path / "1", {"eval": rows}), "model": model}
    artifact = artifacts.run_component(
        AttributionGen, tmp_path / "out", inputs, methods="saliency", slice_features=["plan", "visits"], only="plan:pro"
    )
    index = open_store(artifact).index.to_pandas()
    assert sorted(index["slice.visits"]) == [1, 3, 5, 7] and set(index["slice.plan"]) == {"pro"}
    with pytest.raises(
        InputError, match=r"slice_features=\['plam'\]: none of the first 8 records has this feature; .* plan,"
    ):
        artifacts.run_component(
            AttributionGen, tmp_path / "none", inputs, methods="saliency", slice_features=["plan", "plam"]
        )
    with pytest.raises(ParameterError, match=r"slice_features \(--keep\): 'a,b' is no name"):
        artifacts.run_component(AttributionGen, tmp_path / "bad", inputs, methods="saliency", slice_features=["a,b"])
