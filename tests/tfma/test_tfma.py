"""Attributions in TFMA: by its rows metrics and by ours, in slices, for several models, outputs and classes, as thresholds."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio import tf_example_record

from beam_pipelines.tfma.extractor import (
    AttributionsExtractor,
    attribution_extractors,
    custom_extractors,
    with_attributions,
)
from beam_pipelines.transforms import Attribute, WriteAttributions
from examples import tfx_pipeline, tumours
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tests.tfx import artifacts
from tests.tfx.artifacts import FEATURES, make_rows, serialize

OPTIONS = PipelineOptions(artifacts.RUNNER)
SPECS = 'model_specs { signature_name: "serving_default" label_key: "label" }'
DELETION = {"steps": 3}


def parse_config(text: str) -> Any:
    return text_format.Parse(text, config_pb2.EvalConfig())


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(serialize(row))
    return str(path)


def shared_model(path: Any, eval_config: Any, name: str = "") -> Any:
    """A model for TFMA."""
    return tfma.default_eval_shared_model(
        eval_saved_model_path=str(path), eval_config=eval_config, model_name=name, tags=[tf.saved_model.SERVING]
    )


@pytest.fixture(scope="module")
def frame(model: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The same examples in a store, one row for each: attributions by feature, label, measures."""
    folder = tmp_path_factory.mktemp("store")
    measures = {"completeness": {}, "deletion": DELETION, "sensitivity_n": {}}
    with beam.Pipeline(FnApiRunner()) as pipeline:
        elements = pipeline | beam.Create([(str(i), serialize(row)) for i, row in enumerate(make_rows(40, 1))])
        explained = elements | Attribute(
            str(model), {"integrated_gradients": {"steps": 16}}, measures=measures, target="predicted"
        )
        _ = explained | WriteAttributions(str(folder), "run")
    store = Store(store_path(folder, "run", "default"))
    index = store.index.to_pandas()
    values = [dict(zip(value_names(shown["inputs"], shown["features"]), of.ravel(), strict=True)) for shown, of in
              zip(store.inputs(range(len(index))), store.maps(range(len(index))), strict=True)]  # fmt: skip
    return pd.concat([index, pd.DataFrame(values)], axis=1)


