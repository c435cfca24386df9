"""The example pipeline on LocalDagRunner, run twice: trained, compared with the last blessed model, explained, pushed, shown."""

from __future__ import annotations

import collections
import csv
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from examples import tfx_pipeline
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tests.browser.tensorboard_server import Server
from tests.tfx.artifacts import serialize


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("passengers")
    tfx_pipeline.write_csv(root / "data")
    metadata = sqlite_metadata_connection_config(str(root / "metadata.db"))
    for seed in (0, 1):
        LocalDagRunner().run(tfx_pipeline.make(str(root), str(root / "data"), metadata=metadata, seed=seed, cache=True))
    return root


def outputs(root: Path, component: str, key: str) -> list[Path]:
    """The output folders of all runs, in order."""
    return sorted((root / component / key).iterdir(), key=lambda folder: int(folder.name))


def open_stores(root: Path) -> list[Store]:
    folders = outputs(root, "AttributionGen", "attributions")
    return [Store(store_path(folder, "Split-eval", "default")) for folder in folders]


def test_both_models_are_explained_by_raw_column(root: Path) -> None:
    stores = open_stores(root)
    assert len(stores) == 2
    for store in stores:
        index = store.index.to_pandas()
        assert index["example_id"].nunique() == 100
        assert set(index["method"]) == {"integrated_gradients", "occlusion", "shapley_sampling"}
        assert (index["label"] == index["predicted"]).mean() > 0.7
        assert index["gap"].abs().max() < 0.1 and set(index["label_name"]) == {"died", "survived"}
        for example in store.inputs(range(20)):
            assert value_names(example["inputs"], example["features"]) == sorted(tfx_pipeline.COLUMNS)
    first, second = (set(store.index["example_id"].to_pylist()) for store in stores)
    assert first == second  # the same sample: the two can be compared
    assert stores[0].index["score"].to_pylist() != stores[1].index["score"].to_pylist()


def test_the_maps_are_those_of_a_literal_computation(root: Path) -> None:
    """Occlusion by the signature itself on raw tf.Examples; integrated gradients by a loop over the tensors after Transform."""
    first, *_ = outputs(root, "Trainer", "model")
    transform, *_ = outputs(root, "Transform", "transform_graph")
    store, rows = open_stores(root)[0], read_passengers(root)
    served = tf.saved_model.load(str(first / "Format-Serving"))
    median = baseline_row(root)

    def logit(passengers: list[dict[str, Any]]) -> np.ndarray:
        examples = tf.constant([serialize(passenger) for passenger in passengers])
        p = served.signatures["serving_default"](examples)["probability"].numpy().ravel().astype(np.float64)
        return np.log(p / (1 - p))

    index, maps = store.index.to_pylist(), store.maps(range(store.index.num_rows))
    names = sorted(tfx_pipeline.COLUMNS)
    compared = {"occlusion": 0, "integrated_gradients": 0}
    for row, values in zip(index, maps, strict=True):
        if row["method"] not in compared or compared[row["method"]] == 12:
            continue
        compared[row["method"]] += 1
        passenger = rows[row["example_id"]]
        sign = 1 if row["target"] == 1 else -1
        if row["method"] == "occlusion":
            replaced = logit([passenger, *({**passenger, name: median[name]} for name in names)])
            expected = sign * (replaced[0] - replaced[1:])
        else:
            variables = served.signatures["serving_default"].variables
            expected = sign * literal_integrated_gradients(variables, str(transform), passenger, median, names)
        error = 1e-3 if row["method"] == "occlusion" else 5e-3 + abs(row["gap"])
        np.testing.assert_allclose(values.ravel(), expected, rtol=5e-3, atol=error, err_msg=str((row, passenger)))
    assert set(compared.values()) == {12}


def literal_integrated_gradients(
    variables: Sequence[Any], transform: str, passenger: dict[str, Any], baseline: dict[str, Any], names: list[str]
) -> np.ndarray:
    """One number for each raw column: the line between the two examples at what the first layer reads, in 400 steps."""
    output = tft.TFTransformOutput(transform)
    spec = {name: feature for name, feature in output.raw_feature_spec().items() if name in names}
    examples = tf.constant([serialize(passenger), serialize(baseline)])
    columns = output.transform_features_layer()(tf.io.parse_example(examples, spec))
    of_shape = {
        tuple(variable.shape): tf.cast(variable, tf.float64) for variable in variables if variable.dtype == tf.float32
    }
    kernel = next(values for shape, values in of_shape.items() if shape[1:] == (16,))
    classes = kernel.shape[0] - 2 - 7 - 3 - 4 - 2
    titles = next(values for shape, values in of_shape.items() if shape[1:] == (4,))
    encoded = [  # of each tensor that the first layer reads: its raw columns and its values
        (["age"], columns["age_scaled"][:, None]),
        (["namesakes"], columns["namesakes_scaled"][:, None]),
        (["age"], tf.one_hot(columns["age_bucket"], 7)),
        (["sex"], tf.one_hot(columns["sex_id"], 3)),
        (["travel_class"], tf.one_hot(columns["travel_class_id"], classes)),
        (["title"], tf.gather(titles, columns["title_id"])),
        (["sex", "travel_class"], tf.gather(of_shape[tfx_pipeline.CROSSES, 2], columns["sex_and_class"])),
    ]
    point, start = tf.split(tf.concat([tf.cast(values, tf.float64) for _, values in encoded], 1), 2)
    line = start + (point - start) * ((np.arange(400) + 0.5) / 400)[:, None]
    with tf.GradientTape() as tape:
        tape.watch(line)
        score = tf.nn.relu(line @ kernel + of_shape[16,]) @ of_shape[16, 1]
    by_unit = ((point - start)[0] * tf.reduce_mean(tape.gradient(score, line), 0)).numpy()
    sums, at = dict.fromkeys(names, 0.0), 0
    for raw, values in encoded:
        for column in raw:
            sums[column] += by_unit[at : at + values.shape[1]].sum() / len(raw)
        at += values.shape[1]
    return np.array([sums[name] for name in names])


def read_passengers(root: Path) -> dict[str, dict[str, Any]]:
    """The rows of the CSV file by name; a column without a value is left out."""
    with (root / "data" / "passengers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row[tfx_pipeline.ID]: typed(row) for row in rows}


def typed(row: dict[str, str]) -> dict[str, Any]:
    kinds = {"age": float, "namesakes": int}
    return {name: kinds.get(name, str)(row[name]) for name in tfx_pipeline.COLUMNS if row[name]}


def baseline_row(root: Path) -> dict[str, Any]:
    """Medians and most frequent values of the first 1,000 examples of the first split."""
    [folder] = outputs(root, "CsvExampleGen", "examples")
    records = tf.data.TFRecordDataset(sorted(map(str, (folder / "Split-train").iterdir())), "GZIP").take(1000)
    columns: dict[str, list[Any]] = {name: [] for name in tfx_pipeline.COLUMNS}
    for record in records.as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        for name, values in columns.items():
            feature = features[name]
            values += [*feature.float_list.value, *feature.int64_list.value, *feature.bytes_list.value]
    strings = {name: collections.Counter(columns[name]).most_common(1)[0][0].decode() for name in tfx_pipeline.STRINGS}
    return {
        **strings,
        "age": float(np.median(columns["age"])),
        "namesakes": int(np.rint(np.median(columns["namesakes"]))),
    }


def test_the_second_model_was_compared_with_the_first(root: Path) -> None:
    first, second = outputs(root, "Evaluator", "evaluation")
    alone, compared = set(metrics(first)), set(metrics(second, "candidate"))
    assert "attribution_completeness_gap" in alone & compared
    assert not any("drift" in name for name in alone) and any("drift" in name for name in compared)
    for folder in (first, second):
        validated = tfma.load_validation_result(str(folder))
        assert validated.validation_ok
    assert all((folder / "BLESSED").exists() for folder in outputs(root, "Evaluator", "blessing"))
    assert len(list((root / "pushed").iterdir())) == 2


def metrics(folder: Path, model: str | None = None) -> dict[str, Any]:
    result = tfma.load_eval_result(str(folder), model_name=model)
    [values] = [by_output[""][""] for slice_key, by_output in result.slicing_metrics if not slice_key]
    return dict(values)


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    started = Server(root / "AttributionGen" / "attributions")
    yield started
    started.stop()


def test_tensorboard_shows_the_artifacts(server: Server) -> None:
    for _ in range(60):
        with urllib.request.urlopen(f"{server.address}/data/plugin/deepexplain/api/stores") as answer:
            stores = json.loads(answer.read())["stores"]
        if len(stores) == 2:
            break
    assert {(store["store"], store["examples"], store["modality"]) for store in stores} == {("default", 100, "tabular")}
    assert all(store["run"].endswith("/Split-eval") for store in stores)