def test_sliced_numbers_are_those_of_the_store(model: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    names = ("TotalAttributions", "MeanAttributions", "TotalAbsoluteAttributions", "MeanAbsoluteAttributions")
    eval_config = parse_config(f"""
      {SPECS} slicing_specs {{}} slicing_specs {{ feature_keys: ["label"] }}
      metrics_specs {{
        metrics {{ class_name: "ExampleCount" }}
        {" ".join(f'metrics {{ class_name: "{name}" }}' for name in names)}
        metrics {{ class_name: "CompletenessGap" module: "beam_pipelines.tfma.metrics" }}
        metrics {{ class_name: "SensitivityN" module: "beam_pipelines.tfma.metrics" }}
        metrics {{ class_name: "DeletionAUC" module: "beam_pipelines.tfma.metrics" config: '{{"parameters": {{"steps": 3}}}}' }}
      }}""")
    shared = shared_model(model, eval_config)
    options = {"method": "integrated_gradients", "parameters": {"steps": 16}}
    result = tfma.run_model_analysis(
        eval_shared_model=shared, eval_config=eval_config, data_location=write(tmp_path / "data", make_rows(40, 1)),
        output_path=str(tmp_path / "out"), pipeline_options=OPTIONS, extractors=attribution_extractors(shared, eval_config, **options),
    )  # fmt: skip
    assert list(tfma.load_attributions(str(tmp_path / "out")))
    ways = {"total": lambda v: v.sum(), "mean": lambda v: v.mean()}
    attributions = {key: by[""][""] for key, by in result.attributions}
    metrics = {key: by[""][""] for key, by in result.slicing_metrics}
    assert set(metrics) == {(), (("label", 0),), (("label", 1),)}
    for key, values in metrics.items():
        rows = frame if not key else frame[frame["label"] == key[0][1]]
        assert values["example_count"]["doubleValue"] == len(rows)
        for measure, name in (
            ("completeness", "attribution_completeness_gap"),
            ("deletion", "attribution_deletion_auc"),
        ):
            assert values[name]["doubleValue"] == pytest.approx(rows[measure].mean(), abs=2e-3), (key, name)
        random_sets = rows["sensitivity_n"].mean()  # the random sets differ
        assert values["attribution_sensitivity_n"]["doubleValue"] == pytest.approx(random_sets, abs=0.05)
        for way, compute in ways.items():
            for feature in FEATURES:
                signed = attributions[key][f"{way}_attributions"][feature]["doubleValue"]
                absolute = attributions[key][f"{way}_absolute_attributions"][feature]["doubleValue"]
                assert signed == pytest.approx(compute(rows[feature]), rel=2e-3, abs=1e-3), (key, way, feature)
                assert absolute == pytest.approx(compute(rows[feature].abs()), rel=2e-3, abs=1e-3), (key, way, feature)
    assert len({round(values["attribution_deletion_auc"]["doubleValue"], 6) for values in metrics.values()}) == 3


def extract(eval_config: Any, models: Any, extracts: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The output of the extractor for a batch of extracts."""
    step = AttributionsExtractor(models, eval_config, **options).ptransform.transform.fn
    step.setup()
    [output] = step.process(dict(extracts))
    return dict(output)


def make_batch(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of extracts as TFMA reads it."""
    return {"input": np.array([serialize(row) for row in rows], object)}


ONE = parse_config(f"{SPECS} metrics_specs {{ metrics {{ class_name: 'MeanAttributions' }} }}")


def test_texts_by_token_and_as_a_whole(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    text = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["good", "bad", "film"])
    ids = keras.Input((4,), dtype="int64")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(6, 3)(ids))
    network = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(x))
    spec = {"review": tf.io.FixedLenFeature([], tf.string)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"p": network(text(tf.io.parse_example(examples, spec)["review"]))}

    network.text = text  # what a SavedModel holds must be reachable
    tf.saved_model.save(network, str(tmp_path / "m"), signatures={"serving_default": serve})
    rows = [{"review": "good good film", "label": 1}, {"review": "bad film", "label": 0}]
    shared = shared_model(tmp_path / "m", ONE)
    vocabulary = text.get_vocabulary()
    tokens = extract(ONE, shared, make_batch(rows), method="gradient_x_input", pool="token", vocabulary=vocabulary)
    whole = extract(ONE, shared, make_batch(rows), method="gradient_x_input", vocabulary=vocabulary)
    by_token, total = tokens["attributions"], whole["attributions"]
    assert {"good", "film", "bad"} <= set(by_token) and all(values.shape == (2,) for values in by_token.values())
    assert by_token["bad"][0] == by_token["good"][1] == 0 and by_token["good"][0] != 0 != by_token["bad"][1]
    [(_, sums)] = total.items()
    np.testing.assert_allclose(sum(by_token.values()), sums, rtol=1e-4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keras.Model]:
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    folder = tmp_path_factory.mktemp("pictures") / "m"
    spec = {"image": tf.io.FixedLenFeature([8, 8, 3], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"logits": network(tf.io.parse_example(examples, spec)["image"])}

    tf.saved_model.save(network, str(folder), signatures={"serving_default": serve})
    return folder, network


def test_pictures_by_channel_and_by_region(pictures: tuple[Path, keras.Model]) -> None:
    path, network = pictures
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    rows, shared = [{"image": each, "label": 0} for each in x], shared_model(path, ONE)
    best = network(x).numpy().argmax(1)
    weights = np.stack([network(x + 0).numpy()[i, b] - network(0 * x).numpy()[i, b] for i, b in enumerate(best)])
    channels = extract(ONE, shared, make_batch(rows), method="gradient_x_input")["attributions"]
    assert list(channels) == [f"image[channel {i}]" for i in range(3)]
    np.testing.assert_allclose(sum(channels.values()), weights, rtol=1e-4)  # of a linear model
    regions = extract(ONE, shared, make_batch(rows), method="gradient_x_input", pool="region", regions=2)[
        "attributions"
    ]
    assert list(regions) == [f"image[region {i},{j}]" for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(sum(regions.values()), weights, rtol=1e-4)
    lit = np.zeros_like(x)
    lit[:, 4:, :4] = x[:, 4:, :4]
    lower = extract(
        ONE, shared, make_batch([{"image": each} for each in lit]), method="gradient_x_input", pool="region", regions=2
    )
    assert [name for name, values in lower["attributions"].items() if values.any()] == ["image[region 1,0]"]


def test_all_classes_where_metrics_are_binarized(pictures: tuple[Path, keras.Model]) -> None:
    path, network = pictures
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    eval_config = parse_config(f"""{SPECS} metrics_specs {{
      binarize {{ class_ids {{ values: [0, 2] }} }} metrics {{ class_name: "MeanAttributions" }} }}""")
    explained = extract(
        eval_config,
        shared_model(path, eval_config),
        make_batch([{"image": each} for each in x]),
        method="gradient_x_input",
    )
    values = explained["attributions"]
    assert all(each.shape == (2, 3) for each in values.values())
    np.testing.assert_allclose(sum(values.values()), network(x).numpy() - network(0 * x).numpy(), rtol=1e-3, atol=1e-5)


def test_metrics_by_class(pictures: tuple[Path, keras.Model], tmp_path: Path) -> None:
    path, network = pictures
    x = np.random.default_rng(0).random((5, 8, 8, 3)).astype(np.float32)
    eval_config = parse_config(f"""{SPECS} slicing_specs {{}} metrics_specs {{
      binarize {{ class_ids {{ values: [0, 2] }} }} metrics {{ class_name: "MeanAttributions" }} }}""")
    shared = shared_model(path, eval_config)
    result = tfma.run_model_analysis(
        eval_shared_model=shared, eval_config=eval_config, data_location=write(tmp_path / "d", [{"image": i, "label": 0} for i in x]),
        output_path=str(tmp_path / "out"), pipeline_options=OPTIONS,
        extractors=attribution_extractors(shared, eval_config, method="gradient_x_input"),
    )  # fmt: skip
    [(_, by)] = result.attributions
    mean = (network(x).numpy() - network(0 * x).numpy()).mean(0)
    classes = {key: of["mean_attributions"] for key, of in by[""].items()}
    assert set(classes) == {"classId:0", "classId:2"}
    for key, values in classes.items():
        total = sum(value["doubleValue"] for value in values.values())
        assert total == pytest.approx(float(mean[int(key[-1])]), rel=1e-3, abs=1e-5)


def test_each_model_and_each_output(model: Path, tmp_path: Path) -> None:
    artifacts.save_model(tmp_path / "other", artifacts.make_network(seed=5))
    eval_config = parse_config("""
      model_specs { name: "candidate" signature_name: "serving_default" label_key: "label" }
      model_specs { name: "before" signature_name: "serving_default" label_key: "label" is_baseline: true }
      metrics_specs { metrics { class_name: "MeanAttributions" } }""")
    other = tmp_path / "other" / "Format-Serving"
    models = [shared_model(model, eval_config, "candidate"), shared_model(other, eval_config, "before")]
    by_model = extract(eval_config, models, make_batch(make_rows(3, 1)), method="saliency")["attributions"]
    assert set(by_model) == {"candidate", "before"} and set(by_model["before"]) == set(FEATURES)
    assert not np.allclose(by_model["candidate"]["age"], by_model["before"]["age"])

    two = artifacts.make_network(), artifacts.make_network(seed=5)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        columns = tf.io.parse_example(examples, artifacts.SPEC)
        return {"ill": two[0](columns), "old": two[1](columns)}

    both = tf.Module()
    both.kept = two
    tf.saved_model.save(both, str(tmp_path / "two"), signatures={"serving_default": serve})
    outputs = extract(ONE, shared_model(tmp_path / "two", ONE), make_batch(make_rows(3, 1)), method="saliency")[
        "attributions"
    ]
    assert set(outputs) == {"ill", "old"}
    for output, name in (("ill", "candidate"), ("old", "before")):
        np.testing.assert_allclose(outputs[output]["age"], by_model[name]["age"], rtol=1e-4)


def _serve(folder: Path, outputs: Any) -> Path:
    """A model of three numbers and a flag, whose output is a function of both."""
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32), "flag": tf.io.FixedLenFeature([1], tf.int64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(examples, spec)
        return {"p": outputs(parsed["x"], parsed["flag"] > 0)}

    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


def test_an_input_that_the_method_cannot_explain_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _serve(tmp_path / "m", lambda x, flag: tf.where(flag, x, -2.0 * x))
    shared, batch = shared_model(path, ONE), make_batch([{"x": [1.0, 2.0, 3.0], "flag": 1}])
    explained = extract(ONE, shared, batch, method="gradient_x_input")["attributions"]
    assert list(explained) == ["x[0]", "x[1]", "x[2]"]
    assert sum("AttributionsExtractor: " in text and "flag" in text for text in caplog.messages) == 1
    assert {"x[0]", "flag"} <= set(extract(ONE, shared, batch, method="occlusion")["attributions"])
    caplog.clear()
    some = extract(ONE, shared, batch, method="occlusion", inputs=["x"], check_model=False, check_batch=False)
    assert list(some["attributions"]) == list(explained)


def test_a_picture_that_is_explained_alone_gives_its_name(tmp_path: Path) -> None:
    spec = {"age": tf.io.FixedLenFeature([1], tf.float32), "photo": tf.io.FixedLenFeature([2, 2, 1], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(examples, spec)
        return {"p": parsed["age"] * tf.reduce_sum(parsed["photo"], [1, 2])}

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures={"serving_default": serve})
    batch = make_batch([{"age": 2.0, "photo": [1.0, 2.0, 3.0, 4.0]}])
    shared = shared_model(tmp_path / "m", ONE)
    values = extract(ONE, shared, batch, method="gradient_x_input", inputs=["photo"])["attributions"]
    assert {name: value.tolist() for name, value in values.items()} == {"photo[channel 0]": [20.0]}


def test_of_several_labels_the_most_probable_is_taken(tmp_path: Path) -> None:
    path = _serve(tmp_path / "m", lambda x, flag: tf.sigmoid(x * tf.cast(flag, tf.float32)))
    batch = make_batch([{"x": [1.0, 3.0, 2.0], "flag": 1}, {"x": [0.5, -1.0, 0.25], "flag": 1}])
    values = extract(ONE, shared_model(path, ONE), batch, method="gradient_x_input", inputs=["x"])["attributions"]
    np.testing.assert_allclose(np.stack(list(values.values()), 1), [[0, 3, 0], [0.5, 0, 0]], atol=1e-5)


def test_mistakes_are_reported(model: Path) -> None:
    shared = shared_model(model, ONE)
    with pytest.raises(ParameterError, match="there is no model"):
        AttributionsExtractor(None, ONE)
    with pytest.raises(InputError, match=r"an example does not fit: .*it has no feature 'dose'"):
        extract(ONE, shared, make_batch([{"age": 1.0}]), method="saliency")
    with pytest.raises(InputError, match=r"the extracts have labels; expected batched input or features"):
        extract(ONE, shared, {"labels": 1}, method="saliency")
    with pytest.raises(ParameterError, match="pool='region': the model's input is tabular"):
        extract(ONE, shared, make_batch(make_rows(1, 1)), method="saliency", pool="region")
    with pytest.raises(ParameterError, match=r"extractors: got none; expected ExtractUnbatchedInputs among them"):
        with_attributions([], None)
    bad = parse_config(f"""{SPECS} metrics_specs {{
      metrics {{ class_name: "DeletionAUC" module: "beam_pipelines.tfma.metrics" config: '{{"parameters": {{"steps": 3}}}}' }}
      metrics {{ class_name: "DeletionAUC" module: "beam_pipelines.tfma.metrics" config: '{{"parameters": {{"steps": 4}}}}' }} }}""")
    with pytest.raises(ParameterError, match="give all metrics of one measure the same"):
        AttributionsExtractor(shared, bad)


# — drift —


def validate(folder: Path, candidate: Path, before: Path, data: str, bound: str) -> Any:
    """TFMA's validation of the candidate."""
    eval_config = parse_config(f"""
      model_specs {{ name: "candidate" signature_name: "serving_default" label_key: "{tumours.LABEL}" }}
      model_specs {{ name: "baseline" signature_name: "serving_default" label_key: "{tumours.LABEL}" is_baseline: true }}
      slicing_specs {{}}
      metrics_specs {{ {bound} }}""")
    models = [shared_model(candidate, eval_config, "candidate"), shared_model(before, eval_config, "baseline")]
    reader = tf_example_record.TFExampleRecord(
        file_pattern=data, raw_record_column_name=tfma.ARROW_INPUT_COLUMN, telemetry_descriptors=["tests"]
    )
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = pipeline | reader.BeamSource() | tfma.ExtractEvaluateAndWriteResults(
            eval_config=eval_config, eval_shared_model={m.model_name: m for m in models}, output_path=str(folder),
            extractors=attribution_extractors(models, eval_config, method="integrated_gradients"),
        )  # fmt: skip
    return tfma.load_validation_result(str(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    """Three models of the tumours, one of them trained with a column that leaks the label; and a file of examples."""
    folder = tmp_path_factory.mktemp("tumours")
    tumours.write_csv(folder)
    names = ["mean_texture", "mean_smoothness", "mean_symmetry", "mean_concavity", "texture_error"]
    rows = pd.read_csv(folder / "tumours.csv")
    labels = rows.pop(tumours.LABEL).to_numpy()
    rows["leak"] = labels + np.random.default_rng(0).normal(0, 0.1, len(rows))
    columns = {name: rows[name].to_numpy(np.float32) for name in [*names, "leak"]}
    paths: dict[str, Path | str] = {}
    half = np.random.default_rng(1).permutation(len(rows))[: len(rows) // 2]
    for name, used, seed in (("before", names, 0), ("retrained", names, 1), ("leaking", [*names, "leak"], 1)):
        some = {key: columns[key][half] for key in used}
        network = tumours.train(some, labels[half], epochs=30, seed=seed)
        tumours.export(network, {key: tf.io.FixedLenFeature([], tf.float32) for key in used}, str(folder / name))
        paths[name] = folder / name
    rest = np.setdiff1d(np.arange(len(rows)), half)
    examples = [{key: float(columns[key][i]) for key in columns} | {tumours.LABEL: int(labels[i])} for i in rest]
    return {**paths, "data": write(folder / "data", examples)}


CHANGE = f"""metrics {{ class_name: "AttributionDrift" module: "beam_pipelines.tfma.metrics"
  threshold {{ change_threshold {{ direction: LOWER_IS_BETTER absolute {{ value: {tfx_pipeline.DRIFT} }} }} }} }}"""
# A threshold on the lower bound of the interval rejects only certain drift.
SURE, UNSURE = (
    f"""metrics {{ class_name: "AttributionDrift" module: "beam_pipelines.tfma.metrics" config: '{{"name": "{name}"}}' }}
  thresholds {{ key: "{name}_low" value {{
    change_threshold {{ direction: LOWER_IS_BETTER absolute {{ value: {value} }} }} }} }}"""
    for name, value in (("sure", 0.2), ("unsure", 0.9))
)


def test_drift_rejects_a_leaking_model_and_accepts_a_retrained_one(trained: dict[str, Any], tmp_path: Path) -> None:
    honest = validate(tmp_path / "honest", trained["retrained"], trained["before"], trained["data"], CHANGE)
    assert honest.validation_ok, honest
    bounds = CHANGE + SURE + UNSURE
    leaking = validate(tmp_path / "leaking", trained["leaking"], trained["before"], trained["data"], bounds)
    assert not leaking.validation_ok
    failures = {each.metric_key.name: each for each in leaking.metric_validations_per_slice[0].failures}
    assert set(failures) == {"attribution_drift", "sure_low"}
    assert failures["attribution_drift"].metric_value.double_value.value > tfx_pipeline.DRIFT
    drift, low, high = (read_drift(tmp_path / "leaking")[f"attribution_drift{end}"] for end in ("", "_low", "_high"))
    assert tfx_pipeline.DRIFT < low < drift < high <= 1
    moved = read_drift(tmp_path / "leaking", "attributions")["attribution_drift_by_feature"]
    assert max(moved, key=lambda name: moved[name][0]) == "leak"
    value, low, high = moved["leak"]
    assert 0.2 < low < value < high
    drift, low, high = (read_drift(tmp_path / "honest")[f"attribution_drift{end}"] for end in ("", "_low", "_high"))
    assert 0 < low < drift < high < 0.5 * tfx_pipeline.DRIFT


def read_drift(folder: Path, attribute: str = "slicing_metrics", model: str = "candidate") -> dict[str, Any]:
    """The drift over all examples, by name."""
    result = tfma.load_eval_result(str(folder), model_name=model)
    [(_, by_output)] = [each for each in getattr(result, attribute) if not each[0]]
    values = by_output[""][""]
    drift = {name.removesuffix("_diff"): value for name, value in values.items() if "drift" in name}

    def number(value: Any) -> Any:
        if "doubleValue" in value:
            return value["doubleValue"]
        if "arrayValue" in value:
            return (
                np.frombuffer(base64.b64decode(value["arrayValue"]["data"])).tolist()
                if "data" in value["arrayValue"]
                else value["arrayValue"]["float64Values"]
            )
        return {name: number(each) for name, each in value.items()}

    return {name: number(value) for name, value in drift.items()}


@pytest.fixture(scope="module")
def span(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The store of an earlier span, explained by two methods."""
    folder = tmp_path_factory.mktemp("span")
    records = list(tf.data.TFRecordDataset(trained["data"]).as_numpy_iterator())
    with beam.Pipeline(FnApiRunner()) as pipeline:
        explained = pipeline | beam.Create(records) | Attribute(
            str(trained["before"]), ["integrated_gradients", "saliency"], label_feature=tumours.LABEL
        )  # fmt: skip
        _ = explained | WriteAttributions(str(folder), "span-1")
    return str(store_path(folder, "span-1", "default"))


def drift_config(**options: Any) -> str:
    return f"""metrics {{ class_name: "AttributionDrift" module: "beam_pipelines.tfma.metrics" config: '{json.dumps(options)}'
      threshold {{ value_threshold {{ upper_bound {{ value: 0.2 }} }} }} }}"""


def test_drift_between_spans_is_measured_from_a_store(trained: dict[str, Any], span: str, tmp_path: Path) -> None:
    """The same model on the same data has not drifted, another has."""
    config = drift_config(reference=span, method="integrated_gradients")
    validated = validate(tmp_path / "other", trained["leaking"], trained["before"], trained["data"], config)
    assert not validated.validation_ok
    assert read_drift(tmp_path / "other", model="candidate")["attribution_drift"] > 0.3
    same = read_drift(tmp_path / "other", model="baseline")
    assert same["attribution_drift"] == pytest.approx(0, abs=2e-4)  # the store has float16
    assert same["attribution_drift_low"] == 0


@pytest.mark.parametrize(
    ("options", "drift", "difference"),
    [
        ({"method": "occlusion"}, {}, 'method is "integrated_gradients" there and "occlusion" here'),
        ({"parameters": {"baseline": 0.5}}, {}, "baseline is null there and 0.5 here"),
        ({"parameters": {"steps": 8}}, {}, "steps is null there and 8 here"),
        ({"target": "label"}, {}, 'target is "predicted" there and "label" here'),
        ({"per_class": True}, {}, 'target is "predicted" there and "each class" here'),
        ({"inputs": ["mean_texture"]}, {}, 'inputs is null there and ["mean_texture"] here'),
        ({"pool": "feature"}, {}, 'pool is null there and "feature" here'),
        ({}, {"method": None}, "has maps of integrated_gradients, saliency; choose one with method="),
        ({}, {"method": "deeplift"}, "has maps of integrated_gradients, saliency; expected those of deeplift"),
    ],
)
def test_a_store_that_was_explained_differently_is_refused(
    options: dict[str, Any], drift: dict[str, Any], difference: str, trained: dict[str, Any], span: str
) -> None:
    """Before anything is computed: the same model would seem to have drifted."""
    config = drift_config(reference=span, **{"method": "integrated_gradients"} | drift)
    eval_config = parse_config(f"{SPECS} slicing_specs {{}} metrics_specs {{ {config} }}")
    shared = shared_model(trained["before"], eval_config)
    AttributionsExtractor(shared, parse_config(f"{SPECS} metrics_specs {{}}"), **options)
    with pytest.raises(ParameterError, match=re.escape(difference)) as raised:
        AttributionsExtractor(shared, eval_config, **options)
    assert "\n" not in str(raised.value) and span in str(raised.value)


def test_evaluator_takes_options_from_the_config(model: Path) -> None:
    """TFX's Evaluator calls custom_extractors, and can pass options only in the config of a metric."""
    eval_config = parse_config(f"""{SPECS} metrics_specs {{ metrics {{ class_name: "MeanAttributions" }}
      metrics {{ class_name: "AttributionOptions" module: "beam_pipelines.tfma.metrics"
                config: '{{"method": "occlusion", "parameters": {{"baseline": 0.5}}}}' }} }}""")
    shared = shared_model(model, eval_config)
    names = [each.stage_name for each in custom_extractors(shared, eval_config, None)]
    assert names.index("ExtractAttributions") == names.index("ExtractUnbatchedInputs") - 1
    step = custom_extractors(shared, eval_config, None)[names.index("ExtractAttributions")].ptransform.transform.fn
    step.setup()
    [output] = step.process(make_batch(make_rows(3, 1)))
    same = extract(eval_config, shared, make_batch(make_rows(3, 1)), method="occlusion", parameters={"baseline": 0.5})
    np.testing.assert_allclose(output["attributions"]["dose"], same["attributions"]["dose"])
